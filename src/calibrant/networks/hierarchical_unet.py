"""The Hierarchical Probabilistic U-Net (Kohl et al., 2019): latents at the coarse levels of a U-Net's own way up."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError
from calibrant.networks._layers import layer
from calibrant.networks._unet_blocks import halved, halved_sizes, orthogonal_weights
from calibrant.networks.latents import Draw, Drawn, Gaussian, Reconstruction, judged, repeated, split_latents


class HierarchicalUNet(nn.Module):
    """Logits of label maps, one for each set of latents: ``n k *s`` and ``m n d`` to ``m n c *s``.

    A level is three residual blocks without normalisation, each of three convolutions of half the channels; between
    levels the mean over 2 pixels a side down, the nearest pixel up. At the coarsest levels a 1 x 1 convolution of the
    features on the way up gives the law of one number a pixel, which is drawn, joined with the features and taken up.
    So the prior of each level sees what was drawn at coarser ones. The posterior is a second U-Net that sees the label
    map, too, as far up as it has latents; in training its latents go up the first.

    Defaults are the published sizes on LIDC (128 x 128): 20,584,302 parameters (``HierarchicalUNet(1, 2)``), without
    the last level up of the released posterior, which nothing comes of.

    :param in_channels: channels of the input: those of the image and one a class, concatenated, or one of the two.
    :param num_classes: how many classes there are.
    :param widths: channels of each level, from full resolution on; more levels than latents.
    :param blocks: residual blocks a level.
    :param convolutions: how many there are in a block.
    :param latents: at how many levels there are latents, from the coarsest on.
    :param released: train as released: hard pixels are picked over a batch, and the multiplier of the reconstruction is
        a weight that the optimiser raises, which takes it tens of thousands of steps.
    :param dims: 2 for ``h w``, 3 for ``d h w``.
    :raises InputError: there are too few levels for the latents, or no latents, or other dimensions.

    >>> network = HierarchicalUNet.small(3, 2)
    >>> network(torch.zeros(2, 3, 32, 64), torch.zeros(5, 2, network.latent_size((32, 64)))).shape
    torch.Size([5, 2, 2, 32, 64])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        widths: Sequence[int] = (24, 48, 96, 192, 192, 192, 192, 192),
        blocks: int = 3,
        convolutions: int = 3,
        latents: int = 4,
        released: bool = False,
        dims: int = 2,
    ) -> None:
        super().__init__()
        if not 1 <= latents < len(widths):
            raise InputError(
                f"expected more levels than latents, and 1 latent or more; got {len(widths)} levels and {latents}. "
                "Give more widths, or fewer latents."
            )
        self._arguments = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "widths": list(widths),
            "blocks": blocks,
            "convolutions": convolutions,
            "latents": latents,
            "released": released,
            "dims": dims,
        }
        self.in_channels, self.num_classes, self.num_latents = in_channels, num_classes, latents
        self.num_levels, self.released = len(widths), released
        sizes = (widths, blocks, convolutions, latents)
        self.prior = _Core(in_channels, *sizes, ups=latents, dims=dims)
        self.posterior = _Core(in_channels + num_classes, *sizes, ups=latents - 1, dims=dims)
        finer = list(reversed(widths))[latents:]
        self.stitch = nn.ModuleList(
            _level(deep + skip, skip, blocks, convolutions, dims=dims) for deep, skip in pairwise(finer)
        )
        self.logits = layer("conv", dims)(widths[0], num_classes, 1)
        orthogonal_weights(self.modules())
        self.multiplier = Multiplier(learnt=released)

    @classmethod
    def small(cls, in_channels: int, num_classes: int, **sizes: Any) -> "HierarchicalUNet":
        """Return one for two cores and images of 64 pixels a side: seven levels of one block of two convolutions.

        :param in_channels: channels of the input.
        :param num_classes: how many classes there are.
        :param sizes: other arguments of the constructor.
        """
        preset: dict[str, Any] = {"widths": (12, 24, 48, 64, 64, 64, 64), "blocks": 1, "convolutions": 2}
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
        return sum(map(math.prod, self.latent_sizes(space)))

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
        if planes is None:
            return self.decode(kept, latents, seen.shape[2:])
        drawn = Drawn(split_latents(latents, self.latent_sizes(seen.shape[2:]), 1))
        given = self.posterior.down(judged(planes + 0.5, seen))  # the planes as they are, in the released code
        _, posteriors = self.posterior.up(given, drawn.draw)
        kept = [repeated(maps, len(planes)) for maps in kept]
        x, priors = self.prior.up(kept, drawn.again)
        laws = list(zip(posteriors, priors, strict=True))
        return Reconstruction.of([self._to_full_size(x, kept)], laws, planes.shape[:2])

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
        kept = [repeated(maps, len(latents)) for maps in kept]
        x, _ = self.prior.up(kept, Drawn(split_latents(latents, self.latent_sizes(space), 1)).draw)
        return self._to_full_size(x, kept).unflatten(0, latents.shape[:2])

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this network again."""
        return dict(self._arguments)

    def _to_full_size(self, x: Float[Tensor, "b w *t"], kept: Sequence[Tensor]) -> Float[Tensor, "b c *s"]:
        for level, skip in zip(self.stitch, reversed(kept[: len(self.stitch)]), strict=True):
            x = level(_joined(x, skip))
        return self.logits(x)


class Multiplier(nn.Module):
    """The multiplier of a constraint on the reconstruction, softplus(raw) squared, and the constraint's moving average.

    :param learnt: ``raw`` is a weight, which an optimiser can move; otherwise it is moved by the loss.
    """

    average: Tensor

    def __init__(self, *, learnt: bool) -> None:
        super().__init__()
        raw = torch.tensor(math.log(math.e - 1))  # a multiplier of 1
        self.raw: Tensor
        if learnt:
            self.raw = nn.Parameter(raw)
        else:
            self.register_buffer("raw", raw)
        self.register_buffer("average", torch.tensor(-1.0))  # below 0: nothing was seen yet

    def forward(self) -> Float[Tensor, ""]:
        """Return the multiplier."""
        return F.softplus(self.raw).square()

    @torch.no_grad()
    def move(self, step: Float[Tensor, ""]) -> None:
        """Move ``raw``, so far that the multiplier stays from a hundredth to a thousand.

        :param step: what is added.
        """
        self.raw.add_(step).clamp_(-2.25, 31.62)

    @torch.no_grad()
    def observe(self, reconstruction: Float[Tensor, ""], *, keep: float) -> Float[Tensor, ""]:
        """Take a value into the moving average, which begins with the first one, and return the average.

        :param reconstruction: the value.
        :param keep: how much of the average stays.
        """
        moved = self.average.lerp(reconstruction, 1 - keep)
        self.average.copy_(torch.where(self.average < 0, reconstruction, moved))
        return self.average.clone()


class _Core(nn.Module):
    """A way down, and as much of the way up as there are latents on."""

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        blocks: int,
        convolutions: int,
        latents: int,
        *,
        ups: int,
        dims: int,
    ) -> None:
        super().__init__()
        self.levels_down = nn.ModuleList(
            _level(a, b, blocks, convolutions, dims=dims) for a, b in pairwise([in_channels, *widths])
        )
        coarse = list(reversed(widths))
        self.laws = nn.ModuleList(layer("conv", dims)(width, 2, 1) for width in coarse[:latents])
        self.levels_up = nn.ModuleList(
            _level(1 + deep + skip, skip, blocks, convolutions, dims=dims)
            for deep, skip in list(pairwise(coarse))[:ups]
        )

    def down(self, x: Float[Tensor, "b k *s"]) -> list[Tensor]:
        """Return the features of each level, from full resolution on."""
        kept: list[Tensor] = []
        for level in self.levels_down:
            kept.append(level(halved(kept[-1]) if kept else x))
        return kept

    def up(self, kept: Sequence[Tensor], draw: Draw) -> tuple[Tensor, list[Gaussian]]:
        """Return the features of the last level up, and the laws of the latents, the coarsest first."""
        x, laws = kept[-1], []
        for number, law in enumerate(self.laws):
            laws.append(Gaussian.of(law(x)))
            joined = torch.cat([draw(number, laws[-1]), x], 1)
            if number < len(self.levels_up):
                x = self.levels_up[number](_joined(joined, kept[-2 - number]))
        return x, laws


class _Block(nn.Module):
    """ReLU, convolutions of half the channels, a 1 x 1 convolution to all channels, and what came in, added up."""

    def __init__(self, before: int, after: int, number: int, *, dims: int) -> None:
        super().__init__()
        conv, narrow = layer("conv", dims), after // 2
        layers: list[nn.Module] = []
        for channels in (before, *[narrow] * (number - 1)):
            layers += [nn.ReLU(), conv(channels, narrow, 3, padding=1)]
        self.residual = nn.Sequential(*layers, conv(narrow, after, 1))
        self.skip = nn.Identity() if before == after else conv(before, after, 1)

    def forward(self, x: Float[Tensor, "b k *s"]) -> Float[Tensor, "b w *s"]:
        return self.skip(x) + self.residual(x)


def _level(before: int, after: int, blocks: int, convolutions: int, *, dims: int) -> nn.Sequential:
    """Return the residual blocks of a level."""
    return nn.Sequential(*(_Block(a, after, convolutions, dims=dims) for a in (before, *[after] * (blocks - 1))))


def _joined(deep: Float[Tensor, "b k *t"], skip: Float[Tensor, "b w *s"]) -> Float[Tensor, "b j *s"]:
    """Return deep features taken up to the nearest pixels, joined with those of a level down."""
    return torch.cat([F.interpolate(deep, size=skip.shape[2:]), skip], 1)
