"""What a pixel shows about being right: its margins, and the label map around it.

Conventions
-----------
* Each image is looked at alone, in two or three dimensions (or one) by the same code. Nothing changes when a constant
  is added to a pixel's logits.
* All but the first two features are made from the label map and one map of margins, so that their cost does not grow
  with the number of classes. They need nothing but shifts, sums and comparisons, all of which can be exported.
* Beyond the edge of an image there is nothing: neighbours there are not counted.

>>> len(NAMES)
24
"""

import math
from dataclasses import dataclass

import torch

from calibrant._shapes import Bool, Float, Int, Shaped, Tensor
from calibrant.calibrators._projections import EXCLUDED, first_zero
from calibrant.calibrators.calibrator import Calibrator, exponentiated, maps_by_pixel_blocks
from calibrant.calibrators.stacked.surroundings import RADII, SECOND_RADII, STEPS, surroundings
from calibrant.calibrators.temperature import TemperatureScaling

MARGIN_ODDS = (1e-16, 1e4)
"""Bounds on the odds against the winner before their logarithm is taken: float32 resolves no margin above 37, and no
model has so many equal classes that the margin is below -9."""

MAX_GAP = 40.0
"""Differences of two logits count at most as this: exp(-40) is negligible relative to 1."""

VERSION = 1
"""Raise it when a feature is computed in another way: fitted networks mean the features that they were trained on."""

NAMES = (
    "margin",
    "gap",
    *(f"neighbours alike, {r} px" for r in RADII),
    *(f"neighbours of the second class, {r} px" for r in SECOND_RADII),
    *(f"mean margin, {3 * s} px" for s in STEPS),
    *(f"boundary share, {3 * s} px" for s in STEPS),
    "distance to a boundary",
    "log share of the class",
    "mean margin of the class",
    "position, last axis but one",
    "distance from the middle, last axis",
)
"""The names of the features, in order:

* margin: log-odds of the winner against all others; gap: from the largest logit to the second;
* share of the neighbours at a distance (along axes and diagonals) whose winner is this pixel's, or its runner-up;
* mean margin, and share of pixels at a boundary between labels, in a window;
* number of windows without a boundary, counting the pixel itself as the smallest;
* logarithm of the share of the image that is of the pixel's class, and the mean margin there;
* where the pixel lies: -1 to 1 along the last axis but one, 0 (middle) to 1 (edge) along the last.
"""

DEFINITION: dict[str, object] = {
    "version": VERSION,
    "radii": RADII,
    "second_radii": SECOND_RADII,
    "steps": STEPS,
    "margin_odds": MARGIN_ODDS,
    "max_gap": MAX_GAP,
}
"""All constants that the features depend on; stored with what was trained on them."""


@dataclass(frozen=True)
class Context:
    """The features of every pixel of a batch, space flattened, with its likeliest class.

    :param values: one number for each of :data:`NAMES`.
    :param winner: the class with the largest logit, the first of those that tie.
    :param peak: the largest logit.
    :param edge: whether the next pixel along an axis has another winner.
    :param shares: the share that each class has of the image.
    :param means: the mean margin of each class there; 0 where it wins nowhere.
    """

    values: Float[Tensor, "n f p"]
    winner: Int[Tensor, "n p"]
    peak: Float[Tensor, "n p"]
    edge: Bool[Tensor, "n p"]
    shares: Float[Tensor, "n c"]
    means: Float[Tensor, "n c"]


