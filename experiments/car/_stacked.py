"""Many small networks side by side, as stacked matrices, on a processor."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

_leaky_relu_backward = torch.ops.aten.leaky_relu_backward.grad_input


class Networks:
    """Many networks of four hidden layers with leaky ReLUs side by side: (network, case, in) to (network, case, 1).

    Sums of their losses have each its own gradient, and Adam looks at each weight alone: it is as if each were trained
    alone. Each is so small that the bookkeeping of autograd and memory fresh from the system would cost much beside
    the products; so gradients are made by :meth:`backward`, and all that is kept lies in buffers that are used again.

    :param parameters: weights, (network, in, out), and biases, (network, 1, out), layer after layer.
    :param gradients: where theirs are written.
    :param slope: of the leaky ReLU below zero.
    :param buffers: what parts of the same networks have in common; a pass of one must be over before the next begins.
    """

    def __init__(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], slope: float, buffers: dict[object, Tensor]
    ) -> None:
        self.parameters, self.gradients, self.slope = parameters, gradients, slope
        self.weights, self.biases = parameters[::2], parameters[1::2]
        self._seen: list[Tensor] = []
        self._buffers = buffers

    def __len__(self) -> int:
        return len(self.weights[0])

    def split(self, sizes: Sequence[int]) -> list["Networks"]:
        """Return all networks in parts, which share parameters and gradients with these."""
        parts = zip(*(each.split(sizes) for each in (*self.parameters, *self.gradients)), strict=True)
        num = len(self.parameters)
        return [Networks(part[:num], part[num:], self.slope, self._buffers) for part in parts]

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs of all networks, and remember what :meth:`backward` needs, until the next call."""
        self._seen = [x]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = torch.baddbmm(bias, x, weight, out=self._buffer(len(self._seen), x, weight))
            self._seen.append(F.leaky_relu_(x, self.slope))
        # Products of one column are faster the other way round.
        return torch.baddbmm(self.biases[-1], self.weights[-1].mT, x.mT).mT

    @torch.no_grad()
    def backward(self, gradient: Tensor, *, learn: bool = True) -> Tensor | None:
        """Write the gradients of the parameters, or return that of the inputs.

        :param gradient: of the loss, at the outputs of the last call.
        :param learn: which of the two.
        """
        for layer in reversed(range(len(self.weights))):
            weight, given, single = self.weights[layer], self._seen[layer], gradient.shape[2] == 1
            if learn:
                product = self.gradients[2 * layer]
                if single:
                    torch.bmm(gradient.mT, given, out=product.mT)
                else:
                    torch.bmm(given.mT, gradient, out=product)
                torch.sum(gradient, 1, keepdim=True, out=self.gradients[2 * layer + 1])
            if layer:
                room = self._buffer(("back", layer % 2), gradient, weight.mT)
                multiply = torch.mul if single else torch.bmm
                gradient = multiply(gradient, weight.mT, out=room)
                _leaky_relu_backward(gradient, given, self.slope, True, grad_input=gradient)
        return None if learn else torch.bmm(self.weights[0], gradient.mT).mT

    def _buffer(self, place: object, x: Tensor, weight: Tensor) -> Tensor:
        shape = (*x.shape[:2], weight.shape[2])
        if (place, shape) not in self._buffers:
            self._buffers[place, shape] = torch.empty(shape)
        return self._buffers[place, shape]


class Trainable(Networks):
    """Networks with memory of their own, whose parameters are one tensor to an optimiser.

    :param parameters: first values; copied.
    """

    def __init__(self, parameters: Sequence[Tensor], slope: float) -> None:
        self.flat = torch.cat([each.flatten() for each in parameters])
        self.flat.grad = torch.zeros_like(self.flat)
        shapes = [each.shape for each in parameters]
        super().__init__(_viewed(self.flat, shapes), _viewed(self.flat.grad, shapes), slope, {})

    @classmethod
    def begin(
        cls, count: int, num_inputs: int, width: int, slope: float, generator: torch.Generator, rows: Tensor
    ) -> "Trainable":
        """Return some rows of so many networks, with first values as torch draws those of a linear layer."""
        parameters = []
        for before, after in pairwise([num_inputs, width, width, width, width, 1]):
            for shape in ((count, before, after), (count, 1, after)):
                drawn = torch.rand(shape, generator=generator) * 2 - 1
                parameters.append((drawn * before**-0.5)[rows])
        return cls(parameters, slope)


def _viewed(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    return [part.view(shape) for part, shape in zip(flat.split([s.numel() for s in shapes]), shapes, strict=True)]
