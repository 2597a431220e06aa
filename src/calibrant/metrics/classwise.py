"""Calibration errors of every class's own probability, in the bins that ``calibration`` describes."""

from dataclasses import dataclass

import torch

from calibrant._shapes import Bool, Float, Int, Shaped, Tensor
from calibrant.metrics._arithmetic import check_num_bins
from calibrant.metrics._pixel_scores import PixelScores, count_images, each_image
from calibrant.metrics.tally import Tally


@dataclass(frozen=True)
class ClasswiseBins(Tally):
    """Every class's own probability in equal-width bins.

    :param count: pixels whose probability of the class lies in the bin.
    :param positive: pixels of the bin that are labelled so.
    :param probability: the sum of those probabilities.
    :param keys: names of the rows, if they are known.
    :param left_out: names of images that have no row because nothing in them is labelled.
    """

    count: Shaped[Tensor, "n c b"]
    positive: Shaped[Tensor, "n c b"]
    probability: Float[Tensor, "n c b"]

    @classmethod
    def of(
        cls,
        logits: Float[Tensor, "n c *s"],
        labels: Int[Tensor, "n *t"],
        *,
        num_bins: int = 15,
        where: Bool[Tensor, "n *u"] | None = None,
    ) -> "ClasswiseBins":
        """Count a batch of images, one row each.

        :param logits: (n, c, *s), of two classes or more.
        :param labels: (n, *s), or (n, a, *s) with several annotators; ``IGNORE`` where unlabelled.
        :param num_bins: bins of equal width.
        :param where: the pixels that count, shaped like the labels; None for all.
        :raises InputError: the images cannot be counted (ShapeError, LabelError, LogitsError), or no bin is asked for.
        """
        check_num_bins(num_bins)
        return count_images(cls, cls.of_pixels, each_image(logits, labels, where), classwise_bins=num_bins)

    @classmethod
    def of_pixels(cls, pixels: PixelScores) -> "ClasswiseBins":
        """Return one row.

        :param pixels: labelled pixels of one image, scored with ``classwise_bins``.
        """
        sums = pixels.classwise
        assert sums is not None, "score_pixels(…, classwise_bins=…) counts them"
        count, positive = (torch.from_numpy(column)[None].to(torch.int32) for column in (sums.count, sums.positive))
        return cls(count, positive, torch.from_numpy(sums.probability)[None])


def classwise_calibration_error(bins: ClasswiseBins) -> Float[Tensor, " n"]:
    """Return the class-wise ECE: the calibration error of each class's own probability, mean over classes.

    Every class counts alike, also one that the row does not show. Kull et al. (2019), eq. (4) of "Beyond temperature
    scaling".

    :param bins: one row an image, or one of all pixels.
    """
    return calibration_error_of_classes(bins).mean(-1)


def calibration_error_of_classes(bins: ClasswiseBins) -> Float[Tensor, "n c"]:
    """Return the calibration error of each class's own probability, over all labelled pixels.

    :param bins: one row an image, or one of all pixels.

    >>> logits, labels = torch.zeros(1, 2, 4), torch.tensor([[0, 0, 0, 1]])  # says .5, and finds .75
    >>> calibration_error_of_classes(ClasswiseBins.of(logits, labels))
    tensor([[0.2500, 0.2500]], dtype=torch.float64)
    """
    return (bins.positive - bins.probability).abs().sum(-1) / bins.count.sum(-1)
