"""Scores as columns of cells, as words: for the terminal and for the page, one wording for all.

Conventions
-----------
* What there is to say of a score (title, unit, better side, null) comes from the comparison's own scores.
* Scores in percent are shown times 100, other scores as they are; JSON holds every number as it is.
* Every number of a column has as many decimals as its intervals deserve: two figures of the half width.
* A value is marked best only where the comparison says so: its paired interval against every other excludes zero.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from calibrant._input.checks import check_choice
from calibrant.evaluation import Comparison
from calibrant.metrics import Interval, Score

BEST = "★ best"
PERCENT = "\N{NO-BREAK SPACE}%"
UNKNOWN = "–"
"""What stands where nothing is known."""

SHARE = "percent"
"""The unit of shares, gaps and risks that are no scores."""


@dataclass(frozen=True)
class Cell:
    """One value of a table, as words.

    :param value: the value, without its unit; – if it is not known.
    :param bounds: its 95 % interval; empty if there is none.
    :param best: whether it is best beyond chance.
    :param chance: what a perfectly calibrated predictor would score; empty if not known.
    :param verdict: of a change: "better", "worse", "same", "higher", "lower", or "not clear"; of the best, "leads".
    :param rank: among all methods, from 1, and in brackets its 95 % interval; empty where none is better.
    :param level: whether its difference to the best is within the paired interval.
    :param interval: the numbers themselves.
    """

    value: str
    bounds: str
    best: bool = False
    chance: str = ""
    verdict: str = ""
    rank: str = ""
    level: bool = False
    interval: Interval | None = None


@dataclass(frozen=True)
class Column:
    """A score as a column: its heading, unit, direction and explanation, and one cell a method.

    :param score: its name in the comparison.
    :param title: its heading.
    :param unit: "%" for percent, or another unit in words; empty for plain numbers.
    :param direction: "lower is better", "higher is better", or empty.
    :param note: what it says, in a sentence.
    :param cells: by method.
    """

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

    @property
    def heading(self) -> str:
        """Title, unit and direction in a line."""
        return f"{self.title}{f', {self.unit}' if self.unit else ''} {self.arrow}".rstrip()

    @property
    def difference_unit(self) -> str:
        """The unit of differences: those of percentages are points."""
        return "points" if self.unit == "%" else self.unit

    def with_unit(self, number: str) -> str:
        """Return a number of this column with its unit, unbroken by the end of a line.

        :param number: as a cell holds it.
        """
        return number + {"": "", "%": PERCENT}.get(self.unit, f"\N{NO-BREAK SPACE}{self.unit}")


def columns(comparison: Comparison, scores: Iterable[str] | None = None) -> list[Column]:
    """Return the values of all methods, one column a score.

    What a perfectly calibrated predictor would score stands in the cells of the score that it belongs to.

    :param comparison: the values.
    :param scores: names of scores compared; by default the main ones.
    :raises MethodError: a score was not compared.
    """
    return [_column(comparison, score) for score in shown_scores(comparison, scores)]


def changes(comparison: Comparison, scores: Iterable[str] | None = None, *, to_best: bool = False) -> list[Column]:
    """Return the paired differences to the baseline, one column a score, with a verdict in each cell.

    :param comparison: the differences.
    :param scores: names of scores compared; by default the main ones.
    :param to_best: to the method with the best value of each score instead; scores without a better side are left out.
    """
    result = []
    rows = comparison.behind if to_best else comparison.differences
    for score in shown_scores(comparison, scores):
        intervals = {method: row[score] for method, row in rows.items() if score in row}
        if not intervals:
            continue
        about = comparison.scores[score]
        common = _digits(intervals.values(), about)
        cells = {}
        for method, change in intervals.items():
            # A change that is smaller than the column's decimals gets its own, so that no verdict stands on zeros.
            own = _digits([change], about, most=6)
            digits = own if own >= common + 2 else common
            shown = number(change.value, digits, about.unit, signed=True)
            word = "leads" if to_best and comparison.leaders[score] == method else verdict(about, change)
            cells[method] = Cell(shown, _bounds(change, digits, about, signed=True), verdict=word, interval=change)
        result.append(_described(score, about, cells))
    return result


def shown_scores(comparison: Comparison, scores: Iterable[str] | None = None) -> list[str]:
    """Return the scores that get a column of their own, without the nulls that stand in the cells of others.

    :param comparison: what was compared.
    :param scores: names of those asked for; by default the main ones, or all if none of them is a main one.
    :raises MethodError: a score was not compared.
    """
    if scores is None:
        scores = [name for name, score in comparison.scores.items() if score.main] or list(comparison.scores)
    asked = list(scores)
    for name in asked:
        check_choice(name, comparison.scores, "score that was compared")
    nulls = {comparison.scores[name].null for name in asked}
    return [name for name in asked if name not in nulls]


def other_scores(comparison: Comparison, scores: Iterable[str] | None = None) -> list[str]:
    """Return the scores that were compared and are not among those shown first.

    :param comparison: what was compared.
    :param scores: names of those shown first; by default the main ones.
    """
    first = shown_scores(comparison, scores)
    return [name for name in shown_scores(comparison, comparison.scores) if name not in first]


def verdict(score: Score, difference: Interval) -> str:
    """Return what a paired difference says of a score, in a word or two.

    :param score: whose better side counts.
    :param difference: with its interval.

    >>> from calibrant.metrics import SCORES
    >>> verdict(SCORES["nll"], Interval(-0.1, -0.2, -0.01)), verdict(SCORES["nll"], Interval(-0.1, -0.2, 0.01))
    ('better', 'not clear')
    """
    if math.isnan(difference.value):
        return "not known"
    if difference.value == difference.low == difference.high == 0:
        return "same"
    if not difference.excludes_zero():
        return "not clear"
    moved = "lower" if difference.high < 0 else "higher"
    if not score.better:
        return moved
    return "better" if moved == score.better else "worse"


def number(value: float, digits: int, unit: str = "", *, signed: bool = False) -> str:
    """Return a value in a unit, without the unit itself, and with a real minus sign.

    :param value: as it was computed.
    :param digits: decimals shown.
    :param unit: of a score; "percent" is shown times 100.
    :param signed: whether values above zero have a plus.

    >>> number(0.0593, 2, "percent"), number(-0.0593, 3, signed=True), number(float("nan"), 2)
    ('5.93', '−0.059', '–')
    """
    if math.isnan(value):
        return UNKNOWN
    text = f"{value * (100 if unit == SHARE else 1):{'+' if signed else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def percent(share: float, digits: int = 0) -> str:
    r"""Return a share in percent, unbroken by the end of a line.

    :param share: from 0 to 1; NaN if not known.
    :param digits: decimals shown.

    >>> percent(0.814), percent(float("nan"))
    ('81\xa0%', 'not known')
    """
    return "not known" if math.isnan(share) else f"{100 * share:.{digits}f}{PERCENT}"


def _column(comparison: Comparison, name: str) -> Column:
    score = comparison.scores[name]
    intervals = {method: row[name] for method, row in comparison.values.items()}
    digits = _digits(intervals.values(), score)
    cells = {}
    for method, value in intervals.items():
        null = comparison.null_of(method, name)
        cells[method] = Cell(
            number(value.value, digits, score.unit),
            _bounds(value, digits, score),
            best=comparison.best.get(name) == method,
            chance="" if null is None else number(null.value, digits, score.unit),
            rank=_rank(comparison, method, name),
            level=_level(comparison, method, name),
            interval=value,
        )
    return _described(name, score, cells)


def _rank(comparison: Comparison, method: str, name: str) -> str:
    rank = comparison.ranks.get(method, {}).get(name)
    if rank is None or len(comparison.values) < 2 or math.isnan(comparison.values[method][name].value):
        return ""
    return f"{rank.value:g} ({rank.low:g}–{rank.high:g})" if rank.low < rank.high else f"{rank.value:g}"


def _level(comparison: Comparison, method: str, name: str) -> bool:
    behind = comparison.behind.get(method, {}).get(name)
    return behind is not None and not behind.excludes_zero()


def _described(name: str, score: Score, cells: dict[str, Cell]) -> Column:
    direction = f"{score.better} is better" if score.better else ""
    return Column(name, score.title, "%" if score.unit == SHARE else score.unit, direction, score.note, cells)


def _bounds(each: Interval, digits: int, score: Score, *, signed: bool = False) -> str:
    if math.isnan(each.low) or math.isnan(each.high):
        return ""
    return "[{}, {}]".format(*(number(bound, digits, score.unit, signed=signed) for bound in (each.low, each.high)))


def _digits(intervals: Iterable[Interval], score: Score, *, most: int = 4) -> int:
    in_percent = score.unit == SHARE
    halves = [(each.high - each.low) / 2 * (100 if in_percent else 1) for each in intervals]
    halves = [half for half in halves if half > 0]
    if not halves:
        return 2 if in_percent else 3
    return min(max(1 - math.floor(math.log10(median(halves))), 1), most)
