"""Scores in rows and columns: for the terminal, for JSON, and as cells for the page; one wording for all.

Conventions
-----------
* Shares and gaps are shown in percent, other scores as they are; JSON holds every number as it is.
* Every number of a column has as many decimals as its intervals deserve: two figures of the half width.
* A value is marked best only where the comparison says so: its paired interval against every other excludes zero.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from textwrap import wrap

from rich import box
from rich.table import Table
from rich.text import Text

from calibrant.evaluation import Comparison
from calibrant.metrics import SCORES, Interval

NULL = "_null"
"""Ends the name of the score that a perfectly calibrated predictor would get; shown beside the score it belongs to."""

MAIN = ("ece_images", "ece", "ece_classwise", "nll", "brier", "auroc", "miou")
"""The scores that are shown first where nothing else is asked for."""

BEST = "★ best"
PERCENT = "\N{NO-BREAK SPACE}%"
_PLAIN = ("nll", "brier", "auroc", "entropy")


@dataclass(frozen=True)
class Cell:
    """One value of a table, as words.

    :param bounds: its 95 % interval; empty if there is none.
    :param best: whether it is best beyond chance.
    :param chance: what a perfectly calibrated predictor would score; empty if not known.
    :param verdict: of a change: "better", "worse", "same", "higher", "lower", or "not clear"; of the best, "leads".
    :param rank: among all methods, from 1, and in brackets its 95 % interval; empty where none is better.
    :param level: whether it is not told from the best beyond chance.
    """

    value: str
    bounds: str
    best: bool = False
    chance: str = ""
    verdict: str = ""
    rank: str = ""
    level: bool = False


@dataclass(frozen=True)
class Column:
    """A score as a column: its heading, unit, direction and explanation, and one cell a method."""

    score: str
    title: str
    unit: str
    direction: str
    note: str
    cells: dict[str, Cell]

    @property
    def arrow(self) -> str:
        """A sign for the direction, for where words do not fit."""
        return {"lower is better": "↓", "higher is better": "↑"}.get(self.direction, "")


def columns(comparison: Comparison, scores: Iterable[str] | None = None) -> list[Column]:
    """Return the values of all methods, one column a score.

    :param scores: names of SCORES; by default the main ones. A perfectly calibrated predictor's score stands in the
        cells of the score it belongs to.
    """
    return [_column(comparison, score) for score in shown_scores(comparison, scores)]


def changes(comparison: Comparison, scores: Iterable[str] | None = None, *, to_best: bool = False) -> list[Column]:
    """Return the paired differences to the first method, one column a score, with a verdict in each cell.

    :param to_best: to the method with the best value of each score instead; scores without a better side are left out.
    """
    found = []
    rows = comparison.behind if to_best else comparison.differences
    for score in shown_scores(comparison, scores):
        intervals = {method: row[score] for method, row in rows.items() if score in row}
        if not intervals:
            continue
        common = _digits(intervals.values(), score)
        cells = {}
        for method, each in intervals.items():
            # A change that is smaller than the column's decimals gets its own, so that no verdict stands on zeros.
            own = _digits([each], score, most=6)
            digits = own if own >= common + 2 else common
            shown = number(each.value, digits, score, signed=True)
            word = "leads" if to_best and comparison.leaders[score] == method else verdict(score, each)
            cells[method] = Cell(shown, _bounds(each, digits, score, signed=True), verdict=word)
        found.append(_described(score, cells))
    return found


def shown_scores(comparison: Comparison, scores: Iterable[str] | None = None) -> list[str]:
    """Return the scores that get a column of their own: those asked for, or the main ones."""
    first = next(iter(comparison.values.values()))
    if scores is None:
        scores = MAIN if any(score in first for score in MAIN) else tuple(first)
    asked = [score for score in scores if score in first]
    return [score for score in asked if not (score.endswith(NULL) and score.removesuffix(NULL) in asked)]


def other_scores(comparison: Comparison, scores: Iterable[str] | None = None) -> list[str]:
    """Return the scores that were compared and are not among those shown first."""
    every = shown_scores(comparison, next(iter(comparison.values.values())))
    first = shown_scores(comparison, scores)
    return [score for score in every if score not in first]


def verdict(score: str, difference: Interval) -> str:
    """Return what a paired difference says of a score, in a word or two.

    >>> verdict("nll", Interval(-0.1, -0.2, -0.01)), verdict("nll", Interval(-0.1, -0.2, 0.01))
    ('better', 'not clear')
    """
    if difference.value == difference.low == difference.high == 0:
        return "same"
    if not (difference.low > 0 or difference.high < 0):
        return "not clear"
    moved = "lower" if difference.high < 0 else "higher"
    if not SCORES[score].better:
        return moved
    return "better" if moved == SCORES[score].better else "worse"


def number(value: float, digits: int, score: str, *, signed: bool = False) -> str:
    """Return a value in the unit of its score, with a real minus sign.

    >>> number(0.0593, 2, "ece_images"), number(-0.0593, 3, "nll", signed=True), number(float("nan"), 2, "nll")
    ('5.93', '−0.059', '–')
    """
    if math.isnan(value):
        return "–"
    text = f"{value * (100 if in_percent(score) else 1):{'+' if signed else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def in_percent(score: str) -> bool:
    """Return whether a score is a share or a gap, and so shown in percent."""
    return not score.startswith(_PLAIN)


def percent(share: float, digits: int = 0) -> str:
    r"""Return a share in percent, unbroken by the end of a line.

    >>> percent(0.814), percent(float("nan"))
    ('81\xa0%', 'not known')
    """
    return "not known" if math.isnan(share) else f"{100 * share:.{digits}f}{PERCENT}"


def terminal_table(comparison: Comparison, scores: Sequence[str] | None = None) -> Table:
    """Return the comparison as a table for the terminal.

    Up to two methods are set side by side, a row a score; more of them get a row each.

    :param scores: names of SCORES; by default the main ones.
    """
    found = columns(comparison, scores)
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
        caption="95 % intervals over images. ★ best beyond chance. ↓ lower, ↑ higher is better."
        + (" (2) rank, ≈ not told from the best." if len(comparison.values) > 2 and comparison.ranks else ""),
    )
    titles = [f"{column.title}{', %' if column.unit else ''} {column.arrow}".rstrip() for column in found]
    if len(comparison.values) <= 2:
        table.add_column("score", overflow="fold")
        for method in comparison.values:
            table.add_column(method, justify="right", overflow="fold")
        for title, column in zip(titles, found, strict=True):
            table.add_row(title, *(_terminal_cell(column.cells[method], " ") for method in comparison.values))
        return table
    # Names are wrapped here, between words: the terminal would take width from them first, and break words.
    table.add_column("method", no_wrap=True, overflow="fold")
    for title in titles:
        table.add_column(title, justify="right", overflow="fold")
    for method in comparison.values:
        table.add_row(
            Text("\n".join(wrap(method, 14))),
            *(_terminal_cell(column.cells[method], "\n", ranked=True) for column in found),
        )
    return table


def as_json(comparison: Comparison) -> dict:
    """Return every figure with its interval, as it is (no percent), ready for ``json.dump``.

    Numbers that are not known are None.
    """
    return {
        "level": 0.95,
        "scores": {
            score: {
                "title": SCORES[score].title,
                "pooled": SCORES[score].pooled,
                "better": SCORES[score].better or None,
                "note": SCORES[score].note,
                "best": comparison.best.get(score),
                "leader": comparison.leaders.get(score),
            }
            for score in next(iter(comparison.values.values()), {})
        },
        "values": _numbers(comparison.values),
        "differences_to_first": _numbers(comparison.differences),
        "differences_to_best": _numbers(comparison.behind),
        "ranks": _numbers(comparison.ranks),
    }


def _numbers(rows: dict[str, dict[str, Interval]]) -> dict:
    def known(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        method: {
            score: {"value": known(each.value), "low": known(each.low), "high": known(each.high)}
            for score, each in row.items()
        }
        for method, row in rows.items()
    }


def _column(comparison: Comparison, score: str) -> Column:
    intervals = {method: row[score] for method, row in comparison.values.items()}
    digits = _digits(intervals.values(), score)
    cells = {}
    for method, each in intervals.items():
        null = comparison.values[method].get(score + NULL)
        cells[method] = Cell(
            number(each.value, digits, score),
            _bounds(each, digits, score),
            best=comparison.best.get(score) == method,
            chance="" if null is None else number(null.value, digits, score),
            rank=_rank(comparison, method, score),
            level=_level(comparison, method, score),
        )
    return _described(score, cells)


def _rank(comparison: Comparison, method: str, score: str) -> str:
    each = comparison.ranks.get(method, {}).get(score)
    if each is None or len(comparison.values) < 2:
        return ""
    return f"{each.value:g} ({each.low:g}–{each.high:g})" if each.low < each.high else f"{each.value:g}"


def _level(comparison: Comparison, method: str, score: str) -> bool:
    behind = comparison.behind.get(method, {}).get(score)
    return behind is not None and not behind.excludes_zero()


def _described(score: str, cells: dict[str, Cell]) -> Column:
    about = SCORES[score]
    direction = f"{about.better} is better" if about.better else ""
    return Column(score, about.title, "%" if in_percent(score) else "", direction, about.note, cells)


def _bounds(each: Interval, digits: int, score: str, *, signed: bool = False) -> str:
    if math.isnan(each.low) or math.isnan(each.high):
        return ""
    return f"[{number(each.low, digits, score, signed=signed)}, {number(each.high, digits, score, signed=signed)}]"


def _digits(intervals: Iterable[Interval], score: str, *, most: int = 4) -> int:
    halves = [(each.high - each.low) / 2 * (100 if in_percent(score) else 1) for each in intervals]
    halves = [half for half in halves if half > 0]
    if not halves:
        return 2 if in_percent(score) else 3
    return min(max(1 - math.floor(math.log10(median(halves))), 1), most)


def _terminal_cell(cell: Cell, between: str, *, ranked: bool = False) -> Text:
    text = Text(f"★ {cell.value}" if cell.best else cell.value, style="bold" if cell.best else "")
    if ranked and cell.rank and not cell.best:
        text.append(f" ({cell.rank.split()[0]}{'≈' if cell.level else ''})", style="not bold dim")
    if cell.bounds:
        text.append(between + cell.bounds, style="not bold dim")
    if cell.chance:
        text.append(f"\nchance {cell.chance}", style="not bold dim")
    return text
