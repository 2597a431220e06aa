"""The arithmetic of one block of pixels: softmax, likelihood and every class's own probability, in numpy.

numpy's loops run on the thread that calls them. On a machine with other work, torch's small parallel ones lose far more
time waiting for each other than they save. Arrays have the classes first, and lie in one order of memory whatever the
logits' own: sums depend on it to the bit.
"""

import threading
from dataclasses import dataclass

import numpy as np

from calibrant._shapes import Bool, Float, Int
from calibrant.errors import InputError

Array = np.ndarray


class Scratch(threading.local):
    """Memory that a thread uses again for each block: fresh memory costs as much time as the arithmetic."""

    def __init__(self) -> None:
        self.buffers: dict[str, Array] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: type = np.float32) -> Array:
        """Return an array with anything in it, good until the same name is asked for again on this thread."""
        size = int(np.prod(shape))
        if name not in self.buffers or self.buffers[name].size < size:
            self.buffers[name] = np.empty(size, dtype)
        return self.buffers[name][:size].reshape(shape)


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


def check_num_bins(num_bins: int) -> None:
    """Raise unless there is a bin.

    :raises InputError: there is none.
    """
    if num_bins < 1:
        raise InputError(f"expected at least one bin; got {num_bins}. Ten to twenty are usual.")


def bin_of(probability: Float[Array, "*p"], num_bins: int) -> Int[Array, "*p"]:
    """Return the number of the equal-width bin ``(lo, hi]``; 0 belongs to the first bin, 1 to the last.

    The product is exact in float64, so a float32 probability falls where real numbers would put it.

    >>> bin_of(np.array([0.0, 0.1, 0.25, 0.5, 1.0]), 4)
    array([0, 0, 0, 1, 3])
    """
    place = np.multiply(probability, num_bins, dtype=np.float64)
    number = np.ceil(place, out=place).astype(np.intp)
    number -= 1
    return np.maximum(number, 0, out=number)


def below_largest(logits: Float[Array, "c p"], scratch: Scratch) -> Float[Array, "c p"]:
    """Return the logits less the largest of their pixel, in scratch memory.

    :raises FloatingPointError: a logit is NaN or infinite.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        below = np.subtract(logits, logits.max(0), out=scratch.array("below", logits.shape))
    if np.isfinite(below.min()):  # NaN if any logit is NaN or plus infinity, minus infinity if any is that
        return below
    if not np.isfinite(logits).all():
        raise FloatingPointError("a logit is NaN or infinite")
    return np.maximum(below, np.finfo(below.dtype).min, out=below)  # logits so far apart that the gap overflows


def first_zero(below: Float[Array, "c p"], scratch: Scratch) -> Int[Array, " p"]:
    """Return the first class at which each pixel is 0: argmax of numbers whose largest is 0, at a tenth of its time.

    >>> first_zero(np.array([[0.0, -2.0], [0.0, 0.0]]), Scratch())
    array([0, 1])
    """
    num_classes = len(below)
    # The rank falls with the class, so the largest rank among the tied is the first class.
    rank = np.arange(num_classes, 0, -1).astype(np.uint8 if num_classes < 256 else np.int32)[:, None]
    is_zero = np.equal(below, 0, out=scratch.array("is_zero", below.shape, bool)).view(np.uint8)
    ranked = np.multiply(is_zero, rank, out=scratch.array("ranked", below.shape, rank.dtype.type))
    return num_classes - ranked.max(0).astype(np.intp)


def near_ties(below: Float[Array, "c p"], margin: float, scratch: Scratch) -> Bool[Array, " p"]:
    """Return where the next logit lies within a margin below the largest, and is not equal to it.

    >>> near_ties(np.array([[0.0, -2.0, 0.0], [-1e-6, 0.0, 0.0]]), 0.01, Scratch())
    array([ True, False, False])
    """
    near = np.greater(below, -margin, out=scratch.array("near", below.shape, bool))
    near &= np.less(below, 0, out=scratch.array("less", below.shape, bool))
    return np.logical_or.reduce(near, axis=0)


def likelihood_of(
    below: Float[Array, "c p"], weights: Float[Array, "c p"], total: Float[Array, " p"], label: Int[Array, "a p"]
) -> dict[str, Array]:
    """Return each pixel's negative log-likelihood and Brier score (a, p), and entropy (p). Overwrites ``below``.

    :param weights: exp(below).
    :param total: their sum over the classes.
    """
    log_total = np.log(total)
    at_label = np.take_along_axis(below, label, 0)
    entropy = log_total - np.multiply(below, weights, out=below).sum(0) / total
    squares = np.multiply(weights, weights, out=below).sum(0) / np.square(total)
    return {"nll": log_total - at_label, "brier": squares - 2 * np.exp(at_label) / total + 1, "entropy": entropy}


def count_classwise(
    probs: Float[Array, "c p"], label: Int[Array, " p"], kept: Bool[Array, " p"], num_bins: int, scratch: Scratch
) -> ClasswiseSums:
    """Count every class's probability by bin, over the pixels that are kept.

    Nearly all probabilities lie in the first bin. Only the others are sorted into bins one by one; the first bin is
    what remains.
    """
    shape = (len(probs), num_bins)
    size = len(probs) * num_bins
    at_label = np.take_along_axis(probs, label[None], 0)[0]
    positive = np.bincount((label * num_bins + bin_of(at_label, num_bins))[kept], minlength=size).reshape(shape)
    # A pixel that is not kept has probabilities of 0 from here on: nothing is added for it.
    rest = np.multiply(probs, kept, out=scratch.array("rest", probs.shape))
    # The edge in float32 may lie a hair above the true one; a hair of slack costs nothing.
    large = np.flatnonzero(rest > np.float32((1 - 1e-6) / num_bins))
    values = rest.take(large)
    cell = large // probs.shape[1] * num_bins + bin_of(values, num_bins)
    count = np.bincount(cell, minlength=size).reshape(shape)
    # Sums of nothing come out of bincount as integers.
    probability = np.bincount(cell, values, minlength=size).astype(np.float64, copy=False).reshape(shape)
    rest.put(large, 0)
    count[:, 0] += np.count_nonzero(kept) - count.sum(1)
    probability[:, 0] += rest.sum(1, dtype=np.float64)
    return ClasswiseSums(count, positive, probability)
