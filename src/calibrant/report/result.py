"""What was measured of one or several methods, as one object: a table in a notebook, a diagram, rows, a page."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes

from calibrant._input.checks import needs
from calibrant.calibrators import Calibrator
from calibrant.errors import InputError
from calibrant.evaluation import Comparison, compare, tally_all
from calibrant.metrics import Measurement
from calibrant.predictions import PredictionsLike, predictions_of
from calibrant.report.columns import columns
from calibrant.report.curves import draws, reliability
from calibrant.report.figures import draw_reliability
from calibrant.report.page import write_page
from calibrant.report.palette import style_of

AS_IT_IS = "uncalibrated"
"""The name of the model as it is."""


@dataclass(frozen=True)
class Result:
    """The scores of a model as it is and behind calibrators, with their intervals over images.

    A notebook shows it as a table.

    :param comparison: every figure with its interval.
    :param measurements: by method, one measurement a repetition.
    """

    comparison: Comparison
    measurements: Mapping[str, Sequence[Measurement]]

    @classmethod
    def of(cls, measurements: Mapping[str, Measurement | Sequence[Measurement]], *, seed: int = 0) -> "Result":
        """Compare measurements of the same images; the first is what the others are compared with.

        :param measurements: by method, a measurement, or one a repetition.
        :param seed: the seed of the choice of images that are drawn again for intervals.
        """
        listed = {name: [one] if isinstance(one, Measurement) else list(one) for name, one in measurements.items()}
        generator = torch.Generator().manual_seed(seed)
        return cls(compare(listed, generator=generator, as_it_is=AS_IT_IS in listed), listed)

    def rows(self) -> list[dict[str, Any]]:
        """Return one mapping a method and score: value, bounds, and the paired change to the first method."""
        found = []
        for method, scores in self.comparison.values.items():
            changes = self.comparison.differences.get(method, {})
            for name, each in scores.items():
                change = changes.get(name)
                found.append(
                    {
                        "method": method,
                        "score": name,
                        "title": self.comparison.scores[name].title,
                        "value": each.value,
                        "low": each.low,
                        "high": each.high,
                        "change": None if change is None else change.value,
                        "change_low": None if change is None else change.low,
                        "change_high": None if change is None else change.high,
                    }
                )
        return found

    def to_frame(self) -> Any:
        """Return :meth:`rows` as a ``pandas.DataFrame``, indexed by method and score.

        :raises PackageError: pandas is not installed.
        """
        return needs("pandas", "makes data frames").DataFrame(self.rows()).set_index(["method", "score"])

    def plot(self, methods: Sequence[str] | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the reliability diagram of all labelled pixels, with 95 % bands over images, and return its axes.

        :param methods: the methods that are drawn; None for all.
        :param ax: where it is drawn; None for the current axes of ``matplotlib.pyplot``.
        :raises InputError: there is no such method.
        """
        chosen = list(self.measurements) if methods is None else list(methods)
        strange = [name for name in chosen if name not in self.measurements]
        if strange or not chosen:
            raise InputError(f"expected methods of {', '.join(self.measurements)}; got {strange or 'none'}.")
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.gca()
        drawn = draws(self.measurements)
        curves = [(name, reliability(self.measurements[name], drawn, lambda one: one.bins)) for name in chosen]
        draw_reliability(ax, [(name, curve, style_of(number)) for number, (name, curve) in enumerate(curves)])
        ax.set_xlabel("confidence (%)")
        if len(chosen) > 1:
            ax.legend()
        return ax

    def write_page(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the report, one HTML file, and return its path.

        :param path: where the file goes; its folder must be there.
        :param options: those of :func:`~calibrant.report.write_page`, such as ``class_names`` and ``title``.
        """
        return write_page(path, self.comparison, self.measurements, **options)

    def _repr_html_(self) -> str:
        """Return the main scores as a table: a row a score, values with 95 % intervals."""
        head = "".join(f"<th>{escape(method)}</th>" for method in self.comparison.methods)
        lines = []
        for column in columns(self.comparison):
            cells = "".join(
                f"<td>{escape(' '.join(filter(None, (column.cells[m].value, column.cells[m].bounds))))}</td>"
                for m in self.comparison.methods
            )
            lines.append(f"<tr><th>{escape(column.heading)}</th>{cells}</tr>")
        return (
            f"<table><thead><tr><th>95 % intervals over images</th>{head}</tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table>"
        )


def measured(
    predictions: PredictionsLike,
    labels: Any = None,
    *,
    calibrators: Mapping[str, Calibrator] | None = None,
    num_bins: int = 15,
    seed: int = 0,
) -> Result:
    """Measure a model as it is, and behind calibrators, in one pass over its predictions.

    :param predictions: predictions, or logits (n, c, *s) with labels, or a loader, data set or list of such pairs.
    :param labels: label maps, where logits are given in place of predictions.
    :param calibrators: by name; None for the model alone.
    :param num_bins: bins of the confidence, of equal width.
    :param seed: the seed of the choice of images that are drawn again for intervals.
    :raises InputError: nothing is labelled, or a calibrator is called as the model is.

    >>> from calibrant.calibrators import TemperatureScaling
    >>> logits, maps = 3 * torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(4, 8, 8)
    >>> result = measured(logits, maps.long(), calibrators={"halved": TemperatureScaling(2.0)})
    >>> result.comparison.methods
    ['uncalibrated', 'halved']
    """
    named = dict(calibrators or {})
    if AS_IT_IS in named:
        raise InputError(f"expected another name for a calibrator than {AS_IT_IS!r}, which is the model. Rename it.")

    def count(logits: Any, maps: Any, **options: Any) -> Measurement:
        return Measurement.of(logits, maps, num_bins=num_bins, **options)

    found = tally_all(count, predictions_of(predictions, labels), {AS_IT_IS: None, **named})
    return Result.of(found, seed=seed)
