"""Mistakes that a type checker must find in a user's program; nothing here is ever run.

Each ignored line is one. ``mypy --strict`` reports an ignore that is not needed, so that a type that has become ``Any``
fails ``make types``.
"""

from functools import partial

import torch
from torch import Tensor

import calibrant
from calibrant.calibrators import Calibrator, Fit, TemperatureScaling, VectorScaling
from calibrant.evaluation import compare, tally, tally_all
from calibrant.metrics import CalibrationBins, Measurement, Score, bootstrap, expected_calibration_error
from calibrant.predictions import Predictions, from_arrays
from calibrant.report import write_page


def wrong_results(predictions: Predictions, generator: torch.Generator) -> None:
    """Take results for what they are not."""
    measured = tally(CalibrationBins.of, predictions)
    _1: str = measured  # type: ignore[assignment]
    _2: int = expected_calibration_error(measured)  # type: ignore[assignment]
    _3: float = bootstrap(expected_calibration_error, measured, generator=generator)  # type: ignore[assignment]
    _4: Measurement = tally_all(Measurement.of, predictions, {"none": None})  # type: ignore[assignment]
    _5: VectorScaling = TemperatureScaling.fit(predictions)  # type: ignore[assignment]
    _6: Tensor = from_arrays([], [])  # type: ignore[assignment]
    _7: str = calibrant.IGNORE  # type: ignore[assignment]
    _8: Tensor = CalibrationBins.stack([measured])  # type: ignore[assignment]


def wrong_arguments(predictions: Predictions, generator: torch.Generator) -> None:
    """Pass arguments of other types."""
    _score = calibrant.metrics.no_such_score  # type: ignore[attr-defined]
    TemperatureScaling("1.7")  # type: ignore[arg-type]
    tally(CalibrationBins.of, 3)  # type: ignore[arg-type]
    compare({"one": 1}, generator=generator)  # type: ignore[dict-item]
    write_page(3, {})  # type: ignore[arg-type]
    Score(title="t", of=3, pooled=True)  # type: ignore[arg-type]
    _: Fit = partial(VectorScaling.fit, strength="much")  # type: ignore[arg-type]


class WithoutArguments(Calibrator):
    """A calibrator that lacks a method."""

    def forward(self, logits: Tensor, image: Tensor | None = None) -> Tensor:
        """Return the logits."""
        return logits


def abstract() -> None:
    """Make what cannot be made."""
    WithoutArguments()  # type: ignore[abstract]
