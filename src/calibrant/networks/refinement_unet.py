"""G of calibrated adversarial refinement: a U-Net that turns probabilities and noise into one label map.

Kassapis et al. (ICCV 2021, Sec. 4.2), with sizes, places of noise and order of layers from their released code.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._shapes import Float, Tensor
from calibrant.networks._layers import layer


class RefinementUNet(nn.Module):
    """Logits of label maps, one for each noise vector: ``n k *s`` and ``m n d`` to ``m n c *s``.

    A level down is convolution of stride 2, batch normalisation, leaky ReLU and dropout; a level up is the same with a
    transposed convolution of kernel 2, joined to the level below it. Noise enters behind every level up but the first,
    linearly: ``(h + r(z)) (gain + s(z))``, channel by channel, then a 1 x 1 convolution; the last of them gives the
    logits. The encoder runs once for all noise vectors. Any size of image will do: what transposed convolutions make
    too large is cut off.

    Defaults are the published sizes: 619,490 parameters on LIDC (``RefinementUNet(5, 2)``), 633,017 on Cityscapes
    (``RefinementUNet(28, 25, noise_size=32)``).

    :param in_channels: channels of the input: those of the image and one a class, concatenated.
    :param num_classes: how many classes there are.
    :param width: channels at half resolution, doubled at each level down.
    :param depth: how many times the image is halved.
    :param noise_size: d.
    :param dropout: the share of features left out at random in training.
    :param gain: 1e-5 as published, where noise of zero silences the layer; 1 leaves features alone at zero.
    :param dims: 2 for ``h w``, 3 for ``d h w``.

    >>> network = RefinementUNet.small(3, 2).eval()
    >>> network(torch.zeros(2, 3, 21, 30), torch.zeros(5, 2, network.noise_size)).shape
    torch.Size([5, 2, 2, 21, 30])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        width: int = 32,
        depth: int = 4,
        noise_size: int = 8,
        dropout: float = 0.1,
        gain: float = 1e-5,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self._arguments = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "width": width,
            "depth": depth,
            "noise_size": noise_size,
            "dropout": dropout,
            "gain": gain,
            "dims": dims,
        }
        self.in_channels, self.num_classes, self.noise_size = in_channels, num_classes, noise_size
        conv, transposed = layer("conv", dims), layer("transposed", dims)
        norm, drop = layer("norm", dims), layer("dropout", dims)

        def rest(channels: int) -> list[nn.Module]:
            return [norm(channels), nn.LeakyReLU(0.2, inplace=True), drop(dropout)]

        widths = [width * 2**level for level in range(depth)]
        self.down = nn.ModuleList(
            nn.Sequential(conv(a, b, 3, stride=2, padding=1), *rest(b)) for a, b in pairwise([in_channels, *widths])
        )
        # Up to the channels of the level to join, which doubles what goes into the next.
        inner = [*reversed(widths[:-1]), width]
        before = [widths[-1], *(2 * channels for channels in inner[:-1])]
        self.up = nn.ModuleList(
            nn.Sequential(transposed(a, b, 2, stride=2), *rest(b)) for a, b in zip(before, inner, strict=True)
        )
        outer = [*inner[1:-1], num_classes]
        self.noise = nn.ModuleList(
            NoiseInjection(a, b, noise_size, gain=gain, dims=dims) for a, b in zip(inner[1:], outer, strict=True)
        )

    @classmethod
    def small(cls, in_channels: int, num_classes: int, **sizes: Any) -> "RefinementUNet":
        """Return one for two cores: a quarter of the width, three levels; 10,000 parameters, gain one, no dropout.

        Its first samples are nearly hard. Of m samples, hard ones that are calibrated still pay about 1 / (2 m) nats in
        every doubtful pixel in the calibration loss, for chance; soft copies of the probabilities pay nothing. A short
        training that begins soft stays soft.

        :param in_channels: channels of the input: those of the image and one a class, concatenated.
        :param num_classes: how many classes there are.
        :param sizes: other arguments of the constructor.
        """
        preset: dict[str, Any] = {"width": 8, "depth": 3, "gain": 1.0, "dropout": 0.0}
        network = cls(in_channels, num_classes, **preset | sizes)
        last = network.noise[-1]
        assert isinstance(last, NoiseInjection)
        weight, _ = last.mix.parameters()
        with torch.no_grad():
            weight.mul_(4.0)
        return network

    def forward(self, condition: Float[Tensor, "n k *s"], noise: Float[Tensor, "m n d"]) -> Float[Tensor, "m n c *s"]:
        """Return logits; samples are folded into the batch, so batch statistics are those of all samples together.

        :param condition: the image and the probabilities, concatenated.
        :param noise: one standard normal vector for each sample and image.
        """
        return self.decode(self.encode(condition), noise, condition.shape[2:])

    def latent_size(self, space: Sequence[int]) -> int:
        """Return how many numbers a noise vector has, whatever the size of the image.

        :param space: the size of the image, in pixels.
        """
        return self.noise_size

    def encode(self, condition: Float[Tensor, "n k *s"]) -> list[Float[Tensor, "n ..."]]:
        """Return the features of each level down: what all samples share.

        :param condition: the image and the probabilities, concatenated.
        """
        levels, x = [], condition
        for block in self.down:
            x = block(x)
            levels.append(x)
        return levels

    def decode(
        self, levels: list[Float[Tensor, "n ..."]], noise: Float[Tensor, "m n d"], space: Sequence[int]
    ) -> Float[Tensor, "m n c *s"]:
        """Return the logits of one sample for each noise vector.

        :param levels: what :meth:`encode` returned.
        :param noise: one standard normal vector for each sample and image.
        :param space: the size of the label maps, in pixels.
        """
        m, n = noise.shape[:2]
        flat = noise.flatten(0, 1)
        # What comes before the first noise is the same for all samples of an image, but for dropout, which the first
        # level shares among them; in evaluation mode the second, too, runs once an image.
        x = self.up[0](levels[-1])
        x = torch.cat([_cropped(x, levels[-2].shape[2:]), levels[-2]], 1)
        shared = not self.training
        x = self.up[1](x) if shared else x
        x = x.expand(m, *x.shape).flatten(0, 1)
        for number, (block, inject) in enumerate(zip(self.up[1:], self.noise, strict=True)):
            x = x if shared and number == 0 else block(x)
            if number + 1 == len(self.noise):
                return inject(_cropped(x, space), flat).unflatten(0, (m, n))
            skip = levels[-3 - number]
            x = F.leaky_relu(inject(_cropped(x, skip.shape[2:]), flat))
            x = torch.cat([x, skip.expand(m, *skip.shape).flatten(0, 1)], 1)
        raise AssertionError("the last level returns")

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this network again."""
        return dict(self._arguments)


class NoiseInjection(nn.Module):
    """Scale and shift every channel by linear maps of the noise, then mix the channels: ``n k *s`` to ``n c *s``.

    :param before: channels of the features.
    :param after: channels of the result.
    :param noise_size: numbers of the noise.
    :param gain: the scale of the features where the noise adds nothing to it.
    :param dims: 2 for ``h w``, 3 for ``d h w``.
    """

    def __init__(self, before: int, after: int, noise_size: int, *, gain: float, dims: int) -> None:
        super().__init__()
        self.gain = gain
        self.shift, self.scale = nn.Linear(noise_size, before), nn.Linear(noise_size, before)
        self.mix = layer("conv", dims)(before, after, 1)
        for linear in (self.shift, self.scale):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        weight, bias = self.mix.parameters()
        nn.init.orthogonal_(weight)
        nn.init.trunc_normal_(bias, std=0.001)

    def forward(self, features: Float[Tensor, "n k *s"], noise: Float[Tensor, "n d"]) -> Float[Tensor, "n c *s"]:
        """Return the features with noise in them.

        :param features: the features to scale and shift.
        :param noise: one vector for each row of the features.
        """
        space = [1] * (features.ndim - 2)
        shift, scale = (each(noise).reshape(*noise.shape[:1], -1, *space) for each in (self.shift, self.scale))
        return self.mix((features + shift) * (scale + self.gain))


def _cropped(x: Float[Tensor, "n k ..."], space: Sequence[int]) -> Float[Tensor, "n k *s"]:
    for axis, size in enumerate(space):
        x = x.narrow(axis + 2, 0, size)
    return x
