"""Learning rates."""

import math

import torch


def set_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all parameters of an optimiser.

    :param optimiser: the optimiser that takes its next steps at that rate.
    :param learning_rate: the new learning rate.
    """
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def cosine(step: int, num_steps: int) -> float:
    """Return what is left of a learning rate that falls from one to zero along half a cosine.

    Loshchilov and Hutter (ICLR 2017), eq. 5, without restarts.

    :param step: the number of the step, from 0.
    :param num_steps: how many steps there are.

    >>> [round(cosine(step, 4), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    return (1 + math.cos(math.pi * step / num_steps)) / 2
