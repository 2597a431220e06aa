"""Gaussian fields of variance one in every pixel, from one number an image to white noise, and how they cut a map."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from calibrant._shapes import Float, Int, Tensor
from calibrant.predictions import resized
from calibrant.samplers.sampler import gaussian


@dataclass(frozen=True)
class Level:
    """Over what a field is constant, or smooth.

    :param over: "image", "regions" (connected ones of the most likely class), "cells" or "pixels".
    :param size: the size of a cell in pixels, between whose corners the field is linear.
    """

    over: str
    size: int = 0

    def __str__(self) -> str:
        """Say it in words."""
        return f"cells of {self.size}" if self.over == "cells" else self.over


IMAGE, REGIONS, PIXELS = Level("image"), Level("regions"), Level("pixels")

_NUMBERS = 2**21
"""Numbers of a block of samples: 8 MB of float32 a field."""


class Fields:
    """Gaussian fields of variance one behind the classes of a batch, level by level.

    :param logits: whose classes and space the fields have, and whose most likely classes make the regions.
    :param levels: over what each field is constant.
    """

    def __init__(self, logits: Float[Tensor, "n c *s"], levels: tuple[Level, ...]) -> None:
        self.logits, self.levels = logits, levels
        self.regions = connected_regions(logits.argmax(1)) if REGIONS in levels else None

    def in_blocks(
        self, num_samples: int, generator: torch.Generator
    ) -> Iterator[dict[Level, Float[Tensor, "m n c ..."]]]:
        """Yield the fields of some samples at a time; space has size 1 where a field does not vary over it."""
        block = max(1, _NUMBERS // self.logits.numel())
        for start in range(0, num_samples, block):
            count = min(block, num_samples - start)
            yield {level: self._field(level, count, generator) for level in self.levels}

    def _field(self, level: Level, count: int, generator: torch.Generator) -> Tensor:
        (n, c, *space), device = self.logits.shape, self.logits.device
        if level == IMAGE:
            return gaussian((count, n, c, *[1] * len(space)), generator, device)
        if level == PIXELS:
            return gaussian((count, n, c, *space), generator, device)
        if level == REGIONS:
            assert self.regions is not None
            values = gaussian((count, n, c, int(self.regions.max()) + 1), generator, device)
            where = self.regions.flatten(1)[None, :, None].expand(count, n, c, -1)
            return values.gather(3, where).reshape(count, n, c, *space)
        return smooth_field((count, n, c), space, level.size, generator, device)


def cut(
    log_probs: Float[Tensor, "n c *s"],
    shares: Mapping[Level, float],
    fields: Mapping[Level, Float[Tensor, "m n c ..."]],
) -> Int[Tensor, "m n *s"]:
    """Return the class that wins in each pixel, given the fields of each level and their shares of the variance."""
    zeta = sum(math.sqrt(share) * fields[level] for level, share in shares.items())
    # The logarithm of a standard exponential time is minus a Gumbel number. log_ndtr keeps its digits where Phi is
    # next to one, which is where a class that is all but ruled out would win.
    log_times = torch.special.log_ndtr(zeta).neg_().clamp_min_(1e-37).log_()
    return largest(log_probs - log_times).long()


def label_type(num_classes: int) -> torch.dtype:
    """Return the type of :func:`largest`: small integers are less to move."""
    return torch.uint8 if num_classes <= 256 else torch.int32


def largest(scores: Float[Tensor, "m n c *s"]) -> Int[Tensor, "m n *s"]:
    """Return ``scores.argmax(2)`` as small numbers, class by class: several times as fast as over an inner axis."""
    kind = label_type(scores.shape[2])
    best = scores[:, :, 0]
    labels = torch.zeros_like(best, dtype=kind)
    for k in range(1, scores.shape[2]):
        labels = torch.maximum(labels, (scores[:, :, k] > best).to(kind).mul_(k))
        if k + 1 < scores.shape[2]:
            best = torch.maximum(best, scores[:, :, k])
    return labels


def smooth_field(
    leading: tuple[int, ...], space: Sequence[int], cell: int, generator: torch.Generator, device: torch.device
) -> Float[Tensor, "..."]:
    """Return white noise on a grid of cells, between which it is linear, of variance one in every pixel exactly.

    Between grid points a linear interpolation has less variance; in each direction the sum of the squared weights of a
    pixel says how much, and is divided out.
    """
    grid = [max(2, math.ceil(size / cell) + 1) if size > 1 else 1 for size in space]
    coarse = gaussian((math.prod(leading), 1, *grid), generator, device)
    field = resized(coarse, tuple(space), align_corners=True)
    for axis, (points, size) in enumerate(zip(grid, space, strict=True)):
        weights = F.interpolate(torch.eye(points, device=device)[None], size=size, mode="linear", align_corners=True)
        scale = weights[0].square().sum(0).rsqrt()
        field *= scale.reshape(-1, *[1] * (len(space) - 1 - axis))
    return field.reshape(*leading, *space)


def connected_regions(labels: Int[Tensor, "n *s"]) -> Int[Tensor, "n *s"]:
    """Return the number, from 0 in each image, of the connected region of one class that each pixel lies in.

    >>> connected_regions(torch.tensor([[[0, 1, 1], [0, 0, 1], [1, 0, 1]]]))
    tensor([[[0, 1, 1],
             [0, 0, 1],
             [2, 0, 1]]])
    """
    return torch.from_numpy(np.stack([_numbered(each) for each in labels.cpu().numpy()])).to(labels.device)


def _numbered(labels: np.ndarray) -> np.ndarray:
    numbers, total = np.zeros(labels.shape, np.int64), 0
    for k in np.unique(labels):
        found, count = ndimage.label(labels == k)
        numbers += np.where(found > 0, found - 1 + total, 0)
        total += count
    return numbers
