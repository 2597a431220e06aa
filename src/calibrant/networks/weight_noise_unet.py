"""The network of Hu et al. (MICCAI 2019): a Probabilistic U-Net in which the weights of one convolution are drawn."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._shapes import Float, Tensor
from calibrant.networks.latents import Gaussian, Reconstruction, judged
from calibrant.networks.probabilistic_unet import ProbabilisticUNet


class Partial(NamedTuple):
    """What all samples of an image share.

    :param maps: the features that the convolution with drawn weights is given.
    :param prior: the law of the latent given the image.
    """

    maps: Float[Tensor, "n w *s"]
    prior: Gaussian


class WeightNoiseUNet(nn.Module):
    """Logits of label maps, one for each latent vector: ``n k *s`` and ``m n d`` to ``m n c *s``.

    A :class:`~calibrant.networks.ProbabilisticUNet` whose last 3 x 3 convolution of the way up has a Gaussian law of
    its weights: means, and deviations that are learnt (at first exp(-5)). A sample takes its own weights from it, the
    same in all pixels, and its own latent. The paper means the weights to say what the model does not know, and the
    latent what annotators do not agree in.

    Defaults are the published sizes: 5,008,665 parameters for one logit a pixel, ``WeightNoiseUNet(1, 1)``.

    :param in_channels: channels of the input: those of the image and one a class, concatenated, or one of the two.
    :param num_classes: how many classes there are.
    :param widths: channels of each level, from full resolution on; two or more levels.
    :param convolutions: how many there are a level.
    :param latent_size: numbers of the latent, besides those of the weights.
    :param released: draw noise of each pixel and channel with the variance that drawn weights would give them, as in
        the released code (local reparametrisation): then the noise does not hang together from pixel to pixel.
    :param dims: 2 for ``h w``, 3 for ``d h w``.
    :raises InputError: there are fewer than two levels, or other dimensions.

    >>> network = WeightNoiseUNet.small(3, 2)
    >>> network(torch.zeros(2, 3, 21, 30), torch.zeros(5, 2, network.latent_size((21, 30)))).shape
    torch.Size([5, 2, 2, 21, 30])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (32, 64, 128, 192),
        convolutions: int = 3,
        latent_size: int = 6,
        released: bool = False,
        dims: int = 2,
    ) -> None:
        super().__init__()
        sizes: dict[str, Any] = {"widths": widths, "convolutions": convolutions, "latent_size": latent_size}
        self._arguments = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            **sizes,
            "widths": list(widths),
            "released": released,
            "dims": dims,
        }
        self.in_channels, self.num_classes, self.released = in_channels, num_classes, released
        self._own = latent_size
        self.unet = ProbabilisticUNet(in_channels, num_classes, **sizes, dims=dims)
        last = self.unet.up.levels[0]
        assert isinstance(last, nn.Sequential)
        assert isinstance(last[-2], nn.Conv2d | nn.Conv3d)
        self.mean = last[-2]  # the ReLU after it follows in decode
        del last[-1], last[-1]
        self.log_deviation = nn.Parameter(torch.empty_like(self.mean.weight).normal_(-5, 0.1))

    @classmethod
    def small(cls, in_channels: int, num_classes: int, **sizes: Any) -> "WeightNoiseUNet":
        """Return one for two cores, of the sizes of ``ProbabilisticUNet.small``.

        :param in_channels: channels of the input.
        :param num_classes: how many classes there are.
        :param sizes: other arguments of the constructor.
        """
        preset: dict[str, Any] = {"widths": (16, 32, 64, 64), "convolutions": 2}
        return cls(in_channels, num_classes, **preset | sizes)

    def latent_size(self, space: Sequence[int]) -> int:
        """Return how many numbers a sample takes: those of the latent, and one a weight (or, released, a pixel).

        :param space: the size of the image, in pixels.
        """
        of_pixels = self.mean.out_channels * int(torch.Size(space).numel())
        return self._own + (of_pixels if self.released else self.log_deviation.numel())

    def forward(
        self,
        seen: Float[Tensor, "n k *s"],
        latents: Float[Tensor, "m n d"],
        planes: Float[Tensor, "m n c *s"] | None = None,
    ) -> Float[Tensor, "m n c *s"] | Reconstruction:
        """Return logits of samples; or, of annotators' maps, what a training sees of them.

        :param seen: the image, or probabilities, or both, concatenated.
        :param latents: standard normal numbers of each sample, or annotator, and image.
        :param planes: annotators' maps: 1 in the class and 0 elsewhere, 0 in all planes where a pixel is unlabelled.
        """
        shared = self.encode(seen)
        if planes is None:
            return self.decode(shared, latents, seen.shape[2:])
        posterior = self.unet.posterior(judged(planes, seen))
        drawn = posterior.drawn(latents[..., : self._own].flatten(0, 1)).unflatten(0, planes.shape[:2])
        apart = posterior.divergence(shared.prior.repeated(len(planes))).unflatten(0, planes.shape[:2])
        logits = self.unet.mix(self._noisy(shared.maps, latents[..., self._own :]), drawn)
        return Reconstruction([logits], [apart], [self._own])

    def encode(self, seen: Float[Tensor, "n k *s"]) -> Partial:
        """Return what all samples of an image share: all but the last convolution of the U-Net.

        :param seen: the image, or probabilities, or both, concatenated.
        """
        return Partial(*self.unet.encode(seen))

    def decode(
        self, shared: Partial, latents: Float[Tensor, "m n d"], space: Sequence[int]
    ) -> Float[Tensor, "m n c *s"]:
        """Return the logits of one sample for each latent.

        :param shared: what :meth:`encode` returned.
        :param latents: standard normal numbers of each sample and image; zeros take the means.
        :param space: the size of the label maps, in pixels.
        """
        drawn = shared.prior.drawn(latents[..., : self._own])
        return self.unet.mix(self._noisy(shared.maps, latents[..., self._own :]), drawn)

    def weight_divergence(self) -> Float[Tensor, ""]:
        """Return the Kullback-Leibler divergence of the law of the weights from a standard normal one, in nats."""
        law = self._law()
        return law.divergence(Gaussian(torch.zeros_like(law.mean), torch.ones_like(law.mean)))[0]

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this network again."""
        return dict(self._arguments)

    def _law(self) -> Gaussian:
        """Return the law of the weights, all of them numbers of one image; deviations are at most e, as released."""
        mean = self.mean.weight.flatten()[None]
        return Gaussian(mean, self.log_deviation.clamp(-10, 1).exp().flatten()[None])

    def _noisy(self, maps: Float[Tensor, "n w *s"], noise: Float[Tensor, "m n e"]) -> Float[Tensor, "b f *s"]:
        """Return the last features of the U-Net for each sample and image."""
        number, images = noise.shape[:2]
        convolve = (F.conv2d, F.conv3d)[maps.ndim - 4]
        law, shape = self._law(), self.mean.weight.shape
        if self.released:
            mean = self.mean(maps)
            variance = convolve(maps.square(), law.deviation.square().reshape(shape), padding=1)
            own = noise.unflatten(-1, mean.shape[1:])
            return (mean + variance.clamp_min(1e-12).sqrt() * own).flatten(0, 1).relu()
        weights = law.drawn(noise.flatten(0, 1)).reshape(number * images * shape[0], *shape[1:])
        grouped = maps.flatten(0, 1).repeat(number, *[1] * (maps.ndim - 2))[None]
        found = convolve(grouped, weights, padding=1, groups=number * images)[0].unflatten(0, (-1, shape[0]))
        assert self.mean.bias is not None
        return (found + self.mean.bias.reshape(-1, *[1] * (maps.ndim - 2))).relu()
