"""The fitted parts of correctness scaling: equations (2), (3) and (5)."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import silu

from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant.calibrators._projections import EXCLUDED, MAX_CONFIDENCE, nearest_with_confidence
from calibrant.calibrators._tensors import keep_tensors
from calibrant.calibrators.calibrator import by_pixel_blocks
from calibrant.calibrators.correctness.features import DEFINITION, Features

LOG_FACTORS = (-4.0, 3.0)
"""Bounds on the logarithm of the factor: temperatures from 0.05 to 55. They keep a network from extremes, no more."""

MAX_FEATURE = 6.0
"""Features farther than this many standard deviations from their mean count as this: nothing was learnt beyond."""


class TemperatureNetwork(nn.Module):
    """Equation (2): from the features of a pixel to the factor on its margins, the reciprocal of its temperature.

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
        keep_tensors(self, centre=centre, scale=scale, weight=weight, by_winner=by_winner, by_runner_up=by_runner_up)
        keep_tensors(self, bias=bias, readout=readout, offset=offset)

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
        x = ((values.mT - self.centre) / self.scale).clamp(-MAX_FEATURE, MAX_FEATURE)
        hidden = x @ self.weight.T + self.bias + self.by_winner[classes[:, 0]] + self.by_runner_up[classes[:, 1]]
        return (silu(hidden) @ self.readout + self.offset).clamp(*LOG_FACTORS).exp().unsqueeze(1)


class MistakeModel(nn.Module):
    """Equation (3): the probabilities of the classes other than the winner, given that the winner is wrong.

    :param weight: α, the factor on each class's margin.
    :param bias: β, added to each class.
    :param confusion: C, added to each class (column) given the winner (row).
    """

    weight: Tensor
    bias: Tensor
    confusion: Tensor

    def __init__(self, weight: Float[Tensor, " c"], bias: Float[Tensor, " c"], confusion: Float[Tensor, "c c"]) -> None:
        super().__init__()
        keep_tensors(self, weight=weight, bias=bias, confusion=confusion)

    @property
    def num_classes(self) -> int:
        """The number of classes that it was fitted on."""
        return len(self.weight)

    def arguments(self) -> dict[str, Any]:
        """Return weight, bias and confusion."""
        return dict(self.named_buffers())

    def forward(self, margins: Float[Tensor, "n c p"], winner: Int[Tensor, "n p"]) -> Float[Tensor, "n c p"]:
        """Return log-probabilities that the other classes share, and ``EXCLUDED`` for the winner.

        :param margins: logits minus the largest of their pixel.
        :param winner: the class with the largest logit.

        >>> model = MistakeModel(torch.ones(3), torch.zeros(3), torch.zeros(3, 3))
        >>> model(torch.tensor([[[0.0], [-1.0], [-1.0]]]), torch.tensor([[0]])).exp().flatten()
        tensor([0.0000, 0.5000, 0.5000])
        """
        n, c, p = margins.shape
        confusion = self.confusion.T.index_select(1, winner.flatten()).view(c, n, p).transpose(0, 1)
        z = margins * self.weight[:, None] + self.bias[:, None] + confusion
        z = z.scatter(1, winner[:, None], EXCLUDED)
        return (z - z.logsumexp(1, keepdim=True)).clamp_min(EXCLUDED)


def redistributed(
    logits: Float[Tensor, "n c p"], others: Float[Tensor, "n c p"], winners: Bool[Tensor, "n c p"]
) -> Float[Tensor, "n c p"]:
    """Return logits that give the winner the same probability and the other classes theirs as ``others`` says.

    Of two or more winners that tie each keeps the same ratio to the sum of the others. None of the others gets more
    than the winner: see :func:`~calibrant.calibrators._projections.nearest_with_confidence`.

    :param logits: margins times their factor, so 0 at the winners.
    :param others: log-probabilities of the classes other than the winner.
    :param winners: true at each class with the largest logit.
    """
    rest = logits.masked_fill(winners, EXCLUDED).logsumexp(1, keepdim=True)
    return nearest_with_confidence(rest, others, winners)


def pooled(one: Float[Tensor, "..."], two: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return equation (4), the logarithm of the mean of two probabilities.

    :param one: their logarithms under the first member.
    :param two: their logarithms under the second.

    >>> pooled(torch.tensor(0.2).log(), torch.tensor(0.6).log()).exp()
    tensor(0.4000)
    """
    return torch.logaddexp(one, two) - math.log(2)


class Recalibration(nn.Module):
    """Equation (5): a map of the pool's confidence to the accuracy that was observed at it.

    :param accuracy: accuracies at confidences in equal steps from 0 to 1, not falling; at least 1 / number of classes.
    """

    accuracy: Tensor

    def __init__(self, accuracy: Float[Tensor, " b"]) -> None:
        super().__init__()
        keep_tensors(self, accuracy=accuracy)

    def arguments(self) -> dict[str, Any]:
        """Return the accuracies."""
        return dict(self.named_buffers())

    def forward(self, log_probs: Float[Tensor, "n c p"], winners: Bool[Tensor, "n c p"]) -> Float[Tensor, "n c p"]:
        """Return logits, 0 at the winners, that give the winner the accuracy observed at its confidence.

        The other classes keep their proportion, but none gets more than the winner. Where two winners tie the pixel
        stays as it is.

        :param log_probs: log-probabilities of the pool.
        :param winners: true at each class with the largest logit.
        """
        others = log_probs.masked_fill(winners, EXCLUDED)
        rest = others.logsumexp(1, keepdim=True)
        top = log_probs.masked_fill(~winners, EXCLUDED).amax(1, keepdim=True)
        steps = len(self.accuracy) - 1
        at = top.exp() * steps
        number = at.long().clamp(0, steps - 1)
        left, right = self.accuracy[number], self.accuracy[number + 1]
        accuracy = torch.lerp(left, right, at - number).clamp_max(MAX_CONFIDENCE)
        tied = winners.sum(1, keepdim=True) > 1
        wanted = torch.where(tied, rest - top, (1 - accuracy).log() - accuracy.log())
        return nearest_with_confidence(wanted, others - rest, winners)
