"""What U-Nets of samplers share: blocks of convolutions, a way down, a way up, and their first weights."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._shapes import Float, Tensor
from calibrant.networks._layers import layer
from calibrant.predictions import resized


def convolutions(before: int, after: int, number: int, *, size: int = 3, norm: bool, dims: int) -> nn.Sequential:
    """Return convolutions, each followed by ReLU, with batch normalisation between the two or without.

    :param before: channels of the input.
    :param after: channels of the output, and between the convolutions.
    :param number: how many there are.
    :param size: pixels a side of each.
    :param norm: whether there is batch normalisation; then convolutions have no bias.
    :param dims: 2 for ``h w``, 3 for ``d h w``.
    """
    layers: list[nn.Module] = []
    for channels in (before, *[after] * (number - 1)):
        layers.append(layer("conv", dims)(channels, after, size, padding=size // 2, bias=not norm))
        layers += [layer("norm", dims)(after)] if norm else []
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def halved(maps: Float[Tensor, "n k *s"]) -> Float[Tensor, "n k *t"]:
    """Return the means over 2 pixels a side; at an odd end those of one.

    :param maps: maps over two or three axes of space.
    """
    cell = [min(2, side) for side in maps.shape[2:]]  # torch takes no cell that is larger than the maps
    return (F.avg_pool2d, F.avg_pool3d)[maps.ndim - 4](maps, cell, ceil_mode=True)


def halved_sizes(space: Sequence[int], number: int) -> list[tuple[int, ...]]:
    """Return the sizes of maps that are halved again and again, the whole one first.

    :param space: the whole size, in pixels.
    :param number: how many sizes.
    """
    sizes = [tuple(space)]
    for _ in range(number - 1):
        sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
    return sizes


class Down(nn.Module):
    """The way down of a U-Net: blocks of convolutions, with the mean over 2 pixels a side between them.

    :param in_channels: channels of the input.
    :param widths: channels of each level, from full resolution on.
    :param number: convolutions a level.
    :param norm: whether there is batch normalisation.
    :param dims: 2 for ``h w``, 3 for ``d h w``.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], number: int, *, norm: bool, dims: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            convolutions(a, b, number, norm=norm, dims=dims) for a, b in pairwise([in_channels, *widths])
        )

    def forward(self, x: Float[Tensor, "n k *s"]) -> list[Tensor]:
        """Return the features of each level, from full resolution on."""
        found: list[Tensor] = []
        for block in self.levels:
            found.append(block(halved(found[-1]) if found else x))
        return found


class Up(nn.Module):
    """The way up of a U-Net: linear interpolation, what the way down kept, and a block of convolutions, level by level.

    :param widths: channels of each level down, from full resolution on.
    :param number: convolutions a level.
    :param wide: levels up have the channels of the level below, as in the U-Nets of PHiSeg's code.
    :param norm: whether there is batch normalisation.
    :param dims: 2 for ``h w``, 3 for ``d h w``.
    """

    def __init__(self, widths: Sequence[int], number: int, *, wide: bool, norm: bool, dims: int) -> None:
        super().__init__()
        after = [*(widths[1:] if wide else widths[:-1])]
        below = [*after[1:], widths[-1]]
        self.levels = nn.ModuleList(
            convolutions(deep + skip, out, number, norm=norm, dims=dims)
            for deep, skip, out in zip(below, widths[:-1], after, strict=True)
        )
        self.width = after[0]

    def forward(self, kept: Sequence[Tensor]) -> Float[Tensor, "n w *s"]:
        """Return features at full resolution from those of each level down."""
        x = kept[-1]
        for block, skip in zip(reversed(self.levels), reversed(kept[:-1]), strict=True):
            x = block(torch.cat([resized(x, tuple(skip.shape[2:])), skip], 1))
        return x


def he_weights(modules: Iterable[nn.Module]) -> None:
    """Draw the first weights of convolutions so that ReLU keeps the size of what passes (He et al., ICCV 2015).

    Biases begin near 0, as in the released code of the Probabilistic U-Net.

    :param modules: what may be convolutions; others stay as they are.
    """
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            _small_bias(module)


def orthogonal_weights(modules: Iterable[nn.Module]) -> None:
    """Draw the first weights of convolutions as orthogonal matrices, with biases near 0.

    :param modules: what may be convolutions; others stay as they are.
    """
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.orthogonal_(module.weight)
            _small_bias(module)


def _small_bias(module: nn.Conv2d | nn.Conv3d) -> None:
    if module.bias is not None:
        nn.init.trunc_normal_(module.bias, std=1e-3, a=-2e-3, b=2e-3)
