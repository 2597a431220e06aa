"""What a threshold on the confidence decides: tables, and the counts from which the page's script computes more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calibrant._shapes import Shaped, Tensor
from calibrant.metrics import (
    CalibrationBins,
    ConfidenceRanks,
    Measurement,
    ReviewCurve,
    best_threshold,
    review_cost,
    review_curve,
)
from calibrant.report.columns import SHARE, number
from calibrant.report.curves import pooled_bins

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
"""Those of the table; the slider has all that were counted."""

RATIOS = (2, 5, 10, 20, 50, 100)
"""What a mistake costs, in reviews, in the table."""

MOST_COUNTS = 40_000
"""Numbers that a page holds for the thresholds of single classes, at most; with more, of the methods shown first."""


@dataclass(frozen=True)
class ThresholdRow:
    """What one threshold decides.

    :param threshold: in percent.
    :param cells: of each method: share reviewed, mistakes caught, mistakes left among the others; percent.
    """

    threshold: str
    cells: list[tuple[str, str, str]]


@dataclass(frozen=True)
class CostRow:
    """What mistakes and reviews cost at one price.

    :param ratio: the price of a mistake, in reviews.
    :param threshold: below which a review pays if confidence is calibrated, percent.
    :param cells: of each method: the cost of that threshold, the least of any threshold; reviews per 1,000 pixels.
    :param without: the cost without any review, of the first method.
    """

    ratio: int
    threshold: str
    cells: list[tuple[str, str]]
    without: str


def pooled_ranks(measurements: Sequence[Measurement]) -> ConfidenceRanks:
    """Return one row of the pixels of all images of all repetitions.

    :param measurements: of one method, one a repetition.
    """
    return ConfidenceRanks.stack([rows.ranks.pooled() for rows in measurements]).pooled()


def threshold_rows(ranks: Sequence[ConfidenceRanks]) -> list[ThresholdRow]:
    """Return what some thresholds decide, at the nearest edge that was counted.

    :param ranks: of each method, one row of all pixels.
    """
    curves = [review_curve(each) for each in ranks]
    rows = []
    for threshold in THRESHOLDS:
        cells = []
        for curve in curves:
            i = nearest_edge(curve, threshold)
            reviewed, caught, left = (float(each[0, i]) for each in (curve.reviewed, curve.caught, curve.left))
            cells.append((number(reviewed, 1, SHARE), number(caught, 1, SHARE), number(left, 2, SHARE)))
        rows.append(ThresholdRow(f"{100 * threshold:g}", cells))
    return rows


def cost_rows(ranks: Sequence[ConfidenceRanks]) -> list[CostRow]:
    """Return what reviewing costs at some prices: by the rule for calibrated confidence, and at best.

    :param ranks: of each method, one row of all pixels.
    """
    curves = [review_curve(each) for each in ranks]
    rows = []
    for ratio in RATIOS:
        rule = best_threshold(mistake=ratio, review=1)
        cells, without = [], ""
        for curve in curves:
            cost = 1000 * review_cost(curve, mistake=ratio, review=1)[0]
            cells.append((f"{float(cost[nearest_edge(curve, rule)]):.1f}", f"{float(cost.min()):.1f}"))
            without = without or f"{float(cost[0]):.1f}"
        rows.append(CostRow(ratio, f"{100 * rule:g}", cells, without))
    return rows


def nearest_edge(curve: ReviewCurve, threshold: float) -> int:
    """Return the place of the counted threshold nearest to one that is asked for, by log-odds.

    :param curve: at all thresholds that were counted.
    :param threshold: a confidence, from 0 to 1.
    """
    edges = curve.threshold.clamp(1e-9, 1 - 1e-9).logit()
    wanted = torch.tensor(threshold, dtype=torch.float64).clamp(1e-9, 1 - 1e-9).logit()
    return int((edges - wanted).abs().argmin())


def counts_for_script(
    measurements: Mapping[str, Sequence[Measurement]], pair: Sequence[str], methods: Sequence[str]
) -> dict[str, Any]:
    """Return the counts from which the page's script computes what any threshold decides, as JSON can hold them.

    :param measurements: by method, one a repetition.
    :param pair: the methods shown first.
    :param methods: all that are shown.
    """
    classes = {method: pooled_bins([rows.by_prediction for rows in measurements[method]]) for method in methods}
    one = next(iter(classes.values()))
    of_classes = methods if one.count[0].numel() * 2 * len(methods) <= MOST_COUNTS else pair
    edges = review_curve(pooled_ranks(measurements[methods[0]])).threshold
    return {
        "edges": [round(edge, 7) for edge in edges.tolist()],
        "all": {method: _sparse(pooled_ranks(measurements[method])) for method in methods},
        "num_bins": one.count.shape[-1],
        "by_class": {method: [_sparse(row) for row in _rows(classes[method])] for method in of_classes},
    }


def _rows(bins: CalibrationBins) -> list[CalibrationBins]:
    return [bins.mapped(lambda column, i=i: column[:, i]) for i in range(bins.count.shape[1])]


def _sparse(counts: ConfidenceRanks | CalibrationBins) -> list[list[int]]:
    """Count and correct from the first bin that holds a pixel on, as [first, counts, corrects]."""
    count, correct = (_whole(column) for column in (counts.count, counts.correct))
    seen = [i for i, each in enumerate(count) if each]
    if not seen:
        return [[0], [], []]
    inside = slice(seen[0], seen[-1] + 1)
    return [[seen[0]], count[inside], correct[inside]]


def _whole(column: Shaped[Tensor, "1 b"]) -> list[int]:
    return [int(value) for value in column[0].tolist()]
