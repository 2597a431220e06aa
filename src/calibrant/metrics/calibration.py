"""Calibration errors from binned confidences.

Conventions
-----------
* Confidence is the largest probability. Bins are of equal width and closed above, ``(lo, hi]``; a confidence of 0
  belongs to the first bin and one of exactly 1 to the last. All scores and all diagrams use this one binning.
* A pixel is right if its label is the first class with the largest logit.
* With several annotators every annotator's label of a pixel counts once.
* The expected calibration error is read in two ways, which differ: image-wise (the mean over rows; Wang et al. 2023,
  eq. 3) and pooled (the value of ``pooled()``; Guo et al. 2017; Wang et al. 2023, eq. 2). Image-wise it is *not* zero
  for a perfectly calibrated model: ``expected_error_if_calibrated`` says what it would be.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from scipy.special import gammaln

from calibrant._shapes import Bool, Float, Int, Shaped, Tensor
from calibrant.metrics._arithmetic import bin_of, check_num_bins
from calibrant.metrics._pixel_scores import PixelScores, count_images, each_image, histogram
from calibrant.metrics.tally import Tally


@dataclass(frozen=True)
class CalibrationBins(Tally):
    """Top-label confidence in equal-width bins. ``*g`` are groups, such as classes, if pixels were grouped.

    :param count: pixels in each bin.
    :param correct: rightly predicted pixels in each bin.
    :param confidence: the sum of the confidences in each bin.
    :param keys: names of the rows, if they are known.
    :param left_out: names of images that have no row because nothing in them is labelled.
    """

    count: Shaped[Tensor, "n *g b"]
    correct: Shaped[Tensor, "n *g b"]
    confidence: Float[Tensor, "n *g b"]

    @classmethod
    def of(
        cls,
        logits: Float[Tensor, "n c *s"],
        labels: Int[Tensor, "n *t"],
        *,
        num_bins: int = 15,
        where: Bool[Tensor, "n *u"] | None = None,
    ) -> "CalibrationBins":
        """Count a batch of images, one row each.

        :param logits: (n, c, *s), of two classes or more.
        :param labels: (n, *s), or (n, a, *s) with several annotators; ``IGNORE`` where unlabelled.
        :param num_bins: bins of equal width.
        :param where: the pixels that count, shaped like the labels; None for all.
        :raises InputError: the images cannot be counted (ShapeError, LabelError, LogitsError), or no bin is asked for.
        """
        check_num_bins(num_bins)
        return count_images(cls, partial(cls.of_pixels, num_bins=num_bins), each_image(logits, labels, where))

    @classmethod
    def of_pixels(
        cls,
        pixels: PixelScores,
        *,
        num_bins: int,
        group: Int[np.ndarray, " p"] | None = None,
        num_groups: int | None = None,
    ) -> "CalibrationBins":
        """Count the pixels of one image: one row, with a group axis if pixels are grouped.

        :param pixels: labelled pixels of one image, scored.
        :param num_bins: bins of equal width.
        :param group: which group each pixel is in, such as its class; None without groups.
        :param num_groups: how many groups there are; None without groups.
        """
        shape = (1, num_bins) if num_groups is None else (1, num_groups, num_bins)
        cell = bin_of(pixels.confidence, num_bins)
        if group is not None:
            cell += group * num_bins
        count = histogram(cell * 2 + pixels.correct, (*shape, 2))
        return cls(count.sum(-1, dtype=count.dtype), count[..., 1], histogram(cell, shape, pixels.confidence))

    def summed(self) -> "CalibrationBins":
        """Return the counts of all groups together."""
        return replace(
            self.mapped(lambda column: column.sum(1, dtype=column.dtype)), keys=self.keys, left_out=self.left_out
        )

    def minus(self, other: "CalibrationBins") -> "CalibrationBins":
        """Return the counts of this tally that are not in another.

        :param other: a tally of some of the same pixels, with the same rows.
        """
        rest = super().minus(other)
        # Sums that were rounded in another order leave a trace in a bin that is empty now.
        return replace(rest, confidence=torch.where(rest.count > 0, rest.confidence.clamp_min(0), 0.0))


@dataclass(frozen=True)
class ReliabilityCurve:
    """What a reliability diagram draws, bin by bin; NaN where a bin is empty.

    :param confidence: mean confidence.
    :param accuracy: share of rightly labelled pixels.
    :param fraction: the fraction of all pixels that is in each bin.
    """

    confidence: Float[Tensor, "n *g b"]
    accuracy: Float[Tensor, "n *g b"]
    fraction: Float[Tensor, "n *g b"]


def reliability_curve(bins: CalibrationBins) -> ReliabilityCurve:
    """Return mean confidence, accuracy and fraction of pixels of every bin.

    :param bins: one row an image, or one of all pixels.

    >>> bins = CalibrationBins(torch.tensor([[4]]), torch.tensor([[2]]), torch.tensor([[3.0]]).double())
    >>> curve = reliability_curve(bins)
    >>> float(curve.confidence), float(curve.accuracy)
    (0.75, 0.5)
    """
    count, correct = bins.count.double(), bins.correct.double()
    return ReliabilityCurve(bins.confidence / count, correct / count, count / count.sum(-1, keepdim=True))


def reliability_histogram(bins: CalibrationBins, *, num_steps: int = 20) -> Float[Tensor, "b k"]:
    """Return how the accuracy of each bin differs over images: the dataset reliability histogram.

    Each image has its own accuracy in each confidence bin; it falls into one of ``num_steps`` steps of accuracy, closed
    above, and counts there once. Every bin's shares add up to 1, over the images that have a pixel in it; NaN in a bin
    that no image has one in. Barfoot et al. (2025), "Average Calibration Losses for Reliable Uncertainty in Medical
    Image Segmentation", arXiv:2506.03942. A model can be calibrated over all pixels together and in no image.

    :param bins: one row an image, without groups.
    :param num_steps: steps of equal width from an accuracy of 0 to 1.

    >>> bins = CalibrationBins(torch.tensor([[2], [4]]), torch.tensor([[1], [4]]), torch.tensor([[1.5], [3.0]]))
    >>> reliability_histogram(bins, num_steps=2)  # one image is right half of the time, the other always
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    count, correct = bins.count, bins.correct
    step = torch.div(correct * num_steps + count - 1, count.clamp(min=1), rounding_mode="floor").long() - 1
    cells = torch.zeros(count.shape[1], num_steps, dtype=torch.float64)
    cells.T.scatter_add_(0, step.clamp(0, num_steps - 1), (count > 0).double())
    return cells / (count > 0).sum(0, dtype=torch.float64)[:, None]


