"""Synthetic street scenes whose true p(y|x) is known.

A scene is built from things in a street. Annotators see the picture and disagree about

* what a thing is, as a whole: paving shared with cars is road for 8 in 17 of them, a van is a truck for 6 in 17, an
  overgrown facade is vegetation for 5 in 17;
* where a thing ends: every outline is drawn as soft as annotators disagree about it;
* what something far or dark is: the classes' tones overlap, and p(y|x) is the posterior given the tone.

Things are taken for what they are independently of each other, so that the probabilities of a pixel follow from those
of the things in front of one another, exactly, as layers of a picture do; the pixels of one thing go together.
"""

from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch

from calibrant._input.checks import check_choice
from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.data.synthetic._generated import GeneratedExamples
from calibrant.data.synthetic._street import CLASSES, SKY, StreetBuilder
from calibrant.data.synthetic._view import Scene
from calibrant.errors import InputError
from calibrant.predictions import Example

SCENE, PICTURE, LABELS = range(3)  # streams of random numbers that never meet


@dataclass(frozen=True)
class Lighting:
    """How a scene is photographed: linear in the light, then a camera's noise.

    :param exposure: bounds between which the brightness of an image is drawn, as a factor.
    :param contrast: factor on what a pixel is above or below the mean of the image.
    :param cast: factors on red, green and blue.
    :param noise: standard deviation of the noise, where white is 1.
    """

    exposure: tuple[float, float]
    contrast: float
    cast: tuple[float, float, float]
    noise: float


LIGHTINGS = {
    "day": Lighting((0.85, 1.1), 1.0, (1.0, 1.0, 1.0), 0.02),
    "dusk": Lighting((0.45, 0.65), 0.75, (1.0, 0.92, 1.05), 0.045),
}


@dataclass(frozen=True)
class StreetScenes(GeneratedExamples):
    """Synthetic street scenes with annotators, made when asked for; image i depends on the seed and on i alone.

    Images are (3, h, w) in [0, 1]; labels (a, h, w), one independent annotator each, ``IGNORE`` on the rim of the image
    and on the bonnet of the car that carries the camera. ``probabilities(i)`` is the distribution that labels are drawn
    from: no prediction has a lower expected NLL or Brier score, and it is perfectly calibrated.

    :param num_images: the number of images.
    :param size: rows and columns; at least 16 x 16.
    :param num_annotators: the number of label maps of an image, drawn independently.
    :param seed: the seed of all images.
    :param lighting: ``"day"``, or ``"dusk"`` for a shifted set: darker, flatter, noisier, with the same streets,
        annotators and probabilities.
    :raises InputError: a number of images or annotators or a size that cannot be.
    :raises MethodError: no lighting of that name.

    >>> scenes = StreetScenes(2, size=(16, 24), num_annotators=3, seed=0)
    >>> scenes[1].image.shape, scenes[1].labels.shape, scenes.probabilities(1).shape
    (torch.Size([3, 16, 24]), torch.Size([3, 16, 24]), torch.Size([9, 16, 24]))
    """

    _: KW_ONLY
    size: tuple[int, int] = (96, 160)
    num_annotators: int = 1
    lighting: str = "day"

    def __post_init__(self):
        check_choice(self.lighting, LIGHTINGS, "lighting")
        if self.num_images < 0 or self.num_annotators < 1 or min(self.size) < 16:
            raise InputError(
                "expected 0 images or more, 1 annotator or more, and a size of 16 x 16 or more; got "
                f"num_images={self.num_images}, num_annotators={self.num_annotators}, size={self.size}."
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of their numbers."""
        return CLASSES

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(CLASSES)

    def __getitem__(self, i: int, /) -> Example:
        """Make one image and its labels."""
        i, street = self._street(i)
        labels = np.stack([self._labels(street, i, draw) for draw in range(self.num_annotators)])
        return Example(self._key(i), torch.from_numpy(self._picture(street, i)), torch.from_numpy(labels))

    def probabilities(self, index: int) -> Float[Tensor, "c h w"]:
        """Return p(y|x) of image ``index`` in float64; under unlabelled pixels, what annotators would say there.

        :param index: the number of the image, from 0.
        """
        _, street = self._street(index)
        probs = np.zeros((len(CLASSES), *self.size))
        probs[SKY] = 1
        for thing in street.things:
            cover = thing.cover()
            probs[:, *thing.window] *= 1 - cover
            for k, share in thing.law.items():
                probs[k, *thing.window] += share * cover
        return torch.from_numpy(probs)

    def labels(self, index: int, draw: int) -> Int[Tensor, "h w"]:
        """Return the labels of annotator ``draw`` for an image; the first ``num_annotators`` are the example's.

        :param index: the number of the image, from 0.
        :param draw: the number of the annotator, from 0.
        """
        index, street = self._street(index)
        return torch.from_numpy(self._labels(street, index, draw))

    def _key(self, i: int) -> str:
        return f"street-{self.seed}-{i:05d}"

    def _street(self, i: int) -> tuple[int, Scene]:
        i = self._number(i)
        return i, StreetBuilder(self._rng(i, SCENE), self.size).build()

    def _labels(self, street: Scene, i: int, draw: int) -> np.ndarray:
        labels = np.full(self.size, SKY, np.int64)
        draws = self._rng(i, LABELS, draw).random((len(street.things), 3))
        for thing, (what, *offset) in zip(street.things, draws, strict=True):
            # The sum of two uniform numbers, less one, has the triangular law.
            within = thing.distance < thing.softness * (sum(offset) - 1)
            up_to = np.cumsum(list(thing.law.values()))
            labels[thing.window][within] = list(thing.law)[int((what > up_to[:-1]).sum())]
        labels[street.unlabelled] = IGNORE
        return labels

    def _picture(self, street: Scene, i: int) -> np.ndarray:
        rng, light = self._rng(i, PICTURE), LIGHTINGS[self.lighting]
        picture = street.sky.copy()
        for thing in street.things:
            behind = picture[thing.window]
            behind += thing.cover()[..., None] * (thing.colour - behind)
        height, width = self.size
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
        picture[street.unlabelled & (y > 0)] = 0.12
        lit = 1 + rng.uniform(-0.15, 0.15) * x - 0.12 * (x**2 + y**2)
        picture *= (rng.uniform(*light.exposure) * lit)[..., None] * np.array(light.cast)
        picture = picture.mean() + light.contrast * (picture - picture.mean())
        picture += rng.normal(0, light.noise, picture.shape)
        return np.ascontiguousarray(np.clip(picture, 0, 1).transpose(2, 0, 1), np.float32)
