"""Scores: what tables, files and pages show of a tally, and the library's own.

A score is a function from a tally to one value per row. "Image-wise" is its mean over rows; "pooled" is its value on
the one row of ``tally.pooled()``.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from calibrant._check import check_choice
from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError
from calibrant.metrics.calibration import (
    brier_decomposition,
    classwise_calibration_error,
    confidence_gap,
    expected_calibration_error,
    expected_error_if_calibrated,
    maximum_calibration_error,
    mean_confidence,
)
from calibrant.metrics.likelihood import brier_score, mean_entropy, negative_log_likelihood, top_label_brier_score
from calibrant.metrics.overlap import dice, mean_iou, pixel_accuracy
from calibrant.metrics.ranking import adaptive_calibration_error, augrc, aurc, auroc

ScoreFunction = Callable[[Any], Tensor]
"""From a tally to one value per row."""

PERCENT = "percent"
"""The unit of shares and gaps: held as 0 to 1, shown as 0 to 100."""


@dataclass(frozen=True)
class Score:
    """What is read off a tally, and all that tables, files and pages say about it.

    :param title: how tables name it.
    :param of: from a tally to one value per row; NaN where it is not defined.
    :param pooled: whether every pixel counts once, or every image.
    :param better: which side is better: "lower", "higher", or "" where neither is.
    :param unit: "percent" for shares and gaps, which are shown times 100; any other unit in words, such as "mm²"; ""
        for plain numbers.
    :param null: what a perfectly calibrated predictor would get, shown beside the score: from a tally to one value per
        row, or the name of another score that gives it and is compared too; None if that is not known.
    :param null_note: how the null differs from the best value and why, as the end of a sentence.
    :param phrase: the title within a sentence, such as "pooled ECE"; by default the title itself.
    :param note: one sentence for a reader who meets the score for the first time.
    :param main: whether it is shown first; others are there to unfold.
    :raises InputError: there is no title, or ``better`` is no side.

    >>> import torch
    >>> from calibrant.metrics import CalibrationBins
    >>> share = Score("right", lambda bins: bins.correct.sum(-1) / bins.count.sum(-1), pooled=True, unit="percent")
    >>> share.of(CalibrationBins.of(torch.eye(2)[None], torch.tensor([[0, 0]])))
    tensor([0.5000])
    """

    title: str
    of: ScoreFunction = field(repr=False)
    _: KW_ONLY
    pooled: bool
    better: Literal["lower", "higher", ""] = ""
    unit: str = ""
    null: ScoreFunction | str | None = field(default=None, repr=False)
    null_note: str = ""
    phrase: str = ""
    note: str = ""
    main: bool = True

    def __post_init__(self) -> None:
        if not self.title:
            raise InputError("expected a title for a score; got an empty one. Tables and pages name the score by it.")
        check_choice(self.better, ("lower", "higher", ""), "better side")

    @property
    def in_sentence(self) -> str:
        """How a sentence names it."""
        return self.phrase or self.title


def image_mean(values: Float[Tensor, " n"]) -> float:
    """Return the mean over images, leaving out those in which the score is not defined.

    :param values: one an image; NaN where not defined.

    >>> import torch
    >>> image_mean(torch.tensor([1.0, float("nan"), 2.0]))
    1.5
    """
    return float(values.nanmean())


SCORES: dict[str, Score] = {
    "ece_images": Score(
        "ECE, image-wise",
        lambda m: expected_calibration_error(m.bins),
        pooled=False,
        better="lower",
        unit=PERCENT,
        null="ece_images_null",
        null_note="not 0, because one image has few pixels in some bins",
        phrase="image-wise ECE",
        note="Gap between confidence and accuracy, image by image, then the mean over images.",
    ),
    "ece_images_null": Score(
        "ECE, image-wise, if calibrated",
        lambda m: expected_error_if_calibrated(m.bins),
        pooled=False,
        unit=PERCENT,
        phrase="image-wise ECE if calibrated",
        note="What a calibrated model with these confidences would score image-wise by chance, if pixels were "
        "independent.",
        main=False,
    ),
    "ece": Score(
        "ECE, pooled",
        lambda m: expected_calibration_error(m.bins),
        pooled=True,
        better="lower",
        unit=PERCENT,
        phrase="pooled ECE",
        note="Gap between confidence and accuracy over all pixels together.",
    ),
    "mce": Score(
        "MCE",
        lambda m: maximum_calibration_error(m.bins),
        pooled=True,
        better="lower",
        unit=PERCENT,
        note="The largest gap of any confidence bin.",
        main=False,
    ),
    "ace": Score(
        "ACE",
        lambda m: adaptive_calibration_error(m.ranks),
        pooled=True,
        better="lower",
        unit=PERCENT,
        note="The pooled gap on bins that hold equally many pixels.",
        main=False,
    ),
    "ece_classwise": Score(
        "class-wise ECE",
        lambda m: classwise_calibration_error(m.classwise),
        pooled=True,
        better="lower",
        unit=PERCENT,
        note="The gap of every class's own probability, all classes alike.",
    ),
    "gap": Score(
        "confidence − accuracy",
        lambda m: confidence_gap(m.bins),
        pooled=True,
        unit=PERCENT,
        note="Above zero the model is over-confident, below zero under-confident.",
        main=False,
    ),
    "nll": Score(
        "NLL",
        lambda m: negative_log_likelihood(m.likelihood),
        pooled=True,
        better="lower",
        note="Negative log-likelihood of the labels, in nats: a proper score of the whole distribution.",
    ),
    "brier": Score(
        "Brier",
        lambda m: brier_score(m.likelihood),
        pooled=True,
        better="lower",
        note="Squared distance of the probabilities to the label: a proper score that forgives rare disasters.",
    ),
    "brier_top": Score(
        "top-label Brier",
        lambda m: top_label_brier_score(m.likelihood),
        pooled=True,
        better="lower",
        note="Squared distance of the confidence to being right.",
        main=False,
    ),
    "brier_reliability": Score(
        "Brier: reliability",
        lambda m: brier_decomposition(m.bins).reliability,
        pooled=True,
        better="lower",
        phrase="Brier reliability",
        note="The part of the top-label Brier score due to miscalibration.",
        main=False,
    ),
    "brier_resolution": Score(
        "Brier: resolution",
        lambda m: brier_decomposition(m.bins).resolution,
        pooled=True,
        better="higher",
        phrase="Brier resolution",
        note="The part of the top-label Brier score won by telling sure pixels from unsure ones.",
        main=False,
    ),
    "brier_uncertainty": Score(
        "Brier: uncertainty",
        lambda m: brier_decomposition(m.bins).uncertainty,
        pooled=True,
        phrase="Brier uncertainty",
        note="The part of the top-label Brier score that the accuracy alone leaves.",
        main=False,
    ),
    "auroc": Score(
        "AUROC",
        lambda m: auroc(m.ranks),
        pooled=True,
        better="higher",
        note="Chance that a right pixel is more confident than a wrong one.",
    ),
    "aurc": Score(
        "AURC",
        lambda m: aurc(m.ranks),
        pooled=True,
        better="lower",
        unit=PERCENT,
        note="Mean share of wrong pixels over all coverages, most confident first.",
        main=False,
    ),
    "augrc": Score(
        "AUGRC",
        lambda m: augrc(m.ranks),
        pooled=True,
        better="lower",
        unit=PERCENT,
        note="Mean chance of an unnoticed mistake over all coverages.",
        main=False,
    ),
    "ece_boundary": Score(
        "ECE, boundary",
        lambda m: expected_calibration_error(m.boundary),
        pooled=False,
        better="lower",
        unit=PERCENT,
        phrase="boundary ECE",
        note="Image-wise ECE of the pixels near a change of label.",
        main=False,
    ),
    "ece_interior": Score(
        "ECE, interior",
        lambda m: expected_calibration_error(m.interior),
        pooled=False,
        better="lower",
        unit=PERCENT,
        phrase="interior ECE",
        note="Image-wise ECE of the pixels away from a change of label.",
        main=False,
    ),
    "confidence_mistaken": Score(
        "confidence when wrong",
        lambda m: mean_confidence(m.mistaken),
        pooled=True,
        unit=PERCENT,
        note="Mean confidence of the wrong pixels.",
        main=False,
    ),
    "confidence_correct": Score(
        "confidence when right",
        lambda m: mean_confidence(m.correct),
        pooled=True,
        unit=PERCENT,
        note="Mean confidence of the right pixels.",
        main=False,
    ),
    "entropy": Score(
        "entropy",
        lambda m: mean_entropy(m.likelihood),
        pooled=True,
        note="Mean entropy of the probabilities, in nats.",
        main=False,
    ),
    "miou": Score(
        "mean IoU",
        lambda m: mean_iou(m.classes),
        pooled=True,
        better="higher",
        unit=PERCENT,
        note="Overlap of prediction and label.",
    ),
    "dice": Score(
        "mean Dice",
        lambda m: dice(m.classes).nanmean(-1),
        pooled=True,
        better="higher",
        unit=PERCENT,
        note="Overlap of prediction and label, as F1.",
        main=False,
    ),
    "accuracy": Score(
        "pixel accuracy",
        lambda m: pixel_accuracy(m.classes),
        pooled=True,
        better="higher",
        unit=PERCENT,
        note="Share of pixels predicted rightly.",
        main=False,
    ),
}
"""The library's own scores of a :class:`~calibrant.metrics.Measurement`, by name."""
