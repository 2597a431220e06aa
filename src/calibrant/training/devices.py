"""Where a training runs: this process alone, or Lightning Fabric with its devices, precisions and processes."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from calibrant._input.checks import needs
from calibrant._shapes import Tensor


@runtime_checkable
class Devices(Protocol):
    """What a training asks of the place it runs in; a ``lightning.fabric.Fabric`` has it all."""

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        ...

    @property
    def global_rank(self) -> int:
        """The number of this process."""
        ...

    @property
    def world_size(self) -> int:
        """The number of processes."""
        ...

    def setup(self, module: nn.Module, *optimizers: torch.optim.Optimizer) -> Any:
        """Return a module, and its optimisers, ready to train there.

        :param module: a network.
        :param optimizers: its optimisers.
        """
        ...

    def backward(self, tensor: Tensor) -> None:
        """Add the gradients of a loss.

        :param tensor: the loss, a single number.
        """
        ...

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the chosen precision."""
        ...

    def all_reduce(self, data: Tensor) -> Tensor:
        """Return the mean over processes.

        :param data: a tensor that each process has one of.
        """
        ...

    def barrier(self) -> None:
        """Wait for all processes."""
        ...


class SingleDevice:
    """This process alone, in float32, on one device: needs nothing installed.

    :param device: where networks and batches go.

    >>> SingleDevice().device
    device(type='cpu')
    """

    global_rank, world_size = 0, 1

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def setup(self, module: nn.Module, *optimizers: torch.optim.Optimizer) -> Any:
        """Return the module on the device, and its optimisers.

        :param module: a network.
        :param optimizers: its optimisers.
        """
        return (module.to(self.device), *optimizers) if optimizers else module.to(self.device)

    def backward(self, tensor: Tensor) -> None:
        """Add the gradients of a loss.

        :param tensor: the loss, a single number.
        """
        tensor.backward()

    def autocast(self) -> AbstractContextManager[Any]:
        """Change nothing."""
        return nullcontext()

    def all_reduce(self, data: Tensor) -> Tensor:
        """Return it as it is.

        :param data: a tensor.
        """
        return data

    def barrier(self) -> None:
        """Go on."""


def open_fabric(*, accelerator: str = "auto", devices: int | str = 1, precision: str = "32-true") -> Any:
    """Return a launched Lightning Fabric, to be passed to a ``fit`` as ``devices``.

    :param accelerator: where to train: "cpu", "cuda", "mps", or "auto" for the fastest that is there.
    :param devices: how many devices to train on, each in a process of its own; "auto" takes all.
    :param precision: number format of the computations: "32-true", "bf16-mixed", "16-mixed", or another of
        Lightning's names.
    :raises PackageError: Lightning Fabric is not installed.
    """
    lightning = needs("lightning_fabric", "trains in other precisions and on several devices")
    fabric = lightning.Fabric(accelerator=accelerator, devices=devices, precision=precision)
    fabric.launch()
    return fabric
