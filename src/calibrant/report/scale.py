"""Scales of maps: from a value at each pixel to a level of few, and to a colour that tells the level.

A level is what a page and a file of pictures hold of a value. Confidence is divided evenly by its log-odds, from 10 %
to 99.9 %: models are sure of most pixels, and the difference of 98 % and 99.8 % is what calibration moves. Entropy is
divided evenly from 0 to the logarithm of the number of classes.
"""

import math

import numpy as np

from calibrant._shapes import Float, Int

NUM_LEVELS = 128
LOWEST, HIGHEST = 0.1, 0.999
"""Confidence below and above these is drawn like them."""

TICKS = (0.1, 0.5, 0.9, 0.99, 0.999)
"""Confidences that the key of the colours names."""

_LOW, _HIGH = (math.log(p / (1 - p)) for p in (LOWEST, HIGHEST))


def level_of_confidence(confidence: Float[np.ndarray, "*s"]) -> Int[np.ndarray, "*s"]:
    """Return the level of each confidence, from 0 to ``NUM_LEVELS - 1``.

    :param confidence: probabilities, from 0 to 1.

    >>> level_of_confidence(np.array([0.0, 0.1, 0.5, 0.9, 1.0]))
    array([  0,   0,  31,  61, 127], dtype=uint8)
    """
    p = np.clip(np.asarray(confidence, dtype=np.float64), LOWEST, HIGHEST)
    return _levels((np.log(p / (1 - p)) - _LOW) / (_HIGH - _LOW))


def confidence_of_level(level: Int[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Return the confidence that a level stands for; its level is that level.

    :param level: from 0 to ``NUM_LEVELS - 1``.

    >>> confidence_of_level(np.array([0, 127])).round(3)
    array([0.1  , 0.999])
    """
    odds = _LOW + (_HIGH - _LOW) * np.asarray(level, dtype=np.float64) / (NUM_LEVELS - 1)
    return 1 / (1 + np.exp(-odds))


def level_of_entropy(entropy: Float[np.ndarray, "*s"], num_classes: int) -> Int[np.ndarray, "*s"]:
    """Return the level of each entropy, from 0 to ``NUM_LEVELS - 1``.

    :param entropy: in nats.
    :param num_classes: the number of classes, two or more.
    """
    return _levels(np.clip(np.asarray(entropy, dtype=np.float64) / math.log(num_classes), 0, 1))


def colors(name: str) -> Int[np.ndarray, "l 3"]:
    """Return the colour of every level, as bytes; no two are alike.

    :param name: of a map of matplotlib: cividis, made for readers with and without colour blindness, or another.
    """
    import matplotlib as mpl

    return mpl.colormaps[name](np.linspace(0, 1, NUM_LEVELS), bytes=True)[:, :3]


def gradient(name: str) -> str:
    """Return the colours from the lowest level to the highest as a CSS gradient.

    :param name: as of :func:`colors`.
    """
    stops = colors(name)[:: NUM_LEVELS // 8]
    return "linear-gradient(to right," + ",".join("#{:02x}{:02x}{:02x}".format(*stop) for stop in stops.tolist()) + ")"


def tick_places() -> list[tuple[str, float]]:
    """Return what the key of confidence says and where, as (words, share of its length)."""
    places = [(math.log(p / (1 - p)) - _LOW) / (_HIGH - _LOW) for p in TICKS]
    return [(f"{100 * p:g}", place) for p, place in zip(TICKS, places, strict=True)]


def _levels(share: Float[np.ndarray, "*s"]) -> Int[np.ndarray, "*s"]:
    return np.rint(share * (NUM_LEVELS - 1)).astype(np.uint8)
