"""A small reliability diagram of each class: of the pixels that are given this class, never of those labelled so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from calibrant.metrics import ClassCounts, Measurement
from calibrant.report.columns import percent
from calibrant.report.curves import Reliability, draws, reliability
from calibrant.report.judged import class_verdicts

SPARSE = 1e-3
"""Bins with a smaller share of the class's pixels are drawn as open points; ten times what it is for all pixels."""

SIDE = 100
"""The side of a diagram, in its own units."""


@dataclass(frozen=True)
class ClassCurve:
    """The reliability of one method where it predicts one class, in the units of a diagram; y runs downwards.

    :param method: its title.
    :param style: the number of its colour and marker: 0 for the method as it is, 1 for the other.
    :param path: the polyline, as SVG takes it; empty without two neighbouring points.
    :param band: the 95 % band over images, as a polygon; empty likewise.
    :param points: centre of each bin's marker, and whether the bin holds enough pixels to be read.
    :param verdict: whether the gap is beyond chance, in words.
    """

    method: str
    style: int
    path: str
    band: str
    points: list[tuple[float, float, bool]]
    verdict: str


@dataclass(frozen=True)
class ClassDiagram:
    """One class with the curves of the methods shown.

    :param name: of the class.
    :param words: what the diagram shows, for readers who do not see it.
    :param curves: one a method.
    """

    name: str
    words: str
    curves: list[ClassCurve]


def class_diagrams(
    measurements: Mapping[str, Sequence[Measurement]], methods: Sequence[str], class_names: Sequence[str]
) -> list[ClassDiagram]:
    """Return the diagrams of all classes that a method predicts, from the class with most labels to that with fewest.

    :param measurements: by method, one a repetition.
    :param methods: those shown, one or two.
    :param class_names: one a class.
    """
    counts = ClassCounts.stack([rows.classes.pooled() for rows in measurements[methods[0]]]).pooled()
    order = sorted(range(len(class_names)), key=lambda i: (-float(counts.labelled[0, i]), i))
    resamples = draws({method: measurements[method] for method in methods})
    verdicts = {method: class_verdicts(measurements[method]) for method in methods}
    diagrams = []
    for i in order:
        lines = {
            method: reliability(
                measurements[method],
                resamples,
                lambda rows, i=i: rows.by_prediction.mapped(lambda column: column[:, i]),
            )
            for method in methods
        }
        curves = [
            _curve(method, number, line, verdicts[method][i]) for number, (method, line) in enumerate(lines.items())
        ]
        if any(curve.points for curve in curves):
            words = "; ".join(f"{curve.method}: {curve.verdict}, {_said(lines[curve.method])}" for curve in curves)
            diagrams.append(ClassDiagram(class_names[i], words, curves))
    return diagrams


def _curve(method: str, style: int, line: Reliability, verdict: str) -> ClassCurve:
    """Return what is drawn of a method: neighbouring bins that hold enough pixels are joined."""
    seen = [i for i in range(len(line.fraction)) if float(line.fraction[i]) > 0]
    full = [i for i in seen if float(line.fraction[i]) >= SPARSE]
    place = [_place(line.confidence), _place(line.accuracy, up=True)]
    lower, upper = _place(line.low, up=True), _place(line.high, up=True)
    x, y = place
    path = " ".join(f"{x[i]:g},{y[i]:g}" for i in full) if len(full) > 1 else ""
    edge = [f"{x[i]:g},{upper[i]:g}" for i in full] + [f"{x[i]:g},{lower[i]:g}" for i in reversed(full)]
    points = [(x[i], y[i], i in full) for i in seen]
    return ClassCurve(method, style, path, " ".join(edge) if len(full) > 1 else "", points, verdict)


def _place(values: torch.Tensor, *, up: bool = False) -> list[float]:
    """Return shares as places in a diagram, to a tenth of a unit."""
    return [round(SIDE * (1 - value if up else value), 1) for value in values.tolist()]


def _said(line: Reliability) -> str:
    """Return the mean confidence and the accuracy of all pixels of a curve."""
    share = line.fraction.nan_to_num(0)
    said, right = (float((share * values.nan_to_num(0)).sum()) for values in (line.confidence, line.accuracy))
    return f"says {percent(said, 1)}, is right {percent(right, 1)}" if float(share.sum()) else "nothing is known"
