"""The scores and labels of one image as their files hold them, and what was said of their axes."""

from dataclasses import dataclass

import numpy as np

from calibrant._shapes import IGNORE, Tensor
from calibrant.data._formats.reading import ARRAY, VOLUME, Stored

ORDERS = ("zyx", "xyz")
"""How arrays without metadata may hold the axes of space beside NIfTI, which has x first."""
LABEL_AXES = ("annotators", "classes")
"""What an axis of a label file beside those of space may hold."""


@dataclass(frozen=True)
class Declared:
    """What the user said of the axes; None where nothing was said.

    :param class_axis: where score files hold the classes, counted as in the file.
    :param label_axis: what an axis of label files beside those of space holds.
    :param array_order: the order of the axes of space in arrays beside NIfTI.
    :param upsample: scores may be smaller than the labels.
    """

    class_axis: int | None = None
    label_axis: str | None = None
    array_order: str | None = None
    upsample: bool = False


@dataclass(frozen=True)
class Placed:
    """Scores and labels of one image with their axes in order.

    :param scores: (c, *s).
    :param labels: (a, *s), as stored numbers; one-hot labels as classes.
    :param notes: what was assumed.
    :param one_hot: the labels were one-hot: classes, not stored numbers.
    """

    scores: Tensor
    labels: np.ndarray
    notes: tuple[str, ...]
    one_hot: bool = False


@dataclass(frozen=True, eq=False)
class Pair:
    """Scores and labels of one image, before their axes are put in order.

    :param scores: as in the file; NIfTI has its axes turned round.
    :param source: what the score file says of itself.
    :param labels: as in the file, or the maps of several annotators stacked.
    :param label: what the label file says of itself; of several annotators the first.
    :param declared: what the user said of the axes.
    :param name: which image, for errors.
    """

    scores: Tensor
    source: Stored
    labels: np.ndarray
    label: Stored
    declared: Declared
    name: str

    def is_binary(self) -> bool:
        values = set(np.unique(self.labels).tolist()) - {IGNORE}
        return values <= {0, 1} or values == {0, 255}

    def may_turn(self) -> bool:
        """Tell whether one of scores and labels is NIfTI and the other an array that may have x first or last."""
        return {self.source.kind, self.label.kind} == {ARRAY, VOLUME} and not self.source.turned

    def fits(self, small: tuple[int, ...], space: tuple[int, ...]) -> bool:
        return self.alike(small, space) or (self.may_turn() and self.alike(small, space[::-1]))

    def alike(self, small: tuple[int, ...], space: tuple[int, ...]) -> bool:
        return small == space or (self.declared.upsample and is_at_stride(small, space))


def is_at_stride(small: tuple[int, ...], space: tuple[int, ...]) -> bool:
    """Tell whether one space is another at a stride: smaller, and alike in all axes but for the rounding of sizes.

    >>> is_at_stride((4, 5), (16, 20)), is_at_stride((4, 3), (16, 16))
    (True, False)
    """
    if len(small) != len(space) or small == space or 0 in small:
        return False
    strides = [large / little for little, large in zip(small, space, strict=True)]
    return min(strides) >= 1 and max(strides) <= 1.25 * min(strides)
