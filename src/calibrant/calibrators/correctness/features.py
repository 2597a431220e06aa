"""What can be seen of a pixel in its logits and around it: numbers that tell how likely it is to be right.

Conventions
-----------
* Each image is looked at alone, in two or three dimensions (or one) by the same code; the numbers are as many and mean
  the same in each. They do not change when a constant is added to a pixel's logits.
* All but the first few are made from the label map and one map of margins, so their cost does not grow with the number
  of classes. They need nothing but shifts, sums and comparisons, all of which can be exported.
* Beyond the edge of an image there is nothing: neighbours there are not counted.
"""

import itertools
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from calibrant._shapes import Bool, Float, Int, Shaped, Tensor
from calibrant.calibrators._projections import first_true
from calibrant.calibrators.calibrator import by_pixel_blocks

RADII = (1, 2, 4, 8, 16, 32)
"""How far away neighbours are compared, in pixels."""

REACHES = (1, 4, 13, 40)
"""Windows of 3, 9, 27 and 81 pixels reach so far to each side."""

OWN = ("margin", "first gap", "second gap", "log entropy", "confidence")

NAMES = (
    *OWN,
    *(f"neighbours alike, {r} px" for r in RADII),
    *(f"neighbours of the second class, {r} px" for r in RADII),
    *(f"mean margin, {2 * r + 1} px" for r in REACHES),
    *(f"boundary share, {2 * r + 1} px" for r in REACHES),
    "distance to a boundary",
    "log share of the class",
    "mean margin of the class",
    "position, last axis but one",
    "distance from the middle, last axis",
)
"""What the numbers are, in order."""

_NONE = -1e30  # below any logit that counts: its exponential is zero, its products are finite


@dataclass(frozen=True)
class Context:
    """The numbers of every pixel of a batch, space flattened, and its two likeliest classes."""

    numbers: Float[Tensor, "n f p"]
    winner: Int[Tensor, "n p"]
    runner_up: Int[Tensor, "n p"]


@torch.no_grad()
def context_of(logits: Float[Tensor, "n c *s"]) -> Context:
    """Return what can be seen of each pixel, see :data:`NAMES`.

    Scale the logits by a fitted temperature first, so that the numbers mean the same for every model.

    >>> context = context_of(torch.randn(2, 5, 12, 16))
    >>> context.numbers.shape == (2, len(NAMES), 12 * 16), context.winner.shape
    (True, torch.Size([2, 192]))
    """
    c = logits.shape[1]
    own = by_pixel_blocks(_own, logits)
    numbers, winner, runner_up = own[:, : len(OWN)].flatten(2), own[:, -2].long(), own[:, -1].long()
    margin = own[:, 0]
    alike, second, edge = _compared(winner, runner_up)
    boundary = edge.float()
    margins, shares = _means(margin), _means(boundary)
    distance = torch.stack([(share == 0).float() for share in shares]).sum(0) + ~edge
    rest = [*alike, *second, *margins, *shares, distance, *_of_class(winner, margin, c), *_position(margin)]
    numbers = torch.cat([numbers, torch.stack(rest, 1).flatten(2)], 1)
    return Context(numbers, winner.flatten(1), runner_up.flatten(1))


def _own(z: Float[Tensor, "n c p"]) -> Float[Tensor, "n o p"]:
    """The numbers of a pixel by itself, and its two likeliest classes (the first of those that tie)."""
    below = z - z.amax(1, keepdim=True)
    winner = first_true(below == 0)
    others = below.scatter(1, winner, _NONE)
    gap = others.amax(1, keepdim=True)
    runner_up = first_true(others == gap)
    third = others.scatter(1, runner_up, _NONE).amax(1, keepdim=True)
    weight = others.exp()
    rest = weight.sum(1, keepdim=True)
    entropy = (1 + rest).log() - (weight * others).sum(1, keepdim=True) / (1 + rest)
    numbers = [
        -rest.clamp(1e-16, 1e4).log(),
        -gap.clamp_min(-40),
        (gap - third).clamp(0, 40),
        entropy.clamp_min(1e-6).log(),
        1 / (1 + rest),
    ]
    return torch.cat([*numbers, winner.float(), runner_up.float()], 1)


def _plain() -> bool:
    """Whether small integers, which are fast, may be used; ONNX runtimes know few operations on them."""
    return not torch.compiler.is_compiling()


