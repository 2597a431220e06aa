"""What every tally starts from: each labelled pixel's confidence, correctness and likelihood, in one pass.

The pass goes over blocks of pixels that fit in a processor's cache, so the logits are read from memory once and no
softmax is ever held; what it finds is handed on in chunks, so that memory does not grow with the size of an image.

Everything here is numpy. Its loops run on the thread that calls them: on a machine with other work, torch's small
parallel ones lose far more time waiting for each other than they save. Blocks are spread over threads instead
(``torch.set_num_threads`` says how many), and every sum is taken in the order of the pixels. So the same image gives
the same bits in any batch, on any number of threads and, since logits are brought here first, from any device.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import numpy as np
import torch

from calibrant._check import check_finite, check_labels, shape_of
from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant.errors import LogitsError, ShapeError
from calibrant.metrics.tally import Tally

T = TypeVar("T", bound=Tally)
Array = np.ndarray

_BLOCK = 2**18  # numbers scored at once: 1 MB of float32
_CHUNK = 2**18  # pixels handed on at once, and spread over threads
_MOST = 2**30  # labels of one image: the row of one image holds 32-bit counts, and two of them must add


@dataclass(frozen=True)
class Image:
    """One image of a batch, its sizes checked.

    :param where: which pixels are meant; None for all.
    """

    name: str
    logits: Float[Tensor, "c *s"]
    labels: Int[Tensor, "a *s"]
    where: Bool[Tensor, "a *s"] | None = None


@dataclass(frozen=True)
class ClasswiseSums:
    """For each class and bin of its own probability: pixels, pixels labelled so, and the sum of probabilities."""

    count: Int[Array, "c b"]
    positive: Int[Array, "c b"]
    probability: Float[Array, "c b"]

    def __add__(self, other: "ClasswiseSums") -> "ClasswiseSums":
        return ClasswiseSums(
            self.count + other.count, self.positive + other.positive, self.probability + other.probability
        )


@dataclass(frozen=True)
class PixelScores:
    """Labelled pixels of one image, as vectors; what was not asked for is None.

    With several annotators each annotator's label of a pixel is one entry.

    :param confidence: the largest probability.
    :param correct: whether the label is the prediction.
    :param prediction: the class with the largest logit, the first of them where they tie.
    :param log_odds: log(confidence / (1 - confidence)), infinite where the confidence is 1.
    :param where: whether the mask holds the pixel.
    :param classwise: counts of every class's own probability, see ``ClasswiseBins``.
    """

    label: Int[Array, " p"]
    confidence: Float[Array, " p"]
    correct: Bool[Array, " p"]
    prediction: Int[Array, " p"]
    log_odds: Float[Array, " p"]
    where: Bool[Array, " p"]
    nll: Float[Array, " p"] | None = None
    brier: Float[Array, " p"] | None = None
    entropy: Float[Array, " p"] | None = None
    classwise: ClasswiseSums | None = None


def bin_of(probability: Float[Array, "*p"], num_bins: int) -> Int[Array, "*p"]:
    """Return the number of the equal-width bin ``(lo, hi]``; 0 belongs to the first bin, 1 to the last.

    The product is exact in float64, so a float32 probability falls where real numbers would put it.

    >>> bin_of(np.array([0.0, 0.1, 0.25, 0.5, 1.0]), 4)
    array([0, 0, 0, 1, 3])
    """
    place = np.multiply(probability, num_bins, dtype=np.float64)
    return np.ceil(place, out=place).astype(np.intp).clip(1, num_bins) - 1


def histogram(index: Int[Array, " p"], shape: tuple[int, ...], weights: Float[Array, " p"] | None = None) -> Tensor:
    """Return int32 counts, or float64 sums of the weights, of each index: what the row of one image holds."""
    counted = np.bincount(index, weights, minlength=int(np.prod(shape))).reshape(shape)
    return torch.from_numpy(counted).to(torch.int32 if weights is None else torch.float64)


def each_image(logits: Tensor, labels: Tensor, where: Tensor | None) -> Iterator[Image]:
    """Yield the images of a batch, (n, c, *s), their sizes checked.

    ``labels`` may come without an annotator axis, and so may ``where``.

    :raises ShapeError: the sizes do not fit, or an image is too large to count at once.
    :raises LogitsError: the logits are no floating-point numbers, or of one class alone.
    """
    if labels.ndim == logits.ndim - 1:
        labels = labels[:, None]
    fits = labels.ndim == logits.ndim >= 3 and labels.shape[2:] == logits.shape[2:]
    if not fits or len(labels) != len(logits):
        raise ShapeError(
            f"expected logits (n, c, *space) and labels (n, *space) or (n, a, *space); got {shape_of(logits)} and "
            f"{shape_of(labels)}. The class axis comes second: logits.movedim(-1, 1) if it is the last."
        )
    if not logits.is_floating_point():
        raise LogitsError(
            f"expected logits as floating-point numbers; got {logits.dtype}. Pass the scores, not label maps."
        )
    if logits.shape[1] < 2:
        raise LogitsError(
            f"expected logits of two classes or more; got {shape_of(logits)}. "
            "Turn a sigmoid head's one channel into two: calibrant.predictions.from_sigmoid, image by image."
        )
    if labels[:1].numel() > _MOST:
        raise ShapeError(f"expected at most {_MOST} labels in one image; got {shape_of(labels[0])}. Cut it into tiles.")
    if where is not None:
        where = _mask_like(labels, where)
    for i in range(len(logits)):
        yield Image(f"image {i} of the batch", logits[i], labels[i], None if where is None else where[i])


def _mask_like(labels: Tensor, where: Tensor) -> Tensor:
    if where.ndim == labels.ndim - 1:
        where = where[:, None]
    try:
        expanded = where.expand(labels.shape)
    except RuntimeError:
        expanded = None
    if expanded is None or where.dtype != torch.bool:
        raise ShapeError(
            f"expected a mask of true and false of the labels' shape {shape_of(labels)}; got {where.dtype} "
            f"{shape_of(where)}. Make it from the same labels."
        )
    return expanded


def count_images(count: Callable[[PixelScores], T], images: Iterable[Image], **wanted) -> T:
    """Return one row per image: the sum of what ``count`` makes of its chunks of pixels.

    :param wanted: passed to ``score_pixels``.
    """
    return Tally.stack([Tally.added(map(count, score_pixels(image, **wanted))) for image in images])


def score_pixels(
    image: Image, *, keep_outside: bool = False, likelihood: bool = False, classwise_bins: int | None = None
) -> Iterator[PixelScores]:
    """Yield the scores of an image's labelled pixels, some at a time, in order.

    Scores are computed in float32, whatever the logits' type.

    :param keep_outside: whether ``image.where`` only marks pixels; otherwise it restricts them.
    :raises LabelError: a label is no class.
    :raises LogitsError: a logit is NaN or infinite (in float32), at an unlabelled pixel too.
    """
    scores, labels = image.logits.detach().flatten(1), image.labels.flatten(1)
    marks = torch.ones_like(labels, dtype=torch.bool) if image.where is None else image.where.flatten(1)
    size = max(1, _BLOCK // len(scores))
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for start in range(0, scores.shape[1], _CHUNK):
            chunk = slice(start, min(start + _CHUNK, scores.shape[1]))
            label = labels[:, chunk].cpu().numpy().astype(np.intp)
            mark = marks[:, chunk].cpu().numpy()
            kept = label != IGNORE
            known = np.where(kept, label, 0)
            if known.min() < 0 or known.max() >= len(scores):
                check_labels(image.labels, len(scores), image.name)
            if not keep_outside:
                kept &= mark

            def score(first: int, chunk=chunk, known=known, kept=kept) -> dict:
                here = slice(first, first + size)
                block = scores[:, chunk][:, here].float().cpu().numpy()
                return _score_block(image, block, known[:, here], kept[:, here], likelihood, classwise_bins)

            blocks = list(threads.map(score, range(0, label.shape[1], size)))
            classwise = [block.pop("classwise") for block in blocks] if classwise_bins else []
            columns = {name: np.concatenate([block[name] for block in blocks], axis=-1) for name in blocks[0]}
            chosen = np.flatnonzero(kept)
            pixel = chosen if len(kept) == 1 else chosen % label.shape[1]
            columns = {
                # One value a pixel, or one for each annotator of it.
                name: column.take(pixel) if column.ndim == 1 else column.ravel().take(chosen)
                for name, column in (columns | {"label": label, "where": mark}).items()
            }
            yield PixelScores(**columns, classwise=reduce(ClasswiseSums.__add__, classwise) if classwise else None)


def _score_block(
    image: Image,
    block: Float[Array, "c p"],
    label: Int[Array, "a p"],
    kept: Bool[Array, "a p"],
    likelihood: bool,
    classwise_bins: int | None,
) -> dict:
    top = block.max(0)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        # In one order of memory, whatever the logits' own: sums depend on it.
        below = np.subtract(block, top, out=np.empty(block.shape, block.dtype))
        if not np.isfinite(below.min()):
            check_finite(torch.from_numpy(block), image.name)
            check_finite(image.logits, image.name)
            np.maximum(below, np.finfo(below.dtype).min, out=below)  # logits so far apart that the gap overflows
        prediction = first_largest(block, top)
        weights = np.exp(below, out=None if likelihood else below)
        total = weights.sum(0)
        confidence = 1 / total
        found = {
            "confidence": confidence,
            "correct": prediction == label,
            "prediction": prediction,
            "log_odds": -np.log(total - 1),
        }
    if likelihood:
        log_total = np.log(total)
        at_label = np.take_along_axis(below, label, 0)
        found["nll"] = log_total - at_label
        found["entropy"] = log_total - np.multiply(below, weights, out=below).sum(0) * confidence
        squares = np.multiply(weights, weights, out=below).sum(0) * np.square(confidence)
        found["brier"] = squares - 2 * np.exp(at_label) * confidence + 1
    if classwise_bins:
        probs = np.multiply(weights, confidence, out=weights)
        counted = [_count_classwise(probs, *each, classwise_bins) for each in zip(label, kept, strict=True)]
        found["classwise"] = reduce(ClasswiseSums.__add__, counted)
    return found


def first_largest(block: Float[Array, "c p"], top: Float[Array, " p"]) -> Int[Array, " p"]:
    """Return the class of the largest logit, the first where they tie: argmax, at a tenth of its time.

    :param top: the largest logit of each column.

    >>> first_largest(np.array([[1.0, 0.0], [1.0, 2.0]]), np.array([1.0, 2.0]))
    array([0, 1])
    """
    num_classes = len(block)
    # The rank falls with the class, so the largest rank among the tied is the first class.
    rank = np.arange(num_classes, 0, -1).astype(np.uint8 if num_classes < 256 else np.int32)
    is_top = np.equal(block, top, out=np.empty(block.shape, bool)).view(np.uint8)
    return num_classes - (is_top * rank[:, None]).max(0).astype(np.intp)


def _count_classwise(
    probs: Float[Array, "c p"], label: Int[Array, " p"], kept: Bool[Array, " p"], num_bins: int
) -> ClasswiseSums:
    """Count every class's probability by bin.

    Nearly all probabilities lie in the first bin. Only the others are sorted into bins one by one; the first bin is
    what remains.
    """
    shape = (len(probs), num_bins)
    size = len(probs) * num_bins
    rest = probs * kept  # a probability of 0 adds nothing to the first bin, and its count comes from the labels
    at_label = np.take_along_axis(probs, label[None], 0)[0]
    positive = np.bincount((label * num_bins + bin_of(at_label, num_bins))[kept], minlength=size).reshape(shape)
    # The edge in float32 may lie a hair above the true one; a hair of slack costs nothing.
    large = np.flatnonzero(rest > np.float32((1 - 1e-6) / num_bins))
    values = rest.take(large)
    cell = large // probs.shape[1] * num_bins + bin_of(values, num_bins)
    count = np.bincount(cell, minlength=size).reshape(shape)
    probability = np.bincount(cell, values, minlength=size).reshape(shape)
    rest.put(large, 0)
    count[:, 0] += np.count_nonzero(kept) - count.sum(1)
    probability[:, 0] += rest.sum(1)  # pairwise over one block: as exact as the float32 probabilities are
    return ClasswiseSums(count, positive, probability)
