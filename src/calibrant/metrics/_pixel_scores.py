"""What every tally starts from: each labelled pixel's confidence, correctness and likelihood, in one pass.

The pass goes over blocks of pixels that fit in a processor's cache, so the logits are read from memory once and no
softmax is ever held. What it finds is counted in chunks, so memory does not grow with the size of an image. Chunks are
spread over threads (``torch.set_num_threads`` says how many) and their counts added in the order of the pixels: the
same image gives the same bits in any batch, on any number of threads and, since blocks are brought to the processor,
from any device.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Generic, TypeVar

import numpy as np
import torch

from calibrant._input.checks import check_finite, check_labels, shape_of
from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant.errors import LogitsError, ShapeError
from calibrant.metrics._arithmetic import (
    Array,
    ClasswiseSums,
    Scratch,
    below_largest,
    count_classwise,
    first_zero,
    likelihood_of,
    near_ties,
)
from calibrant.metrics.tally import Tally
from calibrant.predictions import MARGIN

T = TypeVar("T", bound=Tally)

_BLOCK = 2**19  # numbers scored at once: 2 MB of float32
_CHUNK = 2**16  # pixels counted at once
_THREADS = 8  # at most: each holds some blocks
_MOST = 2**30  # labels of one image: the row of one image holds 32-bit counts, and two of them must add


@dataclass(frozen=True)
class Image:
    """One image of a batch, its sizes checked.

    :param name: what messages call it; empty if it is the only one.
    :param where: which pixels are meant; None for all.
    """

    name: str
    logits: Float[Tensor, "c *s"]
    labels: Int[Tensor, "a *s"]
    where: Bool[Tensor, "a *s"] | None = None


@dataclass(frozen=True)
class PixelScores:
    """Labelled pixels of one image, as vectors; what was not asked for is None.

    With several annotators each annotator's label of a pixel is one entry.

    :param prediction: the class with the largest logit, the first of them where they tie.
    :param total: the sum over the classes of exp(logit - largest logit), at least 1.
    :param where: whether the mask holds the pixel.
    :param near_tie: whether the next logit lies within ``MARGIN`` below the largest; comes with the likelihood.
    :param classwise: counts of every class's own probability, see ``ClasswiseBins``.
    """

    label: Int[Array, " p"]
    prediction: Int[Array, " p"]
    total: Float[Array, " p"]
    where: Bool[Array, " p"] | None = None
    near_tie: Bool[Array, " p"] | None = None
    nll: Float[Array, " p"] | None = None
    brier: Float[Array, " p"] | None = None
    entropy: Float[Array, " p"] | None = None
    classwise: ClasswiseSums | None = None

    @cached_property
    def confidence(self) -> Float[Array, " p"]:
        """The largest probability."""
        return 1 / self.total

    @cached_property
    def correct(self) -> Bool[Array, " p"]:
        """Whether the label is the prediction."""
        return self.prediction == self.label

    @cached_property
    def log_odds(self) -> Float[Array, " p"]:
        """log(confidence / (1 - confidence)), infinite where the confidence is 1."""
        with np.errstate(divide="ignore"):
            return -np.log(self.total - 1)


def histogram(index: Int[Array, " p"], shape: tuple[int, ...], weights: Float[Array, " p"] | None = None) -> Tensor:
    """Return int32 counts, or float64 sums of the weights, of each index: what the row of one image holds."""
    counted = np.bincount(index, weights, minlength=int(np.prod(shape))).reshape(shape)
    return torch.from_numpy(counted).to(torch.int32 if weights is None else torch.float64)


def each_image(logits: Tensor, labels: Tensor, where: Tensor | None) -> Iterator[Image]:
    """Yield the images of a batch, their sizes checked.

    :param logits: (n, c, *s).
    :param labels: (n, a, *s), or (n, *s) with one annotator.
    :param where: which labels are meant, shaped like them; None for all.
    :raises ShapeError: the sizes do not fit, or an image is too large to count at once.
    :raises LogitsError: the logits are no floating-point numbers, or of one class alone.
    :raises LabelError: the labels are no integers.
    """
    if labels.ndim == logits.ndim - 1:
        labels = labels[:, None]
    fits = labels.ndim == logits.ndim >= 3 and labels.shape[2:] == logits.shape[2:]
    if not fits or len(labels) != len(logits) or 0 in logits.shape[1:] or 0 in labels.shape[1:]:
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
    check_labels(labels[:0], logits.shape[1], "labels")  # their type; their values are looked at when they are counted
    check_size(labels[:1].numel(), tuple(labels.shape[1:]))
    if where is not None:
        where = _mask_like(labels, where)
    for i in range(len(logits)):
        yield Image(
            f"image {i} of the batch" if len(logits) > 1 else "",
            logits[i],
            labels[i],
            None if where is None else where[i],
        )


def check_size(num_labels: int, shape: tuple[int, ...]) -> None:
    """Raise if an image has more labels than the row of one image can count.

    :raises ShapeError: telling its shape.
    """
    if num_labels > _MOST:
        raise ShapeError(f"expected at most {_MOST} labels in one image; got {shape}. Cut it into tiles.")


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


def count_images(
    kind: type[T],
    count: Callable[[PixelScores], T],
    images: Iterable[Image],
    *,
    keep_outside: bool = False,
    likelihood: bool = False,
    classwise_bins: int | None = None,
) -> T:
    """Return one row per image: the sum of what ``count`` makes of its chunks of pixels, in their order.

    Scores are computed in float32, whatever the logits' type.

    :param kind: what is counted.
    :param count: from the scores of some pixels of an image to a tally of one row.
    :param images: as ``each_image`` yields them.
    :param keep_outside: whether an image's mask only marks pixels; otherwise it restricts them.
    :param likelihood: whether ``count`` reads ``nll``, ``brier``, ``entropy`` and ``near_tie``.
    :param classwise_bins: the bins of every class's own probability, if ``count`` reads ``classwise``.
    :raises LabelError: a label of a counted pixel is no class.
    :raises LogitsError: a logit is NaN or infinite (in float32), be its pixel labelled or not.
    """
    asked = (keep_outside, likelihood, classwise_bins)
    with _Counting(kind, count, asked) as counting:
        rows = [counting.row(image, [_flat(image)]) for image in images]
    return kind.stack(rows)


def count_runs(
    kind: type[T],
    count: Callable[[PixelScores], T],
    runs: Iterable[Image],
    *,
    keep_outside: bool = False,
    likelihood: bool = False,
    classwise_bins: int | None = None,
) -> T:
    """Return the row of one image that is read in runs: the same bits as of the whole.

    :param runs: of pixels, (c, p); all but the last hold a multiple of ``2**16``.
    :raises LabelError, LogitsError: as :func:`count_images`; the message counts within the run.
    """
    with _Counting(kind, count, (keep_outside, likelihood, classwise_bins)) as counting:
        return counting.row(None, runs)


def _flat(image: Image) -> Image:
    marks = None if image.where is None else image.where.flatten(1)
    return Image(image.name, image.logits.detach().flatten(1), image.labels.flatten(1), marks)


class _Counting(Generic[T]):
    """Counts images, chunk by chunk, on several threads."""

    def __init__(self, kind: type[T], count: Callable[[PixelScores], T], asked: tuple[bool, bool, int | None]) -> None:
        self.kind, self.count, self.asked = kind, count, asked
        self.scratch = Scratch()
        self.threads = ThreadPoolExecutor(min(torch.get_num_threads(), _THREADS))

    def __enter__(self) -> "_Counting[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.shutdown()

    def row(self, whole: Image | None, runs: Iterable[Image]) -> T:
        """Return the row of one image; what is wrong with it is said of the whole, if that is there."""
        return self.kind.added(each for run in runs for each in self._chunks(run, run if whole is None else whole))

    def _chunks(self, run: Image, named: Image) -> Iterator[T]:
        def counted(start: int) -> T:
            at = slice(start, start + _CHUNK)
            marks = None if run.where is None else run.where[:, at]
            chunk = Image(run.name, run.logits[:, at], run.labels[:, at], marks)
            return self.count(_score_pixels(chunk, *self.asked, self.scratch))

        starts = range(0, run.labels.shape[1], _CHUNK)
        mapped = self.threads.map if len(starts) > 1 else map  # a thread for one chunk would only cost its start
        try:
            yield from mapped(counted, starts)
        except (FloatingPointError, IndexError):
            check_finite(named.logits.float(), named.name)  # these two say what is wrong in the image as a whole
            check_labels(named.labels, len(named.logits), named.name)
            raise


def _score_pixels(
    image: Image, keep_outside: bool, likelihood: bool, classwise_bins: int | None, scratch: Scratch
) -> PixelScores:
    num_classes, num_pixels = image.logits.shape
    label = image.labels.cpu().numpy()
    kept = label != IGNORE
    marks = None if image.where is None else image.where.cpu().numpy()
    if marks is not None and not keep_outside:
        kept &= marks
    chosen = np.flatnonzero(kept)
    pixel = chosen if len(label) == 1 else chosen % num_pixels
    columns = {"label": label.take(chosen).astype(np.intp, copy=False)}
    if chosen.size and (columns["label"].min() < 0 or columns["label"].max() >= num_classes):
        raise IndexError("a label is no class")
    if marks is not None and keep_outside:
        columns["where"] = marks.take(chosen)
    index = np.where(kept, label, 0).astype(np.intp) if likelihood or classwise_bins else label
    size = max(1, _BLOCK // num_classes)
    blocks, classwise = [], []
    for start in range(0, num_pixels, size):
        at = slice(start, start + size)
        below = below_largest(image.logits[:, at].float().cpu().numpy(), scratch)
        block = {"prediction": first_zero(below, scratch)}
        weights = np.exp(below, out=scratch.array("weights", below.shape) if likelihood else below)
        block["total"] = weights.sum(0)
        if likelihood:
            block["near_tie"] = near_ties(below, MARGIN, scratch)
            block |= likelihood_of(below, weights, block["total"], index[:, at])
        if classwise_bins:
            probs = np.divide(weights, block["total"], out=weights)
            annotators = zip(index[:, at], kept[:, at], strict=True)
            classwise += [count_classwise(probs, *annotator, classwise_bins, scratch) for annotator in annotators]
        blocks.append(block)
    for name in blocks[0]:
        column = np.concatenate([block[name] for block in blocks], axis=-1)
        # One value a pixel, or one for each annotator of it.
        columns[name] = column.take(pixel) if column.ndim == 1 else column.take(chosen)
    return PixelScores(**columns, classwise=reduce(ClasswiseSums.__add__, classwise) if classwise else None)
