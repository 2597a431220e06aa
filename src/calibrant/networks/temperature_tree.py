"""The network of local temperature scaling: a temperature for every pixel (Ding et al., ICCV 2021).

Four maps of temperatures, seen in the logits, are mixed two and two, the two mixtures are mixed, and what comes out is
mixed with a map of temperatures seen in the image. Each map and each gate is a 5 x 5 convolution, dilated by 2, of one
channel.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError

SIDE, DILATION = 5, 2
"""Size of the kernels, and the distance between their taps, in pixels (Ding et al.)."""

REACH = DILATION * (SIDE // 2)

LOG_FLOOR, LOG_SCALE = -20.0, 5.0
"""A tree that learns reads log-probabilities, those below the floor at it, divided by the scale: inputs from -4 to 0,
of about the size that its small initial weights are for, and none so large that it decides a convolution alone."""

MIN_TEMPERATURE = 1e-3
"""No temperature of a tree that learns is lower: a division by it stays finite."""

STRIP, MIN_STRIP = 2**20, 16
"""Numbers in a strip of rows that is worked on at once, and its rows at least: a multiple of those that are convolved
together."""

INITIAL_WEIGHT = 0.1
"""Standard deviation of a convolution's output at the start for inputs of unit variance: small, but not zero, where the
four temperatures and their gates would get equal gradients and never part."""

INITIAL_GATE = 3.0
"""Bias of the gate to the image at the start: sigmoid(3) = 0.95 of the logits' temperature, 0.05 of the image's."""


class TemperatureTree(nn.Module):
    """Temperatures ``n 1 *s`` from logits ``n c *s`` and, if it has a branch for it, an image ``n k *s``.

    :param weight: (8, c, 5, 5) or (8, c, 5, 5, 5): four temperatures, three gates, and the gate to the image.
    :param bias: (8,).
    :param image_weight: (1, k, 5, 5) or (1, k, 5, 5, 5); None for no branch.
    :param image_bias: (1,).
    :param start: the temperature where the tree says nothing, for a tree that reads bounded log-probabilities and ends
        in a softplus. None for the published tree: it reads raw logits and ends in ReLU(t + 1) + 1e-8.
    :raises InputError: an image branch without an image.

    >>> TemperatureTree.published(4, 3)(torch.zeros(1, 4, 6, 7), torch.zeros(1, 3, 6, 7)).unique()
    tensor([2.], grad_fn=...)
    """

    definition: ClassVar[Mapping[str, object]] = {
        "side": SIDE,
        "dilation": DILATION,
        "floor": LOG_FLOOR,
        "scale": LOG_SCALE,
        "min_temperature": MIN_TEMPERATURE,
    }

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        image_weight: Tensor | None = None,
        image_bias: Tensor | None = None,
        start: float | None = None,
    ) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.image_weight = None if image_weight is None else nn.Parameter(image_weight.clone())
        self.image_bias = None if image_bias is None else nn.Parameter(image_bias.clone())
        self.start = start
        self.dims = weight.ndim - 2

    @classmethod
    def published(cls, num_classes: int, image_channels: int = 0, *, dims: int = 2) -> "TemperatureTree":
        """Return the published tree at its initialisation: all zero, so a temperature of 2.

        From there the four temperatures get equal gradients and their gates none: they never part, and what learns is
        one map of the logits, one of the image, and the gate between.

        :param num_classes: how many classes there are.
        :param image_channels: channels of the images; 0 for no branch that sees them.
        :param dims: 2 for ``h w``, 3 for ``d h w``.
        """
        kernel = (SIDE,) * dims
        weight, bias = torch.zeros(8, num_classes, *kernel), torch.zeros(8)
        if image_channels == 0:
            return cls(weight, bias)
        return cls(weight, bias, torch.zeros(1, image_channels, *kernel), torch.zeros(1))

    @classmethod
    def random(
        cls,
        num_classes: int,
        image_channels: int = 0,
        *,
        start: float,
        dims: int = 2,
        generator: torch.Generator | None = None,
    ) -> "TemperatureTree":
        """Return a tree that can learn: small random weights, and temperatures that stay positive.

        It starts with a twentieth of the image: what the image says is the harder to learn.

        :param num_classes: how many classes there are.
        :param image_channels: channels of the images; 0 for no branch that sees them.
        :param start: the temperature that it starts at.
        :param dims: 2 for ``h w``, 3 for ``d h w``.
        :param generator: where the first weights come from.
        """
        kernel = (SIDE,) * dims
        weight = (
            torch.randn(8, num_classes, *kernel, generator=generator)
            * INITIAL_WEIGHT
            / (num_classes * SIDE**dims) ** 0.5
        )
        if image_channels == 0:
            return cls(weight, torch.zeros(8), start=start)
        image_weight = (
            torch.randn(1, image_channels, *kernel, generator=generator) * INITIAL_WEIGHT / SIDE ** (dims / 2)
        )
        bias = torch.tensor([0.0] * 7 + [INITIAL_GATE])
        return cls(weight, bias, image_weight, torch.zeros(1), start=start)

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n 1 *s"]:
        """Return the temperatures.

        :param logits: scores of each pixel.
        :param image: the images; needed if there is a branch for them.
        """
        if self.image_weight is not None and image is None:
            raise InputError("expected an image, as in the fit; got none. Pass calibrator(logits, image).")
        # Reflection needs more pixels than it reflects.
        mode = "reflect" if min(logits.shape[2:]) > REACH else "replicate"
        whole = torch.compiler.is_compiling() or torch.is_grad_enabled() or logits.device.type != "cpu"
        if whole or self.dims == 3 or logits.numel() == 0:
            return self._temperatures(logits, image, (REACH,) * 2 * self.dims, mode, two_rows=False)
        # Strips of rows, with those around them, stay in a processor's cache.
        _, classes, height, width = logits.shape
        strip = max(MIN_STRIP, STRIP // (classes * width) // 4 * 4)
        parts = []
        for start in range(0, height, strip):
            end = min(start + strip, height)
            above, below = min(start, REACH), min(height - end, REACH)
            rows = (..., slice(start - above, end + below), slice(None))
            margins = (REACH, REACH, REACH - above, REACH - below)
            seen = None if image is None else image[rows]
            parts.append(self._temperatures(logits[rows], seen, margins, mode, two_rows=True))
        return torch.cat(parts, 2)

    def _temperatures(
        self, logits: Tensor, image: Tensor | None, margins: tuple[int, ...], mode: str, *, two_rows: bool
    ) -> Tensor:
        """The temperatures of some rows, which lie within margins that are made up and others that are given."""

        def convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            padded = F.pad(x, margins, mode=mode)
            if two_rows:
                return _two_rows_at_once(padded, weight, bias)
            convolve = F.conv2d if self.dims == 2 else F.conv3d
            return convolve(padded, weight, bias, dilation=DILATION)

        if self.start is not None:  # dividing the weights by the scale is dividing what they see
            seen = logits.log_softmax(1)
            seen = seen.clamp_min(LOG_FLOOR) if seen.requires_grad else seen.clamp_min_(LOG_FLOOR)
            maps = convolved(seen, self.weight / LOG_SCALE, self.bias)
        else:
            maps = convolved(logits, self.weight, self.bias)
        (one, two, three, four), gates = maps[:, :4].split(1, 1), maps[:, 4:].sigmoid()
        first, second, third, to_image = gates.split(1, 1)
        tree = _mixed(_mixed(one, two, first), _mixed(three, four, second), third)
        if self.image_weight is not None:
            assert image is not None
            tree = _mixed(tree, convolved(image.to(tree.dtype), self.image_weight, self.image_bias), to_image)
        if self.start is None:
            return (tree + 2).relu() + 1e-8  # each map counts from 1, and so does the tree
        before = self.start + math.log(-math.expm1(-self.start))  # the softplus of it is the start
        return F.softplus(tree + before).clamp_min(MIN_TEMPERATURE)

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this network again."""
        return {
            "weight": self.weight,
            "bias": self.bias,
            "image_weight": self.image_weight,
            "image_bias": self.image_bias,
            "start": self.start,
        }


