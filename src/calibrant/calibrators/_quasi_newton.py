"""Smooth convex fits with too many parameters for a Hessian: scipy's L-BFGS-B in preconditioned coordinates.

What is minimised is the mean over labelled pixels of a term, plus a penalty. The term gives the sums over a block of
pixels of its value and gradient; they are added in float64, so that each evaluation is one pass over the pixels, which
may be streamed. With the Hessian about L Lᵀ at the start, the search is over u = Lᵀ (point - start), in which it is
about the identity.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators._passes import Blocks
from calibrant.errors import FitError

MEMORY = 12
"""Steps whose curvature is remembered."""

Slope = Callable[[Float[Tensor, "c p"], Int[Tensor, " p"], Tensor], tuple[float, Tensor]]
"""From logits, labels and parameters to the sums over these pixels of value and gradient, both in float64."""

Penalty = Callable[[Tensor], tuple[float, Tensor]]
"""From parameters to value and gradient of what is added to the mean."""


@dataclass(frozen=True)
class RowFactors:
    """A Hessian that is about block-diagonal, one block for each row of the parameters, by Cholesky factors L.

    :param lower: one lower triangular factor for each row, (rows, q, q), or one that serves all, (1, q, q).
    :param scale: what the factor of each row is multiplied by, (rows, 1).
    """

    lower: Float[Tensor, "r q q"]
    scale: Float[Tensor, "k 1"]

    def to_point(self, u: Float[Tensor, "k q"]) -> Float[Tensor, "k q"]:
        """Return L⁻ᵀ u: a step in the parameters."""
        return torch.linalg.solve_triangular(self.lower.mT, (u / self.scale)[..., None], upper=True)[..., 0]

    def to_coordinates(self, gradient: Float[Tensor, "k q"]) -> Float[Tensor, "k q"]:
        """Return L⁻¹ g: the gradient in the coordinates u."""
        return torch.linalg.solve_triangular(self.lower, (gradient / self.scale)[..., None], upper=False)[..., 0]


LIFTS = (0.0, *(10.0**power for power in range(-12, 1)))
"""What is added to a diagonal, relative to its largest entry, until a matrix has a Cholesky factor."""


def lower_factors(hessians: Float[Tensor, "r q q"]) -> Float[Tensor, "r q q"]:
    """Return Cholesky factors L of matrices that are positive definite, or nearly so, after lifting their diagonals.

    Where there is nothing to learn, as from one pixel without regularisation, a Hessian is singular but for rounding.

    :raises FitError: the matrices are not finite.

    >>> lower_factors(torch.tensor([[[4.0, 0.0], [0.0, 0.0]]]).double())[0].diagonal()
    tensor([2.0000e+00, 2.0000e-06], dtype=torch.float64)
    """
    diagonals = torch.diag_embed(hessians.diagonal(dim1=1, dim2=2).amax(1)[:, None].expand(hessians.shape[:2]))
    for lift in LIFTS:
        lower, failed = torch.linalg.cholesky_ex(hessians + lift * diagonals if lift else hessians)
        if not bool(failed.any()) and bool(torch.isfinite(lower).all()):
            return lower
    raise FitError(
        "expected finite second derivatives of the loss; got some that are not. Look for infinite logits or logits "
        "beyond the range of float32."
    )


@dataclass(frozen=True)
class DiagonalFactors:
    """A Hessian that is about diagonal, by the square root of its diagonal.

    :param root: in the form of the parameters.
    """

    root: Float[Tensor, "k q"]

    def to_point(self, u: Float[Tensor, "k q"]) -> Float[Tensor, "k q"]:
        """Return a step in the parameters."""
        return u / self.root

    def to_coordinates(self, gradient: Float[Tensor, "k q"]) -> Float[Tensor, "k q"]:
        """Return the gradient in the coordinates u."""
        return gradient / self.root


@dataclass(frozen=True)
class Found:
    """Where a minimisation ended.

    :param evaluations: passes over the pixels that it took.
    :param converged: false if the evaluations ran out.
    """

    point: Tensor
    value: float
    evaluations: int
    converged: bool


def minimise(
    slope: Slope,
    penalty: Penalty,
    factors: RowFactors | DiagonalFactors,
    blocks: Blocks,
    start: Tensor,
    *,
    tolerance: float = 1e-6,
    max_evaluations: int = 200,
) -> Found:
    """Return the minimum of the mean of a convex term plus a penalty.

    :param factors: of the approximate Hessian.
    :param tolerance: it ends where a step lowers the value by less than this share of it.
    :param max_evaluations: passes over the pixels after which it ends, wherever it is.
    :raises FitError: there is no labelled pixel, or value or gradient are not finite at the start or at the end.
    """
    start = start.double()

    def look(u: np.ndarray) -> tuple[float, np.ndarray]:
        point = start + factors.to_point(torch.from_numpy(u).view_as(start))
        value, gradient = _mean(slope, penalty, blocks, point)
        if not u.any() and not (np.isfinite(value) and bool(torch.isfinite(gradient).all())):
            raise FitError(
                f"expected a finite loss at the start of a fit, and a finite gradient; got {value}. Look for infinite "
                "logits or logits beyond the range of float32."
            )
        return value, factors.to_coordinates(gradient).flatten().numpy()

    found = minimize(
        look,
        np.zeros(start.numel()),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxcor": MEMORY,
            "ftol": tolerance,
            "gtol": 0.0,
            "maxfun": max_evaluations,
            "maxiter": max_evaluations,
        },
    )
    point = start + factors.to_point(torch.from_numpy(found.x).view_as(start))
    if not (np.isfinite(found.fun) and bool(torch.isfinite(point).all())):
        raise FitError(
            f"expected a loss that stays finite during a fit; got {found.fun}. Look for infinite logits or logits "
            "beyond the range of float32, or raise the strength of the regularisation."
        )
    return Found(point, float(found.fun), found.nfev, found.status != 1)


@dataclass(frozen=True)
class _Sums:
    """Value and gradient of a term over some pixels, and how many they are."""

    count: int
    value: float
    gradient: Tensor

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(self.count + other.count, self.value + other.value, self.gradient + other.gradient)


def _sums(logits: Float[Tensor, "c p"], labels: Int[Tensor, " p"], slope: Slope, point: Tensor) -> _Sums:
    return _Sums(len(labels), *slope(logits, labels, point))


def _mean(slope: Slope, penalty: Penalty, blocks: Blocks, point: Tensor) -> tuple[float, Tensor]:
    total = blocks.summed(_sums, slope, point)
    if total is None:
        raise FitError("expected labelled pixels to fit on; all pixels are unlabelled. Check ignore_index.")
    extra, bend = penalty(point)
    return total.value / total.count + extra, total.gradient / total.count + bend
