"""A gate for what was not seen: how far an image lies outside the range of the images of a fit.

An image is described by 6 + 2 c numbers, c the number of classes, which need no labels: the mean and the spread of
its pixels' margins and of their largest logits, the share of small margins, the share of pixels at a boundary between
labels, the square root of each class's share, and each class's mean margin (unknown where it wins nowhere, which then
counts as the mean). With x these numbers, standardised over the images of the fit, and S their covariance there,
shrunk to a multiple of the identity (Ledoit and Wolf, J. Multivariate Analysis 88, 2004),

    d = sqrt(xᵀ S⁻¹ x / number of them),    share = min(1, max(0, 2 limit / d - 1)):

the share of what was learnt that an image gets; the rest is the anchor's. An image at one and a half times the limit
keeps a third, from twice the limit on it gets the anchor alone. The limit is as far as images of the fit are *known* to
range. Each image (or group of images) is left out in turn, and the logarithm of its distance from the others taken.
With mean m and standard deviation s of n logarithms,

    log limit = m + max(0, 2 - 3 √(3 / n)) s.

Were they normal, 98 % of images like those of the fit would lie within exp(m + 2 s). But m + 2 s is an estimate, with
a standard error of s √((1 + 2²/2) / n), and the limit lies three of these below it: ten images say little about their
range, and what they do not say counts as outside.

The three errors, the end at twice the limit and the form between were chosen by a trial that
``python -m experiments.selective_scaling.gate_constants`` makes again, on a small SegFormer that no table reports
(day-quarter of ``predict_black_boxes``), fitted to 10, 20 and 40 images by day or of KITTI, three draws of each, and
tested on images of either kind and at dusk. Tried were 0 to 4 errors, ends at 1.5 to 4 times the limit and none, and
shares that between are linear in a power of limit / d, from -2 to 4, or in its logarithm. Of those by which images of
another kind are in no row significantly worse off than with the anchor, in likelihood or Brier score (the mean
difference over images within 1.96 of its standard errors), these lose least, in the mean over all rows: beside all that
was learnt in-domain, beside the better of that and the anchor after a shift. DAVIS and the aerial images, at 10 and 20,
were looked at besides. That the distance tells dusk from day was seen on the CamVid images of docs/results/claims.md.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from calibrant._shapes import Float, Tensor
from calibrant.calibrators._tensors import keep_tensors
from calibrant.calibrators.stacked.context import DEFINITION, Context

SMALL_MARGIN = 1.0
"""Log-odds below this are small margins."""

END = 2.0
"""At so many limits and beyond, nothing is left of what was learnt."""

POWER = 2.0
"""How fast the share falls beyond the limit where it has no end, as in files written before there was one."""

DEVIATIONS = 2.0
"""Standard deviations of the logarithm of the distance above its mean at which the limit lies, with images enough."""

ERRORS = 3.0
"""Standard errors of that limit, as an estimate, by which it is lowered."""

MAX_PARTS = 100
"""Parts into which the images of a fit are dealt at most, each of which is left out in turn."""

MIN_DISTANCE = 1e-6
"""Distances below this count as this."""

MIN_IMAGES = 4
"""With fewer images there is no range to speak of, and no gate."""

PRIOR_IMAGES = 2.0
"""The spread of a description's number is that seen, and in so many further images that of all numbers of its kind: a
class may win in one image alone."""

MIN_DEVIATION = 1e-3
"""A number that hardly varies over the fit is divided by this at least."""


class Gate(nn.Module):
    """From the context of an image to the share of what was learnt that it gets, between 0 and 1.

    :param centre: mean of each number of the description over the fit.
    :param scale: standard deviation of each.
    :param factor: F with FᵀF the inverse of the shrunk covariance over the number of them.
    :param limit: the distance from which on the share is below 1.
    :param end: the distance, in limits, from which on it is 0; None where it is (limit / distance)² throughout.
    """

    definition: ClassVar[Mapping[str, object]] = DEFINITION | {"small_margin": SMALL_MARGIN, "power": POWER}

    centre: Tensor
    scale: Tensor
    factor: Tensor

    def __init__(
        self,
        centre: Float[Tensor, " k"],
        scale: Float[Tensor, " k"],
        factor: Float[Tensor, "k k"],
        limit: float,
        end: float | None = None,
    ) -> None:
        super().__init__()
        keep_tensors(self, centre=centre, scale=scale, factor=factor)
        self.limit, self.end = float(limit), end

    def arguments(self) -> dict[str, Any]:
        """Return centre, scale, factor, limit and end."""
        return {**dict(self.named_buffers()), "limit": self.limit, "end": self.end}

    def forward(self, context: Context) -> Float[Tensor, " n"]:
        """Return the share of each image.

        :param context: features of the anchor's logits.
        """
        return self.share(self.distance(descriptions(context)))

    def share(self, distance: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the share of what was learnt that is left at a distance.

        :param distance: of images from the middle of those of the fit.

        >>> gate = Gate(torch.zeros(8), torch.ones(8), torch.eye(8), limit=1.0, end=2.0)
        >>> gate.share(torch.tensor([0.5, 1.0, 1.5, 2.0, 9.0]))
        tensor([1.0000, 1.0000, 0.3333, 0.0000, 0.0000])
        """
        within = (self.limit / distance.clamp_min(MIN_DISTANCE)).clamp_max(1.0)
        if self.end is None:
            return within**POWER
        return ((self.end * within - 1) / (self.end - 1)).clamp_min(0.0)

    @property
    def num_classes(self) -> int:
        """The number of classes that it was fitted on."""
        return (len(self.centre) - 6) // 2

    def distance(self, described: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        """Return the distance of images from the middle of those of the fit.

        :param described: the descriptions; NaN where a number is not known.
        """
        away = (described - self.centre) / self.scale
        away = torch.where(away.isnan(), torch.zeros_like(away), away)
        return (away @ self.factor.T).square().sum(1).sqrt()


def descriptions(context: Context) -> Float[Tensor, "n k"]:
    """Return what images look like to a model, see the top of this file; NaN for classes that win nowhere.

    :param context: features of the anchor's logits.
    """
    margin = context.values[:, 0]
    mean = torch.where(context.shares > 0, context.means, torch.full_like(context.means, torch.nan))
    spread = [each.var(1, correction=0).sqrt() for each in (margin, context.peak)]
    whole = [margin.mean(1), spread[0], context.peak.mean(1), spread[1]]
    whole += [(margin < SMALL_MARGIN).float().mean(1), context.edge.float().mean(1)]
    return torch.cat([torch.stack(whole, 1), context.shares.sqrt(), mean], 1)


def fit_gate(described: Float[Tensor, "n k"], folds: Sequence[Sequence[int]], *, errors: float = ERRORS) -> Gate | None:
    """Return the gate for images like these; None where they are too few.

    :param described: one description an image.
    :param folds: the numbers of the images that are left out together.
    :param errors: standard errors by which the limit is lowered.
    """
    if len(described) < MIN_IMAGES or len(folds) < 2:
        return None
    described, left_out = described.double().cpu(), []
    for fold in folds:
        kept = [i for i in range(len(described)) if i not in set(fold)]
        if len(kept) > 1:
            left_out.append(_without_limit(described[kept]).distance(described[fold].float()))
    logs = torch.cat(left_out).clamp_min(MIN_DISTANCE).log()
    whole = _without_limit(described)
    limit = float((logs.mean() + deviations(len(folds), errors) * logs.std()).exp())
    return Gate(whole.centre, whole.scale, whole.factor, limit, END)


def deviations(n: int, errors: float = ERRORS) -> float:
    """Return how many standard deviations above the mean logarithm of the distance the limit lies.

    :param n: images, or groups of them, that were left out in turn.
    :param errors: standard errors by which it is lowered.

    >>> [round(deviations(n), 1) for n in (5, 10, 20, 40, 100)]
    [0.0, 0.4, 0.8, 1.2, 1.5]
    """
    return max(0.0, DEVIATIONS - errors * math.sqrt((1 + DEVIATIONS**2 / 2) / n))


def _without_limit(described: Float[Tensor, "n k"]) -> Gate:
    centre = described.nanmean(0).nan_to_num()
    scale = _spread(described, centre)
    x = ((described - centre) / scale).nan_to_num()
    inverse = torch.linalg.inv(_shrunk_covariance(x)) / x.shape[1]
    return Gate(centre, scale, torch.linalg.cholesky(inverse).T, 1.0)


def _spread(described: Float[Tensor, "n k"], centre: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """The standard deviation of each number, pulled to that of its kind."""
    square = (described - centre).square()
    seen = (~square.isnan()).sum(0)
    total = square.nansum(0)
    c = (described.shape[1] - 6) // 2
    pulled = total / seen.clamp_min(1)
    for kind in (slice(6, 6 + c), slice(6 + c, 6 + 2 * c)):
        usual = total[kind].sum() / seen[kind].sum().clamp_min(1)
        pulled[kind] = (total[kind] + PRIOR_IMAGES * usual) / (seen[kind] + PRIOR_IMAGES)
    return pulled.sqrt().clamp_min(MIN_DEVIATION)


def _shrunk_covariance(x: Float[Tensor, "n k"]) -> Float[Tensor, "k k"]:
    """The covariance of centred data, shrunk by the formula of Ledoit and Wolf."""
    n, k = x.shape
    covariance = x.T @ x / n
    identity = torch.eye(k, dtype=x.dtype) * max(float(covariance.trace()) / k, 1e-6)
    away = float((covariance - identity).square().sum())
    error = float((x.square().T @ x.square() / n - covariance.square()).sum()) / n
    weight = min(1.0, error / away) if away > 0 else 1.0
    return (1 - weight) * covariance + weight * identity + 1e-6 * identity
