"""The Probabilistic U-Net (Kohl et al., NeurIPS 2018): a U-Net, and a latent that its last features are joined with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn
from torch.nn import functional as F

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError
from calibrant.networks._layers import layer
from calibrant.networks._unet_blocks import Down, Up, convolutions, he_weights
from calibrant.networks.latents import Gaussian, Reconstruction, judged


class Features(NamedTuple):
    """What all samples of an image share.

    :param maps: the last features of the U-Net.
    :param prior: the law of the latent given the image.
    """

    maps: Float[Tensor, "n w *s"]
    prior: Gaussian


class ProbabilisticUNet(nn.Module):
    """Logits of label maps, one for each latent vector: ``n k *s`` and ``m n d`` to ``m n c *s``.

    A level is three convolutions with ReLU; between levels the mean over 2 pixels a side down, linear interpolation up.
    Two more ways down end in the mean over space and a Gaussian of the latent: the prior sees the image, the posterior
    the image and a label map. The latent is repeated over space and joined with the last features of the U-Net, which
    runs once an image; three 1 x 1 convolutions and the logits follow.

    Defaults are the published sizes on LIDC: 27,500,442 parameters (``ProbabilisticUNet(1, 2)``), 19,638,414 without
    the posterior, which samples are not drawn from.

    :param in_channels: channels of the input: those of the image and one a class, concatenated, or one of the two.
    :param num_classes: how many classes there are.
    :param widths: channels of each level, from full resolution on; two or more levels.
    :param convolutions: how many there are a level.
    :param latent_size: d, numbers of a latent.
    :param norm: whether convolutions have batch normalisation, and levels up the channels of the level below: the
        variant in PHiSeg's code, which .252 on LIDC was published of.
    :param dims: 2 for ``h w``, 3 for ``d h w``.
    :raises InputError: there are fewer than two levels, or other dimensions.

    >>> import torch
    >>> network = ProbabilisticUNet.small(3, 2)
    >>> network(torch.zeros(2, 3, 21, 30), torch.zeros(5, 2, 6)).shape
    torch.Size([5, 2, 2, 21, 30])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        convolutions: int = 3,
        latent_size: int = 6,
        norm: bool = False,
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
            "latent_size": latent_size,
            "norm": norm,
            "dims": dims,
        }
        self.in_channels, self.num_classes, self._latent_size = in_channels, num_classes, latent_size
        sizes = {"norm": norm, "dims": dims}
        self.down = Down(in_channels, widths, convolutions, **sizes)
        self.up = Up(widths, convolutions, wide=norm, **sizes)
        self.prior = _Encoder(in_channels, widths, convolutions, latent_size, **sizes)
        self.posterior = _Encoder(in_channels + num_classes, widths, convolutions, latent_size, **sizes)
        self.mix = _Mix(self.up.width, widths[0], latent_size, num_classes, **sizes)
        he_weights(self.modules())

    @classmethod
    def small(cls, in_channels: int, num_classes: int, **sizes: Any) -> "ProbabilisticUNet":
        """Return one for two cores: four levels of two convolutions, a fiftieth of the weights.

        :param in_channels: channels of the input.
        :param num_classes: how many classes there are.
        :param sizes: other arguments of the constructor.
        """
        preset: dict[str, Any] = {"widths": (16, 32, 64, 64), "convolutions": 2}
        return cls(in_channels, num_classes, **preset | sizes)

    def latent_size(self, space: Sequence[int]) -> int:
        """Return how many numbers a latent has, whatever the size of the image.

        :param space: the size of the image, in pixels.
        """
        return self._latent_size

    def forward(
        self,
        seen: Float[Tensor, "n k *s"],
        latents: Float[Tensor, "m n d"],
        planes: Float[Tensor, "m n c *s"] | None = None,
    ) -> Float[Tensor, "m n c *s"] | Reconstruction:
        """Return logits of samples; or, of annotators' maps, what a training sees of them.

        :param seen: the image, or probabilities, or both, concatenated.
        :param latents: one standard normal vector for each sample, or annotator, and image.
        :param planes: annotators' maps: 1 in the class and 0 elsewhere, 0 in all planes where a pixel is unlabelled.
        """
        shared = self.encode(seen)
        if planes is None:
            return self.decode(shared, latents, seen.shape[2:])
        posterior = self.posterior(judged(planes, seen))
        drawn = posterior.drawn(latents.flatten(0, 1)).unflatten(0, planes.shape[:2])
        apart = posterior.divergence(shared.prior.repeated(len(planes)))
        return Reconstruction(
            [self.mix(shared.maps, drawn)], [apart.unflatten(0, planes.shape[:2])], [self._latent_size]
        )

    def encode(self, seen: Float[Tensor, "n k *s"]) -> Features:
        """Return what all samples of an image share; this alone runs the U-Net.

        :param seen: the image, or probabilities, or both, concatenated.
        """
        return Features(self.up(self.down(seen)), self.prior(seen))

    def decode(
        self, shared: Features, latents: Float[Tensor, "m n d"], space: Sequence[int]
    ) -> Float[Tensor, "m n c *s"]:
        """Return the logits of one sample for each latent.

        :param shared: what :meth:`encode` returned.
        :param latents: one standard normal vector for each sample and image.
        :param space: the size of the label maps, in pixels.
        """
        return self.mix(shared.maps, shared.prior.drawn(latents))

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this network again."""
        return dict(self._arguments)


class _Encoder(nn.Module):
    """A way down that ends in the law of the latent."""

    def __init__(
        self, in_channels: int, widths: Sequence[int], number: int, latent_size: int, *, norm: bool, dims: int
    ) -> None:
        super().__init__()
        self.down = Down(in_channels, widths, number, norm=norm, dims=dims)
        self.head = layer("conv", dims)(widths[-1], 2 * latent_size, 1)

    def forward(self, seen: Float[Tensor, "n k *s"]) -> Gaussian:
        deep = self.down(seen)[-1]
        pooled = deep.flatten(2).mean(2).unflatten(1, (-1, *[1] * (deep.ndim - 2)))
        return Gaussian.of(self.head(pooled).flatten(1))


class _Mix(nn.Module):
    """1 x 1 convolutions of features and a latent; the first one is worked out for the features once."""

    def __init__(self, before: int, width: int, latent_size: int, num_classes: int, *, norm: bool, dims: int) -> None:
        super().__init__()
        self.before = before
        first = convolutions(before + latent_size, width, 3, size=1, norm=norm, dims=dims)
        assert isinstance(first[0], nn.Conv2d | nn.Conv3d)
        self.first, self.rest = first[0], first[1:]
        self.logits = layer("conv", dims)(width, num_classes, 1)

    def forward(self, maps: Float[Tensor, "b w *s"], latents: Float[Tensor, "m n d"]) -> Float[Tensor, "m n c *s"]:
        """Return logits; maps are those of each image, or of each sample and image in one axis."""
        weight = self.first.weight
        convolve = (F.conv2d, F.conv3d)[maps.ndim - 4]
        of_maps = convolve(maps, weight[:, : self.before], self.first.bias)
        of_latents = latents @ weight[:, self.before :].flatten(1).T
        both = of_maps.unflatten(0, (-1, latents.shape[1])) + of_latents.unflatten(-1, (-1, *[1] * (maps.ndim - 2)))
        return self.logits(self.rest(both.flatten(0, 1))).unflatten(0, latents.shape[:2])
