"""A small U-Net (Ronneberger et al., MICCAI 2015), with batch normalisation and sizes of any parity."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._shapes import Float, Tensor


class SmallUNet(nn.Module):
    """Logits at every pixel, or every other one: ``n k *s`` to ``n c *t``, for two dimensions or three.

    :param in_channels: channels of the images.
    :param num_classes: how many classes there are.
    :param width: channels at full resolution; doubled at each halving.
    :param depth: how many times the image is halved; every side must be at least 2 ** depth pixels long.
    :param stride: ``*t`` is ``*s`` over this, rounded up; 2 takes a quarter of the time in two dimensions.
    :param dims: 2 for ``h w``, 3 for ``d h w``.
    :param generator: where the first weights come from; the global one if None.

    >>> SmallUNet(3, 9, width=4, depth=2)(torch.zeros(2, 3, 10, 13)).shape
    torch.Size([2, 9, 10, 13])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        width: int = 16,
        depth: int = 3,
        stride: int = 1,
        dims: int = 2,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if dims not in (2, 3):
            raise ValueError(f"expected 2 or 3 dimensions; got dims={dims}.")
        conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
        norm = (nn.BatchNorm2d, nn.BatchNorm3d)[dims - 2]
        self._pool = (F.max_pool2d, F.max_pool3d)[dims - 2]

        def block(before: int, after: int, stride: int = 1) -> nn.Sequential:
            layers: list[nn.Module] = []
            for channels, step in ((before, stride), (after, 1)):
                layers.append(conv(channels, after, 3, stride=step, padding=1, bias=False))
                layers += [norm(after), nn.ReLU(inplace=True)]
            return nn.Sequential(*layers)

        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList([block(in_channels, width, stride), *(block(a, b) for a, b in pairwise(widths))])
        self.up = nn.ModuleList(block(a + b, a) for a, b in pairwise(widths))
        self.head = conv(width, num_classes, 1)
        for module in self.modules():
            if isinstance(module, conv):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Float[Tensor, "n k *s"]) -> Float[Tensor, "n c *t"]:
        """Return logits.

        :param image: images whose sides are at least 2 ** depth pixels long.
        """
        skips, x = [], image
        for level, block in enumerate(self.down):
            x = block(self._pool(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for block in reversed(self.up):
            skip = skips.pop()
            x = block(torch.cat([skip, F.interpolate(x, size=skip.shape[2:])], 1))
        return self.head(x)
