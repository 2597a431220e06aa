"""Logits → logits: maps that make confidence honest."""

from calibrant.calibrators.calibrator import Calibrator, Fit, Identity
from calibrant.calibrators.temperature import TemperatureScaling
from calibrant.calibrators.selective import SelectiveScaling
from calibrant.calibrators.selector import LearntSelector, NoSelector, Selector, SelectorQuality
from calibrant.calibrators.vector import VectorScaling

__all__ = ["Calibrator", "Fit", "Identity", "TemperatureScaling", "VectorScaling"]
