"""Everything at once: the tally that a report is made from."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant.metrics._arithmetic import check_num_bins
from calibrant.metrics._pixel_scores import Image, PixelScores, check_size, count_images, count_runs, each_image
from calibrant.metrics.calibration import CalibrationBins
from calibrant.metrics.classwise import ClasswiseBins
from calibrant.metrics.likelihood import LikelihoodSums
from calibrant.metrics.overlap import ClassCounts
from calibrant.metrics.ranking import ConfidenceRanks
from calibrant.metrics.regions import boundary, boundary_of_run
from calibrant.metrics.tally import Tally
from calibrant.predictions import PredictionInParts


@dataclass(frozen=True)
class Measurement(Tally):
    """All counts that ``metrics`` has, from one pass over the logits.

    :param bins: top-label bins of all labelled pixels.
    :param by_prediction: top-label bins, grouped by the class predicted; without a pixel if a file of version 1 or 2,
        which did not count them, was read.
    :param mistaken: top-label bins of the wrong pixels.
    :param boundary: top-label bins of the pixels near a change of label.
    :param classwise: every class's own probability in bins.
    :param likelihood: sums of likelihood, Brier score and entropy.
    :param classes: pixels of each class: predicted, labelled, and both.
    :param ranks: top-label confidence in fine bins.
    :param near_ties: pixels whose two largest logits are nearer than ``MARGIN``, and not equal; NaN if such a file was
        read.
    :param keys: names of the rows, if they are known.
    :param left_out: names of images that have no row because nothing in them is labelled.
    """

    bins: CalibrationBins
    by_prediction: CalibrationBins
    mistaken: CalibrationBins
    boundary: CalibrationBins
    classwise: ClasswiseBins
    likelihood: LikelihoodSums
    classes: ClassCounts
    ranks: ConfidenceRanks
    near_ties: Float[Tensor, " n"]

    @classmethod
    def of(
        cls,
        logits: Float[Tensor, "n c *s"],
        labels: Int[Tensor, "n *t"],
        *,
        num_bins: int = 15,
        width: int = 2,
        where: Bool[Tensor, "n *u"] | None = None,
    ) -> "Measurement":
        """Count a batch of images, one row each.

        :param logits: (n, c, *s), of two classes or more.
        :param labels: (n, *s), or (n, a, *s) with several annotators; ``IGNORE`` where unlabelled.
        :param num_bins: bins of equal width.
        :param width: how far from a change of label the boundary reaches, in pixels.
        :param where: the pixels that count, shaped like the labels; None for all.
        :raises InputError: the images cannot be counted (ShapeError, LabelError, LogitsError), or no bin is asked for.
        """
        check_num_bins(num_bins)
        count = partial(cls._of_pixels, num_bins=num_bins, num_classes=logits.shape[1])
        images = (_with_boundary(image, width) for image in each_image(logits, labels, where))
        return count_images(cls, count, images, keep_outside=True, likelihood=True, classwise_bins=num_bins)

    @classmethod
    def of_parts(cls, image: PredictionInParts, *, num_bins: int = 15, width: int = 2) -> "Measurement":
        """Count one image that is read in parts: the same bits as :meth:`of` counts of it whole.

        :param image: the image.
        :param num_bins: bins of equal width.
        :param width: how far from a change of label the boundary reaches, in pixels.
        :raises InputError: the image cannot be counted (ShapeError, LabelError, LogitsError), or no bin is asked for.
        """
        check_num_bins(num_bins)
        count = partial(cls._of_pixels, num_bins=num_bins, num_classes=image.num_classes)
        return count_runs(
            cls, count, _runs_with_boundary(image, width), keep_outside=True, likelihood=True, classwise_bins=num_bins
        )

    @classmethod
    def _of_pixels(cls, pixels: PixelScores, *, num_bins: int, num_classes: int) -> "Measurement":
        assert pixels.where is not None, "the boundary is marked by the mask"
        assert pixels.near_tie is not None, "it comes with the likelihood"
        # One histogram over (class predicted, boundary, wrong) gives every tally by adding up its cells.
        group = pixels.prediction * 4 + pixels.where * 2 + ~pixels.correct
        cells = CalibrationBins.of_pixels(pixels, num_bins=num_bins, group=group, num_groups=4 * num_classes)
        by_prediction = cells.mapped(lambda column: column.unflatten(1, (num_classes, 4)).sum(2, dtype=column.dtype))
        mistaken = cells.mapped(lambda column: column[:, 1::2].sum(1, dtype=column.dtype))
        near = cells.mapped(lambda column: column.unflatten(1, (-1, 2, 2))[:, :, 1].sum((1, 2), dtype=column.dtype))
        return cls(
            by_prediction.summed(),
            by_prediction,
            mistaken,
            near,
            ClasswiseBins.of_pixels(pixels),
            LikelihoodSums.of_pixels(pixels),
            ClassCounts.of_pixels(pixels, num_classes=num_classes),
            ConfidenceRanks.of_pixels(pixels),
            torch.tensor([float(pixels.near_tie.sum())], dtype=torch.float64),
        )

    @property
    def interior(self) -> CalibrationBins:
        """Top-label bins of the pixels away from a change of label."""
        return self.bins.minus(self.boundary)

    @property
    def correct(self) -> CalibrationBins:
        """Top-label bins of the right pixels."""
        return self.bins.minus(self.mistaken)


def _runs_with_boundary(image: PredictionInParts, width: int) -> Iterator[Image]:
    """The runs of an image, checked, with the boundary marked."""
    runs = [*image.runs()]
    for start, stop in runs:
        (run,) = each_image(image.logits(start, stop)[None], image.labels(start, stop)[None], None)
        check_size(len(run.labels) * image.num_pixels, image.space)
        name = "" if len(runs) == 1 else f"pixels {start} to {stop - 1}"
        yield replace(run, name=name, where=boundary_of_run(image, start, stop, width=width))


def _with_boundary(image: Image, width: int) -> Image:
    """Return the image with its mask applied to the labels, and with the boundary marked in its stead."""
    labels = image.labels if image.where is None else image.labels.where(image.where, IGNORE)
    return replace(image, labels=labels, where=boundary(image.labels, width=width))
