"""The network of stochastic segmentation networks (Monteiro et al., NeurIPS 2020): a Gaussian law of low rank."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError
from calibrant.networks._layers import layer
from calibrant.networks._unet_blocks import Down, Up
from calibrant.networks._unet_blocks import convolutions as block

LEAST_VARIANCE = 1e-5
"""Added to the variance of each logit, as in the released code."""


class GaussianLogits(NamedTuple):
    """A Gaussian law of the logits of an image.

    :param mean: its mean.
    :param factor: what the shared normal numbers are multiplied by, one map a class and number.
    :param variance: the variance that each logit has on its own, besides.
    """

    mean: Float[Tensor, "n c *s"]
    factor: Float[Tensor, "n r c *s"]
    variance: Float[Tensor, "n c *s"]

    def sampled(self, latents: Float[Tensor, "m n d"]) -> Float[Tensor, "m n c *s"]:
        """Return logits drawn from the law: mean + factor z + sqrt(variance) e, without a covariance matrix.

        :param latents: standard normal numbers: z, one for each map of the factor, then e, one a logit.
        """
        rank = self.factor.shape[1]
        shared, own = latents[..., :rank], latents[..., rank:]
        varying = torch.einsum("mnr,nrcp->mncp", shared, self.factor.flatten(3))
        alone = self.variance.sqrt().flatten(2) * own.unflatten(2, (self.mean.shape[1], -1))
        return (self.mean.flatten(2) + varying + alone).unflatten(3, self.mean.shape[2:])


class StochasticUNet(nn.Module):
    """A Gaussian law of logits: ``n k *s`` to a mean, a factor of low rank and variances, and samples of it.

    A level is some convolutions, each with batch normalisation and ReLU; between levels the mean over 2 pixels a side
    down, linear interpolation up. The levels up have the channels of the level below, and three 1 x 1 convolutions
    follow. Draws are made as ``mean + factor z + noise``: training needs no density, so no matrix is factorised.

    Defaults are the published sizes on LIDC: 10,320,568 parameters (``StochasticUNet(1, 2)``).

    :param in_channels: channels of the input: those of the image and one a class, concatenated, or one of the two.
    :param num_classes: how many classes there are.
    :param widths: channels of each level, from full resolution on; two or more levels.
    :param convolutions: how many there are a level.
    :param rank: how many numbers all logits of an image share.
    :param hidden: channels of the 1 x 1 convolutions.
    :param scale: factor of the first weights that make samples differ; below 1 a training begins with the mean.
    :param dims: 2 for ``h w``, 3 for ``d h w``.
    :raises InputError: there are fewer than two levels, or other dimensions.

    >>> network = StochasticUNet.small(3, 2).eval()
    >>> latents = torch.zeros(5, 2, network.latent_size((21, 30)))
    >>> network(torch.zeros(2, 3, 21, 30), latents).shape
    torch.Size([5, 2, 2, 21, 30])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (32, 64, 128, 192, 192, 192, 192),
        convolutions: int = 3,
        rank: int = 10,
        hidden: int = 32,
        scale: float = 1.0,
        dims: int = 2,
    ) -> None:
        super().__init__()
        if len(widths) < 2:
            raise InputError(f"expected the channels of two levels or more; got {list(widths)}. (16, 32) is small.")
        self._arguments = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "widths": list(widths),
            "convolutions": convolutions,
            "rank": rank,
            "hidden": hidden,
            "scale": scale,
            "dims": dims,
        }
        self.in_channels, self.num_classes, self.rank = in_channels, num_classes, rank
        conv = layer("conv", dims)
        self.down = Down(in_channels, widths, convolutions, norm=True, dims=dims)
        self.up = Up(widths, convolutions, wide=True, norm=True, dims=dims)
        self.mix = block(self.up.width, hidden, 3, size=1, norm=True, dims=dims)
        self.mean = conv(hidden, num_classes, 1)
        self.log_variance = conv(hidden, num_classes, 1)
        self.factor = conv(hidden, num_classes * rank, 1)
        with torch.no_grad():
            for part in self.factor.parameters():
                part.mul_(scale)

    @classmethod
    def small(cls, in_channels: int, num_classes: int, **sizes: Any) -> "StochasticUNet":
        """Return one for two cores: four levels of two convolutions, an eighth of the channels.

        :param in_channels: channels of the input.
        :param num_classes: how many classes there are.
        :param sizes: other arguments of the constructor.
        """
        preset: dict[str, Any] = {"widths": (16, 32, 64, 64), "convolutions": 2, "scale": 0.1}
        return cls(in_channels, num_classes, **preset | sizes)

    def latent_size(self, space: Sequence[int]) -> int:
        """Return how many numbers a sample takes: those that all pixels share, and one a class and pixel.

        :param space: the size of the image, in pixels.
        """
        return self.rank + self.num_classes * math.prod(space)

    def forward(self, seen: Float[Tensor, "n k *s"], latents: Float[Tensor, "m n d"]) -> Float[Tensor, "m n c *s"]:
        """Return logits.

        :param seen: the image, or probabilities, or both, concatenated.
        :param latents: standard normal numbers of each sample and image.
        """
        return self.decode(self.encode(seen), latents, seen.shape[2:])

    def encode(self, seen: Float[Tensor, "n k *s"]) -> GaussianLogits:
        """Return the law of the logits.

        :param seen: the image, or probabilities, or both, concatenated.
        """
        x = self.mix(self.up(self.down(seen)))
        factor = self.factor(x).unflatten(1, (self.rank, self.num_classes))
        return GaussianLogits(self.mean(x), factor, self.log_variance(x).exp() + LEAST_VARIANCE)

    def decode(
        self, law: GaussianLogits, latents: Float[Tensor, "m n d"], space: Sequence[int]
    ) -> Float[Tensor, "m n c *s"]:
        """Return logits drawn from the law.

        :param law: what :meth:`encode` returned.
        :param latents: standard normal numbers of each sample and image.
        :param space: the size of the label maps, in pixels.
        """
        return law.sampled(latents)

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this network again."""
        return dict(self._arguments)