def expected_calibration_error(bins: CalibrationBins) -> Float[Tensor, "n *g"]:
    r"""Return the expected calibration error (ECE) of each row.

    .. math:: \sum_b \frac{|B_b|}{n}\,|\mathrm{acc}(B_b) - \mathrm{conf}(B_b)|

    Wang et al. (2023), eq. (2); their eq. (3) is the mean over images. A row without labelled pixels scores NaN.

    :param bins: one row an image, or one of all pixels.

    >>> logits = torch.tensor([[[2.0, 2.0], [0.0, 0.0]]])
    >>> expected_calibration_error(CalibrationBins.of(logits, torch.tensor([[0, 1]])))  # sure .88 of the time, right .5
    tensor([0.3808], dtype=torch.float64)
    """
    return (bins.correct - bins.confidence).abs().sum(-1) / bins.count.sum(-1)


def maximum_calibration_error(bins: CalibrationBins) -> Float[Tensor, "n *g"]:
    """Return the largest gap between accuracy and confidence of any bin that holds a pixel (MCE).

    Naeini et al. (2015). NaN for a row without labelled pixels.

    :param bins: one row an image, or one of all pixels.
    """
    gap = ((bins.correct - bins.confidence) / bins.count).abs()
    worst = gap.nan_to_num(nan=-1.0).amax(-1)
    return torch.where(worst < 0, torch.nan, worst)


def confidence_gap(bins: CalibrationBins) -> Float[Tensor, "n *g"]:
    """Return mean confidence minus accuracy: above zero where a model is over-confident.

    :param bins: one row an image, or one of all pixels.
    """
    return (bins.confidence - bins.correct).sum(-1) / bins.count.sum(-1)


def mean_confidence(bins: CalibrationBins) -> Float[Tensor, "n *g"]:
    """Return the mean confidence of each row.

    :param bins: one row an image, or one of all pixels.
    """
    return bins.confidence.sum(-1) / bins.count.sum(-1)


def expected_error_if_calibrated(bins: CalibrationBins) -> Float[Tensor, "n *g"]:
    r"""Return the ECE that a perfectly calibrated model with these confidences would be expected to score.

    In each bin the number of right pixels is then binomial with the bin's mean confidence; its mean absolute
    deviation is De Moivre's :math:`2\nu\binom{n}{\nu}q^{\nu}(1-q)^{n-\nu+1}` with :math:`\nu=\lfloor nq\rfloor+1`.
    Pixels are taken as independent, so for real images, whose errors come in patches, this is a lower bound.

    :param bins: one row an image, or one of all pixels.

    >>> one = CalibrationBins(torch.tensor([[4]]), torch.tensor([[2]]), torch.tensor([[2.0]]).double())
    >>> expected_error_if_calibrated(one)  # of four fair coins: mean |heads - 2| is 3/4
    tensor([0.1875], dtype=torch.float64)
    """
    count = bins.count.double().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip(bins.confidence.numpy() / count, 0.0, 1.0)
        nu = np.floor(count * share) + 1
        log_choose = gammaln(count + 1) - gammaln(nu + 1) - gammaln(count - nu + 1)
        deviation = 2 * nu * np.exp(log_choose + nu * np.log(share) + (count - nu + 1) * np.log1p(-share))
    deviation = np.where((count > 0) & (nu <= count), deviation, 0.0)
    return torch.from_numpy(deviation).sum(-1) / bins.count.sum(-1)


@dataclass(frozen=True)
class BrierDecomposition:
    """The parts of the top-label Brier score: ``reliability - resolution + uncertainty + within``.

    :param reliability: mean squared gap between accuracy and confidence.
    :param resolution: how far the accuracies of the bins differ from that of all pixels, squared.
    :param uncertainty: what the accuracy alone leaves.
    """

    reliability: Float[Tensor, " n"]
    resolution: Float[Tensor, " n"]
    uncertainty: Float[Tensor, " n"]


def brier_decomposition(bins: CalibrationBins) -> BrierDecomposition:
    """Return Murphy's decomposition of the Brier score of "the prediction is right", on the bins.

    Reliability is the mean squared gap between accuracy and confidence (lower is better), resolution how far the
    bins' accuracies differ (higher is better), uncertainty what the accuracy alone leaves. What remains to the
    top-label Brier score is spread within bins. Murphy (1973), J. Appl. Meteor. 12.

    :param bins: one row an image, or one of all pixels.
    """
    count, correct = bins.count.double(), bins.correct.double()
    total = count.sum(-1)
    mean = correct.sum(-1) / total
    accuracy = (correct / count).nan_to_num()
    gap = (bins.confidence - correct).square() / count
    return BrierDecomposition(
        gap.nan_to_num().sum(-1) / total,
        (count * (accuracy - mean[..., None]).square()).sum(-1) / total,
        mean * (1 - mean),
    )
