"""A moving average of weights, which is what a training hands out: it wavers less than the weights themselves."""

import torch
from torch import nn


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, *, keep: float, step: int) -> None:
    """Move averaged weights, and running statistics, towards those of a network.

    :param keep: how much of the average stays each step; less in the first steps, when it holds little but the random
        start; 0 takes the network's.
    """
    keep = min(keep, (1 + step) / (10 + step)) if keep > 0 else 0.0
    theirs = network.state_dict()
    for name, averaged in average.state_dict().items():
        if averaged.is_floating_point():
            averaged.lerp_(theirs[name], 1 - keep)
        else:
            averaged.copy_(theirs[name])
