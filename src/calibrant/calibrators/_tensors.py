"""Tensors that are kept: by a fitted module, and by a fit while others come and go."""

import torch
from torch import nn

from calibrant._shapes import Shaped, Tensor


def keep_tensors(module: nn.Module, **tensors: Shaped[Tensor, "..."]) -> None:
    """Keep copies of tensors in a module, in float32 and without gradients, as buffers of these names.

    :param module: whose constructor was given them.
    :param tensors: by name.
    """
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor.detach().float().clone())


CHUNK = 2**26
"""Bytes that :class:`Kept` asks for at a time; what is not written to yet takes no memory."""


class Kept:
    """Where tensors lie that are kept while larger ones come and go.

    Left where they were made they would lie between the larger ones, whose memory could not be used again as a whole:
    what a fit to 500 images of a million pixels takes would grow by 8 MB an image, of which it keeps half of one.
    """

    def __init__(self) -> None:
        self._chunk, self._used = torch.empty(0, dtype=torch.uint8), 0

    def copy(self, tensor: Shaped[Tensor, "*s"]) -> Shaped[Tensor, "*s"]:
        """Return a copy that lies here; a tensor of an accelerator itself.

        :param tensor: of any type.

        >>> kept = Kept()
        >>> kept.copy(torch.tensor([1.5, 2.0])), kept.copy(torch.tensor([[7]]))
        (tensor([1.5000, 2.0000]), tensor([[7]]))
        """
        if tensor.device.type != "cpu":
            return tensor
        size = tensor.numel() * tensor.element_size()
        begin = -(-self._used // 64) * 64
        if begin + size > len(self._chunk):
            self._chunk, begin = torch.empty(max(CHUNK, size), dtype=torch.uint8), 0
        self._used = begin + size
        return self._chunk[begin : self._used].view(tensor.dtype).view(tensor.shape).copy_(tensor)
