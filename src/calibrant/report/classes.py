"""Class by class: how large, how well found, how far its confidence can be taken, before and after."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calibrant._shapes import Float, Tensor
from calibrant.metrics import ClassCounts, Measurement, expected_calibration_error, intersection_over_union
from calibrant.report.columns import SHARE, number
from calibrant.report.curves import pooled_bins

FEW = 25
"""Classes shown at once; the smaller ones of longer lists can be unfolded."""


@dataclass(frozen=True)
class Bar:
    """A number in percent and the length of its bar, in percent of the longest of its kind."""

    text: str
    length: float


@dataclass(frozen=True)
class ClassRow:
    """One class: each list holds one value a method shown."""

    name: str
    share: Bar
    overlap: list[Bar]
    gap: list[str]
    error: list[Bar]


def class_rows(
    measurements: Mapping[str, Sequence[Measurement]], methods: Sequence[str], class_names: Sequence[str]
) -> list[ClassRow]:
    """Return the classes from the largest to the smallest, over all pixels of all repetitions.

    Gap is confidence minus accuracy, so positive where the model is too sure; – where a class has no pixels.

    :param measurements: by method, one a repetition.
    :param methods: those shown, one or two.
    :param class_names: one a class.
    """
    counts = {m: ClassCounts.stack([rows.classes.pooled() for rows in measurements[m]]).pooled() for m in methods}
    bins = {m: pooled_bins([rows.by_class for rows in measurements[m]]) for m in methods}
    labelled = counts[methods[0]].labelled[0].double()
    share = labelled / labelled.sum()
    overlap = [intersection_over_union(counts[m])[0].double() for m in methods]
    gap = [((bins[m].confidence - bins[m].correct).sum(-1) / bins[m].count.sum(-1))[0].double() for m in methods]
    error = [expected_calibration_error(bins[m])[0].double() for m in methods]
    most = max([_largest(values) for values in error], default=0.0)
    order = sorted(range(len(class_names)), key=lambda i: (-float(share[i]), i))
    return [
        ClassRow(
            class_names[i],
            _bar(float(share[i]), _largest(share), 2),
            [_bar(float(values[i]), 1.0, 1) for values in overlap],
            [number(float(values[i]), 1, SHARE, signed=True) for values in gap],
            [_bar(float(values[i]), most, 1) for values in error],
        )
        for i in order
    ]


def _largest(values: Float[Tensor, " c"]) -> float:
    return float(values.nan_to_num(0).max())


def _bar(value: float, full: float, digits: int) -> Bar:
    length = 0.0 if math.isnan(value) or full <= 0 else 100 * value / full
    return Bar(number(value, digits, SHARE), round(length, 1))
