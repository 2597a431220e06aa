"""What the numbers in label maps stand for, inferred from all numbers that a set of label maps holds.

A number is taken for what it says wherever it can be. Codings that people have are recognised where no other reading
is possible, with a note: masks of 0 and 255, classes spread over the grey levels, negative numbers for unlabelled
pixels, labels that begin at 1. Where two readings are possible both are named, with the option for each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from calibrant._shapes import IGNORE
from calibrant.errors import LabelError

UNLABELLED = 255
"""The usual label of unlabelled pixels, taken if none is given."""

NO_LABELS = "every pixel: there are no labels"
"""What is said of unlabelled pixels where there are no labels at all."""

IgnoreIndex = int | None | Literal["auto"]
"""The label of unlabelled pixels; None if every pixel is labelled; auto for 255, or what the labels show."""


@dataclass(frozen=True)
class LabelCoding:
    """What stored numbers stand for.

    :param table: by stored number, the class or ``IGNORE``; numbers that are not in it stand for themselves.
    :param ignore: which pixels count as unlabelled, in words.
    :param notes: what was assumed, in sentences.
    """

    table: Mapping[int, int] = field(default_factory=dict)
    ignore: str = "nothing"
    notes: Sequence[str] = ()

    def decoded(self, labels: np.ndarray) -> np.ndarray:
        """Return the classes of stored numbers.

        >>> LabelCoding({255: 1}).decoded(np.array([0, 255, 7])).tolist()
        [0, 1, 7]
        """
        classes = labels.copy()
        for stored, k in self.table.items():
            classes[labels == stored] = k
        return classes


def label_coding(
    values: Mapping[int, int],
    num_classes: int,
    *,
    ignore_index: IgnoreIndex = "auto",
    first_label: int | None = None,
    files: int = 1,
) -> LabelCoding:
    """Return what the numbers of a set of label maps stand for.

    :param values: how many pixels have each number; ``IGNORE`` is unlabelled already.
    :param num_classes: of the scores.
    :param ignore_index: the label of unlabelled pixels; a number is taken at its word, and 0 beside ``first_label=1``
        stands for 255, too, as ``reduce_zero_label`` of mmsegmentation does.
    :param first_label: the number of class 0, if it was said.
    :param files: how many label maps there are; of a single one, classes may well be missing.
    :raises LabelError: two readings are possible.

    >>> label_coding({0: 90, 255: 10}, 2).table
    {255: 1}
    >>> label_coding({0: 90, 1: 5, 255: 5}, 2).table
    {255: -100}
    """
    found = {value for value in values if value != IGNORE}
    if ignore_index == "auto":
        spread = {} if first_label is not None else _grey_levels(found, num_classes)
        if spread:
            listed = ", ".join(map(str, spread))
            note = f"labels {listed} are taken for classes {', '.join(map(str, spread.values()))}"
            if num_classes == 2:
                note += "; if 255 is unlabelled, say so: --ignore-index 255"
            return LabelCoding(spread, "nothing", (note,))
        ignored, notes = _usual(found, num_classes)
    else:
        ignored, notes = set() if ignore_index is None else {ignore_index}, []
        if (ignore_index, first_label) == (0, 1) and num_classes < UNLABELLED:
            ignored.add(UNLABELLED)  # as reduce_zero_label of mmsegmentation has it: 0 and 255 are both unlabelled
    labelled = sorted(found - ignored)
    shift = first_label
    if shift is None:
        shift, note = _first_label(values, labelled, found & ignored, num_classes, files)
        notes += note
    table = {value: IGNORE for value in ignored}
    table |= {value: value - shift for value in labelled if shift and value >= shift}
    words = " and ".join(f"label {value}" for value in sorted(ignored & found)) or (
        f"label {ignore_index} (there is none)" if isinstance(ignore_index, int) else "nothing"
    )
    return LabelCoding(table, words, tuple(notes))


def _grey_levels(found: set[int], num_classes: int) -> dict[int, int]:
    """Return the classes of numbers that are spread over 0..255, if that is what they are."""
    if num_classes == 2:
        return {UNLABELLED: 1} if found == {0, UNLABELLED} else {}
    if not 3 <= num_classes <= 16:
        return {}
    levels: dict[int, int] = {}
    for k in range(1, num_classes):
        exact = k * 255 / (num_classes - 1)
        levels |= {int(np.floor(exact)): k, int(np.ceil(exact)): k}
    between = found - {0, UNLABELLED}
    if between and found - {0} <= levels.keys() and min(between) >= num_classes:
        return {value: levels[value] for value in sorted(found - {0})}
    return {}


def _usual(found: set[int], num_classes: int) -> tuple[set[int], list[str]]:
    """Return which numbers are unlabelled if nothing was said: 255, and a negative number."""
    ignored = {UNLABELLED} if num_classes <= UNLABELLED else set()
    negative = {value for value in found if value < 0}
    labelled = found - ignored - negative
    if UNLABELLED in found and labelled == {0} and num_classes > 2:
        raise LabelError(
            f"expected labels of {num_classes} classes; got 0 and 255 alone. If 255 is unlabelled, say so: "
            "ignore_index=255 (command line: --ignore-index 255); if these are masks of one class, give scores of two "
            "classes."
        )
    if len(negative) == 1:
        value = next(iter(negative))
        return ignored | negative, [f"label {value} is taken for unlabelled"]
    return ignored, []


def _first_label(
    values: Mapping[int, int], labelled: Sequence[int], unlabelled: set[int], num_classes: int, files: int
) -> tuple[int, list[str]]:
    """Return the number of class 0, which is 0 unless the labels cannot be meant so."""
    if not labelled or min(labelled) < 0 or max(labelled) > num_classes:
        return 0, []
    if max(labelled) == num_classes and min(labelled) == 0:
        raise LabelError(
            f"expected label ids in 0..{num_classes - 1}, or unlabelled, as the scores have {num_classes} classes; got "
            f"{num_classes} in {values[num_classes]} of {sum(values.values())} pixels. Either 0 is "
            "unlabelled and label k is class k - 1: ignore_index=0, first_label=1 "
            f"(command line: --ignore-index 0 --first-label 1); or {num_classes} is unlabelled: "
            f"ignore_index={num_classes} (--ignore-index {num_classes})."
        )
    if min(labelled) == 0:
        return 0, []
    if max(labelled) == num_classes:
        return 1, [
            f"label k is taken for class k - 1, as the labels are 1..{num_classes} and the classes {num_classes}"
        ]
    if files == 1 and 0 not in unlabelled:
        return 0, ["class 0 is labelled nowhere"]
    raise LabelError(
        f"expected labels in 0..{num_classes - 1}; class 0 is labelled nowhere, got {labelled[0]}..{labelled[-1]}"
        f"{' beside the unlabelled 0' if 0 in unlabelled else ''}. Say which class label 1 is: class 0, as label k is "
        "class k - 1: first_label=1 (command line: --first-label 1); or class 1: first_label=0 (--first-label 0)."
    )
