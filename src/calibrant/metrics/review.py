"""What a threshold on the confidence decides: how many pixels to look at again, and which mistakes that catches.

Conventions
-----------
* A pixel is looked at again, *reviewed*, if its confidence is at or below the threshold. A review is taken to find the
  right label.
* Thresholds are the edges of the bins that were counted, where these figures are exact but for pixels that lie on an
  edge: the 353 of :class:`ConfidenceRanks` (log-odds from -6 to 16 in steps of 1/16), or the edges of
  :class:`CalibrationBins`. The first reviews nothing, the last everything.
* If a missed mistake costs M and a review R, a review of a pixel that is right with probability p pays if
  (1 - p) M > R: below the threshold 1 - R / M. That is the cheapest rule for a calibrated confidence (Chow 1970, "On
  optimum recognition error and reject tradeoff").
"""

from dataclasses import dataclass

import torch

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError
from calibrant.metrics.calibration import CalibrationBins
from calibrant.metrics.ranking import ConfidenceRanks


@dataclass(frozen=True)
class ReviewCurve:
    """What is reviewed at each threshold, from none to all pixels.

    :param threshold: confidences, rising from 0 to 1.
    :param reviewed: the share of the pixels at or below each.
    :param caught: the share of the mistakes among them; NaN for a row without a mistake.
    :param missed: the share of all pixels that are wrong and not reviewed.
    """

    threshold: Float[Tensor, " t"]
    reviewed: Float[Tensor, "n *g t"]
    caught: Float[Tensor, "n *g t"]
    missed: Float[Tensor, "n *g t"]

    @property
    def left(self) -> Float[Tensor, "n *g t"]:
        """The share of wrong pixels among those that are not reviewed; NaN where all are."""
        return self.missed / (1 - self.reviewed)


def review_curve(counts: ConfidenceRanks | CalibrationBins) -> ReviewCurve:
    """Return what a review of all pixels below each threshold looks at and catches.

    :param counts: one row an image, or one of all pixels; grouped by class or not.

    >>> bins = CalibrationBins(torch.tensor([[10, 30]]), torch.tensor([[5, 30]]), torch.tensor([[4.0, 27.0]]).double())
    >>> curve = review_curve(bins)  # below one half: a quarter of the pixels, and every mistake
    >>> curve.threshold.tolist(), curve.reviewed[0].tolist(), curve.caught[0].tolist()
    ([0.0, 0.5, 1.0], [0.0, 0.25, 1.0], [0.0, 1.0, 1.0])
    """
    below, wrong = (_from_zero(column) for column in (counts.count, counts.count - counts.correct))
    pixels, mistakes = below[..., -1:], wrong[..., -1:]
    return ReviewCurve(_edges(counts), below / pixels, wrong / mistakes, (mistakes - wrong) / pixels)


def best_threshold(*, mistake: float, review: float) -> float:
    """Return the confidence below which a review pays, for a calibrated confidence: 1 - review / mistake.

    :param mistake: the price of a mistake that stays.
    :param review: the price of a review of one pixel, of the same unit.
    :raises InputError: a price is not above 0.

    >>> best_threshold(mistake=10, review=1)
    0.9
    """
    if not (mistake > 0 and review > 0):
        raise InputError(f"expected prices above 0; got {mistake} of a mistake and {review} of a review.")
    return max(0.0, 1 - review / mistake)


def review_cost(curve: ReviewCurve, *, mistake: float, review: float) -> Float[Tensor, "n *g t"]:
    """Return what reviewing below each threshold costs a pixel: reviews, and mistakes that stay.

    :param curve: what is reviewed and missed.
    :param mistake: the price of a mistake that stays.
    :param review: the price of a review of one pixel, of the same unit.
    """
    return review * curve.reviewed + mistake * curve.missed


def _from_zero(column: Tensor) -> Float[Tensor, "n *g t"]:
    total = column.double().cumsum(-1)
    return torch.cat([torch.zeros_like(total[..., :1]), total], -1)


def _edges(counts: ConfidenceRanks | CalibrationBins) -> Float[Tensor, " t"]:
    if isinstance(counts, ConfidenceRanks):
        edges = ConfidenceRanks.edges().clone()
        edges[0], edges[-1] = 0.0, 1.0  # the outer bins hold all that lies beyond
        return edges
    return torch.linspace(0, 1, counts.count.shape[-1] + 1, dtype=torch.float64)
