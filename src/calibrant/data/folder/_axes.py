"""Which axis of an array is which: from what was declared, from the format, from the labels; never from their number.

Space is (z, y, x) or (y, x). Where two readings fit, both are named with the option for each.
"""

import numpy as np
import torch

from calibrant._input.checks import check_scores_shape
from calibrant._shapes import IGNORE, Tensor
from calibrant.data._formats.reading import ARRAY, VOLUME, Stored
from calibrant.data.folder._class_axis import class_axes, classes_first
from calibrant.data.folder._pair import Declared, Pair, Placed
from calibrant.errors import LabelError, ShapeError


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
    return _in_order(Pair(scores, source, labels, label, declared, name))


def alone(scores: Tensor, source: Stored, declared: Declared, name: str) -> tuple[Tensor, tuple[int, ...]]:
    """Return scores without labels, the classes first, and their space.

    :param scores: as in the file; NIfTI has its axes turned round.
    :param source: what the score file says of itself.
    :param declared: what the user said.
    :param name: which image, for errors.
    :raises ShapeError: which axis is that of the classes must be said.
    """
    if scores.ndim < 2 or 0 in scores.shape:
        raise ShapeError(f"{name}: expected scores (classes, *space); got {tuple(scores.shape)}. Save whole maps.")
    if source.flat or scores.ndim == 2 or (source.kind == VOLUME and scores.ndim == 3):
        return scores[None], tuple(scores.shape)
    if source.kind == ARRAY and scores.ndim == 4 and scores.shape[1] == 1 and declared.class_axis is None:
        scores = scores[:, 0]  # nnU-Net keeps flat images as volumes of one slice
    said = declared.class_axis
    if source.kind == VOLUME:
        # Turned round, the last axis of the file is the first.
        axis = 0 if said is None else scores.ndim - 1 - said if said >= 0 else -1 - said
    elif said is None and scores.shape[-1] < scores.shape[0]:
        raise ShapeError(
            f"{name}: expected the classes on the first axis, as far as can be seen without labels; got "
            f"{tuple(scores.shape)}, of which the last axis is shorter. Say which it is: class_axis=0 or class_axis=-1 "
            "(command line: --class-axis 0 or --class-axis -1)."
        )
    else:
        axis = 0 if said is None else said
    moved = scores.movedim(axis, 0)
    return moved, tuple(moved.shape[1:])


def _in_order(pair: Pair) -> Placed:
    found = _one_hot(pair)
    if found is not None:
        return found
    space_axes = _space_axes(pair)
    maps = pair.labels if pair.labels.ndim == space_axes + 1 else pair.labels[None]
    space = tuple(maps.shape[1:])
    scores, notes = classes_first(pair, space)
    scores, maps, more = _same_order(pair, scores, maps)
    if not pair.alike(tuple(scores.shape[1:]), tuple(maps.shape[1:])):
        check_scores_shape(torch.empty(scores.shape, device="meta"), torch.from_numpy(maps), pair.name)
    _check_regions(pair, scores, maps)
    if len(maps) > 1:
        notes.append(f"{len(maps)} label maps an image are those of as many annotators")
    return Placed(scores, maps, (*notes, *more))


def _space_axes(pair: Pair) -> int:
    """Return how many axes of the labels are those of space."""
    dims, several = pair.scores.ndim, pair.labels.ndim
    if pair.label.flat:
        return 2
    if pair.label.kind == VOLUME:
        if several == 4:
            return 3
        if several == 3 and len(pair.labels) == 1 and dims == 3 and pair.labels.shape != tuple(pair.scores.shape):
            return 2  # a volume of one layer, beside flat scores
        return several
    if several == dims and pair.declared.label_axis is None:
        _check_alike(pair)
    if several == dims + 1:
        return dims
    if several == dims == 2:
        return 2
    return several - 1 if several == dims else several


