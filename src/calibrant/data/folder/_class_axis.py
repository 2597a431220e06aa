"""Which axis of a score file holds the classes: the one that was declared, or that of the format where it fits.

Space is (z, y, x) or (y, x). Where two readings fit, both are named with the option for each.
"""

from collections.abc import Sequence
from fractions import Fraction

from calibrant._shapes import Tensor
from calibrant.data._formats.reading import ARRAY, VOLUME
from calibrant.data.folder._pair import Pair
from calibrant.errors import ShapeError


def class_axes(pair: Pair, dims: int) -> Sequence[int]:
    """Return which axes of the scores may hold the classes, the usual one first."""
    said = pair.declared.class_axis
    if pair.source.kind == VOLUME:
        # Turned round, the last axis of the file is the first.
        return [0] if said is None else [dims - 1 - said if said >= 0 else -1 - said]
    if said is not None:
        return [said % dims if -dims <= said < dims else said]
    return [0, *([dims - 1] if pair.labels.shape[-1] == pair.scores.shape[-1] else [])]


def classes_first(pair: Pair, space: tuple[int, ...]) -> tuple[Tensor, list[str]]:
    scores, dims = pair.scores, len(space)
    if scores.ndim == dims + 2 and scores.shape[1] == 1:
        scores = scores[:, 0]  # nnU-Net keeps flat images as volumes of one slice; NIfTI of vectors has a time
    if scores.ndim == dims + 2 and scores.shape[0] == 1 and pair.source.kind == ARRAY:
        scores = scores[0]  # a batch of one
    if scores.ndim == dims and (tuple(scores.shape) in (space, space[::-1]) or pair.source.flat):
        if pair.declared.class_axis is not None:
            raise ShapeError(
                f"{pair.name}: expected scores with a class axis {pair.declared.class_axis}; got "
                f"{tuple(scores.shape)}, the shape of the labels: no axis of classes is there. Leave --class-axis "
                "out (Python: class_axis=None) if this is the one channel of a sigmoid."
            )
        return scores[None], ["scores have no axis of classes: one channel, that of the foreground (1, *space)"]
    axis = class_axes(pair, scores.ndim)[0]
    if pair.source.kind == VOLUME:
        _check_axis_of_nifti(pair, scores, axis, space)
    elif pair.declared.class_axis is None:
        _check_only_axis(pair, scores, space)
    if pair.source.kind == ARRAY and scores.ndim == 4 and axis in (1, -3):
        _check_no_stack(pair, scores)
    return scores.movedim(axis, 0), []


def _check_axis_of_nifti(pair: Pair, scores: Tensor, axis: int, space: tuple[int, ...]) -> None:
    fitting = [k for k in range(scores.ndim) if pair.fits(tuple(scores.movedim(k, 0).shape[1:]), space)]
    if fitting and axis not in fitting:
        last = scores.ndim - 1
        raise ShapeError(
            f"{pair.name}: expected the classes on axis {last - axis} of the NIfTI file, which is the last unless "
            f"said; got {tuple(scores.shape[::-1])} beside labels {space[::-1]}, where axis {last - fitting[0]} "
            f"seems to hold them. Say so: class_axis={last - fitting[0]} (command line: --class-axis "
            f"{last - fitting[0]})."
        )


def _check_no_stack(pair: Pair, scores: Tensor) -> None:
    raise ShapeError(
        f"{pair.name}: expected the scores of one image; got {tuple(scores.shape)} with the classes on axis 1, "
        "which is a stack of images. Save each image, and its labels, in a file of its own."
    )


def _check_only_axis(pair: Pair, scores: Tensor, space: tuple[int, ...]) -> None:
    fitting = [k for k in range(scores.ndim) if pair.fits(tuple(scores.movedim(k, 0).shape[1:]), space)]
    if 0 in fitting and _same_stride(tuple(scores.shape[1:]), space):
        fitting = [k for k in fitting if _same_stride(tuple(scores.movedim(k, 0).shape[1:]), space)]
    if fitting and 0 not in fitting and scores.ndim == 4 and fitting[0] == 1 and pair.source.kind == ARRAY:
        _check_no_stack(pair, scores)
    if len(fitting) < 2 or 0 not in fitting:
        return
    listed = f"{', '.join(map(str, fitting[:-1]))} and {fitting[-1]} are {'both' if len(fitting) == 2 else 'all'}"
    stack = (
        " If axis 0 counts images, save each image, and its labels, in a file of its own."
        if scores.ndim == 4 and 1 in fitting
        else ""
    )
    raise ShapeError(
        f"{pair.name}: expected one axis that can hold the classes; got scores {tuple(scores.shape)} beside labels "
        f"over {space}, where axes {listed} {scores.shape[0]} long. Which one is that of the classes? Say "
        f"so: class_axis={fitting[0]} or class_axis={fitting[-1]} (command line: --class-axis {fitting[0]} or "
        f"--class-axis {fitting[-1]}).{stack}"
    )


def _same_stride(small: tuple[int, ...], space: tuple[int, ...]) -> bool:
    """Tell whether all axes have one stride exactly, in either order."""
    return any(len({Fraction(a, b) for a, b in zip(small, s, strict=True)}) == 1 for s in (space, space[::-1]))
