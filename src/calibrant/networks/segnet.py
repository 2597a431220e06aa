"""The large F of calibrated adversarial refinement: probabilities from an image alone.

Kassapis et al. (ICCV 2021) call it SegNet (Badrinarayanan et al., 2017). Their released code has the VGG-19 encoder of
one, with batch normalisation and pretrained on ImageNet, but joins levels as a U-Net does and upsamples by transposed
convolution; this is that network. Some convolutions of the decoder are repeated with the same weights, as released.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError, ShapeError

VGG19 = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
"""Channels of the convolutions of each stage."""

# Of each stage of the decoder, from the deepest: (channels, how often), the sharing of weights included.
_DECODER = (((512, 4),), ((512, 1), (512, 2), (256, 1)), ((256, 1), (256, 2), (128, 1)), ((128, 1), (64, 1)))


def _block(before: int, after: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.Dropout(dropout))


def _encoder(channels: int, stages: Sequence[Sequence[int]], dropout: float) -> nn.ModuleList:
    """Return the stages down, each of which halves the sides at its end."""
    encoder = []
    for stage in stages:
        layers: list[nn.Module] = []
        for after in stage:
            layers.append(_block(channels, after, dropout))
            channels = after
        encoder.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
    return nn.ModuleList(encoder)


def _decoder(widths: Sequence[int], plan: Sequence[Sequence[Sequence[int]]], dropout: float) -> nn.ModuleList:
    """Return the stages up, each of which doubles the sides at its beginning.

    :param widths: channels that each stage of the encoder ends with; all but the deepest are joined on the way up.
    :param plan: for each stage, (channels, times that a convolution is applied).
    """
    channels = widths[-1]
    ups = []
    for stage, more in zip(plan, [0, *reversed(widths[:-1])], strict=True):
        channels += more
        layers: list[nn.Module] = [nn.ConvTranspose2d(channels, channels, 2, stride=2)]
        for after, times in stage:
            layers += [_block(channels, after, dropout)] * times  # one module, so one set of weights
            channels = after
        ups.append(nn.Sequential(*layers))
    return nn.ModuleList(ups)


class SegNet(nn.Module):
    """Logits at every pixel: ``n k h w`` to ``n c h w``, sides divisible by 32 (16 in the small one).

    Defaults are the released sizes: 39.79 M parameters with two classes, half of them the encoder's. Its first weights
    are random; :meth:`load_encoder` takes pretrained ones, as the paper did.

    :param in_channels: channels of the images.
    :param num_classes: how many classes there are.
    :param stages: channels of the convolutions between one halving and the next.
    :param decoder: for each stage up, from the deepest, (channels, times that a convolution is applied).
    :param dropout: the share of features left out at random in training.

    >>> SegNet.small(1, 2)(torch.zeros(2, 1, 32, 48)).shape
    torch.Size([2, 2, 32, 48])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        stages: Sequence[Sequence[int]] = VGG19,
        decoder: Sequence[Sequence[Sequence[int]]] = _DECODER,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self._arguments = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "stages": [list(stage) for stage in stages],
            "decoder": [[list(part) for part in stage] for stage in decoder],
            "dropout": dropout,
        }
        if len(decoder) != len(stages) - 1:
            raise InputError(
                f"expected a decoder of {len(stages) - 1} stages for an encoder of {len(stages)}; got {len(decoder)}. "
                "The last stage up is made from the first stage down."
            )
        self.in_channels, self.num_classes = in_channels, num_classes
        self.encoder = _encoder(in_channels, stages, dropout)
        # The last stage has one convolution to the width of the first stage and one to the classes.
        plan = [*decoder, ((stages[0][-1], 1), (num_classes, 1))]
        self.decoder = _decoder([stage[-1] for stage in stages], plan, dropout)
        self.out = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(num_classes, num_classes, 3))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    @classmethod
    def small(cls, in_channels: int, num_classes: int, **sizes: Any) -> "SegNet":
        """Return one for two cores: four stages of at most 64 channels, 250,000 parameters.

        :param in_channels: channels of the images.
        :param num_classes: how many classes there are.
        :param sizes: other arguments of the constructor.
        """
        preset: dict[str, Any] = {
            "stages": ((16,), (32,), (64,), (64,)),
            "decoder": (((64, 1),), ((32, 1),), ((16, 1),)),
        }
        return cls(in_channels, num_classes, **preset | sizes)

    def forward(self, image: Float[Tensor, "n k h w"]) -> Float[Tensor, "n c h w"]:
        """Return logits.

        :param image: images with sides divisible as the class says.
        :raises ShapeError: a side is not divisible as it must be.
        """
        divisor = 2 ** len(self.encoder)
        if image.shape[2] % divisor or image.shape[3] % divisor:
            raise ShapeError(
                f"expected sides divisible by {divisor}; got {tuple(image.shape[2:])}. Crop or pad the images."
            )
        levels, x = [], image
        for stage in self.encoder:
            x = stage(x)
            levels.append(x)
        levels.pop()
        for number, stage in enumerate(self.decoder):
            x = stage(x if number == 0 else torch.cat([levels.pop(), x], 1))
        return self.out(x)

    def load_encoder(self, state: Mapping[str, Tensor]) -> None:
        """Take the encoder's weights from the state of torchvision's ``vgg19_bn``, which is in the same order.

        A first convolution for another number of channels keeps its own weights, as in the released code.

        :param state: the ``state_dict()`` of torchvision's network.
        :raises ShapeError: these are not the weights of such an encoder.
        """
        given = [value for name, value in state.items() if name.startswith("features.")]
        own = list(self.encoder.state_dict().values())
        alike = [a.shape == b.shape for a, b in zip(own, given, strict=False)]
        if len(given) != len(own) or not all(alike[1:]):
            raise ShapeError(
                f"expected the {len(own)} tensors of an encoder of the same stages, named features.…; got {len(given)}."
            )
        with torch.no_grad():
            for mine, theirs, same in zip(own, given, alike, strict=True):
                if same:
                    mine.copy_(theirs)

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this network again."""
        return dict(self._arguments)
