"""Tensors that a fitted module keeps, which are what its constructor takes and what is stored of it."""

from torch import nn

from calibrant._shapes import Shaped, Tensor


def keep_tensors(module: nn.Module, **tensors: Shaped[Tensor, "..."]) -> None:
    """Keep copies of tensors in a module, in float32 and without gradients, as buffers of these names.

    :param module: whose constructor was given them.
    :param tensors: by name.
    """
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor.detach().float().clone())
