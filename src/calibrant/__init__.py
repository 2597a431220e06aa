"""Honest confidence for semantic segmentation.

Measure how far a model's per-pixel confidence can be trusted, repair it after training without touching the
model, and sample coherent segmentations where an image is ambiguous. The import line is the address:
``from calibrant.metrics import CalibrationBins``, ``from calibrant.calibrators import TemperatureScaling``.

``import calibrant`` alone is cheap: each package below is imported when it is first asked for.

>>> import calibrant
>>> calibrant.metrics.CalibrationBins.__name__
'CalibrationBins'
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # what ``__getattr__`` returns, for type checkers and editors
    from calibrant import (
        calibrators,
        data,
        engines,
        errors,
        evaluation,
        integrations,
        methods,
        metrics,
        models,
        networks,
        predictions,
        report,
        samplers,
        testing,
        training,
    )

__version__ = "0.2.0"

IGNORE: Final = -100
"""The label of a pixel that counts nowhere. Readers turn their ``ignore_index`` (255 by default) into it."""

__all__ = [
    "IGNORE",
    "calibrators",
    "data",
    "engines",
    "errors",
    "evaluation",
    "integrations",
    "methods",
    "metrics",
    "models",
    "networks",
    "predictions",
    "report",
    "samplers",
    "testing",
    "training",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return import_module(f"calibrant.{name}")
    raise AttributeError(f"module 'calibrant' has no attribute {name!r}; it has {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
