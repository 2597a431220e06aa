"""Passes over labelled pixels: what streamed fits add up, one image in memory at a time.

Sums are the same bits on any number of threads, and however images are spread over machines (see
``calibrant.predictions.sharded``).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch

from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.calibrators.calibrator import BLOCK
from calibrant.calibrators.pixels import Pixels, bounded, fittable
from calibrant.predictions import Prediction, Predictions, summed

SERIAL = 2**15 - 1
"""torch adds so many numbers on one thread; more are cut into as many parts as there are threads."""

S = TypeVar("S")


@dataclass(frozen=True)
class Blocks:
    """Labelled pixels in cache-sized blocks, class axis first, as often as asked; void pixels are left out.

    :param source: pixels in memory, or predictions that are read anew in each pass.
    """

    source: Pixels | Predictions

    def __iter__(self) -> Iterator[tuple[Float[Tensor, "c p"], Int[Tensor, " p"]]]:
        """Read the blocks, one image in memory at a time."""
        if isinstance(self.source, Pixels):
            yield from _cut(self.source.logits, self.source.labels)
        else:
            for prediction in self.source:
                yield from _blocks_of(prediction, self.num_classes)

    @cached_property
    def num_classes(self) -> int:
        """The number of classes of the first image, which the others must have, too."""
        return self.source.logits.shape[0] if isinstance(self.source, Pixels) else self.source[0].num_classes

    def summed(self, of_block: Callable[..., S], *arguments: Any) -> S | None:
        """Return the sum over all blocks of what a function makes of each; None if there is no block.

        :param of_block: from the logits and labels of a block, and the arguments, to what can be added.
        :param arguments: what else the function gets.
        """
        if isinstance(self.source, Pixels):
            return _sum(of_block(*block, *arguments) for block in self)
        if len(self.source) == 0:
            return None
        return summed(_of_image, self.source, of_block, self.num_classes, arguments)


def serial_sum(values: Float[Tensor, "*n"]) -> Float[Tensor, ""]:
    """Return the sum in float64, the same bits on any number of threads.

    :param values: any number of numbers.

    >>> serial_sum(torch.ones(70_000))
    tensor(70000., dtype=torch.float64)
    """
    total = torch.zeros((), dtype=torch.float64, device=values.device)
    for part in values.flatten().split(SERIAL):
        total += part.sum(dtype=torch.float64)
    return total


def _of_image(prediction: Prediction, of_block: Callable[..., S], num_classes: int, arguments: Any) -> S | None:
    return _sum(of_block(*block, *arguments) for block in _blocks_of(prediction, num_classes))


def _blocks_of(prediction: Prediction, num_classes: int) -> Iterator[tuple[Tensor, Tensor]]:
    logits = fittable(prediction, num_classes).logits.flatten(1)
    for labels in prediction.labels.flatten(1):
        yield from _cut(logits, labels)


def _cut(logits: Float[Tensor, "c p"], labels: Int[Tensor, " p"]) -> Iterator[tuple[Tensor, Tensor]]:
    width = min(max(1, BLOCK // logits.shape[0]), SERIAL)
    for start in range(0, labels.shape[0], width):
        block, here = logits[:, start : start + width], labels[start : start + width].long()
        labelled = here != IGNORE
        if not bool(labelled.all()):
            kept = labelled.nonzero().squeeze(1)
            block, here = block.index_select(1, kept), here[kept]
        if len(here):
            yield bounded(block.float()), here


def _sum(parts: Iterable[Any]) -> Any | None:
    total = None
    for part in parts:
        total = part if total is None else total + part
    return total
