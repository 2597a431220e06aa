"""Regions that overlap, such as the whole tumour and its core: each one is a binary problem of its own."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibrant._encoding.label_coding import UNLABELLED
from calibrant._shapes import IGNORE, Tensor
from calibrant.data.folder._nnunet import results_in
from calibrant.errors import ShapeError


@dataclass(frozen=True)
class Region:
    """One of several regions, whose scores are a channel of a sigmoid and whose labels are some of the numbers.

    :param name: what it is called.
    :param channel: which channel of the scores is its own.
    :param num_channels: how many channels the scores have, one for each region.
    :param labels: the label numbers of which the region consists.
    :param ignore: the label of unlabelled pixels; None for 255 and negative numbers.
    """

    name: str
    channel: int
    num_channels: int
    labels: tuple[int, ...]
    ignore: int | None = None

    def mask(self, labels: np.ndarray) -> np.ndarray:
        """Return 1 within the region, 0 outside, and ``IGNORE`` where unlabelled.

        :param labels: label numbers.

        >>> Region("core", 1, 3, (2, 3)).mask(np.array([0, 1, 2, 3, 255])).tolist()
        [0, 0, 1, 1, -100]
        """
        unlabelled = labels < 0
        if self.ignore is not None or UNLABELLED not in self.labels:
            unlabelled = unlabelled | (labels == (UNLABELLED if self.ignore is None else self.ignore))
        return np.where(unlabelled, IGNORE, np.isin(labels, self.labels)).astype(np.int64)

    def own_logits(self, logits: Tensor, name: str) -> Tensor:
        """Return the channel of the region, (1, *space).

        :param logits: the scores of all regions, (regions, *space).
        :param name: which image, for errors.
        :raises ShapeError: there are not as many channels as regions.
        """
        if len(logits) != self.num_channels:
            raise ShapeError(
                f"{name}: expected a channel for each of {self.num_channels} regions; got {len(logits)}. Name the "
                "regions in the order of the channels, without the background (command line: --regions)."
            )
        return logits[self.channel : self.channel + 1]


def regions_in(
    path: str | os.PathLike[str], labels: Mapping[str, Sequence[int]] | None = None, *, ignore_index: int | None = None
) -> tuple[Region, ...]:
    """Return the overlapping regions of a folder of scores, for ``open_folder(path, region=…)``; empty for none.

    :param path: the folder.
    :param labels: the label numbers of which each region consists, by name, in the order of the channels; None for what
        nnU-Net's ``dataset.json`` says.
    :param ignore_index: the label of unlabelled pixels; None for that of ``dataset.json``, or 255.

    >>> [region.labels for region in regions_in("scores", {"whole": (1, 2, 3), "core": (2, 3)})]
    [(1, 2, 3), (2, 3)]
    """
    results = results_in(Path(path))
    known = labels if labels is not None else (results.regions if results is not None else {})
    ignore = ignore_index if ignore_index is not None else (results.ignore if results is not None else None)
    return tuple(
        Region(name, channel, len(known), tuple(numbers), ignore)
        for channel, (name, numbers) in enumerate(known.items())
    )
