"""Logits → logits: maps that make confidence honest.

>>> from calibrant.testing import toy_predictions
>>> TemperatureScaling.fit(toy_predictions(overconfidence=2.0, num_images=8, size=(32, 32)))
TemperatureScaling(temperature=1.996)
"""

from calibrant.calibrators.calibrator import Calibrator, Fit, Identity, calibrated
from calibrant.calibrators.export import export_onnx
from calibrant.calibrators.network import CalibrationNetwork
from calibrant.calibrators.selective import SelectiveScaling
from calibrant.calibrators.selector import LearntSelector, NoSelector, Selector, SelectorQuality
from calibrant.calibrators.storage import load, save
from calibrant.calibrators.temperature import TemperatureScaling
from calibrant.calibrators.vector import VectorScaling

__all__ = [
    "CalibrationNetwork",
    "Calibrator",
    "Fit",
    "Identity",
    "LearntSelector",
    "NoSelector",
    "SelectiveScaling",
    "Selector",
    "SelectorQuality",
    "TemperatureScaling",
    "VectorScaling",
    "calibrated",
    "export_onnx",
    "load",
    "save",
]
