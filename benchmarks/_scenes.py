"""Made predictions with a known truth, any number of them in no memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F

from calibrant import IGNORE
from calibrant.predictions import Prediction


@dataclass(frozen=True)
class MadeScenes:
    """Labels from a known distribution, logits distorted by class and over-confident by 1.8; five of six right.

    Smooth fields and noise make the true logits; 6 % of the pixels are unlabelled. Each image is made when asked for,
    from the seed and its number alone.

    :param depth: slices of a volume; None for images.
    """

    num_images: int
    num_classes: int
    height: int
    width: int
    seed: int = 0
    first: int = 0
    depth: int | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(f"{i:03d}" for i in range(self.first, self.first + self.num_images))

    def __len__(self) -> int:
        return self.num_images

    def __iter__(self) -> Iterator[Prediction]:
        return map(self.__getitem__, range(self.num_images))

    @property
    def _space(self) -> tuple[int, ...]:
        return (*([] if self.depth is None else [self.depth]), self.height, self.width)

    @cached_property
    def _distortion(self) -> tuple[torch.Tensor, torch.Tensor]:
        rng = torch.Generator().manual_seed(self.seed)
        shape = (self.num_classes, *[1] * len(self._space))
        return 1 + 0.05 * torch.randn(shape, generator=rng), 0.5 * torch.randn(shape, generator=rng)

    def truth(self, i: int) -> torch.Tensor:
        """Return the true logits of an image."""
        return self._made(i)[0]

    def __getitem__(self, i: int, /) -> Prediction:
        true, rng = self._made(i)
        space = self._space
        labels, best = torch.zeros(space, dtype=torch.long), torch.full(space, -math.inf)
        weight, bias = self._distortion
        for k in range(self.num_classes):  # by class, so that nothing but the logits themselves is large
            drawn = true[k] - torch.empty(space).exponential_(generator=rng).log_()
            labels[drawn > best] = k
            best = torch.maximum(best, drawn)
            true[k].mul_(weight[k]).add_(bias[k]).mul_(1.8)
        labels[torch.rand(space, generator=rng) < 0.06] = IGNORE
        return Prediction(self.keys[i], true, labels[None])

    def _made(self, i: int) -> tuple[torch.Tensor, torch.Generator]:
        rng = torch.Generator().manual_seed(1_000_003 * (self.seed + 1) + self.first + i)
        cells = [max(1, side // 16) for side in self._space]
        coarse = 3.0 * torch.randn(1, self.num_classes, *cells, generator=rng)
        true = F.interpolate(coarse, self._space, mode="bilinear" if self.depth is None else "trilinear")[0]
        for k in range(self.num_classes):
            true[k].add_(torch.randn(self._space, generator=rng), alpha=1.3)
        return true.mul_(4.0 if self.num_classes < 50 else 12.0), rng