def _compared(
    winner: Int[Tensor, "n *s"], runner_up: Int[Tensor, "n *s"]
) -> tuple[list[Float[Tensor, "n *s"]], list[Float[Tensor, "n *s"]], Bool[Tensor, "n *s"]]:
    """Shares of neighbours of a pixel's own and of its second class at each radius, and where another class is next."""
    first, second = (labels.to(torch.int16 if _plain() else torch.int32) for labels in (winner, runner_up))
    small = torch.uint8 if _plain() else torch.int32
    own, other, edge = [], [], None
    for radius in RADII:
        neighbours = _neighbours(first, radius)
        same, there = neighbours == first, neighbours >= 0
        if edge is None:  # only axes count as next to each other, not diagonals
            edge = (there & ~same)[: 2 * (winner.ndim - 1)].any(0)
        share = 1 / there.sum(0, dtype=small).clamp_min(1)
        own.append(same.sum(0, dtype=small) * share)
        other.append((neighbours == second).sum(0, dtype=small) * share)
    assert edge is not None
    return own, other, edge


def _neighbours(labels: Int[Tensor, "n *s"], radius: int) -> Int[Tensor, "k n *s"]:
    """The neighbours along each axis, then along each diagonal of all axes; -1 beyond the edge."""
    dims = labels.ndim - 1
    straight = [tuple(sign * (k == axis) for k in range(dims)) for axis in range(dims) for sign in (-1, 1)]
    diagonal = list(itertools.product((-1, 1), repeat=dims)) if dims > 1 else []
    wide, found = pad(labels, (radius,) * (2 * dims), value=-1), []
    for direction in (*straight, *diagonal):
        there = wide
        for axis, sign in enumerate(direction, 1):
            there = there.narrow(axis, radius * (1 + sign), labels.shape[axis])
        found.append(there)
    return torch.stack(found)


def _means(values: Float[Tensor, "n *s"]) -> list[Float[Tensor, "n *s"]]:
    """Means over windows of 3, 9, 27 and 81 pixels along each axis, of the pixels within the image."""
    means = []
    for reach in REACHES:
        total, count = values.double(), torch.ones_like(values[:1])
        for axis in range(1, values.ndim):
            total, count = _window(total, axis, reach), _window(count, axis, reach)
        means.append((total / count).to(values.dtype))
    return means


def _window(values: Float[Tensor, "n *s"], axis: int, reach: int) -> Float[Tensor, "n *s"]:
    """Sums along an axis from ``reach`` before to ``reach`` after: differences of running sums."""
    size = values.shape[axis]
    running = values.cumsum(axis)
    none, whole = torch.zeros_like(running.narrow(axis, 0, 1)), running.narrow(axis, size - 1, 1)
    repeat = [-1] * values.ndim
    before, after = [*repeat], [*repeat]
    before[axis], after[axis] = reach + 1, reach
    wide = torch.cat([none.expand(before), running, whole.expand(after)], axis)
    return wide.narrow(axis, 2 * reach + 1, size) - wide.narrow(axis, 0, size)


def _of_class(
    winner: Int[Tensor, "n *s"], margin: Float[Tensor, "n *s"], num_classes: int
) -> list[Float[Tensor, "n *s"]]:
    """For each pixel the share that its class has of the image, and the mean margin of the class there."""
    which, margins = winner.flatten(1), margin.flatten(1)
    none = torch.zeros_like(margins[:, :1]).expand(-1, num_classes)
    count = none.scatter_add(1, which, torch.ones_like(margins))
    mean = none.scatter_add(1, which, margins) / count.clamp_min(1)
    share = ((count + 1) / which.shape[1]).log()
    return [column.gather(1, which).view_as(margin) for column in (share, mean)]


def _position(like: Float[Tensor, "n *s"]) -> list[Float[Tensor, "n *s"]]:
    """From -1 to 1 along the last axis but one, and from 0 in the middle to 1 along the last."""

    def along(axis: int) -> Shaped[Tensor, " l"]:
        size = like.shape[axis]
        return (2 * torch.arange(size, device=like.device, dtype=like.dtype) + 1) / size - 1

    rows = along(-2)[:, None] if like.ndim > 2 else along(-1) * 0
    return [(rows + torch.zeros_like(like)), along(-1).abs() + torch.zeros_like(like)]