@torch.no_grad()
def context_of(
    logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None, anchor: Calibrator | None = None
) -> Context:
    """Return the features of each pixel, see :data:`NAMES`. No gradient flows through them.

    :param logits: raw logits, class axis second.
    :param image: passed on to the anchor.
    :param anchor: what the logits go through first, so that the features mean the same for every model; it must keep
        the label map. None for logits as they are.

    >>> context = context_of(torch.randn(2, 5, 12, 16))
    >>> context.values.shape, context.winner.shape
    (torch.Size([2, 24, 192]), torch.Size([2, 192]))
    """
    factor = None
    if isinstance(anchor, TemperatureScaling):  # the margins alone, at a third of the time
        factor = 1 / anchor.divisor
    elif anchor is not None:
        logits = anchor(logits, image)
    own, classes = maps_by_pixel_blocks(lambda z: _own(z, factor), logits)
    (margin, gap, peak), (winner, runner_up) = own.unbind(1), classes.unbind(1)
    c = logits.shape[1]
    around, edge = surroundings(margin, winner, runner_up, c, SECOND_RADII)
    flat, margins = winner.flatten(1), margin.flatten(1)
    shares, means = class_shares_and_means(flat, margins, c)
    values = torch.stack([margin, gap, *around, *of_class(flat, shares, means, margin), *positions(margin)], 1)
    return Context(values.flatten(2), flat, peak.flatten(1), edge.flatten(1), shares, means)


def _own(z: Float[Tensor, "n c p"], factor: Tensor | None) -> tuple[Float[Tensor, "n 3 p"], Int[Tensor, "n 2 p"]]:
    """The features of a pixel alone and its largest logit; its two likeliest classes, the first of those that tie."""
    peak = z.amax(1, keepdim=True)
    others = z - peak
    winner = first_zero(others)
    others.scatter_(1, winner, EXCLUDED)
    gap = others.amax(1, keepdim=True)
    others -= gap
    runner_up = first_zero(others)
    if factor is not None:
        peak, gap = peak * factor, gap * factor
    log_rest = exponentiated(others, factor).sum(1, keepdim=True).log_().add_(gap)
    least, most = map(math.log, MARGIN_ODDS)
    values = [-log_rest.clamp_(least, most), -gap.clamp_min(-MAX_GAP), peak]
    return torch.cat(values, 1), torch.cat([winner, runner_up], 1)


def class_shares_and_means(
    winner: Int[Tensor, "n p"], values: Float[Tensor, "n p"], num_classes: int
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]]:
    """Return each class's share of an image, and the mean of values where it wins; 0 where it never does.

    :param winner: the class of each pixel.
    :param values: one number a pixel.
    :param num_classes: the number of classes.

    >>> class_shares_and_means(torch.tensor([[0, 0, 1, 0]]), torch.tensor([[1.0, 2.0, 5.0, 3.0]]), 3)
    (tensor([[0.7500, 0.2500, 0.0000]]), tensor([[2., 5., 0.]]))
    """
    none = torch.zeros_like(values[:, :1]).expand(-1, num_classes)
    count = none.scatter_add(1, winner, torch.ones_like(values))
    mean = none.scatter_add(1, winner, values) / count.clamp_min(1)
    return count / winner.shape[1], mean


def of_class(
    winner: Int[Tensor, "n p"], shares: Float[Tensor, "n c"], means: Float[Tensor, "n c"], like: Float[Tensor, "n *s"]
) -> list[Float[Tensor, "n *s"]]:
    """Return, for each pixel, the logarithm of the share that its class has of the image, and its mean margin there.

    :param winner: the class of each pixel.
    :param shares: of each class.
    :param means: of each class.
    :param like: a map of the size of the image.
    """
    columns = ((shares + 1 / winner.shape[1]).log(), means)
    return [column.gather(1, winner).view_as(like) for column in columns]


def positions(like: Float[Tensor, "n *s"]) -> list[Float[Tensor, "n *s"]]:
    """Return -1 to 1 along the last axis but one, and 0 in the middle to 1 at the ends of the last.

    :param like: a map of the same size.
    """

    def along(axis: int) -> Shaped[Tensor, " l"]:
        size = like.shape[axis]
        return (2 * torch.arange(size, device=like.device, dtype=like.dtype) + 1) / size - 1

    rows = along(-2)[:, None] if like.ndim > 2 else along(-1) * 0
    return [(rows + torch.zeros_like(like)), along(-1).abs() + torch.zeros_like(like)]
