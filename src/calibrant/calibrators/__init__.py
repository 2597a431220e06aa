"""Logits → logits: maps that make confidence honest.

>>> from calibrant.testing import toy_predictions
>>> TemperatureScaling.fit(toy_predictions(overconfidence=2.0, num_images=8, size=(32, 32)))
TemperatureScaling(temperature=1.996)
"""

from calibrant.calibrators.calibration_network import CalibrationNetwork, CalibrationRecipe
from calibrant.calibrators.calibrator import Calibrator, Fit, Identity
from calibrant.calibrators.dirichlet import DirichletScaling
from calibrant.calibrators.export import export_onnx
from calibrant.calibrators.isotonic import IsotonicScaling
from calibrant.calibrators.local_temperature import LocalTemperatureScaling
from calibrant.calibrators.parts import CalibratedInParts, calibrated
from calibrant.calibrators.pixels import Pixels
from calibrant.calibrators.selective import (
    EntropyAbove,
    LearntSelector,
    MetaCal,
    NoSelector,
    OracleSelector,
    SelectiveScaling,
    Selector,
    SelectorQuality,
    Uniform,
    oracle_predictions,
)
from calibrant.calibrators.stacked import StackedScaling
from calibrant.calibrators.storage import load, own_kinds, save
from calibrant.calibrators.temperature import TemperatureScaling
from calibrant.calibrators.vector import VectorScaling

__all__ = [
    "CalibratedInParts",
    "CalibrationNetwork",
    "CalibrationRecipe",
    "Calibrator",
    "DirichletScaling",
    "EntropyAbove",
    "Fit",
    "Identity",
    "IsotonicScaling",
    "LearntSelector",
    "LocalTemperatureScaling",
    "MetaCal",
    "NoSelector",
    "OracleSelector",
    "Pixels",
    "SelectiveScaling",
    "Selector",
    "SelectorQuality",
    "StackedScaling",
    "TemperatureScaling",
    "Uniform",
    "VectorScaling",
    "calibrated",
    "export_onnx",
    "load",
    "oracle_predictions",
    "own_kinds",
    "save",
]
