"""Tables and verdicts of the studies, from comparisons in pairs over images."""

from collections.abc import Mapping, Sequence

from calibrant.evaluation import Comparison
from calibrant.metrics import SCORES, Interval
from experiments.selective_scaling._methods import OURS

HIGHER = tuple(name for name, score in SCORES.items() if score.better == "higher")


def verdict(score: str, rival_less_ours: Interval) -> str:
    """Return "+" where ours is better by the paired interval, "-" where it is worse, "=" where neither.

    >>> verdict("nll", Interval(0.2, 0.1, 0.3)), verdict("auroc", Interval(0.2, 0.1, 0.3))
    ('+', '-')
    """
    if not rival_less_ours.excludes_zero():
        return "="
    return "+" if (rival_less_ours.low > 0) != (score in HIGHER) else "-"


def show(found: Comparison, scores: Sequence[str], title: str, labels_kept: Mapping[str, bool]) -> None:
    """Print figures; beside a rival's, what :func:`verdict` says of it against the first method."""
    first = next(iter(found.values))
    lines = [
        f"\n{title}\n(+ = -: {first} is better than, not told from, worse than this row by the paired interval;",
        " * before a row: it may change labels)",
        f"{'':40s}" + "".join(f"{score:>15s}" for score in scores),
    ]
    for method, figures in found.values.items():
        cells = []
        for score in scores:
            sign = " " if method == first else verdict(score, found.differences[method][score])
            cells.append(f"{figures[score].value:13.4f} {sign}")
        lines.append(f"{' ' if labels_kept.get(method, True) else '*'} {method:38s}" + "".join(cells))
    print("\n".join(lines), flush=True)


def figure(value: float) -> str:
    """Return a score in four digits, without a zero before the point.

    >>> figure(0.07961), figure(2.0901), figure(8571013.8)
    ('.0796', '2.090', '8,571,014')
    """
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.4f}".removeprefix("0") if value < 1 else f"{value:.3f}"


def as_markdown(title: str, figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table of methods by columns; the least figure of each column is bold.

    :param title: of the column of methods.
    :param figures: by method and column; a method may lack columns.

    >>> print(as_markdown("NLL", {"none": {"A": 0.5, "B: dusk": 0.25}, "Meta-Cal*": {"A": 0.25}}))
    | NLL | A | B, dusk |
    |---|---|---|
    | none | .5000 | **.2500** |
    | Meta-Cal\\* | **.2500** | – |
    """
    columns = list(next(iter(figures.values())))
    least = {column: min(row[column] for row in figures.values() if column in row) for column in columns}
    lines = [[title, *(column.replace(":", ",") for column in columns)]]
    for method, row in figures.items():
        cells = [figure(row[column]) if column in row else "–" for column in columns]
        bold = [
            f"**{cell}**" if cell == figure(least[column]) else cell
            for column, cell in zip(columns, cells, strict=True)
        ]
        lines.append([method.replace("*", "\\*"), *bold])
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([rows[0], "|---" * (1 + len(columns)) + "|", *rows[1:]])


def print_claims(title: str, claims: Mapping[str, tuple[str, bool]]) -> dict[str, str]:
    """Print what the paper says ("yes", or "–" where it says nothing) beside what is found here; return it."""
    print(f"\n{title}: paper | ours")
    for line, (paper, holds) in claims.items():
        print(f"  {paper:>3s} | {'yes' if holds else 'NO '}  {line}")
    return {line: f"paper: {paper}, ours: {'yes' if holds else 'no'}" for line, (paper, holds) in claims.items()}


def as_numbers(found: Comparison) -> dict[str, dict]:
    """Return values and differences as lists [value, low, high], for a record."""

    def plain(table: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, str]]:
        return {
            method: {s: f"{each.value:.6f} [{each.low:.6f}, {each.high:.6f}]" for s, each in figures.items()}
            for method, figures in table.items()
        }

    return {"values": plain(found.values), f"less those of {OURS}": plain(found.differences)}
