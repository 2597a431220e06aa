"""How well confidence separates right pixels from mistakes: AUROC, risk and coverage; equal-mass calibration error.

Conventions
-----------
* These scores depend on the order of confidences, which does not add up over images. They are read off fine bins of
  the log-odds of the confidence, log(c / (1 - c)), from -6 to 16 in steps of 1/16: fine where confidences crowd near
  1, and few enough that rows stay small. float32 cannot resolve odds above e^16. Pixels in one bin count as tied.
* The error of a tie is bounded: AUROC is off by at most half the sum over bins of the product of the shares of right
  and wrong pixels in it (``auroc_error_bound``). On real logits the true error is near 3e-5.
* The risk at a coverage is the share of wrong pixels among the most confident share of all pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch

from calibrant._shapes import Bool, Float, Int, Shaped, Tensor
from calibrant.metrics._pixel_scores import PixelScores, count_images, each_image, histogram
from calibrant.metrics.tally import Tally

_LOWEST, _HIGHEST, _STEPS = -6, 16, 16
_NUM_BINS = (_HIGHEST - _LOWEST) * _STEPS


@dataclass(frozen=True)
class ConfidenceRanks(Tally):
    """Top-label confidence in fine bins of its log-odds, least confident first.

    :param count: pixels in each bin.
    :param correct: rightly predicted pixels in each bin.
    :param keys: names of the rows, if they are known.
    :param left_out: names of images that have no row because nothing in them is labelled.

    >>> ConfidenceRanks.of(torch.zeros(1, 2, 4), torch.zeros(1, 4, dtype=torch.long)).count.shape  # the fine bins
    torch.Size([1, 352])
    """

    count: Shaped[Tensor, "n b"]
    correct: Shaped[Tensor, "n b"]

    @classmethod
    def of(
        cls,
        logits: Float[Tensor, "n c *s"],
        labels: Int[Tensor, "n *t"],
        *,
        where: Bool[Tensor, "n *u"] | None = None,
    ) -> "ConfidenceRanks":
        """Count a batch of images, one row each.

        :param logits: (n, c, *s), of two classes or more.
        :param labels: (n, *s), or (n, a, *s) with several annotators; ``IGNORE`` where unlabelled.
        :param where: the pixels that count, shaped like the labels; None for all.
        :raises InputError: the images cannot be counted (ShapeError, LabelError, LogitsError).
        """
        return count_images(cls, cls.of_pixels, each_image(logits, labels, where))

    @classmethod
    def of_pixels(cls, pixels: PixelScores) -> "ConfidenceRanks":
        """Return one row.

        :param pixels: labelled pixels of one image, scored.
        """
        place = ((pixels.log_odds.clip(_LOWEST, _HIGHEST) - _LOWEST) * _STEPS).astype(np.intp).clip(max=_NUM_BINS - 1)
        count = histogram(place * 2 + pixels.correct, (1, _NUM_BINS, 2))
        return cls(count.sum(-1, dtype=count.dtype), count[..., 1])

    @staticmethod
    def edges() -> Float[Tensor, " e"]:
        """Return the confidences between which the bins lie, rising; the outer bins hold what lies beyond, too."""
        return (_LOWEST + torch.arange(_NUM_BINS + 1, dtype=torch.float64) / _STEPS).sigmoid()

    @staticmethod
    def middles() -> Float[Tensor, " b"]:
        """Return the confidence at the middle of each bin, by its log-odds."""
        return (_LOWEST + (torch.arange(_NUM_BINS, dtype=torch.float64) + 0.5) / _STEPS).sigmoid()

    @property
    def confidence(self) -> Float[Tensor, "n b"]:
        """The sum of confidences in each bin, all taken to lie at its middle."""
        return self.count * self.middles()


@dataclass(frozen=True)
class RiskCoverage:
    """Risk at growing coverage.

    :param coverage: the share of pixels kept, most confident first.
    :param risk: the share of wrong pixels among those kept.
    """

    coverage: Float[Tensor, "n q"]
    risk: Float[Tensor, "n q"]


def auroc(ranks: ConfidenceRanks) -> Float[Tensor, " n"]:
    """Return the probability that a right pixel is more confident than a wrong one, ties counting half.

    NaN for a row without a wrong (or a right) pixel.

    :param ranks: one row an image, or one of all pixels.

    >>> ranks = ConfidenceRanks(torch.tensor([[2, 2]]), torch.tensor([[1, 2]]))
    >>> auroc(ranks)  # the wrong pixel ties with one right one and lies below the others
    tensor([0.8333], dtype=torch.float64)
    """
    right, wrong = _right_and_wrong(ranks)
    below = wrong.cumsum(-1) - wrong / 2
    return (right * below).sum(-1) / (right.sum(-1) * wrong.sum(-1))


def auroc_error_bound(ranks: ConfidenceRanks) -> Float[Tensor, " n"]:
    """Return how far ``auroc`` can be from its value without bins.

    :param ranks: one row an image, or one of all pixels.
    """
    right, wrong = _right_and_wrong(ranks)
    return (right * wrong).sum(-1) / (2 * right.sum(-1) * wrong.sum(-1))


def risk_coverage_curve(ranks: ConfidenceRanks) -> RiskCoverage:
    """Return risk at every coverage that the bins tell apart, from the most confident pixels to all.

    :param ranks: one row an image, or one of all pixels.
    """
    right, wrong = (column.flip(-1).cumsum(-1) for column in _right_and_wrong(ranks))
    kept = right + wrong
    return RiskCoverage(kept / kept[:, -1:], wrong / kept)


def aurc(ranks: ConfidenceRanks) -> Float[Tensor, " n"]:
    """Return the area under the risk–coverage curve: the mean risk over all coverages. Geifman and El-Yaniv (2017).

    Within a bin errors are spread evenly, as they would be on average over all orders of its pixels.

    :param ranks: one row an image, or one of all pixels.
    """
    right, wrong = (column.flip(-1) for column in _right_and_wrong(ranks))
    kept = (right + wrong).cumsum(-1)
    before = kept - right - wrong
    errors_before = wrong.cumsum(-1) - wrong
    rate = (wrong / (right + wrong)).nan_to_num()
    # The integral of (errors_before + rate * (k - before)) / k over k from before to kept.
    ratio = torch.where(before > 0, (kept / before).log(), 0.0)
    area = rate * (kept - before) + (errors_before - rate * before) * ratio
    return area.sum(-1) / kept[:, -1]


def augrc(ranks: ConfidenceRanks) -> Float[Tensor, " n"]:
    """Return the area under the generalised risk–coverage curve, whose risk is the share of wrong *and kept* pixels.

    The mean chance of an unnoticed mistake over all coverages. Traub et al. (2024), "Overcoming common flaws in the
    evaluation of selective classification systems".

    :param ranks: one row an image, or one of all pixels.
    """
    right, wrong = (column.flip(-1) for column in _right_and_wrong(ranks))
    total = (right + wrong).sum(-1)
    middle = wrong.cumsum(-1) - wrong / 2
    return (middle * (right + wrong)).sum(-1) / total.square()


def adaptive_calibration_error(ranks: ConfidenceRanks, *, num_bins: int = 15) -> Float[Tensor, " n"]:
    """Return the calibration error on bins that hold equally many pixels (equal-mass ECE, or ACE).

    A fine bin across an edge is shared in proportion, and its confidences are taken to lie at its middle, which may
    move the error by some 1e-5. Nixon et al. (2019), top-label form.

    :param ranks: one row an image, or one of all pixels.
    :param num_bins: bins that hold equally many pixels each.
    """
    count, correct = ranks.count.double(), ranks.correct.double()
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)
    above = count.cumsum(-1)
    total = above[:, -1:]
    excess = correct - ranks.confidence
    gap = excess.cumsum(-1)
    # The running gap at each edge, by linear interpolation within the fine bin that holds it.
    place = torch.searchsorted(above, edges * total).clamp_(max=count.shape[1] - 1)
    before = above.gather(1, place) - count.gather(1, place)
    inside = (((edges * total) - before) / count.gather(1, place)).nan_to_num().clamp(0, 1)
    step = excess.gather(1, place)
    at_edge = gap.gather(1, place) - (1 - inside) * step
    at_edge[:, 0] = 0
    return at_edge.diff(dim=1).abs().sum(-1) / total[:, 0]


def _right_and_wrong(ranks: ConfidenceRanks) -> tuple[Tensor, Tensor]:
    return ranks.correct.double(), (ranks.count - ranks.correct).double()
