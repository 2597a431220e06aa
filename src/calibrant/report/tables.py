"""The scores of a comparison for the terminal and for programs."""

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from calibrant._input.visible import visible
from calibrant.evaluation import Comparison
from calibrant.metrics import Interval
from calibrant.report.columns import Cell, Column, columns


def terminal_table(comparison: Comparison, scores: Sequence[str] | None = None) -> Table:
    """Return the comparison as a table for the terminal.

    Up to two methods are set side by side, a row a score; more of them get a row each.

    :param comparison: what is shown.
    :param scores: names of scores compared; by default the main ones.
    :raises MethodError: a score was not compared.
    """
    many = len(comparison.values) > 2
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
        caption="95 % intervals over images. ★ best beyond chance. ↓ lower, ↑ higher is better."
        + (" (2) rank, ≈ not significantly worse than the best." if many and comparison.ranks else ""),
    )
    (_add_method_rows if many else _add_score_rows)(table, columns(comparison, scores), comparison.methods)
    return table


def _add_score_rows(table: Table, shown: Sequence[Column], methods: Sequence[str]) -> None:
    table.add_column("score", overflow="fold")
    for method in methods:
        table.add_column(Text(visible(method)), justify="right", overflow="fold")
    for column in shown:
        table.add_row(Text(column.heading), *(_terminal_cell(column.cells[method], " ") for method in methods))


def _add_method_rows(table: Table, shown: Sequence[Column], methods: Sequence[str]) -> None:
    # Names are wrapped here, between words: the terminal would take width from them first, and break words.
    table.add_column("method", no_wrap=True, overflow="fold")
    for column in shown:
        table.add_column(Text(column.heading), justify="right", overflow="fold")
    for method in methods:
        cells = (_terminal_cell(column.cells[method], "\n", ranked=True) for column in shown)
        table.add_row(Text("\n".join(wrap(visible(method), 14))), *cells)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return every figure with its interval, as it is (no percent), ready for ``json.dump``.

    Numbers that are not known are None. ``null`` names the score that holds what a perfectly calibrated predictor
    would get, if it was compared.

    :param comparison: what is written.
    """
    return {
        "level": 0.95,
        "baseline": comparison.baseline,
        "scores": {name: _described_in_json(comparison, name) for name in comparison.scores},
        "values": _numbers(comparison.values),
        "differences_to_baseline": _numbers(comparison.differences),
        "differences_to_best": _numbers(comparison.behind),
        "ranks": _numbers(comparison.ranks),
    }


def _described_in_json(comparison: Comparison, name: str) -> dict[str, Any]:
    score = comparison.scores[name]
    return {
        "title": score.title,
        "pooled": score.pooled,
        "better": score.better or None,
        "unit": score.unit or None,
        "null": score.null if score.null in comparison.scores else None,
        "note": score.note,
        "best": comparison.best.get(name),
        "leader": comparison.leaders.get(name),
    }


def _numbers(rows: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, dict[str, float | None]]]:
    def known(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        method: {
            score: {"value": known(each.value), "low": known(each.low), "high": known(each.high)}
            for score, each in row.items()
        }
        for method, row in rows.items()
    }


def _terminal_cell(cell: Cell, between: str, *, ranked: bool = False) -> Text:
    text = Text(f"★ {cell.value}" if cell.best else cell.value, style="bold" if cell.best else "")
    if ranked and cell.rank and not cell.best:
        text.append(f" ({cell.rank.split()[0]}{'≈' if cell.level else ''})", style="not bold dim")
    if cell.bounds:
        text.append(between + cell.bounds, style="not bold dim")
    if cell.chance:
        text.append(f"\nchance {cell.chance}", style="not bold dim")
    return text
