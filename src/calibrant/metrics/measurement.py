"""Everything at once: the tally that a report is made from, and the scores that it shows."""

from dataclasses import dataclass, replace
from functools import partial

from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant.metrics._blocks import check_num_bins
from calibrant.metrics._pixels import Image, PixelScores, count_images, each_image
from calibrant.metrics.calibration import (
    CalibrationBins,
    ClasswiseBins,
    brier_decomposition,
    classwise_calibration_error,
    confidence_gap,
    expected_calibration_error,
    expected_error_if_calibrated,
    maximum_calibration_error,
    mean_confidence,
)
from calibrant.metrics.likelihood import (
    LikelihoodSums,
    brier_score,
    mean_entropy,
    negative_log_likelihood,
    top_label_brier_score,
)
from calibrant.metrics.overlap import ClassCounts, dice, mean_iou, pixel_accuracy
from calibrant.metrics.ranking import ConfidenceRanks, adaptive_calibration_error, augrc, aurc, auroc
from calibrant.metrics.regions import boundary
from calibrant.metrics.tally import Score, Tally


@dataclass(frozen=True)
class Measurement(Tally):
    """All counts of the metrics floor, from one pass over the logits.

    :param by_class: top-label bins, grouped by the pixel's label.
    :param mistaken: top-label bins of the wrong pixels.
    :param boundary: top-label bins of the pixels near a change of label.
    """

    by_class: CalibrationBins
    mistaken: CalibrationBins
    boundary: CalibrationBins
    classwise: ClasswiseBins
    likelihood: LikelihoodSums
    classes: ClassCounts
    ranks: ConfidenceRanks

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
        """Count a batch of images, one row each; arguments as in ``CalibrationBins.of``.

        :param width: how far from a change of label the boundary reaches, in pixels.
        """
        check_num_bins(num_bins)
        count = partial(cls._of_pixels, num_bins=num_bins, num_classes=logits.shape[1])
        images = (_with_boundary(image, width) for image in each_image(logits, labels, where))
        return count_images(count, images, keep_outside=True, likelihood=True, classwise_bins=num_bins)

    @classmethod
    def _of_pixels(cls, pixels: PixelScores, *, num_bins: int, num_classes: int) -> "Measurement":
        assert pixels.where is not None, "the boundary is marked by the mask"
        # One histogram over (class, boundary, wrong) gives every restricted tally by adding up its cells.
        group = pixels.label * 4 + pixels.where * 2 + ~pixels.correct
        cells = CalibrationBins.of_pixels(pixels, num_bins=num_bins, group=group, num_groups=4 * num_classes)
        by_class = cells.mapped(lambda column: column.unflatten(1, (num_classes, 4)).sum(2, dtype=column.dtype))
        mistaken = cells.mapped(lambda column: column[:, 1::2].sum(1, dtype=column.dtype))
        near = cells.mapped(lambda column: column.unflatten(1, (-1, 2, 2))[:, :, 1].sum((1, 2), dtype=column.dtype))
        return cls(
            by_class,
            mistaken,
            near,
            ClasswiseBins.of_pixels(pixels),
            LikelihoodSums.of_pixels(pixels),
            ClassCounts.of_pixels(pixels, num_classes=num_classes),
            ConfidenceRanks.of_pixels(pixels),
        )

    @property
    def bins(self) -> CalibrationBins:
        """Top-label bins of all labelled pixels."""
        return self.by_class.summed()

    @property
    def interior(self) -> CalibrationBins:
        """Top-label bins of the pixels away from a change of label."""
        return self.bins.minus(self.boundary)

    @property
    def correct(self) -> CalibrationBins:
        """Top-label bins of the right pixels."""
        return self.bins.minus(self.mistaken)


def _with_boundary(image: Image, width: int) -> Image:
    """Return the image with its mask applied to the labels, and with the boundary marked in its stead."""
    labels = image.labels if image.where is None else image.labels.where(image.where, IGNORE)
    return replace(image, labels=labels, where=boundary(image.labels, width=width))


