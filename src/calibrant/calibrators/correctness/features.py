"""Equation (1): what a pixel's margins and the label map around it show about being right.

The features are those of ``stacked/context.py``, and eight more: the second gap, the logarithm of the entropy, the
confidence, and the neighbours of the second class at further radii.

>>> len(NAMES)
30
"""

from dataclasses import dataclass

import torch

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators._likelihood import entropy
from calibrant.calibrators._projections import EXCLUDED, first_zero
from calibrant.calibrators.calibrator import by_pixel_blocks
from calibrant.calibrators.stacked.context import MARGIN_ODDS, MAX_GAP, class_shares_and_means, of_class, positions
from calibrant.calibrators.stacked.surroundings import RADII, STEPS, surroundings

MIN_ENTROPY = 1e-6
"""Entropies below this count as this, so that their logarithm is finite where a pixel is certain."""

NAMES = (
    "margin",
    "first gap",
    "second gap",
    "log entropy",
    "confidence",
    *(f"neighbours alike, {r} px" for r in RADII),
    *(f"neighbours of the second class, {r} px" for r in RADII),
    *(f"mean margin, {3 * s} px" for s in STEPS),
    *(f"boundary share, {3 * s} px" for s in STEPS),
    "distance to a boundary",
    "log share of the class",
    "mean margin of the class",
    "position, last axis but one",
    "distance from the middle, last axis",
)
"""The names of the features, in order: see :data:`calibrant.calibrators.stacked.context.NAMES`. The second gap is from
the second largest logit to the third."""

DEFINITION: dict[str, object] = {
    "version": 1,
    "radii": RADII,
    "reaches": tuple(3 * step // 2 for step in STEPS),
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
    *own, winner, runner_up = by_pixel_blocks(_own, logits).unbind(1)
    winner, runner_up, margin = winner.long(), runner_up.long(), own[0]
    around, _ = surroundings(margin, winner, runner_up, logits.shape[1], RADII)
    flat = winner.flatten(1)
    known = class_shares_and_means(flat, margin.flatten(1), logits.shape[1])
    values = torch.stack([*own, *around, *of_class(flat, *known, margin), *positions(margin)], 1)
    return Features(values.flatten(2), flat, runner_up.flatten(1))


def _own(z: Float[Tensor, "n c p"]) -> Float[Tensor, "n o p"]:
    """The features of a pixel by itself, and its two likeliest classes (the first of those that tie)."""
    margins = z - z.amax(1, keepdim=True)
    winner = first_zero(margins)
    others = margins.scatter(1, winner, EXCLUDED)
    gap = others.amax(1, keepdim=True)
    runner_up = first_zero(others - gap)
    third = others.scatter(1, runner_up, EXCLUDED).amax(1, keepdim=True)
    rest = others.exp().sum(1, keepdim=True)
    values = [
        -rest.clamp(*MARGIN_ODDS).log(),
        -gap.clamp_min(-MAX_GAP),
        (gap - third).clamp(0.0, MAX_GAP),
        entropy(z).clamp_min(MIN_ENTROPY).log(),
        1 / (1 + rest),
    ]
    return torch.cat([*values, winner.float(), runner_up.float()], 1)
