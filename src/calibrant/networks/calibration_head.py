"""The small F of calibrated adversarial refinement: probabilities from what a black box said, and the image.

Kassapis et al. (ICCV 2021, Sec. 4.2.2: five blocks); order of layers and dropout from their released code.
"""

from typing import Any

from torch import nn

from calibrant._shapes import Float, Tensor
from calibrant.errors import ShapeError
from calibrant.networks._layers import layer


class CalibrationHead(nn.Module):
    """Logits at every pixel, from the 11 pixels around it: ``n k *s`` to ``n c *s``.

    Four times reflection padding, 3 x 3 convolution, dropout, batch normalisation and leaky ReLU; then padding,
    convolution and dropout. (In the paper dropout is 0.1 and stands last, and all five blocks are alike.) Defaults are
    the released sizes: 141,913 parameters on Cityscapes (``CalibrationHead(28, 25)``).

    :param in_channels: channels of the input: those of the image and one a class for the black box's one-hot label map
        or probabilities, concatenated.
    :param num_classes: how many classes there are.
    :param width: channels of the hidden layers.
    :param blocks: how many blocks of convolution there are; each sees one pixel further.
    :param dropout: the share of channels left out at random in training.
    :param dims: 2 for ``h w``, 3 for ``d h w``.

    >>> import torch
    >>> CalibrationHead.small(14, 11)(torch.zeros(2, 14, 9, 7)).shape
    torch.Size([2, 11, 9, 7])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        width: int = 64,
        blocks: int = 5,
        dropout: float = 0.2,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self._arguments = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "width": width,
            "blocks": blocks,
            "dropout": dropout,
            "dims": dims,
        }
        self.in_channels, self.num_classes = in_channels, num_classes
        conv, reflect = layer("conv", dims), layer("reflect", dims)
        norm, drop = layer("norm", dims), layer("dropout", dims)
        layers: list[nn.Module] = []
        channels = in_channels
        for _ in range(blocks - 1):
            layers += [reflect(1), conv(channels, width, 3), drop(dropout), norm(width), nn.LeakyReLU(0.2)]
            channels = width
        self.layers = nn.Sequential(*layers, reflect(1), conv(channels, num_classes, 3), drop(dropout))

    @classmethod
    def small(cls, in_channels: int, num_classes: int, **sizes: Any) -> "CalibrationHead":
        """Return one for two cores: a quarter of the width, four blocks, less dropout.

        :param in_channels: channels of the input: those of the image and one a class, concatenated.
        :param num_classes: how many classes there are.
        :param sizes: other arguments of the constructor.
        """
        preset: dict[str, Any] = {"width": 16, "blocks": 4, "dropout": 0.05}
        return cls(in_channels, num_classes, **preset | sizes)

    def forward(self, seen: Float[Tensor, "n k *s"]) -> Float[Tensor, "n c *s"]:
        """Return logits.

        :param seen: the image and what the black box said, concatenated.
        :raises ShapeError: a side is a single pixel, beside which nothing can be reflected.
        """
        if min(seen.shape[2:]) < 2:
            raise ShapeError(
                f"expected sides of two pixels or more; got {tuple(seen.shape[2:])}. Pad the image, or leave it out."
            )
        return self.layers(seen)

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this network again."""
        return dict(self._arguments)
