"""Stacked scaling: several calibrators at once, a look at the surroundings, and caution where images are unlike."""

from calibrant.calibrators.stacked.confidence import ConfidenceNetwork
from calibrant.calibrators.stacked.gate import Gate
from calibrant.calibrators.stacked.stacked import StackedScaling

__all__ = ["ConfidenceNetwork", "Gate", "StackedScaling"]
