"""Smooth convex fits with too many parameters for a Hessian: L-BFGS over any number of pixels, with a preconditioner.

(Nocedal and Wright, Numerical Optimization, 2nd ed., algorithms 7.4 and 7.5.) The term gives sums over a block of
pixels of its value and gradient; they are added in float64. Each evaluation is one pass over the pixels.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators._newton import Blocks
from calibrant.errors import FitError

MEMORY = 12
"""Steps remembered."""

HALVINGS = 12

Slope = Callable[[Float[Tensor, "c p"], Int[Tensor, " p"], Tensor], tuple[float, Tensor]]
"""From logits, labels and parameters to the sums over these pixels of value and gradient, both in float64."""

Penalty = Callable[[Tensor], tuple[float, Tensor]]
"""From parameters to value and gradient of what is added to the mean."""

Preconditioner = Callable[[Tensor], Tensor]
"""From a gradient to about the Newton step against it: the inverse of an approximate Hessian."""


class Found(NamedTuple):
    """Where a minimisation ended, after how many passes."""

    point: Tensor
    value: float
    evaluations: int


def minimise(
    slope: Slope,
    penalty: Penalty,
    precondition: Preconditioner,
    blocks: Blocks,
    start: Tensor,
    *,
    tolerance: float = 1e-6,
    max_evaluations: int = 200,
) -> Found:
    """Return the minimum of the mean of a convex term plus a penalty.

    It ends when the next step promises less than ``tolerance`` of the value.

    :raises FitError: there is no labelled pixel, or the value is not finite at the start.
    """
    point = start.double()
    value, gradient = _mean(slope, penalty, blocks, point)
    if not torch.isfinite(torch.tensor(value)):
        raise FitError(
            f"expected a finite loss at the start of a fit; got {value}. Look for infinite logits or logits beyond the "
            "range of float32."
        )
    pairs: list[tuple[Tensor, Tensor]] = []
    evaluations, small = 1, 0
    while evaluations < max_evaluations:
        step = _direction(gradient, pairs, precondition)
        promise = -_dot(gradient, step) / 2
        # A single small promise may come from a poor model of the curvature; two in a row do not.
        small = small + 1 if promise <= tolerance * abs(value) + 1e-10 else 0
        if small == 2:
            break
        for _ in range(HALVINGS):
            there = point + step
            value_there, gradient_there = _mean(slope, penalty, blocks, there)
            evaluations += 1
            # The slack is the noise of float32: below it nothing can be gained.
            if value_there <= value - 1e-4 * promise + 1e-8 * abs(value):
                break
            step, promise = step / 2, promise / 2
        else:
            break
        change = gradient_there - gradient
        if _dot(step, change) > 1e-12 * _dot(change, change) ** 0.5 * _dot(step, step) ** 0.5:
            pairs = [*pairs[1 - MEMORY :], (step, change)]
        point, value, gradient = there, value_there, gradient_there
    return Found(point, value, evaluations)


def _direction(
    gradient: Tensor, pairs: list[tuple[Tensor, Tensor]], precondition: Callable[[Tensor], Tensor]
) -> Tensor:
    """The two-loop recursion."""
    q, along = gradient.clone(), []
    for step, change in reversed(pairs):
        share = _dot(step, q) / _dot(step, change)
        along.append(share)
        q -= share * change
    r = precondition(q)
    if pairs:
        # The usual scaling of the identity, here of the preconditioner.
        step, change = pairs[-1]
        r = r * (_dot(step, change) / _dot(change, precondition(change)))
    for (step, change), share in zip(pairs, reversed(along), strict=True):
        r += (share - _dot(change, r) / _dot(step, change)) * step
    return -r


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())


def _mean(slope: Slope, penalty: Penalty, blocks: Blocks, point: Tensor) -> tuple[float, Tensor]:
    total, gradient, count = 0.0, torch.zeros_like(point), 0
    for logits, labels in blocks:
        value, part = slope(logits, labels, point)
        total, count = total + value, count + len(labels)
        gradient += part
    if count == 0:
        raise FitError("expected labelled pixels to fit on; all pixels are unlabelled. Check ignore_index.")
    extra, bend = penalty(point)
    return total / count + extra, gradient / count + bend
