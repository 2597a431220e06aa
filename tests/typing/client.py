"""A user's program, held to ``mypy --strict``: fits, measures, compares, draws, adds a calibrator and a score.

``make types`` checks it; ``tests/typing/test_client.py`` also runs it. No cast, no ``type: ignore``: where one would
be needed, the library's annotations are at fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import calibrant
from calibrant.calibrators import (
    Calibrator,
    Fit,
    MetaCal,
    SelectiveScaling,
    TemperatureScaling,
    VectorScaling,
    load,
    save,
)
from calibrant.data import StoredPredictions, write_store
from calibrant.errors import CalibrantError
from calibrant.evaluation import Comparison, compare, tally, tally_all, tally_hypotheses
from calibrant.metrics import (
    SCORES,
    CalibrationBins,
    HypothesisDistances,
    Interval,
    Measurement,
    Score,
    Tally,
    bootstrap,
    expected_calibration_error,
    generalised_energy_distance,
    paired_difference,
)
from calibrant.models import ModelPredictions
from calibrant.predictions import IGNORE, Example, Prediction, Predictions, Subset, from_arrays, split
from calibrant.report import as_json, terminal_table, write_page
from calibrant.samplers import CopulaSampler, IndependentSampler, Sampler
from calibrant.testing import check_calibrator, toy_predictions


class Halved(Calibrator):
    """An own calibrator: every logit times a factor."""

    keeps_labels = False

    def __init__(self, factor: float = 0.5, *, notes: tuple[str, ...] = ()) -> None:
        super().__init__(notes=notes)
        self.factor = factor

    def forward(self, logits: Tensor, image: Tensor | None = None) -> Tensor:
        """Return the logits times the factor."""
        return self.factor * logits.float()

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs."""
        return {"factor": self.factor}

    @classmethod
    def fit(cls, predictions: Predictions) -> Halved:
        """Return the calibrator, whatever the predictions."""
        return cls()


def share_correct(measured: Measurement) -> Tensor:
    """Return an own score: the share of correct pixels of each row."""
    return measured.bins.correct.sum(1) / measured.bins.count.sum(1)


class Doubled:
    """A model: any callable from a batch of images to logits."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits of the shape of the images."""
        return 2 * images


def fits() -> dict[str, Fit]:
    """Return fits, composed by passing functions."""
    return {
        "temperature": TemperatureScaling.fit,
        "vector": partial(VectorScaling.fit, keep_labels=True),
        "Meta-Cal": MetaCal.fit,
        "selective": partial(SelectiveScaling.fit, base=TemperatureScaling.fit, num_epochs=1),
        "halved": Halved.fit,
    }


def measure(predictions: Predictions, calibrator: Calibrator | None) -> Interval:
    """Return the calibration error with its interval."""
    counted: CalibrationBins = tally(CalibrationBins.of, predictions, calibrator)
    first: CalibrationBins = tally(partial(CalibrationBins.of, num_bins=15), Subset(predictions, (0,)), calibrator)
    both: CalibrationBins = CalibrationBins.stack([first, counted.take([1])])
    rows: Tensor = expected_calibration_error(both.pooled())
    assert rows.shape == (1,)
    generator = torch.Generator().manual_seed(0)
    difference: Interval = paired_difference(expected_calibration_error, counted, counted, generator=generator)
    assert difference.value == 0
    return bootstrap(expected_calibration_error, counted, generator=generator)


def page(predictions: Predictions, calibrators: dict[str, Calibrator | None], path: Path) -> Path:
    """Compare calibrators by the library's scores and an own one, and write the report."""
    measurements: dict[str, Measurement] = tally_all(Measurement.of, predictions, calibrators)
    repeated: dict[str, Sequence[Tally]] = {name: [measured] for name, measured in measurements.items()}
    scores: dict[str, Score] = {**SCORES, "own": Score(title="correct", of=share_correct, pooled=True, better="higher")}
    generator = torch.Generator().manual_seed(0)
    comparison: Comparison = compare(repeated, generator=generator, num_resamples=20, scores=scores)
    assert 0 < comparison.values["halved"]["own"].value < 1
    plain: Comparison = compare(repeated, generator=generator, num_resamples=20)
    assert terminal_table(plain).row_count > 0
    assert as_json(plain)
    return write_page(path, plain, {name: [measured] for name, measured in measurements.items()}, title="Client")


def distance(sampler: Sampler, predictions: Predictions) -> float:
    """Return the generalised energy distance of a sampler's label maps."""
    count = partial(HypothesisDistances.of, num_classes=3)
    generator = torch.Generator().manual_seed(0)
    counted: HypothesisDistances = tally_hypotheses(count, sampler, predictions, num_samples=2, generator=generator)
    return float(generalised_energy_distance(counted).mean())


def main(folder: Path) -> Path:
    """Run all of it, and return the path of the report."""
    predictions: list[Prediction] = toy_predictions(num_images=8)
    fit_images, test_images = split(predictions, 0.5, seed=0)
    calibrators: dict[str, Calibrator | None] = {"none": None}
    for name, fit in fits().items():
        calibrators[name] = fit(fit_images)
    for calibrator in calibrators.values():
        assert measure(test_images, calibrator).low >= 0
    temperature = TemperatureScaling.fit(fit_images)
    save(temperature, folder / "calibrator")
    assert load(folder / "calibrator").notes == temperature.notes
    write_store(predictions, folder / "store")
    stored = StoredPredictions(folder / "store")
    assert len(stored) == len(predictions)
    examples = [Example(p.key, p.logits, p.labels) for p in predictions]
    assert ModelPredictions(Doubled(), examples)[0].num_classes == 3
    arrays: Sequence[Prediction] = from_arrays(torch.randn(1, 3, 4, 5), torch.full((1, 4, 5), 255))
    assert int(arrays[0].labels.max()) == IGNORE == calibrant.IGNORE
    assert distance(IndependentSampler(), test_images) >= 0
    assert distance(CopulaSampler(image=0.5), test_images) >= 0
    try:
        check_calibrator(Halved.fit, storable=False)
    except CalibrantError as error:
        raise SystemExit(str(error)) from error
    return page(test_images, calibrators, folder / "report.html")