def _two_rows_at_once(
    x: Float[Tensor, "n k h w"], weight: Float[Tensor, "o k 5 5"], bias: Float[Tensor, " o"] | None
) -> Float[Tensor, "n o _ _"]:
    """The convolution of dilation 2, at half of its time.

    With the channels last in memory it is 1.7 times as fast, and eight channels cost as much as sixteen. So rows of
    even number and of odd are convolved apart, where a row and the next share all but one row of the kernel: shifted by
    one it makes the second row in further channels.
    """
    n, rows = len(x), x.shape[2] - 2 * REACH
    missing = -x.shape[2] % (2 * DILATION)
    x = F.pad(x, (0, 0, 0, missing)) if missing else x  # a copy, also of no rows
    x = x.unflatten(2, (-1, DILATION)).movedim(3, 1).flatten(0, 1)
    both = torch.cat([F.pad(weight, (0, 0, 0, 1)), F.pad(weight, (0, 0, 1, 0))])
    x, both = (each.contiguous(memory_format=torch.channels_last) for each in (x, both))
    found = F.conv2d(x, both, None if bias is None else bias.repeat(2), stride=(2, 1), dilation=(1, DILATION))
    found = found.unflatten(0, (n, DILATION)).unflatten(2, (2, len(weight)))  # n, even or odd, first or second, o, …
    return found.permute(0, 3, 4, 2, 1, 5).flatten(2, 4)[:, :, :rows]


def _mixed(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return other + share * (one - other)
