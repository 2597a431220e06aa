"""Latent variables of networks that are trained as variational autoencoders: Gaussians, and what a training sees."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from calibrant._shapes import Float, Tensor

LEAST, MOST = -10.0, 5.0
"""Bounds of the logarithm of a deviation: beyond them float32 loses the divergence of two Gaussians."""


class Gaussian(NamedTuple):
    """Independent normal numbers.

    :param mean: their means.
    :param deviation: their standard deviations.
    """

    mean: Float[Tensor, "b d *t"]
    deviation: Float[Tensor, "b d *t"]

    @classmethod
    def of(cls, maps: Float[Tensor, "b e *t"]) -> "Gaussian":
        """Return the law that a layer asks for: the means, then the logarithms of the deviations, within bounds.

        :param maps: twice as many channels as there are numbers.
        """
        mean, log_deviation = maps.float().chunk(2, 1)
        return cls(mean, log_deviation.clamp(LEAST, MOST).exp())

    def drawn(self, latents: Float[Tensor, "b d *t"]) -> Float[Tensor, "b d *t"]:
        """Return numbers of this law from standard normal ones.

        :param latents: standard normal numbers.
        """
        return self.mean + self.deviation * latents

    def repeated(self, number: int) -> "Gaussian":
        """Return the law for a number of samples of each image, samples before images, in one axis.

        :param number: how many samples.
        """
        return Gaussian(repeated(self.mean, number), repeated(self.deviation, number))

    def divergence(self, prior: "Gaussian") -> Float[Tensor, " b"]:
        """Return the Kullback-Leibler divergence from another law, in nats, the sum over all numbers of an image.

        :param prior: the other law.

        >>> one, other = Gaussian(torch.ones(1, 2), torch.ones(1, 2)), Gaussian(torch.zeros(1, 2), torch.ones(1, 2))
        >>> one.divergence(other), one.divergence(one)
        (tensor([1.]), tensor([0.]))
        """
        ratio = self.deviation / prior.deviation
        apart = (self.mean - prior.mean) / prior.deviation
        return ((ratio.square() + apart.square() - 1) / 2 - ratio.log()).flatten(1).sum(1)


class Reconstruction(NamedTuple):
    """What a training sees of annotators' maps that went through the latents.

    :param logits: those of the maps, one tensor for each level that has an output, the finest last.
    :param divergences: how far the law of a level's latents given a map is from that without it, in nats, the sum over
        its numbers; the coarsest level first.
    :param numbers: how many numbers each level has.
    """

    logits: list[Float[Tensor, "m n c *s"]]
    divergences: list[Float[Tensor, "m n"]]
    numbers: list[int]

    @classmethod
    def of(
        cls,
        logits: Sequence[Float[Tensor, "b c *s"]],
        laws: Sequence[tuple[Gaussian, Gaussian]],
        shape: Sequence[int],
    ) -> "Reconstruction":
        """Return it from tensors that hold maps and images in one axis.

        :param logits: those of the maps at each level that has an output.
        :param laws: the posterior and the prior of each level.
        :param shape: the number of maps, and of images.
        """
        return cls(
            [each.unflatten(0, shape) for each in logits],
            [posterior.divergence(prior).unflatten(0, shape) for posterior, prior in laws],
            [prior.mean[0].numel() for _, prior in laws],
        )


Draw = Callable[[int, Gaussian], Tensor]
"""From the number of a level and the law of its latents to the latents that are taken."""


class Drawn:
    """Latents, drawn level by level from one law, and taken again where another law is asked about the same ones.

    :param normal: standard normal numbers of each level.
    """

    def __init__(self, normal: Sequence[Float[Tensor, "b _ ..."]]) -> None:
        self._normal = normal
        self.maps: list[Float[Tensor, "b _ ..."]] = []

    def draw(self, number: int, law: Gaussian) -> Float[Tensor, "b d *t"]:
        """Return the latents of the next level, drawn.

        :param number: of the level.
        :param law: that of its latents.
        """
        self.maps.append(law.drawn(self._normal[number]))
        return self.maps[number]

    def again(self, number: int, law: Gaussian) -> Float[Tensor, "b d *t"]:
        """Return the latents of a level as they were drawn.

        :param number: of the level.
        :param law: another one of its latents.
        """
        return self.maps[number]


def split_latents(
    latents: Float[Tensor, "m n d"], sizes: Sequence[tuple[int, ...]], channels: int
) -> list[Float[Tensor, "b k ..."]]:
    """Return latents as maps, level by level, samples and images in one axis.

    :param latents: all numbers of each sample and image.
    :param sizes: the size of each level's maps.
    :param channels: of each map.
    """
    flat = latents.flatten(0, 1)
    parts = flat.split([channels * math.prod(size) for size in sizes], 1)
    return [part.unflatten(1, (channels, *size)) for part, size in zip(parts, sizes, strict=True)]


def repeated(maps: Float[Tensor, "n k *s"], number: int) -> Float[Tensor, "b k *s"]:
    """Return maps for a number of samples of each image, samples before images, in one axis.

    :param maps: of each image.
    :param number: how many samples.
    """
    return maps.expand(number, *maps.shape).flatten(0, 1)


def judged(planes: Float[Tensor, "m n c *s"], seen: Float[Tensor, "n k *s"]) -> Float[Tensor, "b f *s"]:
    """Return what a posterior is given: the image, and the planes of a label map less one half, as published.

    :param planes: a map of each annotator: 1 in the class and 0 elsewhere, 0 in all where a pixel is unlabelled.
    :param seen: the image, or probabilities, or both, concatenated.
    """
    return torch.cat([repeated(seen, len(planes)), planes.flatten(0, 1) - 0.5], 1)
