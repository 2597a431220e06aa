"""Contracts that a user can run on calibrators, samplers and sources of their own, and small synthetic predictions.

:func:`check_calibrator`, :func:`check_sampler` and :func:`check_predictions` raise an ``AssertionError`` that names the
promise that was broken; :func:`check_engine` that of an executor whose workers read the images.
:func:`toy_predictions` are ordinary, :func:`tied_logits` full of ties.
"""

from calibrant.testing.calibrators import check_calibrator
from calibrant.testing.engines import check_engine, uneven_predictions
from calibrant.testing.samplers import check_sampler
from calibrant.testing.sources import check_predictions
from calibrant.testing.toys import tied_logits, toy_predictions

__all__ = [
    "check_calibrator",
    "check_engine",
    "check_predictions",
    "check_sampler",
    "tied_logits",
    "toy_predictions",
    "uneven_predictions",
]
