"""The tables of the page on stacked scaling, from the records of ``default`` and ``gate_constants``."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from experiments._page_cells import SCORES, Records, as_mapping, first, markdown
from experiments.selective_scaling._tables import figure

STACKED = {
    "uncalibrated": "uncalibrated",
    "temperature": "temperature scaling",
    "vector, labels kept": "vector scaling, labels kept",
    "Dirichlet, labels kept": "Dirichlet scaling, labels kept",
    "isotonic": "isotonic scaling",
    "stacked": "stacked scaling",
}
WHERE = {"ESPNet, 40 images, in-domain": "in-domain", "ESPNet by day, 40 images, in-domain": "by day"}
WHERE |= {"ESPNet by day, 40 images, dusk": "by day, at dusk"}
WHERE |= {"ESPNet at dusk, 10 images, in-domain": "dusk, 10 images", "ESPNet at dusk, 10 images, day": "…, by day"}
WHERE |= {"aerial, 10 images, in-domain": "aerial, 10 images", "aerial, 10 images, elsewhere": "…, elsewhere"}
WHERE |= {"DAVIS, 10 images, in-domain": "DAVIS, 10 images", "DAVIS, 10 images, second halves": "…, second halves"}


def stacked_table(score: str) -> Callable[[Records], str]:
    """Return what makes a table of all methods in the rows of ``WHERE``.

    :param score: what is shown.
    """

    def make(records: Records) -> str:
        rows = measured_rows(records)
        found = {title: rows[row] for row, title in WHERE.items() if row in rows}
        lines = [
            [title, *(figure(first(each["values"][method][score])) for each in found.values())]
            for method, title in STACKED.items()
        ]
        if score == "nll":
            lines.append(["drawn back to temperature scaling", *(each["drawn back"] for each in found.values())])
        return markdown([SCORES[score], *found], lines)

    return make


def measured_rows(records: Records) -> dict[str, Mapping[str, Any]]:
    """Return the rows of the study of the default, by row and shift.

    :param records: by name.
    """
    return {title: each for title, each in records["default"].items() if "values" in as_mapping(each)}


CORRUPTED = re.compile(r"SegFormer, corrupted, (\d+) images, (\w+) (\d)")
SURELY = {"surely worse than the best member": "*", "surely worse than temperature scaling": "!"}
"""Marks of what the paired intervals say."""


def every_row(records: Records) -> str:
    """Return a table of all rows but those of corrupted images, with what the paired intervals say.

    :param records: by name.
    """
    lines = []
    for title, each in measured_rows(records).items():
        if CORRUPTED.fullmatch(title):
            continue
        said = [", ".join(SCORES[s] for s in each[behind]) or "–" for behind in SURELY]
        ahead = "yes" if each["surely better than every member"] else "–"
        shown = [_beside(each, score) for score in ("nll", "brier")]
        lines.append([title.replace(" images", ""), *shown, *said, ahead, each["drawn back"]])
    head = [
        "row",
        "NLL: stacked / best / temperature",
        "Brier: the same",
        "worse than the best",
        "worse than temperature",
    ]
    return markdown([*head, "better than each", "drawn back"], lines)


def corrupted_rows(records: Records) -> str:
    """Return a table of corruptions by number of images to fit and strength.

    :param records: by name.
    """
    cells: dict[str, dict[str, str]] = {}
    for title, each in measured_rows(records).items():
        if found := CORRUPTED.fullmatch(title):
            count, name, strength = found.groups()
            marks = "".join(mark for behind, mark in SURELY.items() if each[behind])
            column = f"fitted to {count}, strength {strength}"
            cells.setdefault(name.replace("_", " "), {})[column] = _beside(each, "nll") + marks
    columns = list(dict.fromkeys(column for row in cells.values() for column in row))
    head = "NLL: stacked / best / temperature"
    return markdown([head, *columns], [[name, *(row.get(c, "–") for c in columns)] for name, row in cells.items()])


BESIDE_THE_GATE = ("2 errors, end 2, power 1", "4 errors, end 2, power 1", "3 errors, end 3, power 1")
BESIDE_THE_GATE += ("3 errors, no end, power 2",)
"""Candidates that are shown beside the gate's constants; the last is that of files that were written before."""


def gate_rows(records: Records) -> str:
    """Return a table of candidates for the constants of the gate: the package's, the chosen, the best of all, others.

    :param records: by name.
    """
    record = records["gate_constants"]
    found, ours, chosen = record["candidates"], record["the package's"], record["chosen"]
    least = min(found, key=lambda name: found[name]["all, mean"])
    lines = []
    for name in dict.fromkeys(each for each in (ours, chosen, least, *BESIDE_THE_GATE) if each):
        marks = f"{'*' if name == chosen else ''}{'!' if name == ours else ''}"
        lines.append(_candidate(f"{name}{marks}", found[name]))
    again = record["on other draws"]["candidates"]
    lines += [_candidate(f"…, on other draws: {name}", each) for name, each in again.items()]
    head = ("errors, end, power", "in-domain: mean, most", "after a shift: mean, most", "all: mean")
    return markdown([*head, "over the anchor: most", "significantly worse", "standard errors: most"], lines)


def _candidate(title: str, row: Mapping[str, float]) -> list[str]:
    pairs = [f"{row[f'{part}, mean']:.1f}, {row[f'{part}, most']:.1f}" for part in ("in-domain", "shifted")]
    rest = [f"{row[each]:.2f}" for each in ("all, mean", "over the anchor, most")]
    return [title, *pairs, *rest, str(row["significantly worse"]), f"{row['z, most']:.2f}"]


def _beside(row: Mapping[str, Any], score: str) -> str:
    """Return a score, lower is better, of stacked scaling, of the best of its members, and of temperature scaling."""
    values = {method: first(each[score]) for method, each in row["values"].items()}
    best = min(values[method] for method in STACKED if method in values and method not in ("uncalibrated", "stacked"))
    return " / ".join(map(figure, (values["stacked"], best, values["temperature"])))
