"""Generated examples: made when they are asked for, in any order, each from the seed and its own number alone."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

import numpy as np

from calibrant.predictions import Example


@dataclass(frozen=True)
class GeneratedExamples(ABC):
    """A source of generated examples: the base of all, never made itself.

    :param num_images: the number of images.
    :param seed: the seed of all images.
    """

    num_images: int
    _: KW_ONLY
    seed: int

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images."""
        return tuple(self._key(i) for i in range(self.num_images))

    def __len__(self) -> int:
        """Return the number of images."""
        return self.num_images

    def __iter__(self) -> Iterator[Example]:
        """Make the images in order."""
        return (self[i] for i in range(self.num_images))

    @abstractmethod
    def __getitem__(self, i: int, /) -> Example:
        """Make one image and its labels."""

    @abstractmethod
    def _key(self, i: int) -> str:
        """Return the name of an image."""

    def _number(self, i: int) -> int:
        """Return the number of an image from 0, for one that may be counted from the end."""
        if not -self.num_images <= i < self.num_images:
            raise IndexError(f"expected the number of an image, 0 to {self.num_images - 1}; got {i}.")
        return i % self.num_images

    def _rng(self, i: int, *stream: int) -> np.random.Generator:
        """Return the random numbers of one image for one purpose.

        :param stream: numbers the purpose, and what is drawn for it.
        """
        return np.random.default_rng((self.seed, self._number(i), *stream))
