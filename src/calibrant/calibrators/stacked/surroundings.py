"""What lies around a pixel: neighbours with its label, margins and boundaries in windows, by shifts and sums alone."""

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch.nn.functional import pad

from calibrant._shapes import Bool, Float, Int, Tensor

RADII = (1, 2, 4, 8, 16, 32)
"""Distances, in pixels, at which neighbours are compared."""

SECOND_RADII = (1, 4, 16)
"""Those at which neighbours are compared with a pixel's second class, too."""

STEPS = (1, 3, 9, 27)
"""Each window is the sum of three of the one before, this many pixels apart: 3, 9, 27 and 81 pixels a side."""


def surroundings(
    margin: Float[Tensor, "n *s"],
    winner: Int[Tensor, "n *s"],
    runner_up: Int[Tensor, "n *s"],
    num_classes: int,
    second_radii: Sequence[int],
) -> tuple[list[Float[Tensor, "n *s"]], Bool[Tensor, "n *s"]]:
    """Return the features from the neighbours to the distance to a boundary, and where the labels have an edge.

    :param margin: log-odds of the winner.
    :param winner: the class with the largest logit.
    :param runner_up: the class with the second largest.
    :param num_classes: the number of classes.
    :param second_radii: distances at which neighbours are compared with the runner-up.
    """
    alike, second, edge = _compared(winner, runner_up, num_classes, second_radii)
    at_edge = _number(edge).to(margin.dtype)
    mean_margins, boundary_shares = _means(margin), _means(at_edge)
    distance = len(STEPS) + 1 - sum(map(torch.sign, boundary_shares), at_edge)
    return [*alike, *second, *mean_margins, *boundary_shares, distance], edge


OUTSIDE = 255
"""What stands for a label beyond the edge of an image, where labels are bytes."""


def _plain() -> bool:
    """Whether small integers, which are fast, may be used; ONNX runtimes know few operations on them."""
    return not torch.compiler.is_compiling()


def _number(true: Bool[Tensor, "n *s"]) -> Int[Tensor, "n *s"]:
    """1 where true and 0 elsewhere; as bytes where they may be used, which convert to floats much faster than bools."""
    return true.view(torch.uint8) if _plain() else true.to(torch.int32)


def _compared(
    winner: Int[Tensor, "n *s"], runner_up: Int[Tensor, "n *s"], num_classes: int, second_radii: Sequence[int]
) -> tuple[list[Float[Tensor, "n *s"]], list[Float[Tensor, "n *s"]], Bool[Tensor, "n *s"]]:
    """Shares of neighbours with a pixel's winner and with its runner-up at each radius, and where a label differs from
    the next pixel's."""
    kind = (torch.uint8 if num_classes < OUTSIDE else torch.int32) if _plain() else torch.int32
    winners, seconds = (labels.to(kind) for labels in (winner, runner_up))
    own, other, edge = [], [], None
    for radius in RADII:
        straight, diagonal = _inside(winners, radius)
        padded = pad(winners, (radius,) * (2 * (winners.ndim - 1)), value=OUTSIDE if kind == torch.uint8 else -1)
        along = _counted(padded, winners, winners, radius, diagonal=False)
        if edge is None:  # only axes count as next to each other, not diagonals
            edge = along < straight
        share = 1 / (straight + diagonal).to(torch.float32).clamp_min(1)
        alike = along + _counted(padded, winners, winners, radius, diagonal=True)
        own.append(alike.to(torch.float32).mul_(share))
        if radius in second_radii:
            both = [_counted(padded, winners, seconds, radius, diagonal=each) for each in (False, True)]
            other.append((both[0] + both[1]).to(torch.float32).mul_(share))
    assert edge is not None
    return own, other, edge


def _counted(
    padded: Int[Tensor, "n *t"],
    labels: Int[Tensor, "n *s"],
    wanted: Int[Tensor, "n *s"],
    radius: int,
    *,
    diagonal: bool,
) -> Int[Tensor, "n *s"]:
    """How many of the neighbours along the axes, or along the diagonals of all axes, have the label that is wanted."""
    total = torch.zeros_like(wanted, dtype=torch.uint8 if _plain() else torch.int32)
    for direction in _directions(labels.ndim - 1, diagonal):
        moved = padded
        for axis, sign in enumerate(direction, 1):
            moved = moved.narrow(axis, radius * (1 + sign), labels.shape[axis])
        same = _number(moved == wanted)
        total = total.add_(same) if _plain() else total + same
    return total


def _directions(dims: int, diagonal: bool) -> Iterator[tuple[int, ...]]:
    if diagonal:
        yield from itertools.product((-1, 1), repeat=dims) if dims > 1 else ()
    else:
        yield from (tuple(sign * (k == axis) for k in range(dims)) for axis in range(dims) for sign in (-1, 1))


def _inside(labels: Int[Tensor, "n *s"], radius: int) -> tuple[Int[Tensor, "..."], Int[Tensor, "..."]]:
    """How many neighbours along the axes, and along the diagonals, lie within the image."""
    dims, straight = labels.ndim - 1, []
    for axis in range(1, labels.ndim):
        size = labels.shape[axis]
        at = torch.arange(size, device=labels.device)
        there = _number(at >= radius) + _number(at < size - radius)
        straight.append(there.view(-1, *[1] * (dims - axis)))
    total, product = straight[0], straight[0]
    for each in straight[1:]:
        total, product = total + each, product * each
    diagonal = product if dims > 1 else torch.zeros_like(product)
    return total, diagonal


def _means(values: Float[Tensor, "n *s"]) -> list[Float[Tensor, "n *s"]]:
    """Means over windows of 3, 9, 27 and 81 pixels along each axis, of the pixels within the image."""
    reach = sum(STEPS)
    dims = values.ndim - 1
    total = pad(values, (reach,) * (2 * dims))
    means, left = [], reach
    for step in STEPS:
        for axis in range(1, values.ndim):
            total = _thrice(total, axis, step)
        left -= step
        inner, count = total, values.new_ones(())
        for axis in range(1, values.ndim):
            size = values.shape[axis]
            inner = inner.narrow(axis, left, size)
            at = torch.arange(size, device=values.device)
            within = (at + reach - left).clamp_max(size - 1) - (at - reach + left).clamp_min(0) + 1
            count = count * within.to(values.dtype).view(-1, *[1] * (dims - axis))
        means.append(inner / count)
    return means


def _thrice(values: Float[Tensor, "n *t"], axis: int, step: int) -> Float[Tensor, "n *u"]:
    """Sums of three values, ``step`` apart along an axis; as many fewer values as these reach."""
    size = values.shape[axis] - 2 * step
    before, here, after = (values.narrow(axis, start * step, size) for start in range(3))
    return before + here + after
