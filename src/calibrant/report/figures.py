"""Figures as inline SVG: reliability diagrams and risk-coverage curves.

Each figure is a string to be put into an HTML page: no outside reference, text as text, identifiers that start with
the figure's name, colours as custom properties of the page, and the same bytes for the same numbers.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from calibrant._shapes import Float
from calibrant.report.curves import Reliability, RiskCoverageLine
from calibrant.report.palette import LIGHT, Style, style_of
from calibrant.report.svg import svg_of

_SETTINGS: dict[str, Any] = {
    "axes.edgecolor": LIGHT["soft"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "calibrant",
    "text.color": LIGHT["ink"],
    "text.parse_math": False,
    "xtick.color": LIGHT["soft"],
    "ytick.color": LIGHT["soft"],
    "xtick.labelcolor": LIGHT["ink"],
    "ytick.labelcolor": LIGHT["ink"],
}
_PERCENT = FuncFormatter(lambda value, _: f"{100 * value:g}")
_FIFTHS = FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1])

SPARSE = 1e-4
"""Bins with a smaller share of the pixels are drawn as open points."""

Line = tuple[str, Reliability, Style]


def reliability_figure(
    lines: Sequence[Line], *, name: str, label: str, said: str = "confidence", right: str = "right"
) -> str:
    """Return a reliability diagram with the pixel mass under it, as SVG.

    A single line comes with its gap areas; several come with a legend.

    :param lines: title, curve and style of each.
    :param name: starts every identifier in the figure; unlike in any other figure of the page.
    :param label: the text alternative.
    :param said: what stands at the horizontal axis.
    :param right: what stands at the vertical axis.
    """
    several = len(lines) > 1
    height = 4.1 + (0.1 + 0.19 * len(lines) if several else 0)
    below = height - 4.1  # inches for the legend
    with _settings():
        figure = _figure(3.5, height)
        main = _axes(figure, (0.15, below + 1.45, 0.8, 2.55))
        mass = _axes(figure, (0.15, below + 0.48, 0.8, 0.68))
        draw_reliability(main, lines)
        for number, (_, line, style) in enumerate(lines):
            _draw_mass(mass, line, style, number, len(lines))
        _frame_mass(mass)
        main.set_ylabel(f"{right} (%)")
        mass.set_xlabel(f"{said} (%)")
        if several:
            _legend(figure, main)
        return svg_of(figure, name, label)


def reliability_histogram_figure(shares: Float[torch.Tensor, "b k"], *, name: str, label: str) -> str:
    """Return the dataset reliability histogram as SVG: the darker a cell, the more images.

    :param shares: of the images in each bin of confidence, by steps of accuracy; NaN in bins without an image.
    :param name: starts every identifier in the figure; unlike in any other figure of the page.
    :param label: the text alternative.
    """
    num_bins, num_steps = shares.shape
    with _settings():
        figure = _figure(3.5, 3.2)
        axes = _axes(figure, (0.15, 0.48, 0.8, 2.6))
        for i, j in torch.nonzero(shares.nan_to_num(0) > 0).tolist():
            place, size = (i / num_bins, j / num_steps), (1 / num_bins, 1 / num_steps)
            alpha = round(0.08 + 0.92 * float(shares[i, j]) ** 0.5, 2)
            axes.add_patch(Rectangle(place, *size, facecolor=style_of(1).color, alpha=alpha, linewidth=0))
        _frame_diagram(axes)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence (%)")
        return svg_of(figure, name, label)


def risk_coverage_figure(
    lines: Sequence[tuple[str, RiskCoverageLine, Style]],
    *,
    name: str,
    label: str,
    ideal: RiskCoverageLine | None = None,
) -> str:
    """Return the risk-coverage curves of several methods in one diagram, as SVG.

    :param lines: title, curve and style of each method.
    :param name: starts every identifier in the figure; unlike in any other figure of the page.
    :param label: the text alternative.
    :param ideal: the curve of a confidence that puts every mistake last, with the same label maps.
    """
    below = 0.62 + 0.19 * (len(lines) + (ideal is not None))  # inches for the legend
    with _settings():
        figure = _figure(4.2, 2.7 + below)
        axes = _axes(figure, (0.13, below, 0.82, 2.6))
        for number, (title, line, style) in enumerate(lines):
            _draw_risk(axes, line, style, title, start=number / len(lines))
        if ideal is not None:
            _draw_ideal(axes, ideal)
        top = max((max(line.risk.tolist(), default=0.0) for _, line, _ in lines), default=0.0)
        axes.set(xlim=(0, 1), ylim=(0, 1.05 * top or 1), xlabel="coverage: most confident pixels kept (%)")
        axes.set_ylabel("risk: mistakes among them (%)")
        axes.xaxis.set_major_formatter(_PERCENT)
        axes.yaxis.set_major_formatter(_PERCENT)
        _legend(figure, axes)
        return svg_of(figure, name, label)


@contextmanager
def _settings() -> Generator[None, None, None]:
    """Draw with calibrant's own settings, whatever a user's own are, and leave theirs as they were."""
    with mpl.rc_context():
        mpl.rcdefaults()
        with mpl.rc_context(cast(Any, _SETTINGS)):
            yield


def ideal_risk_coverage(line: RiskCoverageLine) -> RiskCoverageLine:
    """Return the risk-coverage curve of the same mistakes, all of them ranked last.

    :param line: its last point holds the share of mistakes among all pixels.

    >>> line = RiskCoverageLine(torch.tensor([0.5, 1.0]), torch.tensor([0.1, 0.2]))
    >>> round(ideal_risk_coverage(line).at(0.9), 3)
    0.111
    """
    error = float(line.risk[-1])
    steps = torch.linspace(1 - error, 1, 50, dtype=torch.float64)
    coverage = torch.cat([torch.zeros(1, dtype=torch.float64), steps])
    return RiskCoverageLine(coverage, ((coverage - (1 - error)).clamp(min=0) / coverage.clamp(min=1e-9)))


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, through which the page is seen."""
    figure = Figure(figsize=(width, height))
    figure.patch.set_alpha(0)
    return figure


