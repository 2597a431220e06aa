"""Selective scaling and its selectors: which pixels are suspected to be mistakes, and what is done with them."""

from calibrant.calibrators.selective.learnt import LearntSelector
from calibrant.calibrators.selective.meta_cal import EntropyAbove, MetaCal, Uniform
from calibrant.calibrators.selective.oracle import OraclePredictions, OracleSelector
from calibrant.calibrators.selective.selective import SelectiveScaling
from calibrant.calibrators.selective.selector import NoSelector, Selector, SelectorQuality

__all__ = [
    "EntropyAbove",
    "LearntSelector",
    "MetaCal",
    "NoSelector",
    "OraclePredictions",
    "OracleSelector",
    "SelectiveScaling",
    "Selector",
    "SelectorQuality",
    "Uniform",
]
