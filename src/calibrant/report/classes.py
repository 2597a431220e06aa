"""Class by class: how large, how well found, how far its confidence can be taken, before and after."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calibrant._shapes import Float, Tensor
from calibrant.metrics import (
    ClassCounts,
    ClasswiseBins,
    Measurement,
    calibration_error_of_classes,
    confidence_gap,
    expected_calibration_error,
    intersection_over_union,
)
from calibrant.report.columns import SHARE, number
from calibrant.report.curves import pooled_bins
from calibrant.report.judged import class_verdicts

FEW = 25
"""Classes shown at once; the smaller ones of longer lists can be unfolded."""


@dataclass(frozen=True)
class Bar:
    """A number in percent and the length of its bar, in percent of the longest of its kind.

    :param text: the number as shown.
    :param length: percent of the longest bar of its kind.
    """

    text: str
    length: float


@dataclass(frozen=True)
class ClassRow:
    """One class: each list holds one value a method shown.

    :param name: of the class.
    :param share: how many of the labelled pixels are labelled so.
    :param probability: the mean probability of the class over all pixels, which calibration makes equal to the share.
    :param own_error: the calibration error of the class's own probability, over all pixels.
    :param overlap: the intersection over union.
    :param gap: confidence minus accuracy where the class is predicted.
    :param error: the calibration error of the confidence where the class is predicted.
    :param verdict: whether the gap is beyond chance, all classes judged together, in words.
    """

    name: str
    share: Bar
    probability: list[str]
    own_error: list[Bar]
    overlap: list[Bar]
    gap: list[str]
    error: list[Bar]
    verdict: list[str]


def class_rows(
    measurements: Mapping[str, Sequence[Measurement]], methods: Sequence[str], class_names: Sequence[str]
) -> list[ClassRow]:
    """Return the classes from the largest to the smallest, over all pixels of all repetitions.

    Pixels are grouped by the class that is predicted, never by the one that is labelled: where a class is labelled, a
    perfectly calibrated predictor is right less often than it says, and looks too sure. – where nothing is known.

    :param measurements: by method, one a repetition.
    :param methods: those shown, one or two.
    :param class_names: one a class.
    """
    counts = {m: ClassCounts.stack([rows.classes.pooled() for rows in measurements[m]]).pooled() for m in methods}
    bins = {m: pooled_bins([rows.by_prediction for rows in measurements[m]]) for m in methods}
    own = {m: ClasswiseBins.stack([rows.classwise.pooled() for rows in measurements[m]]).pooled() for m in methods}
    labelled = counts[methods[0]].labelled[0].double()
    share = labelled / labelled.sum()
    probability = [(own[m].probability.sum(-1) / own[m].count.sum(-1))[0].double() for m in methods]
    own_error = [calibration_error_of_classes(own[m])[0].double() for m in methods]
    overlap = [intersection_over_union(counts[m])[0].double() for m in methods]
    gap = [confidence_gap(bins[m])[0].double() for m in methods]
    error = [expected_calibration_error(bins[m])[0].double() for m in methods]
    verdicts = [class_verdicts(measurements[m]) for m in methods]
    most, most_own = (max(map(_largest, values), default=0.0) for values in (error, own_error))
    order = sorted(range(len(class_names)), key=lambda i: (-float(share[i]), i))
    return [
        ClassRow(
            class_names[i],
            _bar(float(share[i]), _largest(share), 2),
            [number(float(values[i]), 2, SHARE) for values in probability],
            [_bar(float(values[i]), most_own, 2) for values in own_error],
            [_bar(float(values[i]), 1.0, 1) for values in overlap],
            [number(float(values[i]), 1, SHARE, signed=True) for values in gap],
            [_bar(float(values[i]), most, 1) for values in error],
            [words[i] for words in verdicts],
        )
        for i in order
    ]


def _largest(values: Float[Tensor, " c"]) -> float:
    return float(values.nan_to_num(0).max())


def _bar(value: float, full: float, digits: int) -> Bar:
    length = 0.0 if math.isnan(value) or full <= 0 else 100 * value / full
    return Bar(number(value, digits, SHARE), round(length, 1))
