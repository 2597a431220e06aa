"""Small images that annotators disagree about in few ways, with weights that are known.

Each picture may show one blob. A share of the annotators sees it at all; they draw it small, middle or large, as its
rim is soft; and some count a side lobe to it. That makes seven maps an image, with known weights, so what a perfect
sampler scores can be computed by enumeration instead of estimated. The picture is bright where many annotators see the
blob, on a ground of slow waves: it shows all that the distribution of the labels depends on.
"""

from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch

from calibrant._shapes import Float, Int, Tensor
from calibrant.data.synthetic._generated import GeneratedExamples
from calibrant.errors import InputError
from calibrant.predictions import Example

_SIZES = {-1: 0.25, 0: 0.5, 1: 0.25}
SCENE, LABELS = range(2)  # streams of random numbers that never meet


@dataclass(frozen=True)
class BlobAnnotators(GeneratedExamples):
    """Images (1, h, w) in [0, 1], and labels (a, h, w): 0 ground, 1 blob; image i depends on the seed and i alone.

    :param num_images: the number of images.
    :param size: rows and columns; at least 16 x 16.
    :param num_annotators: the number of label maps of an image, drawn independently from the known distribution.
    :param noise: the standard deviation of white noise on the picture. At 0, ``modes`` is the distribution given the
        picture; with noise it is that given the scene behind it.
    :param seed: the seed of all images.
    :raises InputError: numbers or a size that cannot be.

    >>> blobs = BlobAnnotators(3, seed=0)
    >>> maps, weights = blobs.modes(2)
    >>> maps.shape, float(weights.sum())
    (torch.Size([7, 32, 32]), 1.0)
    """

    _: KW_ONLY
    size: tuple[int, int] = (32, 32)
    num_annotators: int = 4
    noise: float = 0.0

    def __post_init__(self):
        if self.num_images < 0 or self.num_annotators < 1 or min(self.size) < 16 or self.noise < 0:
            raise InputError(
                "expected 0 images or more, 1 annotator or more, a size of 16 x 16 or more and noise of 0 or more; got "
                f"num_images={self.num_images}, num_annotators={self.num_annotators}, size={self.size}, "
                f"noise={self.noise}."
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of their numbers."""
        return ("ground", "blob")

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return 2

    def __getitem__(self, i: int, /) -> Example:
        """Make one image and its labels."""
        maps, weights = self.modes(i)
        drawn = self._rng(i, LABELS).choice(len(maps), self.num_annotators, p=weights.numpy())
        return Example(self._key(self._number(i)), self._picture(i), maps[torch.from_numpy(drawn)])

    def modes(self, index: int) -> tuple[Int[Tensor, "r h w"], Float[Tensor, " r"]]:
        """Return the seven maps that annotators draw of image ``index``, the empty one first, and their probabilities.

        :param index: the number of the image, from 0.
        """
        blob = _Blob.draw(self._rng(index, SCENE), self.size)
        maps, weights = [np.zeros(self.size, bool)], [1 - blob.presence]
        for step, share in _SIZES.items():
            for with_lobe, chance in ((False, 1 - blob.lobe), (True, blob.lobe)):
                maps.append(blob.region(self.size, step, with_lobe))
                weights.append(blob.presence * share * chance)
        return torch.from_numpy(np.stack(maps).astype(np.int64)), torch.tensor(weights, dtype=torch.float64)

    def probabilities(self, index: int) -> Float[Tensor, "2 h w"]:
        """Return p(y|x) of each pixel of image ``index``, in float64.

        :param index: the number of the image, from 0.
        """
        maps, weights = self.modes(index)
        blob = torch.tensordot(weights, maps.double(), 1)
        return torch.stack([1 - blob, blob])

    def _picture(self, i: int) -> Tensor:
        probs = self.probabilities(i)[1].numpy()
        rng = self._rng(i, SCENE, 1)
        y, x = np.indices(self.size) / np.array(self.size)[:, None, None]
        waves = sum(np.sin(2 * np.pi * (rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y + rng.random())) for _ in "abc")
        picture = 0.15 + 0.05 / 3 * waves + 0.7 * probs + rng.normal(0, self.noise, self.size)
        return torch.from_numpy(np.clip(picture, 0, 1).astype(np.float32))[None]

    def _key(self, i: int) -> str:
        return f"blob-{self.seed}-{i:05d}"


@dataclass(frozen=True)
class _Blob:
    """What there is to disagree about, in pixels.

    :param presence: the share of annotators who see it.
    :param softness: by what part of the radius small and large differ from middle.
    :param lobe: the share, of those who see it, who count the lobe to it.
    """

    centre: np.ndarray
    radius: float
    angle: float
    presence: float
    softness: float
    lobe: float

    @classmethod
    def draw(cls, rng: np.random.Generator, size: tuple[int, int]) -> "_Blob":
        unit = min(size)
        centre = np.array(size) * rng.uniform(0.4, 0.6, 2)
        numbers = rng.uniform([0.14, 0, 0.3, 0.1, 0.2], [0.22, 2 * np.pi, 0.95, 0.4, 0.8])
        return cls(centre, unit * numbers[0], *map(float, numbers[1:]))

    def region(self, size: tuple[int, int], step: int, with_lobe: bool) -> np.ndarray:
        """Return the pixels of the blob as drawn small (-1), middle (0) or large (1)."""
        offset = np.indices(size) + 0.5 - self.centre[:, None, None]
        radius = self.radius * (1 + step * self.softness)
        inside = np.hypot(*offset) <= radius
        if with_lobe:
            towards = self.radius * np.array([np.sin(self.angle), np.cos(self.angle)])
            inside |= np.hypot(*(offset - towards[:, None, None])) <= 0.7 * self.radius
        return inside
