"""Equation (1): the features, what a pixel's margins and the label map around it show about being right.

Conventions
-----------
* Each image is looked at alone, in two or three dimensions (or one) by the same code; the features are as many and mean
  the same in each. They do not change when a constant is added to a pixel's logits.
* All but the first few are made from the label map and one map of margins, so their cost does not grow with the number
  of classes. They need nothing but shifts, sums and comparisons, all of which can be exported.
* Beyond the edge of an image there is nothing: neighbours there are not counted.

>>> len(NAMES)
30
"""

import itertools
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from calibrant._shapes import Bool, Float, Int, Shaped, Tensor
from calibrant.calibrators._projections import EXCLUDED, first_true
from calibrant.calibrators.calibrator import by_pixel_blocks

RADII = (1, 2, 4, 8, 16, 32)
"""Distances, in pixels, at which neighbours are compared."""

REACHES = (1, 4, 13, 40)
"""Half widths of the windows, in pixels: windows of 3, 9, 27 and 81 pixels a side."""

MARGIN_ODDS = (1e-16, 1e4)
"""Bounds on the odds against the winner before their logarithm is taken: float32 resolves no margin above 37, and no
model has so many equal classes that the margin is below -9."""

MAX_GAP = 40.0
"""Differences of two logits count at most as this: exp(-40) is negligible relative to 1."""

MIN_ENTROPY = 1e-6
"""Entropies below this count as this, so that their logarithm is finite where a pixel is certain."""

VERSION = 1
"""Raise it when a feature is computed in another way: fitted networks mean the features that they were trained on."""

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
"""The names of the features, in order:

* margin: log-odds of the winner against all others; first and second gap: from the largest logit to the second, from
  there to the third; logarithm of the entropy; softmax confidence;
* share of the neighbours at a distance (along axes and diagonals) whose winner is this pixel's, or its runner-up;
* mean margin, and share of pixels at a boundary between labels, in a window;
* number of windows without a boundary, counting the pixel itself as the smallest;
* logarithm of the share of the image that is of the pixel's class, and the mean margin there;
* where the pixel lies: -1 to 1 along the last axis but one, 0 (middle) to 1 (edge) along the last.
"""

DEFINITION: dict[str, object] = {
    "version": VERSION,
    "radii": RADII,
    "reaches": REACHES,
    "margin_odds": MARGIN_ODDS,
    "max_gap": MAX_GAP,
    "min_entropy": MIN_ENTROPY,
}
"""All constants that the features depend on; stored with each network that reads them."""


@dataclass(frozen=True)
class Features:
    """The features of every pixel of a batch, space flattened, and its two likeliest classes.

    :param values: one number for each of :data:`NAMES`.
    :param winner: the class with the largest logit, the first of those that tie.
    :param runner_up: the class with the second largest, the first of those that tie.
    """

    values: Float[Tensor, "n f p"]
    winner: Int[Tensor, "n p"]
    runner_up: Int[Tensor, "n p"]


@torch.no_grad()
def features_of(logits: Float[Tensor, "n c *s"]) -> Features:
    """Return the features of each pixel, see :data:`NAMES`. No gradient flows through them.

    :param logits: logits at a fitted temperature, so that the features mean the same for every model.

    >>> features = features_of(torch.randn(2, 5, 12, 16))
    >>> features.values.shape, features.winner.shape
    (torch.Size([2, 30, 192]), torch.Size([2, 192]))
    """
    c = logits.shape[1]
    own = by_pixel_blocks(_own, logits)
    values, winner, runner_up = own[:, : len(OWN)].flatten(2), own[:, -2].long(), own[:, -1].long()
    margin = own[:, 0]
    alike, second, edge = _compared(winner, runner_up)
    mean_margins, boundary_shares = _means(margin), _means(edge.float())
    distance = torch.stack([(share == 0).float() for share in boundary_shares]).sum(0) + ~edge
    around = [*alike, *second, *mean_margins, *boundary_shares, distance]
    rest = [*around, *_of_class(winner, margin, c), *_position(margin)]
    values = torch.cat([values, torch.stack(rest, 1).flatten(2)], 1)
    return Features(values, winner.flatten(1), runner_up.flatten(1))


def _own(z: Float[Tensor, "n c p"]) -> Float[Tensor, "n o p"]:
    """The features of a pixel by itself, and its two likeliest classes (the first of those that tie)."""
    margins = z - z.amax(1, keepdim=True)
    winner = first_true(margins == 0)
    others = margins.scatter(1, winner, EXCLUDED)
    gap = others.amax(1, keepdim=True)
    runner_up = first_true(others == gap)
    third = others.scatter(1, runner_up, EXCLUDED).amax(1, keepdim=True)
    weight = others.exp()
    rest = weight.sum(1, keepdim=True)
    entropy = (1 + rest).log() - (weight * others).sum(1, keepdim=True) / (1 + rest)
    values = [
        -rest.clamp(*MARGIN_ODDS).log(),
        -gap.clamp_min(-MAX_GAP),
        (gap - third).clamp(0.0, MAX_GAP),
        entropy.clamp_min(MIN_ENTROPY).log(),
        1 / (1 + rest),
    ]
    return torch.cat([*values, winner.float(), runner_up.float()], 1)


def _plain() -> bool:
    """Whether small integers, which are fast, may be used; ONNX runtimes know few operations on them."""
    return not torch.compiler.is_compiling()


def _compared(
    winner: Int[Tensor, "n *s"], runner_up: Int[Tensor, "n *s"]
) -> tuple[list[Float[Tensor, "n *s"]], list[Float[Tensor, "n *s"]], Bool[Tensor, "n *s"]]:
    """Shares of neighbours with a pixel's winner and with its runner-up at each radius, and where a label differs from
    the next pixel's."""
    winners, seconds = (labels.to(torch.int16 if _plain() else torch.int32) for labels in (winner, runner_up))
    small = torch.uint8 if _plain() else torch.int32
    own, other, edge = [], [], None
    for radius in RADII:
        neighbours = _neighbours(winners, radius)
        same, there = neighbours == winners, neighbours >= 0
        if edge is None:  # only axes count as next to each other, not diagonals
            edge = (there & ~same)[: 2 * (winner.ndim - 1)].any(0)
        share = 1 / there.sum(0, dtype=small).clamp_min(1)
        own.append(same.sum(0, dtype=small) * share)
        other.append((neighbours == seconds).sum(0, dtype=small) * share)
    assert edge is not None
    return own, other, edge


def _neighbours(labels: Int[Tensor, "n *s"], radius: int) -> Int[Tensor, "k n *s"]:
    """The neighbours along each axis, then along each diagonal of all axes; -1 beyond the edge."""
    dims = labels.ndim - 1
    straight = [tuple(sign * (k == axis) for k in range(dims)) for axis in range(dims) for sign in (-1, 1)]
    diagonal = list(itertools.product((-1, 1), repeat=dims)) if dims > 1 else []
    padded, neighbours = pad(labels, (radius,) * (2 * dims), value=-1), []
    for direction in (*straight, *diagonal):
        moved = padded
        for axis, sign in enumerate(direction, 1):
            moved = moved.narrow(axis, radius * (1 + sign), labels.shape[axis])
        neighbours.append(moved)
    return torch.stack(neighbours)


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
