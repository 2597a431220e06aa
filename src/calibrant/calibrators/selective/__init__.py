"""Selective scaling and its selectors: which pixels are suspected to be mistakes, and what is done with them."""

from calibrant.calibrators.selective.learnt import LearntSelector
from calibrant.calibrators.selective.meta_cal import EntropyAbove, MetaCal, Uniform
from calibrant.calibrators.selective.oracle import OracleSelector, oracle_predictions
from calibrant.calibrators.selective.selective import SelectiveScaling
from calibrant.calibrators.selective.selector import NoSelector, Selector, SelectorQuality

__all__ = [
    "EntropyAbove",
    "LearntSelector",
    "MetaCal",
    "NoSelector",
    "OracleSelector",
    "SelectiveScaling",
    "Selector",
    "SelectorQuality",
    "Uniform",
    "oracle_predictions",
]
