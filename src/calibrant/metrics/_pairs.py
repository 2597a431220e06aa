"""IoU of every pair of label maps by matrix products: no loop over pairs.

With the maps of a class as rows of zeros and ones, ``X @ X.T`` holds the size of every intersection, and its diagonal
the size of every region. Pixels on which all maps agree add the same to every pair, so only the others are multiplied.
Products of zeros and ones are exact in float32 below 2^24 pixels; blocks stay far below, and are added in float64.
"""

from collections.abc import Sequence

import numpy as np

_BLOCK = 2**21  # numbers of one block: 8 MB of float32


def pairwise_distances(maps: np.ndarray, classes: Sequence[int], empty: float) -> np.ndarray:
    """Return 1 - IoU of every pair of maps (m, p), as (m, m): the mean over classes.

    :param empty: the IoU of two empty regions; NaN leaves the class out of the mean of that pair.
    """
    total, count = np.zeros((2, len(maps), len(maps)))
    for shared in intersections(maps, classes):
        size = shared.diagonal()
        union = size[:, None] + size - shared
        nothing = union == 0
        iou = np.where(nothing, empty, shared / np.where(nothing, 1, union))
        known = ~np.isnan(iou)
        total += np.where(known, 1 - iou, 0)
        count += known
    return np.where(count == 0, np.nan, total / np.maximum(count, 1))


def intersections(maps: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Return the pixels that both maps of a pair give to a class: (c, m, m), float64; the diagonal holds the areas."""
    shared = np.zeros((len(classes), len(maps), len(maps)))
    size = max(1, _BLOCK // len(maps))
    for start in range(0, maps.shape[1], size):
        block = maps[:, start : start + size]
        low = block.min(0)
        disputed = low != block.max(0)
        agreed = low[~disputed]
        if disputed.mean() < 0.5:
            block = block.take(np.flatnonzero(disputed), 1)
            agreed_counts = np.bincount(agreed[agreed >= 0], minlength=max(classes) + 1)
        else:
            agreed_counts = np.zeros(max(classes) + 1)
        for number, k in enumerate(classes):
            shared[number] += agreed_counts[k]
            rows = block == k
            somewhere = np.flatnonzero(rows.any(0))
            if 2 * len(somewhere) < rows.shape[1]:
                rows = rows.take(somewhere, 1)
            if rows.size:
                ones = rows.view(np.int8).astype(np.float32)
                shared[number] += ones @ ones.T
    return shared
