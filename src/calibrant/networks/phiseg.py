"""PHiSeg (Baumgartner et al., MICCAI 2019): a label map is the sum of what latents at several resolutions say."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError
from calibrant.networks._layers import layer
from calibrant.networks._unet_blocks import Down, convolutions, halved_sizes, he_weights
from calibrant.networks.latents import (
    LEAST,
    MOST,
    Draw,
    Drawn,
    Gaussian,
    Reconstruction,
    judged,
    repeated,
    split_latents,
)
from calibrant.predictions import resized


class PHiSeg(nn.Module):
    """Logits of label maps, one for each set of latents: ``n k *s`` and ``m n d`` to ``m n c *s``.

    The prior is a way down, and at each of its coarsest levels a Gaussian of two numbers a pixel, whose law depends on
    the features there and on the latents of the level below. The posterior is alike and sees a label map, too. What
    becomes a label map sees the latents alone, not the image: from the coarsest level to the finest it makes logits
    at each, which are added up. In training the sums so far are each compared with the label map, and the posterior's
    latents go into the laws of the prior.

    Defaults are the published sizes on LIDC (128 x 128): 17,819,186 parameters (``PHiSeg(1, 2)``), without the layers
    of the released code that nothing comes of. All convolutions but the last of their kind have batch normalisation.

    :param in_channels: channels of the input: those of the image and one a class, concatenated, or one of the two.
    :param num_classes: how many classes there are.
    :param widths: channels of each level, from full resolution on; at least as many levels as latents.
    :param latents: at how many levels there are latents, from the coarsest on.
    :param channels: numbers of a latent a pixel.
    :param dims: 2 for ``h w``, 3 for ``d h w``.
    :raises InputError: there are too few levels for the latents, or no latents, or other dimensions.

    >>> network = PHiSeg.small(3, 2).eval()
    >>> network(torch.zeros(2, 3, 32, 64), torch.zeros(5, 2, network.latent_size((32, 64)))).shape
    torch.Size([5, 2, 2, 32, 64])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (32, 64, 128, 192, 192, 192, 192),
        latents: int = 5,
        channels: int = 2,
        dims: int = 2,
    ) -> None:
        super().__init__()
        if not 1 <= latents <= len(widths):
            raise InputError(
                f"expected at least as many levels as latents, and 1 latent or more; got {len(widths)} levels and "
                f"{latents}. Give more widths, or fewer latents."
            )
        self._arguments = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "widths": list(widths),
            "latents": latents,
            "channels": channels,
            "dims": dims,
        }
        self.in_channels, self.num_classes, self.channels = in_channels, num_classes, channels
        self.num_levels, self.num_latents = len(widths), latents
        self.prior = _Laws(in_channels, widths, latents, channels, dims=dims)
        self.posterior = _Laws(in_channels + num_classes, widths, latents, channels, dims=dims)
        self.likelihood = _Likelihood(num_classes, widths, latents, channels, dims=dims)
        he_weights(self.modules())

    @classmethod
    def small(cls, in_channels: int, num_classes: int, **sizes: Any) -> "PHiSeg":
        """Return one for two cores and images of 64 pixels a side: six levels, latents at four.

        :param in_channels: channels of the input.
        :param num_classes: how many classes there are.
        :param sizes: other arguments of the constructor.
        """
        preset: dict[str, Any] = {"widths": (12, 24, 48, 48, 48, 48), "latents": 4}
        return cls(in_channels, num_classes, **preset | sizes)

    def latent_sizes(self, space: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the sizes of the maps of latents, from the coarsest on.

        :param space: the size of the image, in pixels.
        """
        return halved_sizes(space, self.num_levels)[::-1][: self.num_latents]

    def latent_size(self, space: Sequence[int]) -> int:
        """Return how many numbers all maps of latents have.

        :param space: the size of the image, in pixels.
        """
        return self.channels * sum(map(math.prod, self.latent_sizes(space)))

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
        kept = self.encode(seen)
        space = seen.shape[2:]
        if planes is None:
            return self.decode(kept, latents, space)
        drawn = Drawn(split_latents(latents, self.latent_sizes(space), self.channels))
        posteriors = self.posterior(self.posterior.down(judged(planes, seen)), drawn.draw)
        priors = self.prior([repeated(maps, len(planes)) for maps in kept], drawn.again)
        laws = list(zip(posteriors, priors, strict=True))
        return Reconstruction.of(self.likelihood(drawn.maps, space), laws, planes.shape[:2])

    def encode(self, seen: Float[Tensor, "n k *s"]) -> list[Tensor]:
        """Return what all samples of an image share: the features of each level down.

        :param seen: the image, or probabilities, or both, concatenated.
        """
        return self.prior.down(seen)

    def decode(
        self, kept: list[Tensor], latents: Float[Tensor, "m n d"], space: Sequence[int]
    ) -> Float[Tensor, "m n c *s"]:
        """Return the logits of one sample for each set of latents.

        :param kept: what :meth:`encode` returned.
        :param latents: standard normal numbers of each sample and image; zeros take the mean given coarser ones.
        :param space: the size of the label maps, in pixels.
        """
        drawn = Drawn(split_latents(latents, self.latent_sizes(space), self.channels))
        self.prior([repeated(maps, len(latents)) for maps in kept], drawn.draw)
        return self.likelihood(drawn.maps, space)[-1].unflatten(0, latents.shape[:2])

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this network again."""
        return dict(self._arguments)


class _Laws(nn.Module):
    """A way down, and the law of the latents of each of its coarsest levels, given those of the level below."""

    def __init__(self, in_channels: int, widths: Sequence[int], latents: int, channels: int, *, dims: int) -> None:
        super().__init__()
        conv = layer("conv", dims)
        self.down = Down(in_channels, widths, 3, norm=True, dims=dims)
        coarse, wide = list(reversed(widths))[:latents], channels * widths[0]
        given = list(reversed(widths[:latents]))  # the channels of the finest levels, as in the released code
        self.below = nn.ModuleList(convolutions(channels, wide, 2, norm=True, dims=dims) for _ in coarse[1:])
        self.joined = nn.ModuleList(
            convolutions(width + wide, after, 2, norm=True, dims=dims)
            for width, after in zip(coarse[1:], given[1:], strict=True)
        )
        inputs = [coarse[0], *given[1:]]
        self.means = nn.ModuleList(
            conv(width, channels, 1 if number else 3, padding=0 if number else 1) for number, width in enumerate(inputs)
        )
        self.deviations = nn.ModuleList(conv(width, channels, 1) for width in inputs)

    def forward(self, kept: Sequence[Tensor], draw: Draw) -> list[Gaussian]:
        """Return the laws, the coarsest first, with latents of each level drawn for the next."""
        laws: list[Gaussian] = []
        z = kept[-1]
        for number, (mean, deviation) in enumerate(zip(self.means, self.deviations, strict=True)):
            x = kept[-1 - number]
            if number:
                below = self.below[number - 1](resized(z, tuple(x.shape[2:])))
                x = self.joined[number - 1](torch.cat([x, below], 1))
            spread = F.softplus(deviation(x).float()).clamp(math.exp(LEAST), math.exp(MOST))
            laws.append(Gaussian(mean(x).float(), spread))
            z = draw(number, laws[-1])
        return laws


class _Likelihood(nn.Module):
    """From latents to logits, level by level."""

    def __init__(self, num_classes: int, widths: Sequence[int], latents: int, channels: int, *, dims: int) -> None:
        super().__init__()
        apart = len(widths) - latents
        own, joined = list(reversed(widths[:latents])), list(reversed(widths[apart : apart + latents]))

        def block(before: int, after: int, number: int) -> nn.Sequential:
            return convolutions(before, after, number, norm=True, dims=dims)

        self.first = nn.ModuleList(block(channels, width, 2) for width in own)
        self.finer = nn.ModuleList(nn.ModuleList(block(width, width, 1) for _ in range(apart)) for width in own)
        deep = [own[0], *joined[1:]]
        self.up = nn.ModuleList(block(before, after, 1) for before, after in zip(deep[:-1], own[1:], strict=True))
        self.both = nn.ModuleList(block(2 * a, b, 2) for a, b in zip(own[1:], joined[1:], strict=True))
        self.logits = nn.ModuleList(layer("conv", dims)(width, num_classes, 1) for width in deep)

    def forward(self, latents: Sequence[Tensor], space: Sequence[int]) -> list[Float[Tensor, "b c *s"]]:
        """Return the logits of the whole size, added up from the coarsest level on, at each level."""
        sizes = halved_sizes(space, len(self.first))[::-1]
        of_latents = list(map(self._features, range(len(latents)), latents, sizes))
        x, total = of_latents[0], []
        for number, size in enumerate(sizes):
            if number:
                x = self.up[number - 1](resized(x, size))
                x = self.both[number - 1](torch.cat([of_latents[number], x], 1))
            said = F.interpolate(self.logits[number](x), size=tuple(space))
            total.append(total[-1] + said if total else said)
        return total

    def _features(self, number: int, latents: Float[Tensor, "b d *t"], size: tuple[int, ...]) -> Tensor:
        """Return the features of a level's latents, as much finer as the finest latents are coarser than the image."""
        x = self.first[number](latents)
        steps = list(self.finer[number].children())
        for left, step in zip(reversed(range(len(steps))), steps, strict=True):
            x = step(resized(x, halved_sizes(size, left + 1)[-1]))
        return x
