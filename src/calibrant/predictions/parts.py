"""One image that is read in parts, so that none of its maps need lie in memory whole.

A part is a run of pixels in the order in which they lie in memory, ``(c, p)``: rows, or slices of a volume, lie one
after another in it. :func:`runs_of` says where runs begin and end; all of them begin at a multiple of :data:`GRID`, so
that what is computed in blocks of pixels that divide it comes out the same, bit for bit, whatever the length of a run.

A source that can read its images so has ``in_parts``, a function from the number of an image to a
:class:`PredictionInParts`; :func:`each_in_parts` serves any source.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar

from calibrant._input.checks import shape_of
from calibrant._shapes import Float, Int, Tensor
from calibrant.errors import ShapeError
from calibrant.predictions.prediction import Prediction, with_logits
from calibrant.predictions.sources import in_order

T = TypeVar("T")

GRID = 2**16
"""Runs begin at multiples of so many pixels."""

NUMBERS = 2**22
"""Logits in a run, unless so few pixels of so many classes are fewer than GRID: 16 MB of float32."""


def runs_of(num_pixels: int, num_classes: int) -> Iterator[tuple[int, int]]:
    """Yield where the runs of an image begin and end.

    :param num_pixels: of the image.
    :param num_classes: how many logits a pixel has.

    >>> list(runs_of(200_000, 32))
    [(0, 131072), (131072, 200000)]
    """
    step = max(1, NUMBERS // num_classes // GRID) * GRID
    return ((start, min(start + step, num_pixels)) for start in range(0, num_pixels, step))


class PredictionInParts(ABC):
    """What a model said about one image, read run by run.

    :param key: the name of the image.
    :param num_classes: the number of classes.
    :param space: the size of the image, ``*s``.
    """

    def __init__(self, key: str, num_classes: int, space: tuple[int, ...]) -> None:
        self.key, self.num_classes, self.space = key, num_classes, tuple(space)

    @property
    def num_pixels(self) -> int:
        """The number of pixels."""
        return math.prod(self.space)

    @property
    def row(self) -> int:
        """The number of pixels of a row, or of a slice of a volume: those with one place along the first axis."""
        return math.prod(self.space[1:])

    def runs(self) -> Iterator[tuple[int, int]]:
        """Yield where the runs begin and end; of a small image there is one."""
        return runs_of(self.num_pixels, self.num_classes)

    @abstractmethod
    def logits(self, start: int, stop: int) -> Float[Tensor, "c p"]:
        """Return the logits of a run of pixels.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """

    @abstractmethod
    def labels(self, start: int, stop: int) -> Int[Tensor, "a p"]:
        """Return the labels of a run of pixels, ``IGNORE`` where unlabelled.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """

    @abstractmethod
    def image(self, start: int, stop: int) -> Float[Tensor, "k p"] | None:
        """Return the image itself in a run of pixels; None if there is none.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """

    @abstractmethod
    def whole(self) -> Prediction:
        """Return all of it, in memory."""


class WholeInParts(PredictionInParts):
    """A prediction in memory, in parts.

    :param prediction: what is divided.

    >>> import torch
    >>> prediction = Prediction("a", torch.zeros(2, 3, 4), torch.arange(12).reshape(1, 3, 4) % 2)
    >>> WholeInParts(prediction).labels(3, 6)
    tensor([[1, 0, 1]])
    """

    def __init__(self, prediction: Prediction) -> None:
        super().__init__(prediction.key, prediction.num_classes, tuple(prediction.logits.shape[1:]))
        self._prediction = prediction

    @cached_property
    def _labels(self) -> Tensor:
        logits, labels = self._prediction.logits, self._prediction.labels
        if labels.shape[1:] != logits.shape[1:]:
            raise ShapeError(
                f"expected logits (classes, *space) and labels (annotators, *space); got {shape_of(logits)} and "
                f"{shape_of(labels)}. The class axis comes first."
            )
        return labels.flatten(1)

    @cached_property
    def _logits(self) -> Tensor:
        return self._prediction.logits.flatten(1)

    def logits(self, start: int, stop: int) -> Float[Tensor, "c p"]:
        """Return the logits of a run of pixels.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """
        return self._logits[:, start:stop]

    def labels(self, start: int, stop: int) -> Int[Tensor, "a p"]:
        """Return the labels of a run of pixels, ``IGNORE`` where unlabelled.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """
        return self._labels[:, start:stop]

    def image(self, start: int, stop: int) -> Float[Tensor, "k p"] | None:
        """Return the image itself in a run of pixels; None if there is none.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """
        image = self._prediction.image
        return None if image is None else image.flatten(1)[:, start:stop]

    def whole(self) -> Prediction:
        """Return the prediction."""
        return self._prediction


class ChangedInParts(PredictionInParts):
    """An image in parts whose logits go through a function of each pixel, as they are asked for.

    :param source: the image.
    :param change: from logits, class axis first, to those that take their place.
    """

    def __init__(
        self, source: PredictionInParts, change: Callable[[Float[Tensor, "c p"]], Float[Tensor, "c p"]]
    ) -> None:
        super().__init__(source.key, source.num_classes, source.space)
        self._source, self._change = source, change

    def logits(self, start: int, stop: int) -> Float[Tensor, "c p"]:
        """Return the changed logits of a run of pixels.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """
        return self._change(self._source.logits(start, stop))

    def labels(self, start: int, stop: int) -> Int[Tensor, "a p"]:
        """Return the labels of a run of pixels, ``IGNORE`` where unlabelled.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """
        return self._source.labels(start, stop)

    def image(self, start: int, stop: int) -> Float[Tensor, "k p"] | None:
        """Return the image itself in a run of pixels; None if there is none.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """
        return self._source.image(start, stop)

    def whole(self) -> Prediction:
        """Return all of it, in memory."""
        found = self._source.whole()
        return with_logits(found, self._change(found.logits))


def each_in_parts(source: Any) -> Iterator[PredictionInParts]:
    """Yield the images of any source in order; those of a source that has no ``in_parts`` are in memory.

    :param source: predictions.

    >>> import torch
    >>> one = Prediction("a", torch.zeros(2, 3), torch.zeros(1, 3, dtype=torch.long))
    >>> [image.num_pixels for image in each_in_parts([one])]
    [3]
    """
    read = getattr(source, "in_parts", None)
    if read is None:
        return map(WholeInParts, in_order(source))
    return read_ahead(read, range(len(source)))


def read_ahead(read: Callable[[int], T], numbers: Iterable[int]) -> Iterator[T]:
    """Yield what is read under each number, reading the next in a thread while one is in use.

    :param read: from a number to what is read, in parts where it is large: two of them are there at a time.
    :param numbers: in the order wanted.

    >>> list(read_ahead("abc".__getitem__, [2, 0]))
    ['c', 'a']
    """
    with ThreadPoolExecutor(1, "read-ahead") as thread:
        coming: Future[T] | None = None
        for number in numbers:
            ready, coming = coming, thread.submit(read, number)
            if ready is not None:
                yield ready.result()
            del ready  # or it would be held while the next is in use
        if coming is not None:
            yield coming.result()
