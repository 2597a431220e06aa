"""What every count of hypotheses starts from: the maps of one image, checked, flat and small.

Maps are int8 (int16 from 128 classes on) on the processor: an eighth of the memory that argmax leaves behind.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from calibrant._input.checks import check_labels, shape_of
from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.errors import InputError, LabelError, ShapeError


@dataclass(frozen=True)
class MapSet:
    """The hypotheses and the labels of one image, as arrays of flat maps.

    :param hypotheses: (m, p).
    :param labels: (a, p); ``IGNORE`` where unlabelled.
    :param weights: (a,), adding up to 1, or all 0 if nobody labelled the image.
    :param complete: (p,), pixels that every annotator with a weight labelled.
    """

    hypotheses: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    complete: np.ndarray


def each_map_set(
    hypotheses: Int[Tensor, "m n *s"],
    labels: Int[Tensor, "n *t"],
    num_classes: int,
    weights: Float[Tensor, "n a"] | None = None,
) -> Iterator[MapSet]:
    """Yield the maps of each image of a batch.

    :param labels: (n, a, *s), or (n, *s) with one annotator.
    :param weights: of the annotators; by default all who labelled a pixel of the image weigh the same.
    :raises ShapeError, LabelError, InputError: sizes, classes or weights that cannot be.
    """
    if labels.ndim == hypotheses.ndim - 1:
        labels = labels[:, None]
    fits = hypotheses.ndim == labels.ndim >= 3
    if not fits or hypotheses.shape[1] != labels.shape[0] or hypotheses.shape[2:] != labels.shape[2:]:
        raise ShapeError(
            "expected hypotheses (samples, images, *space) and labels (images, annotators, *space); got "
            f"{shape_of(hypotheses)} and {shape_of(labels)}. Samples lead: hypotheses[:, None] for one image."
        )
    if weights is not None and weights.shape != labels.shape[:2]:
        raise ShapeError(
            f"expected one weight an image and annotator, {tuple(labels.shape[:2])}; got {shape_of(weights)}. "
            "Pad images of fewer annotators with any map and the weight 0."
        )
    for i in range(len(labels)):
        name = f"image {i} of the batch, " if len(labels) > 1 else ""
        yield _map_set(hypotheses[:, i], labels[i], num_classes, None if weights is None else weights[i], name)


def normalised(weights: Float[Tensor, "*n w"], what: str) -> Float[Tensor, "*n w"]:
    """Return weights that add up to 1 in each row; a row of zeros stays one.

    :raises InputError: a weight is negative or not finite.
    """
    weights = weights.double().cpu()
    if not bool(((weights >= 0) & weights.isfinite()).all()):
        raise InputError(f"expected weights of {what} of 0 or more; got {float(weights.min()):g} or one not finite.")
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total == 0, 1.0, total)


def _map_set(hypotheses: Tensor, labels: Tensor, num_classes: int, weights: Tensor | None, name: str) -> MapSet:
    drawn = _compact(hypotheses, num_classes, f"{name}hypotheses")
    given = _compact(labels, num_classes, f"{name}labels")
    labelled = given != IGNORE
    given_weights = torch.from_numpy(labelled.any(1)).double() if weights is None else weights
    share = normalised(given_weights, "annotators").numpy()
    complete = labelled[share > 0].all(0) & (share.sum() > 0)
    if drawn.size and drawn.min() < 0 and (drawn[:, labelled[share > 0].any(0)] == IGNORE).any():
        raise LabelError(
            f"{name}hypotheses: expected a class in every labelled pixel; got unlabelled ones. "
            "A sampler must name a class everywhere."
        )
    return MapSet(drawn, given, share, complete)


def _compact(maps: Tensor, num_classes: int, name: str) -> np.ndarray:
    if maps.is_floating_point():
        check_labels(maps, num_classes, name)
    values = maps.detach().flatten(1).cpu().numpy()
    # All bits together, in one cheap pass, tell whether any value could lie outside the classes.
    if values.size and not 0 <= int(np.bitwise_or.reduce(values, axis=None)) < num_classes:
        check_labels(maps, num_classes, name)
    return values.astype(np.int8 if num_classes <= 127 else np.int16)
