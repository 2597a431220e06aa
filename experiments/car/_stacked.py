"""Many small networks side by side, as stacked matrices, on a processor."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Layers(torch.autograd.Function):
    """Linear layers with leaky ReLUs between, their activations kept in buffers that are used again and again.

    Memory fresh from the system costs more than the products. So a pass must be over before the next one of the same
    :class:`Networks`, or of others that share its buffers.
    """

    @staticmethod
    def forward(ctx, x: Tensor, slope: float, buffers: dict, num: int, *parameters: Tensor) -> Tensor:
        ctx.slope, ctx.buffers, ctx.weights, ctx.seen = slope, buffers, parameters[:num], [x]
        *hidden, last = zip(parameters[:num], parameters[num:], strict=True)
        for layer, (weight, bias) in enumerate(hidden):
            x = torch.baddbmm(bias, x, weight, out=_buffer(buffers, layer, x.shape[:2] + weight.shape[2:]))
            ctx.seen.append(F.leaky_relu_(x, slope))
        return _narrow(x, last[0]) + last[1]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        learns = ctx.needs_input_grad[4]
        for_weights, for_biases = [], []
        for layer, (weight, given) in reversed(list(enumerate(zip(ctx.weights, ctx.seen, strict=True)))):
            if learns:
                narrow = gradient.shape[2] == 1
                for_weights.insert(0, _narrow(given.mT, gradient) if narrow else torch.bmm(given.mT, gradient))
                for_biases.insert(0, gradient.sum(1, keepdim=True))
            if layer:
                multiply = torch.mul if gradient.shape[2] == 1 else torch.bmm
                gradient = multiply(gradient, weight.mT, out=_buffer(ctx.buffers, ("back", layer % 2), given.shape))
                torch.ops.aten.leaky_relu_backward(gradient, given, ctx.slope, True, grad_input=gradient)
        for_input = _narrow(gradient, ctx.weights[0].mT) if ctx.needs_input_grad[0] else None
        return for_input, None, None, None, *(for_weights + for_biases if learns else [None] * 2 * len(ctx.weights))


def _narrow(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of (n, p, q) with (n, q, r) of few columns r, which take bmm seven times as long."""
    if b.shape[2] > 1:
        return torch.cat([_narrow(a, column) for column in b.split(1, 2)], 2)
    return torch.stack([left.mv(right) for left, right in zip(a, b.squeeze(2), strict=True)]).unsqueeze(2)


def _buffer(buffers: dict, key: object, shape: torch.Size) -> Tensor:
    if (key, shape) not in buffers:
        buffers[key, shape] = torch.empty(shape)
    return buffers[key, shape]


class Networks(nn.Module):
    """Many networks of four hidden layers side by side: (network, case, in) to (network, case, 1).

    Sums of their losses have each its own gradient, and Adam looks at each weight alone: it is as if each were trained
    alone.
    """

    def __init__(self, count: int, num_inputs: int, width: int, slope: float, generator: torch.Generator) -> None:
        super().__init__()
        self.slope, self.buffers = slope, {}
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise([num_inputs, width, width, width, width, 1]):
            for parameters, shape in ((self.weights, (count, before, after)), (self.biases, (count, 1, after))):
                drawn = torch.rand(shape, generator=generator) * 2 - 1
                parameters.append(nn.Parameter(drawn * before**-0.5))  # as torch begins a linear layer

    def of(self, rows: Tensor) -> "Networks":
        """Return some of the networks, to be trained apart."""
        part = copy.deepcopy(self)
        for parameter in part.parameters():
            parameter.data = parameter.data[rows].clone()
        return part

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of all networks."""
        return _Layers.apply(x, self.slope, self.buffers, len(self.weights), *self.weights, *self.biases)