def _check_alike(pair: Pair) -> None:
    """Raise if scores and labels have one shape, and labels of 0 and 1 do not say what the first axis is."""
    shape = pair.labels.shape
    if shape != tuple(pair.scores.shape) or len(shape) < 3 or shape[0] == 1 or not pair.is_binary():
        return
    raise LabelError(
        f"{pair.name}: expected the axes of scores and labels to be plain; both are {shape}, and the labels hold 0 "
        f"and 1 alone. As many label maps as classes, of 0 and 1 that do not sum to one, are overlapping classes "
        "(sigmoid), which are not a softmax: import each of them alone, as one channel (1, *space). If these are "
        f"maps of {shape[0]} annotators, say so: label_axis='annotators' (command line: --label-axis annotators). "
        "If they are volumes and the scores have no axis of classes, save the scores as (1, *space)."
    )


def _one_hot(pair: Pair) -> Placed | None:
    """Return labels that are one-hot for certain: as many maps as classes, one of them set in each pixel."""
    if pair.label.flat or pair.declared.label_axis == "annotators" or pair.labels.ndim < 3:
        return None
    if pair.label.kind == VOLUME and pair.labels.ndim == 3:
        return _no_one_hot(pair)
    if pair.labels.ndim != pair.scores.ndim or not pair.is_binary():
        return _no_one_hot(pair)
    for axis in dict.fromkeys(class_axes(pair, pair.scores.ndim)):
        count = pair.scores.shape[axis]
        rest = [n for k, n in enumerate(pair.scores.shape) if k != axis]
        for other in dict.fromkeys((axis, 0, pair.labels.ndim - 1)):
            maps = np.moveaxis(pair.labels, other, 0)
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
            scores, notes = classes_first(pair, tuple(classes.shape))
            scores, maps, more = _same_order(pair, scores, classes[None])
            return Placed(scores, maps, (note, *notes, *more), one_hot=True)
    return _no_one_hot(pair)


def _no_one_hot(pair: Pair) -> None:
    """Raise if labels that are not one-hot were said to be."""
    if pair.declared.label_axis == "classes":
        raise LabelError(
            f"{pair.name}: expected one-hot labels, as many maps of 0 and 1 as classes, one of them 1 in each "
            f"pixel; got labels {pair.labels.shape} beside scores {tuple(pair.scores.shape)}. Leave --label-axis out "
            "(Python: label_axis=None), or save class numbers."
        )


def _same_order(pair: Pair, scores: Tensor, maps: np.ndarray) -> tuple[Tensor, np.ndarray, list[str]]:
    """Return arrays beside NIfTI with their axes of space in NIfTI's order turned round, (z, y, x)."""
    if not pair.may_turn() or scores.ndim == 2:
        return scores, maps, []
    small, space = tuple(scores.shape[1:]), tuple(maps.shape[1:])
    order = pair.declared.array_order
    as_is, other = (pair.alike(small, each) for each in (space, space[::-1]))
    if order is None and as_is and other and max(space) > 1:
        raise ShapeError(
            f"{pair.name}: expected a declared order of the array's axes beside NIfTI, x y z or "
            f"z y x; {small} fits both. Say so: array_order='xyz', as nibabel and MONAI have them, or 'zyx', as "
            "SimpleITK and nnU-Net (command line: --array-order xyz, or zyx)."
        )
    if order != "xyz" and (order == "zyx" or as_is or not other):
        return scores, maps, []
    note = ["the axes of arrays are taken for x, y, z, and turned round as NIfTI's are"]
    if pair.source.kind == ARRAY:
        return scores.permute(0, *range(scores.ndim - 1, 0, -1)), maps, note
    return scores, np.transpose(maps, (0, *range(maps.ndim - 1, 0, -1))), note


def _check_regions(pair: Pair, scores: Tensor, maps: np.ndarray) -> None:
    """Raise if several maps of 0 and 1 lie beside scores of more classes than two."""
    if pair.label.flat or len(maps) < 2 or pair.declared.label_axis == "annotators" or len(scores) < 3:
        return
    if pair.is_binary():
        raise LabelError(
            f"{pair.name}: expected class numbers; got {len(maps)} label maps of 0 and 1 beside {len(scores)} "
            "classes, which may be overlapping classes or one-hot labels without the background. Save one map of "
            "class numbers; if these are annotators, say so: label_axis='annotators' (command line: --label-axis "
            "annotators)."
        )