SCORES: dict[str, Score] = {
    "ece_images": Score(
        "ECE, image-wise",
        lambda m: expected_calibration_error(m.bins),
        False,
        "lower",
        "Gap between confidence and accuracy, image by image, then the mean over images.",
    ),
    "ece_images_null": Score(
        "ECE, image-wise, if calibrated",
        lambda m: expected_error_if_calibrated(m.bins),
        False,
        "",
        "What a calibrated model with these confidences would score image-wise by chance, if pixels were independent.",
    ),
    "ece": Score(
        "ECE, pooled",
        lambda m: expected_calibration_error(m.bins),
        True,
        "lower",
        "Gap between confidence and accuracy over all pixels together.",
    ),
    "mce": Score(
        "MCE", lambda m: maximum_calibration_error(m.bins), True, "lower", "The largest gap of any confidence bin."
    ),
    "ace": Score(
        "ACE",
        lambda m: adaptive_calibration_error(m.ranks),
        True,
        "lower",
        "The pooled gap on bins that hold equally many pixels.",
    ),
    "ece_classwise": Score(
        "class-wise ECE",
        lambda m: classwise_calibration_error(m.classwise),
        True,
        "lower",
        "The gap of every class's own probability, all classes alike.",
    ),
    "gap": Score(
        "confidence − accuracy",
        lambda m: confidence_gap(m.bins),
        True,
        "",
        "Above zero the model is over-confident, below zero under-confident.",
    ),
    "nll": Score(
        "NLL",
        lambda m: negative_log_likelihood(m.likelihood),
        True,
        "lower",
        "Negative log-likelihood of the labels, in nats: a proper score of the whole distribution.",
    ),
    "brier": Score(
        "Brier",
        lambda m: brier_score(m.likelihood),
        True,
        "lower",
        "Squared distance of the probabilities to the label: a proper score that forgives rare disasters.",
    ),
    "brier_top": Score(
        "top-label Brier",
        lambda m: top_label_brier_score(m.likelihood),
        True,
        "lower",
        "Squared distance of the confidence to being right.",
    ),
    "brier_reliability": Score(
        "Brier: reliability",
        lambda m: brier_decomposition(m.bins).reliability,
        True,
        "lower",
        "The part of the top-label Brier score due to miscalibration.",
    ),
    "brier_resolution": Score(
        "Brier: resolution",
        lambda m: brier_decomposition(m.bins).resolution,
        True,
        "higher",
        "The part of the top-label Brier score won by telling sure pixels from unsure ones.",
    ),
    "brier_uncertainty": Score(
        "Brier: uncertainty",
        lambda m: brier_decomposition(m.bins).uncertainty,
        True,
        "",
        "The part of the top-label Brier score that the accuracy alone leaves.",
    ),
    "auroc": Score(
        "AUROC",
        lambda m: auroc(m.ranks),
        True,
        "higher",
        "Chance that a right pixel is more confident than a wrong one.",
    ),
    "aurc": Score(
        "AURC", lambda m: aurc(m.ranks), True, "lower", "Mean share of wrong pixels over all coverages, surest first."
    ),
    "augrc": Score(
        "AUGRC",
        lambda m: augrc(m.ranks),
        True,
        "lower",
        "Mean chance of an unnoticed mistake over all coverages.",
    ),
    "ece_boundary": Score(
        "ECE, boundary",
        lambda m: expected_calibration_error(m.boundary),
        False,
        "lower",
        "Image-wise ECE of the pixels near a change of label.",
    ),
    "ece_interior": Score(
        "ECE, interior",
        lambda m: expected_calibration_error(m.interior),
        False,
        "lower",
        "Image-wise ECE of the pixels away from a change of label.",
    ),
    "confidence_mistaken": Score(
        "confidence when wrong",
        lambda m: mean_confidence(m.mistaken),
        True,
        "",
        "Mean confidence of the wrong pixels.",
    ),
    "confidence_correct": Score(
        "confidence when right",
        lambda m: mean_confidence(m.correct),
        True,
        "",
        "Mean confidence of the right pixels.",
    ),
    "entropy": Score(
        "entropy", lambda m: mean_entropy(m.likelihood), True, "", "Mean entropy of the probabilities, in nats."
    ),
    "miou": Score("mean IoU", lambda m: mean_iou(m.classes), True, "higher", "Overlap of prediction and label."),
    "dice": Score(
        "mean Dice", lambda m: dice(m.classes).nanmean(-1), True, "higher", "Overlap of prediction and label, as F1."
    ),
    "accuracy": Score(
        "pixel accuracy", lambda m: pixel_accuracy(m.classes), True, "higher", "Share of pixels predicted rightly."
    ),
}
