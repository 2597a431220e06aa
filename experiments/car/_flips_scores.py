"""What is counted of hypotheses and probabilities where the truth is known, and the figures read off it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from calibrant.calibrators import Calibrator, calibrated
from calibrant.data import ClassFlips
from calibrant.evaluation import draw_hypotheses, tally
from calibrant.metrics import (
    CalibrationBins,
    ClassCounts,
    FlipCounts,
    HypothesisDistances,
    SampleDivergence,
    expected_calibration_error,
    expected_sample_divergence,
    flip_frequencies,
    flip_offsets,
    ged_floor,
    generalised_energy_distance,
    intersection_over_union,
    mean_iou,
    pixel_accuracy,
    presence_excess,
    reliability_curve,
    sample_divergence,
    sample_diversity,
)
from calibrant.predictions import Prediction
from calibrant.samplers import Sampler


@dataclass(frozen=True)
class Counted:
    """What is counted of the hypotheses of each image."""

    distances: HypothesisDistances
    flips: FlipCounts
    divergence: SampleDivergence

    @classmethod
    def of(
        cls,
        flips: ClassFlips,
        sampler: Sampler,
        predictions: Sequence[Prediction],
        head: Calibrator | None = None,
        *,
        num_samples: int,
        seed: int = 0,
    ) -> "Counted":
        """Draw hypotheses of every image and compare them to all label maps that it can have, 32 of five flips."""
        rows = []
        generator = torch.Generator().manual_seed(seed)
        drawn = draw_hypotheses(sampler, predictions, head, num_samples=num_samples, generator=generator)
        for prediction, hypotheses in drawn:
            clean, batch = prediction.labels[0], hypotheses[:, None]
            modes, weights = flips.modes(clean)
            distances = HypothesisDistances.of(
                batch,
                modes[None],
                num_classes=flips.num_classes,
                classes=flips.classes,
                empty="nan",
                weights=weights[None],
                modes=True,
            )
            rows.append(
                (
                    distances,
                    FlipCounts.of(batch, clean[None], pairs=flips.pairs),
                    SampleDivergence.of(batch, prediction.logits[None], where=(clean >= 0)[None]),
                )
            )
        return cls(*(type(column[0]).stack(column) for column in zip(*rows, strict=True)))

    def figures(self, probabilities: tuple[float, ...]) -> dict[str, Any]:
        """Return scores, means over images that show one of the classes that flip; offsets pool all pixels."""
        ged, diversity = generalised_energy_distance(self.distances), sample_diversity(self.distances)
        return {
            "GED": round(float(ged.nanmean()), 4),
            "GED, unbiased": round(float(generalised_energy_distance(self.distances, diagonal=False).nanmean()), 4),
            "presence": round(float(presence_excess(self.distances).nanmean()), 4),
            "floor": round(float(ged_floor(self.distances, self.distances.num_samples).nanmean()), 4),
            "diversity": round(float(diversity.nanmean()), 4),
            "KL of mean from F": round(float(sample_divergence(self.divergence).nanmean()), 4),
            "KL of mean from F, expected": round(float(expected_sample_divergence(self.divergence).nanmean()), 4),
            **_frequencies(self.flips, probabilities),
        }


def drawn_frequencies(
    flips: ClassFlips, sampler: Sampler, predictions: Sequence[Prediction], *, num_samples: int, seed: int = 0
) -> dict[str, Any]:
    """Return how often each class flips in many hypotheses of each image, and how far that is from the truth.

    Of 16 hypotheses of 117 images the true flips themselves are off by a percent and more, by chance.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = draw_hypotheses(sampler, predictions, None, num_samples=num_samples, generator=generator)
    rows = [FlipCounts.of(maps[:, None], each.labels[:1], pairs=flips.pairs) for each, maps in drawn]
    return {"samples": num_samples, **_frequencies(FlipCounts.stack(rows), flips.probabilities)}


def _frequencies(counts: FlipCounts, probabilities: tuple[float, ...]) -> dict[str, Any]:
    """How often each class flips, pixels pooled, and how far that is from the truth."""
    pooled = counts.pooled()
    offsets = flip_offsets(pooled, probabilities)
    return {
        "frequencies": rounded(flip_frequencies(pooled)[0]),
        "mean offset": round(float(offsets.nanmean()), 4),
        "worst offset": round(float(offsets.nan_to_num().max()), 4),
    }


def calibration(
    flips: ClassFlips, predictions: Sequence[Prediction], flipped: Sequence[Prediction], head: Calibrator | None
) -> dict[str, Any]:
    """Return flip frequencies of F where the black box is right, as published, and anywhere; its reliability.

    :param predictions: with the clean label map of each image.
    :param flipped: the same with many flipped ones.
    """
    rows = []
    for prediction in predictions:
        logits, clean = calibrated(prediction, head)[None], prediction.labels
        right = flips.undone(prediction.logits.argmax(0))[None] == clean
        rows.append(
            [FlipCounts.of_probabilities(logits, clean, pairs=flips.pairs, where=where) for where in (right, None)]
        )
    found: dict[str, Any] = {}
    for name, column in zip(("where the black box is right", "anywhere"), zip(*rows, strict=True), strict=True):
        found[name] = _frequencies(FlipCounts.stack(column), flips.probabilities)
    bins = tally(partial(CalibrationBins.of, num_bins=10), flipped, head).pooled()
    curve = reliability_curve(bins)
    found["ECE"] = round(float(expected_calibration_error(bins)), 4)
    found["reliability"] = {
        "confidence": rounded(curve.confidence[0]),
        "accuracy": rounded(curve.accuracy[0]),
        "share": rounded(curve.fraction[0]),
    }
    return found


def overlap(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return how good the black box itself is, over all pixels; NaN for classes that neither it nor the test shows."""
    counts = tally(ClassCounts.of, predictions).pooled()
    return {
        "pixel accuracy": round(float(pixel_accuracy(counts)), 4),
        "mean IoU": round(float(mean_iou(counts)), 4),
        "IoU": rounded(intersection_over_union(counts)[0]),
    }


def rounded(values: torch.Tensor) -> Any:
    """Return a tensor as lists of four decimals."""
    return (values.double() * 1e4).round().div(1e4).tolist()
