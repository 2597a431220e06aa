"""Honest confidence for semantic segmentation.

Measure how far a model's per-pixel confidence can be trusted, repair it after training without touching the
model, and sample coherent segmentations where an image is ambiguous. The import line is the address:
``from calibrant.metrics import CalibrationBins``, ``from calibrant.calibrators import TemperatureScaling``.
"""

__version__ = "0.1.0"
