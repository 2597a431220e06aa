"""Several places to test on, side by side: does a method fitted in one place keep its rank in others?"""

from collections.abc import Mapping, Sequence
from textwrap import wrap

from rich import box
from rich.table import Table
from rich.text import Text

from calibrant.evaluation import Comparison
from calibrant.metrics import SCORES
from calibrant.report.tables import columns

SHOWN = ("ece", "nll")


def mean_ranks(comparisons: Mapping[str, Comparison], scores: Sequence[str] = SHOWN) -> dict[str, float]:
    """Return the mean of each method's ranks over places and scores that have a better side, 1 if it is always best."""
    first = next(iter(comparisons.values()))
    found = {}
    for method in first.values:
        ranks = [c.ranks[method][score].value for c in comparisons.values() for score in scores if score in c.leaders]
        found[method] = sum(ranks) / len(ranks) if ranks else float("nan")
    return found


def shift_table(comparisons: Mapping[str, Comparison], scores: Sequence[str] = SHOWN) -> Table:
    """Return a table for the terminal: a row a method, a column for each score in each place, and the mean rank.

    :param comparisons: of the same methods, by the name of the place.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
        caption="★ best beyond chance. (2) rank, ≈ not told from the best.",
    )
    table.add_column("method", no_wrap=True, overflow="fold")
    shown = {(place, score): columns(c, [score]) for score in scores for place, c in comparisons.items()}
    shown = {key: found[0] for key, found in shown.items() if found}
    for (place, score), column in shown.items():
        title = f"{SCORES[score].title}{', %' if column.unit else ''} {column.arrow}".rstrip()
        table.add_column(f"{title}\n{place}", justify="right", overflow="fold")
    table.add_column("mean rank", justify="right")
    for method, mean in mean_ranks(comparisons, scores).items():
        cells = []
        for column in shown.values():
            cell = column.cells[method]
            rank = f" ({cell.rank.split()[0]}{'≈' if cell.level else ''})" if cell.rank and not cell.best else ""
            cells.append(f"{'★ ' if cell.best else ''}{cell.value}{rank}")
        table.add_row(Text("\n".join(wrap(method, 24))), *cells, f"{mean:.2f}")
    return table
