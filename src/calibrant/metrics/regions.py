"""Masks for ``where=``: near a boundary, inside, mistaken."""

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant.errors import InputError
from calibrant.predictions import PredictionInParts


def boundary(labels: Int[Tensor, "a *s"], *, width: int = 2) -> Bool[Tensor, "a *s"]:
    """Return where another label lies within ``width`` pixels along the axes or diagonals, in two or three dimensions.

    Unlabelled pixels make no boundary, and are never part of one.

    :param labels: one map an annotator; ``IGNORE`` where unlabelled.
    :param width: how far the boundary reaches on either side, in pixels.
    :raises InputError: the width is less than a pixel.

    >>> boundary(torch.tensor([[[0, 0, 0, 1, 1, 1]]]), width=1).long()
    tensor([[[0, 0, 1, 1, 0, 0]]])
    """
    if width < 1:
        raise InputError(f"expected a boundary width of at least 1 pixel; got {width}.")
    maps = labels.cpu().numpy().astype(np.int32)
    labelled = maps != IGNORE
    high, low = np.where(labelled, maps, -1), np.where(labelled, maps, np.iinfo(np.int32).max)
    for axis in range(1, maps.ndim):
        high = maximum_filter1d(high, 2 * width + 1, axis=axis, mode="nearest")
        low = minimum_filter1d(low, 2 * width + 1, axis=axis, mode="nearest")
    return torch.from_numpy((high != low) & labelled).to(labels.device)


def boundary_of_run(image: PredictionInParts, start: int, stop: int, *, width: int = 2) -> Bool[Tensor, "a p"]:
    """Return what :func:`boundary` says of a run of pixels of an image that is read in parts.

    :param image: the image.
    :param start: the number of the first pixel.
    :param stop: the number of the pixel after the last.
    :param width: how far the boundary reaches on either side, in pixels.
    :raises InputError: the width is less than a pixel.
    """
    first = max(0, start // image.row - width)
    last = min(image.space[0], (stop - 1) // image.row + 1 + width)
    labels = image.labels(first * image.row, last * image.row)
    near = boundary(labels.reshape(len(labels), last - first, *image.space[1:]), width=width)
    return near.flatten(1)[:, start - first * image.row : stop - first * image.row]


def interior(labels: Int[Tensor, "a *s"], *, width: int = 2) -> Bool[Tensor, "a *s"]:
    """Return the labelled pixels that ``boundary`` leaves.

    :param labels: one map an annotator; ``IGNORE`` where unlabelled.
    :param width: how far the boundary reaches on either side, in pixels.
    :raises InputError: the width is less than a pixel.

    >>> interior(torch.tensor([[[0, 0, 0, 1, 1, 1]]]), width=1).long()
    tensor([[[1, 1, 0, 0, 1, 1]]])
    """
    return ~boundary(labels, width=width) & (labels != IGNORE)


def mistaken(logits: Float[Tensor, "n c *s"], labels: Int[Tensor, "n *s"]) -> Bool[Tensor, "n *s"]:
    """Return the labelled pixels whose label is not the first class with the largest logit.

    :param logits: one map of scores an image, class axis second.
    :param labels: one map an image; ``IGNORE`` where unlabelled.

    >>> mistaken(torch.tensor([[[2.0, 2.0], [0.0, 0.0]]]), torch.tensor([[0, 1]]))
    tensor([[False,  True]])
    """
    return (logits.argmax(1) != labels) & (labels != IGNORE)
