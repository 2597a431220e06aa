"""Equation (2): a small network that predicts the factor on a pixel's margins.

Several networks, each trained without some of the images, are one: the logarithms of their factors are averaged, and
as each has one hidden layer they are stored and run as a single wider one.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import silu

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators.calibrator import by_pixel_blocks
from calibrant.calibrators.correctness.features import DEFINITION, Features

LOG_FACTORS = (-4.0, 3.0)
"""Bounds on the logarithm of the factor: temperatures from 0.05 to 55. They keep a network from extremes, no more."""

MAX_FEATURE = 6.0
"""Features farther than this many standard deviations from their mean count as this: nothing was learnt beyond."""


class TemperatureNetwork(nn.Module):
    """From the features of a pixel to the factor on its margins, the reciprocal of its temperature.

    :param centre: mean of each feature over the fit.
    :param scale: standard deviation of each feature.
    :param weight: W, from the standardised features to the hidden layer.
    :param by_winner: U, what each class adds to the hidden layer where it is the winner.
    :param by_runner_up: V, what each class adds where it is the runner-up.
    :param bias: b, added to the hidden layer.
    :param readout: a, from the hidden layer to the logarithm of the factor.
    :param offset: c, added to the logarithm of the factor.
    """

    definition: ClassVar[Mapping[str, object]] = DEFINITION | {"log_factors": LOG_FACTORS, "max_feature": MAX_FEATURE}

    centre: Tensor
    scale: Tensor
    weight: Tensor
    by_winner: Tensor
    by_runner_up: Tensor
    bias: Tensor
    readout: Tensor
    offset: Tensor

    def __init__(
        self,
        centre: Float[Tensor, " f"],
        scale: Float[Tensor, " f"],
        weight: Float[Tensor, "h f"],
        by_winner: Float[Tensor, "c h"],
        by_runner_up: Float[Tensor, "c h"],
        bias: Float[Tensor, " h"],
        readout: Float[Tensor, " h"],
        offset: Float[Tensor, ""],
    ) -> None:
        super().__init__()
        parts = {"centre": centre, "scale": scale, "weight": weight, "by_winner": by_winner}
        parts |= {"by_runner_up": by_runner_up, "bias": bias, "readout": readout, "offset": offset}
        for name, value in parts.items():
            self.register_buffer(name, value.detach().float().clone())

    def arguments(self) -> dict[str, Any]:
        """Return the tensors that the constructor takes."""
        return dict(self.named_buffers())

    @property
    def num_classes(self) -> int:
        """The number of classes that it was trained on."""
        return len(self.by_winner)

    def forward(self, features: Features) -> Float[Tensor, "n 1 p"]:
        """Return the factor on the margins of each pixel.

        :param features: features of logits that went through the base.
        """
        classes = torch.stack([features.winner, features.runner_up], 1)
        return by_pixel_blocks(self._factor, features.values, classes)

    def _factor(self, values: Float[Tensor, "n f p"], classes: Int[Tensor, "n 2 p"]) -> Float[Tensor, "n 1 p"]:
        x = standardised(values.mT, self.centre, self.scale)
        hidden = x @ self.weight.T + self.bias + self.by_winner[classes[:, 0]] + self.by_runner_up[classes[:, 1]]
        return bounded(silu(hidden) @ self.readout + self.offset).exp().unsqueeze(1)


def standardised(values: Float[Tensor, "*n f"], centre: Tensor, scale: Tensor) -> Float[Tensor, "*n f"]:
    """Return features less their mean, over their standard deviation, within ``MAX_FEATURE``.

    :param values: features of pixels.
    :param centre: mean of each feature.
    :param scale: standard deviation of each feature.
    """
    return ((values - centre) / scale).clamp(-MAX_FEATURE, MAX_FEATURE)


def bounded(log_factor: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the logarithm of a factor within ``LOG_FACTORS``.

    :param log_factor: what the network gives.
    """
    return log_factor.clamp(*LOG_FACTORS)
