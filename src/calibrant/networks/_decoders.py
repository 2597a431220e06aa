"""From the maps of a backbone to features of each pixel: what comes before the last, 1 × 1 convolution of a segmenter.

Parts have the names of mmsegmentation's checkpoints, so that weights fit key by key.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._shapes import Float, Tensor


class ConvNormReLU(nn.Module):
    """A convolution that keeps the size, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, size: int, *, dilation: int = 1):
        super().__init__()
        padding = dilation * (size // 2)
        self.conv = nn.Conv2d(in_channels, out_channels, size, padding=padding, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h w"]:
        """Return what passes."""
        return F.relu(self.bn(self.conv(x)))


class AtrousPyramid(nn.Module):
    """DeepLabV3's (Chen et al., 2017): the last map, dilated at several rates, beside its mean over the image.

    :param dilations: 1 stands for a 1 × 1 convolution; by default those published at stride 8.
    """

    def __init__(self, in_channels: int, channels: int, *, dilations: Sequence[int] = (1, 12, 24, 36)):
        super().__init__()
        self.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvNormReLU(in_channels, channels, 1))
        self.aspp_modules = nn.ModuleList(
            ConvNormReLU(in_channels, channels, 1 if rate == 1 else 3, dilation=rate) for rate in dilations
        )
        self.bottleneck = ConvNormReLU((len(dilations) + 1) * channels, channels, 3)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "n k t u"]:
        """Return features at the resolution of the last map."""
        last = maps[-1]
        whole = self.image_pool(last).expand(-1, -1, *last.shape[2:])
        return self.bottleneck(torch.cat([whole, *(each(last) for each in self.aspp_modules)], 1))


class UperNet(nn.Module):
    """UperNet's (Xiao et al., ECCV 2018): the last map pooled to four grids, then added to finer maps one by one.

    :param in_channels: of the maps, the coarsest last.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, *, grids: Sequence[int] = (1, 2, 3, 6)):
        super().__init__()
        *finer, last = in_channels
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(grid), ConvNormReLU(last, channels, 1)) for grid in grids
        )
        self.bottleneck = ConvNormReLU(last + len(grids) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvNormReLU(each, channels, 1) for each in finer)
        self.fpn_convs = nn.ModuleList(ConvNormReLU(channels, channels, 3) for _ in finer)
        self.fpn_bottleneck = ConvNormReLU(len(in_channels) * channels, channels, 3)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "n k t u"]:
        """Return features at the resolution of the first map."""
        *finer, last = maps
        pooled = [_resized(each(last), last) for each in self.psp_modules]
        coarser = self.bottleneck(torch.cat([last, *pooled], 1))
        merged = [coarser]
        for lateral, smooth, each in zip(self.lateral_convs[::-1], self.fpn_convs[::-1], finer[::-1], strict=True):
            coarser = lateral(each) + _resized(coarser, each)
            merged.append(smooth(coarser))
        return self.fpn_bottleneck(torch.cat([_resized(each, maps[0]) for each in merged[::-1]], 1))


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear")
