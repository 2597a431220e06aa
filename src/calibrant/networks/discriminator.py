"""D of calibrated adversarial refinement: does a label map look like an annotator's of this image?

Kassapis et al. (ICCV 2021, Sec. 4.2), a DC-GAN without batch normalisation, with layers from their released code.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from calibrant._shapes import Float, Tensor
from calibrant.errors import ShapeError
from calibrant.networks._layers import layer


class Discriminator(nn.Module):
    """The logit that a label map is real: ``n k *s`` to ``n``.

    Three convolutions at full resolution, three that halve it, two more, then a linear map. As published that map has a
    weight for every position, which ties the network to one size of image: 3,431,809 parameters at 128 x 128
    (``Discriminator(5, size=(128, 128))``). By default features are averaged over positions first, and any size from
    24 pixels a side will do: 3,419,329 parameters.

    :param in_channels: channels of the input: those of the image and one a class for the one-hot (or softmax) label
        map, concatenated.
    :param width: channels of the first layers.
    :param halvings: how often the resolution is halved.
    :param size: the one size of images that it works on; None for any.
    :param dims: 2 for ``h w``, 3 for ``d h w``.

    >>> import torch
    >>> Discriminator.small(3)(torch.zeros(4, 3, 21, 30)).shape
    torch.Size([4])
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: int = 64,
        halvings: int = 3,
        size: Sequence[int] | None = None,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self._arguments = {
            "in_channels": in_channels,
            "width": width,
            "halvings": halvings,
            "size": None if size is None else list(size),
            "dims": dims,
        }
        self.halvings = halvings
        conv, reflect, zero = layer("conv", dims), layer("reflect", dims), layer("zero", dims)

        def leaky() -> nn.Module:
            return nn.LeakyReLU(0.2)

        layers: list[nn.Module] = []
        for channels in (in_channels, width, width):
            layers += [reflect(1), conv(channels, width, 3), leaky()]
        layers += [reflect(1), zero(1), conv(width, width, 4, stride=2), leaky()]
        channels = width
        for _ in range(halvings - 1):
            layers += [conv(channels, 2 * channels, 4, stride=2, padding=1, bias=False), leaky()]
            channels *= 2
        layers += [conv(channels, 2 * channels, 4, padding=1, bias=False), leaky()]
        layers += [conv(2 * channels, width, 4, padding=1), leaky()]
        self.features = nn.Sequential(*layers)
        positions = 1
        for side in size or ():
            positions *= side // 2**halvings - 2
        self.head = nn.Linear(width * positions, 1)

    @classmethod
    def small(cls, in_channels: int, **sizes: Any) -> "Discriminator":
        """Return one for two cores: a quarter of the width, halved twice; 67,000 parameters.

        Its first weights keep the size of what passes through (He et al., ICCV 2015). With torch's own, which the
        released code leaves, eight layers without normalisation shrink it ten thousandfold: a small one then tells
        nothing apart for longer than a training of minutes lasts.

        :param in_channels: channels of the input: those of the image and one a class, concatenated.
        :param sizes: other arguments of the constructor.
        """
        preset: dict[str, Any] = {"width": 16, "halvings": 2}
        judge = cls(in_channels, **preset | sizes)
        for module in judge.features.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, a=0.2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        return judge

    def forward(self, pairs: Float[Tensor, "n k *s"]) -> Float[Tensor, " n"]:
        """Return the logit of each pair of image and label map.

        :param pairs: images and label maps, concatenated.
        :raises ShapeError: the images are too small to be halved so often.
        """
        least = 3 * 2**self.halvings
        if min(pairs.shape[2:]) < least:
            raise ShapeError(
                f"expected images of at least {least} pixels a side; got {tuple(pairs.shape[2:])}. "
                "Give the discriminator fewer halvings, or train on larger images."
            )
        features = self.features(pairs).flatten(2)
        if self._arguments["size"] is None:
            return self.head(features.mean(2)).squeeze(1)
        return self.head(features.flatten(1)).squeeze(1)

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this network again."""
        return dict(self._arguments)
