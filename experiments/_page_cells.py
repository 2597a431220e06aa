"""Cells and tables of the pages."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Records = Mapping[str, Mapping[str, Any]]

SCORES = {
    "ece_images": "image-wise ECE",
    "ece": "pooled ECE",
    "ece_classwise": "class-wise ECE",
    "nll": "NLL",
    "brier": "Brier",
    "auroc": "AUROC",
    "augrc": "AUGRC",
    "miou": "mean IoU",
}


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table.

    :param head: its headings.
    :param rows: its cells.

    >>> print(markdown(["", "NLL"], [["Meta-Cal*", ".4"]]))
    | | NLL |
    |---|---|
    | Meta-Cal\\* | .4 |
    """
    lines = [head, *rows]
    shown = ["|" + "|".join(f" {cell} " if cell else " " for cell in line).replace("*", "\\*") + "|" for line in lines]
    shown = [line.replace("\\*\\*", "**") for line in shown]
    return "\n".join([shown[0], "|---" * len(head) + "|", *shown[1:]])


def first(text: str) -> float:
    """Return the value of a figure with its interval, as records hold it.

    :param text: ``value [low, high]``.

    >>> first("0.0626 [0.0545, 0.0710]")
    0.0626
    """
    return float(text.split()[0])


def short(value: float) -> str:
    """Return a figure in three digits.

    :param value: not negative.

    >>> short(0.3418), short(2.5012), short(0.0)
    ('.342', '2.50', '0')
    """
    return "0" if value == 0 else f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:#.3g}"


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return a part of a record that holds more, or nothing of one that does not."""
    return value if isinstance(value, Mapping) else {}
