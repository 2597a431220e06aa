"""IoU of every pair of label maps from sets of bits: no loop over pairs, no rounding, and no threads to wait for.

The pixels of a class are a row of bits in each map. One map is met with all others at once: the bits that two rows
share are their intersection, and the bits of a row its area. A pixel takes a 64th of a float64, so a hundred maps of a
class fit in a processor's cache. Pixels on which all maps agree add the same to every pair, and are counted once.
"""

from collections.abc import Sequence

import numpy as np

_BLOCK = 2**17  # words of one block: 1 MB
_BITS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def pairwise_distances(maps: np.ndarray, classes: Sequence[int], empty: float) -> np.ndarray:
    """Return 1 - IoU of every pair of maps (m, p), the mean over classes, and its part due to presence: (2, m, m).

    The second counts the classes that one map of a pair shows and the other does not, each of which is at distance 1.

    :param empty: the IoU of two empty regions; NaN leaves the class out of the mean of that pair.
    """
    total, absent, count = np.zeros((3, len(maps), len(maps)))
    for shared in intersections(maps, classes):
        size = shared.diagonal()
        union = size[:, None] + size - shared
        nothing = union == 0
        iou = np.where(nothing, empty, shared / np.where(nothing, 1, union))
        known = ~np.isnan(iou)
        total += np.where(known, 1 - iou, 0)
        absent += (size[:, None] == 0) != (size == 0)
        count += known
    return np.where(count == 0, np.nan, np.stack([total, absent]) / np.maximum(count, 1))


def intersections(maps: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Return the pixels that both maps of a pair give to a class: (c, m, m); the diagonal holds the areas."""
    shared = np.zeros((len(classes), len(maps), len(maps)), np.int64)
    if maps.shape[1] == 0:
        return shared
    first = maps.min(0)
    disputed = first != maps.max(0)
    if disputed.mean() < 0.6:  # picking columns costs a third of what they cost below
        agreed = first[~disputed]
        shared += np.array([np.count_nonzero(agreed == k) for k in classes])[:, None, None]
        maps = maps.take(np.flatnonzero(disputed), 1)
    for number, k in enumerate(classes):
        rows = maps == k
        showing = np.flatnonzero(rows.any(1))
        shared[number][np.ix_(showing, showing)] += _shared_bits(_packed(rows[showing]))
    return shared


def _packed(rows: np.ndarray) -> np.ndarray:
    """Return rows of booleans as rows of 64-bit words, the last filled up with zeros."""
    packed = np.packbits(rows, axis=1)
    words = np.zeros((len(rows), -(-packed.shape[1] // 8) * 8), np.uint8)
    words[:, : packed.shape[1]] = packed
    return words.view(np.uint64)


def _shared_bits(words: np.ndarray) -> np.ndarray:
    """Return how many bits each two rows share: (m, m)."""
    upper = np.zeros((len(words), len(words)), np.int64)
    size = max(1, _BLOCK // max(1, len(words)))
    for start in range(0, words.shape[1], size):
        block = np.ascontiguousarray(words[:, start : start + size])
        both, bits = np.empty_like(block), np.empty(block.shape, np.uint8)
        for i, row in enumerate(block):
            counts = _bits(np.bitwise_and(block[i:], row, out=both[i:]), bits[i:])
            upper[i, i:] += np.add.reduce(counts, 1, dtype=np.int64)
    return upper + np.triu(upper, 1).T


def _bits(words: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Return the number of bits that are set, in each word (in ``out``) or in each byte of it."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.bitwise_count(words, out=out)
    return _BITS[words.view(np.uint8)]
