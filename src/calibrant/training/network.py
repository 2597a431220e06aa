"""The steps of a training of one network by one loss: what trainings of most networks share."""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from calibrant._shapes import Tensor
from calibrant.networks import with_channels_last
from calibrant.training.average import move_average
from calibrant.training.batches import Batch, Batches
from calibrant.training.checkpoint import restore_states, states_of
from calibrant.training.devices import Devices
from calibrant.training.rates import set_rate

Loss = Callable[[nn.Module, Batch, int], Mapping[str, Tensor]]
"""From the network, a batch on its device and the number of the step to figures: the first is made smaller, the others
are shown. What it draws depends on a seed and on that number alone (:func:`~calibrant.training.seeded`)."""

Complaints = Callable[[Mapping[str, float]], Iterable[str]]
"""From figures, means over some steps, to what looks wrong in them."""


def no_complaints(figures: Mapping[str, float]) -> Iterable[str]:
    """Return nothing: trouble shows in the loss.

    :param figures: means of the figures over some steps.
    """
    return ()


class NetworkTraining:
    """One network, its optimiser and its moving average, and the steps that train it.

    :param network: is changed in place, its weights laid out with the channels last.
    :param optimiser: over its parameters.
    :param batches: what a step learns from.
    :param loss: what a step makes smaller.
    :param learning_rate: the learning rate of a step, by its number.
    :param devices: where the training runs.
    :param average: how much of the moving average of the weights stays each step; 0 takes the last weights, and None
        keeps no average at all.
    :param clip: the norm that a step's gradient is shortened to where it is longer; None leaves it as it is.
    :param complaints: says what looks wrong in figures.
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        batches: Batches,
        loss: Loss,
        *,
        learning_rate: Callable[[int], float],
        devices: Devices,
        average: float | None = None,
        clip: float | None = None,
        complaints: Complaints = no_complaints,
    ) -> None:
        self.plain, self.batches, self.loss, self.learning_rate = network, batches, loss, learning_rate
        self.devices, self.keep, self.clip, self._complaints = devices, average, clip, complaints
        self.network, self.optimiser = devices.setup(with_channels_last(network.train()), optimiser)
        self._parts: dict[str, Any] = {"network": self.plain, "optimiser": self.optimiser}
        self.average = self.plain
        if average is not None:
            self.average = deepcopy(network).eval().requires_grad_(False)
            self._parts["average"] = self.average

    def step(self, number: int) -> Mapping[str, Tensor]:
        """Take one step and return its figures.

        :param number: the number of the step, from 0.
        """
        devices = self.devices
        batch = self.batches.draw(number, part=devices.global_rank, parts=devices.world_size).to(devices.device)
        set_rate(self.optimiser, self.learning_rate(number))
        with devices.autocast():
            figures = self.loss(self.network, batch, number)
        self.optimiser.zero_grad()
        devices.backward(next(iter(figures.values())))
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.plain.parameters(), self.clip)
        self.optimiser.step()
        if self.keep is not None:
            move_average(self.average, self.plain, keep=self.keep, step=number)
        return {name: value.detach() for name, value in figures.items()}

    def complaints(self, figures: Mapping[str, float]) -> Iterable[str]:
        """Return what looks wrong in figures.

        :param figures: means of the figures over some steps, by name.
        """
        return self._complaints(figures)

    def state(self) -> dict[str, Any]:
        """Return everything that the next step needs; random numbers follow from the seed."""
        return states_of(self._parts)

    def restore(self, state: dict[str, Any]) -> None:
        """Take a state back.

        :param state: what :meth:`state` returned.
        """
        restore_states(self._parts, state)
