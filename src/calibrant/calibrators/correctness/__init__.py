"""Correctness scaling, the default of version 0.1.0: what it stored still opens. Stacked scaling takes its place."""

from calibrant.calibrators.correctness.correctness import CorrectnessScaling
from calibrant.calibrators.correctness.parts import MistakeModel, Recalibration, TemperatureNetwork

__all__ = ["CorrectnessScaling", "MistakeModel", "Recalibration", "TemperatureNetwork"]
