"""Correctness scaling: how likely each pixel is to be right, estimated from its context."""

from calibrant.calibrators.correctness.correctness import CorrectnessScaling
from calibrant.calibrators.correctness.mistakes import MistakeModel
from calibrant.calibrators.correctness.pool import Recalibration
from calibrant.calibrators.correctness.temperature_network import TemperatureNetwork

__all__ = [
    "CorrectnessScaling",
    "MistakeModel",
    "Recalibration",
    "TemperatureNetwork",
]
