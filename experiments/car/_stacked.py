"""Many small networks side by side, as stacked matrices, on a processor."""

import copy
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

_leaky_relu_backward = torch.ops.aten.leaky_relu_backward.grad_input


class _Layers(torch.autograd.Function):
    """Linear layers with leaky ReLUs between, their activations kept in buffers that are used again and again.

    Memory fresh from the system costs more than the products. So a pass must be over before the next one of the same
    :class:`Networks`, or of others that share its buffers.
    """

    @staticmethod
    def forward(ctx, x: Tensor, slope: float, buffers: dict, *parameters: Tensor) -> Tensor:
        ctx.slope, ctx.buffers, ctx.weights, ctx.seen = slope, buffers, parameters[::2], [x]
        *hidden, (weight, bias) = zip(parameters[::2], parameters[1::2], strict=True)
        for layer, (matrix, offset) in enumerate(hidden):
            x = torch.baddbmm(offset, x, matrix, out=_buffer(buffers, layer, x.shape[:2] + matrix.shape[2:]))
            ctx.seen.append(F.leaky_relu_(x, slope))
        return _narrow(x, weight) + bias

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        learns = ctx.needs_input_grad[3]
        found = []
        for layer, (weight, given) in reversed(list(enumerate(zip(ctx.weights, ctx.seen, strict=True)))):
            single = gradient.shape[2] == 1
            if learns:
                for_weight = torch.bmm(gradient.mT, given).mT if single else torch.bmm(given.mT, gradient)
                found = [for_weight, gradient.sum(1, keepdim=True), *found]
            if layer:
                multiply = torch.mul if single else torch.bmm
                gradient = multiply(gradient, weight.mT, out=_buffer(ctx.buffers, ("back", layer % 2), given.shape))
                _leaky_relu_backward(gradient, given, ctx.slope, True, grad_input=gradient)
        for_input = _narrow(gradient, ctx.weights[0].mT) if ctx.needs_input_grad[0] else None
        return for_input, None, None, *(found or [None] * 2 * len(ctx.weights))


def _narrow(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of (n, p, q) with (n, q, r) of few columns r: the other way round bmm takes twice as long."""
    return torch.bmm(b.mT, a.mT).mT


def _buffer(buffers: dict, key: object, shape: torch.Size) -> Tensor:
    if (key, shape) not in buffers:
        buffers[key, shape] = torch.empty(shape)
    return buffers[key, shape]


class Networks:
    """Many networks of four hidden layers side by side: (network, case, in) to (network, case, 1).

    Sums of their losses have each its own gradient, and Adam looks at each weight alone: it is as if each were trained
    alone.
    """

    def __init__(self, count: int, num_inputs: int, width: int, slope: float, generator: torch.Generator) -> None:
        self.slope, self.buffers = slope, {}
        self.weights, self.biases = [], []
        for before, after in pairwise([num_inputs, width, width, width, width, 1]):
            for parameters, shape in ((self.weights, (count, before, after)), (self.biases, (count, 1, after))):
                drawn = torch.rand(shape, generator=generator) * 2 - 1
                parameters.append((drawn * before**-0.5).requires_grad_())  # as torch begins a linear layer

    def __getitem__(self, rows: Tensor | slice) -> "Networks":
        """Return some of the networks. As with tensors, those of a slice share memory with these."""
        part = copy.copy(self)
        part.weights, part.biases = (
            [each.detach()[rows].requires_grad_() for each in parameters] for parameters in (self.weights, self.biases)
        )
        return part

    def split(self, size: int) -> list["Networks"]:
        """Return all networks in parts, which share memory with these: whichever are trained, both learn."""
        return [self[first : first + size] for first in range(0, len(self.weights[0]), size)]

    def parameters(self) -> list[Tensor]:
        """Return weights and biases, layer after layer."""
        return [each for layer in zip(self.weights, self.biases, strict=True) for each in layer]

    def requires_grad_(self, learns: bool) -> "Networks":
        """Say whether they learn: they do at first."""
        for parameter in self.parameters():
            parameter.requires_grad_(learns)
        return self

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs of all networks."""
        return _Layers.apply(x, self.slope, self.buffers, *self.parameters())
