"""Optimal transport between two small weighted sets: the matching of hypotheses and annotators."""

import math

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog

from calibrant.errors import InputError


def transport_cost(cost: np.ndarray, of_rows: np.ndarray, of_columns: np.ndarray) -> float:
    """Return the least mean cost of moving the weights of the rows onto those of the columns.

    With equal weights it is that of the best matching (Birkhoff), each row and column repeated until there are equally
    many; a linear program otherwise. NaN where a cost that counts is NaN, or nothing has weight.

    :param cost: what moving a unit of weight from a row to a column costs, (m, a).
    :param of_rows: the weights of the rows, (m,); they add up to 1.
    :param of_columns: the weights of the columns, (a,); they add up to 1.
    :raises InputError: the two sums of weights differ.

    >>> transport_cost(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0.5, 0.5]), np.array([0.75, 0.25]))
    0.25
    """
    cost, of_rows, of_columns = cost[of_rows > 0][:, of_columns > 0], of_rows[of_rows > 0], of_columns[of_columns > 0]
    if cost.size == 0 or np.isnan(cost).any():
        return math.nan
    size = math.lcm(*cost.shape)
    alike = np.ptp(of_rows) < 1e-12 and np.ptp(of_columns) < 1e-12
    if alike and size <= 512:
        repeated = cost.repeat(size // cost.shape[0], 0).repeat(size // cost.shape[1], 1)
        return float(repeated[linear_sum_assignment(repeated)].mean())
    m, a = cost.shape
    margins = np.concatenate([np.kron(np.eye(m), np.ones(a)), np.kron(np.ones(m), np.eye(a))])
    # One margin follows from the others; left in, rounding could make the equations contradict each other.
    solved = linprog(cost.ravel(), A_eq=margins[:-1], b_eq=np.concatenate([of_rows, of_columns])[:-1], method="highs")
    if not solved.success:
        raise InputError(f"expected weights that can be transported; got none that could ({solved.message}).")
    return float(solved.fun)
