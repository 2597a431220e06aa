"""A moving average of weights, which is what a training hands out: it fluctuates less than the weights themselves."""

import torch
from torch import nn


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, *, keep: float, step: int) -> None:
    """Move averaged weights, and running statistics, towards those of a network.

    .. math:: \\bar w \\leftarrow d\\,\\bar w + (1 - d)\\,w, \\quad d = \\min(\\mathrm{keep}, (1 + t) / (10 + t))

    The bound on d in the first steps t, when the average holds little but the random start, is that of
    ``num_updates`` in TensorFlow's ``tf.train.ExponentialMovingAverage``.

    :param average: a network like the other; changed in place.
    :param network: the network that is trained.
    :param keep: how much of the average stays each step, from 0 to below 1; 0 takes the network's weights.
    :param step: the number of the step, from 0.
    """
    keep = min(keep, (1 + step) / (10 + step)) if keep > 0 else 0.0
    theirs = network.state_dict()
    for name, averaged in average.state_dict().items():
        if averaged.is_floating_point():
            averaged.lerp_(theirs[name], 1 - keep)
        else:
            averaged.copy_(theirs[name])
