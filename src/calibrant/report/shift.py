"""Several places to test on, side by side: does a method fitted in one place keep its rank in others?"""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from urllib.parse import quote

from rich import box
from rich.table import Table
from rich.text import Text

from calibrant._input.visible import visible
from calibrant.evaluation import Comparison
from calibrant.report.columns import Cell, Column, columns

SHOWN = ("ece", "nll")


def mean_ranks(comparisons: Mapping[str, Comparison], scores: Sequence[str] = SHOWN) -> dict[str, float]:
    """Return the mean of each method's ranks over places and scores that have a better side, 1 if it is always best.

    :param comparisons: by the name of the place; all with the same methods.
    :param scores: names of scores; those that were not compared are left out.
    """
    first = next(iter(comparisons.values()))
    means = {}
    for method in first.values:
        ranks = [c.ranks[method][score].value for c in comparisons.values() for score in scores if score in c.leaders]
        means[method] = sum(ranks) / len(ranks) if ranks else float("nan")
    return means


def shift_table(comparisons: Mapping[str, Comparison], scores: Sequence[str] = SHOWN) -> Table:
    """Return a table for the terminal: a row a method, a column for each score in each place, and the mean rank.

    :param comparisons: by the name of the place; all with the same methods.
    :param scores: names of scores; those that were not compared are left out.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
        caption="★ best beyond chance. (2) rank, ≈ not significantly worse than the best.",
    )
    table.add_column("method", no_wrap=True, overflow="fold")
    shown = _shown(comparisons, scores)
    for (place, _), column in shown.items():
        table.add_column(Text(f"{column.heading}\n{visible(place)}"), justify="right", overflow="fold")
    table.add_column("mean rank", justify="right")
    for method, mean in mean_ranks(comparisons, scores).items():
        cells = []
        for column in shown.values():
            cell = column.cells[method]
            rank = f" ({cell.rank.split()[0]}{'≈' if cell.level else ''})" if cell.rank and not cell.best else ""
            cells.append(Text(f"{'★ ' if cell.best else ''}{cell.value}{rank}"))
        table.add_row(Text("\n".join(wrap(visible(method), 24))), *cells, f"{mean:.2f}")
    return table


def place_columns(comparisons: Mapping[str, Comparison], scores: Sequence[str] = SHOWN) -> list[tuple[str, str]]:
    """Return (heading, place) of the columns of a page's table of places; the mean rank comes last.

    :param comparisons: by the name of the place; all with the same methods.
    :param scores: names of scores; those that were not compared are left out.
    """
    return [(column.heading, place) for (place, _), column in _shown(comparisons, scores).items()] + [("mean rank", "")]


def place_rows(
    comparisons: Mapping[str, Comparison], scores: Sequence[str] = SHOWN
) -> list[tuple[str, list[tuple[Cell, float]]]]:
    """Return each method with its cells in all places, and their numbers; the mean rank last.

    :param comparisons: by the name of the place; all with the same methods.
    :param scores: names of scores; those that were not compared are left out.
    """
    rows = []
    shown = _shown(comparisons, scores)
    for method, mean in mean_ranks(comparisons, scores).items():
        cells = [(column.cells[method], comparisons[p].values[method][s].value) for (p, s), column in shown.items()]
        rows.append((method, [*cells, (Cell(f"{mean:.2f}", ""), mean)]))
    return rows


def place_links(
    comparisons: Mapping[str, Comparison], here: Comparison, pages: Mapping[str, str]
) -> list[tuple[str, str | None]]:
    """Return (place, address of its page) of all places; the address is None for the place of this page itself.

    :param comparisons: by the name of the place.
    :param here: the comparison that the page is of.
    :param pages: names of the files of pages, by the name of the place; with none of a place there are no links at all.
    """
    if not comparisons.keys() <= pages.keys():
        return []
    return [(name, None if each is here else f"./{quote(pages[name])}") for name, each in comparisons.items()]


def _shown(comparisons: Mapping[str, Comparison], scores: Sequence[str]) -> dict[tuple[str, str], Column]:
    return {(p, s): columns(c, [s])[0] for s in scores for p, c in comparisons.items() if s in c.scores}
