"""Which axis of an array is which: from what was declared, from the format, from the labels; never from their number.

Space is (z, y, x) or (y, x). Where two readings fit, both are named with the option for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from calibrant._input.checks import check_scores_shape
from calibrant._shapes import IGNORE, Tensor
from calibrant.data._formats.reading import ARRAY, VOLUME, Stored
from calibrant.errors import LabelError, ShapeError

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


def placed(scores: Tensor, source: Stored, labels: np.ndarray, label: Stored, declared: Declared, name: str) -> Placed:
    """Return scores with the classes first and labels with the annotators first.

    :param scores: as in the file; NIfTI has its axes turned round.
    :param source: what the score file says of itself.
    :param labels: as in the file, or the maps of several annotators stacked.
    :param label: what the label file says of itself; of several annotators the first.
    :param declared: what the user said.
    :param name: which image, for errors.
    :raises ShapeError, LabelError: no reading fits, or more than one does.
    """
    if scores.ndim == 0 or labels.ndim == 0:
        raise ShapeError(
            f"{name}: expected scores (classes, *space) and labels (*space); got shapes {tuple(scores.shape)} and "
            f"{labels.shape}, a single number. Save whole maps."
        )
    if 0 in scores.shape or 0 in labels.shape:
        raise ShapeError(
            f"{name}: expected arrays with pixels; got an array without a pixel, scores {tuple(scores.shape)} and "
            f"labels {labels.shape}. Leave such images out."
        )
    both = source.kind == label.kind == ARRAY and scores.ndim == labels.ndim + 1 == 4
    if both and scores.shape[0] == labels.shape[0] == 1 and tuple(scores.shape[2:]) == labels.shape[1:]:
        scores = scores[0]  # a batch of one
    rest = {tuple(n for k, n in enumerate(scores.shape) if k != axis) for axis in range(scores.ndim)}
    if label.kind == ARRAY and labels.shape[-1] == 1 and labels.ndim == scores.ndim and labels.shape[:-1] in rest:
        labels = labels[..., 0]  # one channel, last, as some frameworks keep it
    reading = _Reading(scores, source, labels, label, declared, name)
    return reading.placed()


@dataclass
class _Reading:
    scores: Tensor
    source: Stored
    labels: np.ndarray
    label: Stored
    declared: Declared
    name: str

    def placed(self) -> Placed:
        found = self._one_hot()
        if found is not None:
            return found
        space_axes = self._space_axes()
        maps = self.labels if self.labels.ndim == space_axes + 1 else self.labels[None]
        space = tuple(maps.shape[1:])
        scores, notes = self._classes_first(space)
        scores, maps, more = self._same_order(scores, maps)
        if not self._alike(tuple(scores.shape[1:]), tuple(maps.shape[1:])):
            check_scores_shape(torch.empty(scores.shape, device="meta"), torch.from_numpy(maps), self.name)
        self._check_regions(scores, maps)
        if len(maps) > 1:
            notes.append(f"{len(maps)} label maps an image are those of as many annotators")
        return Placed(scores, maps, (*notes, *more))

    def _space_axes(self) -> int:
        """Return how many axes of the labels are those of space."""
        dims, several = self.scores.ndim, self.labels.ndim
        if self.label.flat:
            return 2
        if self.label.kind == VOLUME:
            if several == 4:
                return 3
            if several == 3 and len(self.labels) == 1 and dims == 3 and self.labels.shape != tuple(self.scores.shape):
                return 2  # a volume of one layer, beside flat scores
            return several
        if several == dims and self.declared.label_axis is None:
            self._check_alike()
        if several == dims + 1:
            return dims
        if several == dims == 2:
            return 2
        return several - 1 if several == dims else several

    def _same_shape(self) -> bool:
        return self.labels.shape == tuple(self.scores.shape)

    def _check_alike(self) -> None:
        """Raise if scores and labels have one shape, and labels of 0 and 1 do not say what the first axis is."""
        if not self._same_shape() or self.labels.ndim < 3 or len(self.labels) == 1 or not self._is_binary():
            return
        shape = self.labels.shape
        raise LabelError(
            f"{self.name}: expected the axes of scores and labels to be plain; both are {shape}, and the labels hold 0 "
            f"and 1 alone. As many label maps as classes, of 0 and 1 that do not sum to one, are overlapping classes "
            "(sigmoid), which are not a softmax: import each of them alone, as one channel (1, *space). If these are "
            f"maps of {shape[0]} annotators, say so: label_axis='annotators' (command line: --label-axis annotators). "
            "If they are volumes and the scores have no axis of classes, save the scores as (1, *space)."
        )

    def _is_binary(self) -> bool:
        values = set(np.unique(self.labels).tolist()) - {IGNORE}
        return values <= {0, 1} or values == {0, 255}

    def _one_hot(self) -> Placed | None:
        """Return labels that are one-hot for certain: as many maps as classes, one of them set in each pixel."""
        if self.label.flat or self.declared.label_axis == "annotators" or self.labels.ndim < 3:
            return None
        if self.label.kind == VOLUME and self.labels.ndim == 3:
            return self._no_one_hot()
        if self.labels.ndim != self.scores.ndim or not self._is_binary():
            return self._no_one_hot()
        for axis in dict.fromkeys(self._class_axes(self.scores.ndim)):
            count = self.scores.shape[axis]
            rest = [n for k, n in enumerate(self.scores.shape) if k != axis]
            for other in dict.fromkeys((axis, 0, self.labels.ndim - 1)):
                maps = np.moveaxis(self.labels, other, 0)
                if count < 2 or maps.shape[0] != count or list(maps.shape[1:]) != rest:
                    continue
                on = maps == maps.max()
                total = on.sum(0)
                if total.max() > 1 or (total == 0).mean() > 0.2 or maps.max() < 1:
                    continue
                classes = np.where(total == 1, on.argmax(0), IGNORE)
                note = f"labels are one-hot over axis {other}"
                if (total == 0).any():
                    note += f", {float((total == 0).mean()):.1%} of the pixels without a class, taken for unlabelled"
                scores, notes = self._classes_first(tuple(classes.shape))
                scores, maps, more = self._same_order(scores, classes[None])
                return Placed(scores, maps, (note, *notes, *more), one_hot=True)
        return self._no_one_hot()

    def _no_one_hot(self) -> None:
        if self.declared.label_axis == "classes":
            raise LabelError(
                f"{self.name}: expected one-hot labels, as many maps of 0 and 1 as classes, one "
                f"of them 1 in each pixel; got labels {self.labels.shape} beside scores {tuple(self.scores.shape)}. "
                "Leave --label-axis out "
                "(Python: label_axis=None), or save class numbers."
            )

    def _class_axes(self, dims: int) -> Sequence[int]:
        """Return which axes of the scores may hold the classes, the usual one first."""
        said = self.declared.class_axis
        if self.source.kind == VOLUME:
            # Turned round, the last axis of the file is the first.
            return [0] if said is None else [dims - 1 - said if said >= 0 else -1 - said]
        if said is not None:
            return [said % dims if -dims <= said < dims else said]
        return [0, *([dims - 1] if self.labels.shape[-1] == self.scores.shape[-1] else [])]

    def _classes_first(self, space: tuple[int, ...]) -> tuple[Tensor, list[str]]:
        scores, dims = self.scores, len(space)
        if scores.ndim == dims + 2 and scores.shape[1] == 1:
            scores = scores[:, 0]  # nnU-Net keeps flat images as volumes of one slice; NIfTI of vectors has a time
        if scores.ndim == dims + 2 and scores.shape[0] == 1 and self.source.kind == ARRAY:
            scores = scores[0]  # a batch of one
        if scores.ndim == dims and (tuple(scores.shape) in (space, space[::-1]) or self.source.flat):
            if self.declared.class_axis is not None:
                raise ShapeError(
                    f"{self.name}: expected scores with a class axis {self.declared.class_axis}; got "
                    f"{tuple(scores.shape)}, the shape of the labels: no axis of classes is there. Leave --class-axis "
                    "out (Python: class_axis=None) if this is the one channel of a sigmoid."
                )
            return scores[None], ["scores have no axis of classes: one channel, that of the foreground (1, *space)"]
        axis = self._class_axes(scores.ndim)[0]
        if self.source.kind == VOLUME:
            self._check_axis_of_nifti(scores, axis, space)
        elif self.declared.class_axis is None:
            self._check_only_axis(scores, space)
        if self.source.kind == ARRAY and scores.ndim == 4 and axis in (1, -3):
            self._check_no_stack(scores)
        return scores.movedim(axis, 0), []

    def _check_axis_of_nifti(self, scores: Tensor, axis: int, space: tuple[int, ...]) -> None:
        fitting = [k for k in range(scores.ndim) if self._fits(tuple(scores.movedim(k, 0).shape[1:]), space)]
        if fitting and axis not in fitting:
            last = scores.ndim - 1
            raise ShapeError(
                f"{self.name}: expected the classes on axis {last - axis} of the NIfTI file, which is the last unless "
                f"said; got {tuple(scores.shape[::-1])} beside labels {space[::-1]}, where axis {last - fitting[0]} "
                f"seems to hold them. Say so: class_axis={last - fitting[0]} (command line: --class-axis "
                f"{last - fitting[0]})."
            )

    def _check_no_stack(self, scores: Tensor) -> None:
        raise ShapeError(
            f"{self.name}: expected the scores of one image; got {tuple(scores.shape)} with the classes on axis 1, "
            "which is a stack of images. Save each image, and its labels, in a file of its own."
        )

    def _check_only_axis(self, scores: Tensor, space: tuple[int, ...]) -> None:
        fitting = [k for k in range(scores.ndim) if self._fits(tuple(scores.movedim(k, 0).shape[1:]), space)]
        if 0 in fitting and _same_stride(tuple(scores.shape[1:]), space):
            fitting = [k for k in fitting if _same_stride(tuple(scores.movedim(k, 0).shape[1:]), space)]
        if fitting and 0 not in fitting and scores.ndim == 4 and fitting[0] == 1 and self.source.kind == ARRAY:
            self._check_no_stack(scores)
        if len(fitting) < 2 or 0 not in fitting:
            return
        listed = f"{', '.join(map(str, fitting[:-1]))} and {fitting[-1]} are {'both' if len(fitting) == 2 else 'all'}"
        stack = (
            " If axis 0 counts images, save each image, and its labels, in a file of its own."
            if scores.ndim == 4 and 1 in fitting
            else ""
        )
        raise ShapeError(
            f"{self.name}: expected one axis that can hold the classes; got scores {tuple(scores.shape)} beside labels "
            f"over {space}, where axes {listed} {scores.shape[0]} long. Which one is that of the classes? Say "
            f"so: class_axis={fitting[0]} or class_axis={fitting[-1]} (command line: --class-axis {fitting[0]} or "
            f"--class-axis {fitting[-1]}).{stack}"
        )

    def _fits(self, small: tuple[int, ...], space: tuple[int, ...]) -> bool:
        return self._alike(small, space) or (self._may_turn() and self._alike(small, space[::-1]))

    def _may_turn(self) -> bool:
        """Tell whether one of scores and labels is NIfTI and the other an array that may have x first or last."""
        return {self.source.kind, self.label.kind} == {ARRAY, VOLUME} and not self.source.turned

    def _same_order(self, scores: Tensor, maps: np.ndarray) -> tuple[Tensor, np.ndarray, list[str]]:
        """Return arrays beside NIfTI with their axes of space in NIfTI's order turned round, (z, y, x)."""
        if not self._may_turn() or scores.ndim == 2:
            return scores, maps, []
        small, space = tuple(scores.shape[1:]), tuple(maps.shape[1:])
        order = self.declared.array_order
        as_is, other = (self._alike(small, each) for each in (space, space[::-1]))
        if order is None and as_is and other and max(space) > 1:
            raise ShapeError(
                f"{self.name}: expected a declared order of the array's axes beside NIfTI, x y z or "
                f"z y x; {small} fits both. Say so: array_order='xyz', as nibabel and MONAI have them, or 'zyx', as "
                "SimpleITK and nnU-Net (command line: --array-order xyz, or zyx)."
            )
        if order != "xyz" and (order == "zyx" or as_is or not other):
            return scores, maps, []
        note = ["the axes of arrays are taken for x, y, z, and turned round as NIfTI's are"]
        if self.source.kind == ARRAY:
            return scores.permute(0, *range(scores.ndim - 1, 0, -1)), maps, note
        return scores, np.transpose(maps, (0, *range(maps.ndim - 1, 0, -1))), note

    def _alike(self, small: tuple[int, ...], space: tuple[int, ...]) -> bool:
        return small == space or (self.declared.upsample and is_at_stride(small, space))

    def _check_regions(self, scores: Tensor, maps: np.ndarray) -> None:
        """Raise if several maps of 0 and 1 lie beside scores of more classes than two."""
        if self.label.flat or len(maps) < 2 or self.declared.label_axis == "annotators" or len(scores) < 3:
            return
        if self._is_binary():
            raise LabelError(
                f"{self.name}: expected class numbers; got {len(maps)} label maps of 0 and 1 beside {len(scores)} "
                "classes, which may be overlapping classes or one-hot labels without the background. Save one map of "
                "class numbers; if these are annotators, say so: label_axis='annotators' (command line: --label-axis "
                "annotators)."
            )


def _same_stride(small: tuple[int, ...], space: tuple[int, ...]) -> bool:
    """Tell whether all axes have one stride exactly, in either order."""
    return any(len({Fraction(a, b) for a, b in zip(small, s, strict=True)}) == 1 for s in (space, space[::-1]))


def is_at_stride(small: tuple[int, ...], space: tuple[int, ...]) -> bool:
    """Tell whether one space is another at a stride: smaller, and alike in all axes but for the rounding of sizes.

    >>> is_at_stride((4, 5), (16, 20)), is_at_stride((4, 3), (16, 16))
    (True, False)
    """
    if len(small) != len(space) or small == space or 0 in small:
        return False
    strides = [large / little for little, large in zip(small, space, strict=True)]
    return min(strides) >= 1 and max(strides) <= 1.25 * min(strides)