def _axes(figure: Figure, place: tuple[float, float, float, float]) -> Axes:
    """Return axes in a figure: left and width as shares of its width, bottom and height in inches."""
    left, bottom, width, tall = place
    height = figure.get_figheight()
    axes = figure.add_axes((left, bottom / height, width, tall / height))
    axes.patch.set_alpha(0)
    return axes


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="lower left", bbox_to_anchor=(0.1, 0), handlelength=3.5)


def draw_reliability(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw a reliability diagram.

    :param axes: where it is drawn.
    :param lines: title, curve and style of each; a single one comes with its gap areas.
    """
    _frame_diagram(axes)
    for title, line, style in lines:
        _draw_reliability(axes, line, style, title, gaps=len(lines) == 1)
    axes.set(xlim=(0, 1), ylim=(0, 1))


def _frame_diagram(axes: Axes) -> None:
    """Draw what every reliability diagram has: the line of calibration, and what each side of it means."""
    axes.plot([0, 1], [0, 1], color=LIGHT["soft"], linewidth=1, linestyle=(0, (4, 3)))
    axes.text(0.03, 0.94, "too timid", color=LIGHT["soft"], va="top")
    axes.text(0.98, 0.04, "too sure", color=LIGHT["soft"], ha="right")
    axes.set_ylabel("right (%)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(_FIFTHS)
        axis.set_major_formatter(_PERCENT)


def _frame_mass(axes: Axes) -> None:
    """Give the shares of pixels under a diagram their scales: square roots, so that small ones are seen."""
    axes.set_yscale("function", functions=(lambda x: abs(x) ** 0.5, lambda x: x**2))
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence (%)", ylabel="pixels (%)")
    axes.xaxis.set_major_locator(_FIFTHS)
    axes.xaxis.set_major_formatter(_PERCENT)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.1, 0.5, 1]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(_PERCENT)


def _draw_risk(axes: Axes, line: RiskCoverageLine, style: Style, title: str, *, start: float) -> None:
    """Draw a curve; its first marker comes after ``start`` of a step, so that curves on each other stay distinct."""
    coverage = line.coverage.tolist()
    axes.plot(
        coverage,
        line.risk.tolist(),
        color=style.color,
        linestyle=style.dashes,
        marker=style.marker,
        markevery=(round(start * len(coverage) / 6), max(1, len(coverage) // 6)),
        markersize=4.5,
        linewidth=1.4,
        label=title,
    )


def _draw_ideal(axes: Axes, line: RiskCoverageLine) -> None:
    axes.plot(
        line.coverage.tolist(),
        line.risk.tolist(),
        color=LIGHT["soft"],
        linestyle=(0, (1, 2)),
        linewidth=1.2,
        label="ideal: every mistake ranked last",
    )


def _draw_reliability(axes: Axes, line: Reliability, style: Style, title: str, *, gaps: bool) -> None:
    # A handful of pixels says nothing, and the band of a single image has no width: such bins are points, no curve.
    full, sparse = line.fraction >= SPARSE, (line.fraction > 0) & (line.fraction < SPARSE)
    confidence, right = line.confidence.where(full, torch.nan), line.accuracy.where(full, torch.nan)
    bounds = (line.low.where(full, torch.nan).tolist(), line.high.where(full, torch.nan).tolist())
    axes.fill_between(confidence.tolist(), *bounds, color=style.color, alpha=0.22, linewidth=0, label="_band")
    if gaps:
        axes.bar(
            confidence[full].tolist(),
            (right - confidence)[full].tolist(),
            bottom=confidence[full].tolist(),
            width=0.6 / len(line.fraction),
            fill=False,
            edgecolor=style.color,
            hatch="/////",
            linewidth=0.6,
        )
    looks: dict[str, Any] = {"color": style.color, "marker": style.marker, "markersize": 4.5, "clip_on": False}
    axes.plot(confidence.tolist(), right.tolist(), linestyle=style.dashes, linewidth=1.4, label=title, **looks)
    if bool(sparse.any()):
        points = (line.confidence[sparse].tolist(), line.accuracy[sparse].tolist())
        axes.plot(*points, linestyle="none", markerfacecolor="none", label="_sparse", **looks)


def _draw_mass(axes: Axes, line: Reliability, style: Style, number: int, count: int) -> None:
    bins = len(line.fraction)
    width = 0.84 / bins / count
    left = [(i + 0.08) / bins + number * width for i in range(bins)]
    axes.bar(
        left,
        line.fraction.nan_to_num(0).tolist(),
        width=width,
        align="edge",
        facecolor=style.color if number == 0 else "none",
        edgecolor=style.color,
        hatch=None if number == 0 else "/////",
        linewidth=0.6,
    )
