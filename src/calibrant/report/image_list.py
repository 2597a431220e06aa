"""All images of the test set with their own scores, a row each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from calibrant._shapes import Float, Tensor
from calibrant.metrics import SCORES, Measurement
from calibrant.report.columns import SHARE, number

MOST_ROWS = 1_000
"""Images that are listed, the worst first; a page of more would be slow to open."""

SHOWN = ("ece_images", "accuracy", "nll", "miou")
"""Scores of single images, by name."""

_DIGITS = {"ece_images": 2, "accuracy": 2, "nll": 3, "miou": 1}


@dataclass(frozen=True)
class ImageRow:
    """One image.

    :param key: its name.
    :param cells: its scores, as (text, value).
    :param anchor: where the page shows it; empty if it does not.
    """

    key: str
    cells: list[tuple[str, float]]
    anchor: str


def image_columns(pair: Sequence[str]) -> list[tuple[str, str]]:
    """Return the heading of each column, and whose values it holds.

    :param pair: the methods shown, one or two.
    """
    return [("labelled pixels", ""), *((_title(score), method) for score in SHOWN for method in pair)]


def image_rows(
    measurements: Mapping[str, Sequence[Measurement]], pair: Sequence[str], anchors: Mapping[str, str]
) -> list[ImageRow]:
    """Return the images, the worst first in image-wise ECE; none if images have no names.

    :param measurements: by method, one a repetition.
    :param pair: the methods shown, one or two.
    :param anchors: by key, where the page shows an image.
    """
    values = {(score, method): _means(measurements[method], score) for score in SHOWN for method in pair}
    pixels = {key: n for rows in measurements[pair[0]] for key, n in zip(rows.keys, _labelled(rows), strict=True)}
    worst = values[SHOWN[0], pair[0]]
    order = sorted(worst, key=lambda key: (-worst[key] if math.isfinite(worst[key]) else math.inf, key))
    return [
        ImageRow(
            key,
            [
                (f"{pixels[key]:,}", pixels[key]),
                *(
                    (number(values[score, m][key], _DIGITS[score], SCORES[score].unit), round(values[score, m][key], 6))
                    for score in SHOWN
                    for m in pair
                ),
            ],
            anchors.get(key, ""),
        )
        for key in order[:MOST_ROWS]
    ]


def number_of_images(measurements: Sequence[Measurement]) -> int:
    """Return how many images were measured in one repetition or another.

    :param measurements: of one method, one a repetition.
    """
    return len({key for rows in measurements for key in rows.keys})


def _title(score: str) -> str:
    about = SCORES[score]
    return f"{about.title}, %" if about.unit == SHARE else about.title


def _labelled(rows: Measurement) -> list[int]:
    return [int(n) for n in rows.bins.count.sum(1).tolist()]


def _means(repetitions: Sequence[Measurement], score: str) -> dict[str, float]:
    """Each image's value, the mean over the repetitions that it is part of."""
    found: dict[str, list[float]] = {}
    for rows in repetitions:
        values: Float[Tensor, " n"] = SCORES[score].of(rows).double()
        for key, value in zip(rows.keys, values.tolist(), strict=True):
            found.setdefault(key, []).append(value)
    return {key: float(torch.tensor(each, dtype=torch.float64).nanmean()) for key, each in found.items()}
