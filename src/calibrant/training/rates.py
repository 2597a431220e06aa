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


def cosine(step: float, num_steps: float) -> float:
    """Return what is left of a learning rate that falls from one to zero along half a cosine.

    Loshchilov and Hutter (ICLR 2017), eq. 5, without restarts.

    :param step: the number of the step, from 0.
    :param num_steps: how many steps there are.

    >>> [round(cosine(step, 4), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    return (1 + math.cos(math.pi * step / num_steps)) / 2


def one_cycle(step: int, num_steps: int, *, warm_up: float = 0.15) -> float:
    """Return a learning rate as a share of the largest: it rises along half a cosine, then falls along another to zero.

    Smith and Topin (2019), as ``torch.optim.lr_scheduler.OneCycleLR`` has it, from a 25th of the largest rate on.

    :param step: the number of the step, from 0.
    :param num_steps: how many steps there are.
    :param warm_up: the share of the steps in which it rises.

    >>> [round(one_cycle(step, 20, warm_up=0.2), 3) for step in (0, 2, 4, 12, 20)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    rising = warm_up * num_steps
    if step < rising:
        return 1 - 0.96 * cosine(step, rising)
    return cosine(step - rising, num_steps - rising)
