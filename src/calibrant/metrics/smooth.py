r"""Calibration without equal-width bins: the smooth calibration error, and the CORP decomposition of the Brier score.

Both look at every confidence; here they are read off the fine bins of :class:`ConfidenceRanks`, whose pixels are taken
to lie at the middle of their bin, log-odds 1/16 wide. A confidence moves by at most 1/128 for that (where it is one
half; by 3e-4 at 99 %), and by less on average, as pixels lie on both sides of the middle.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.fft import dct, idct
from scipy.optimize import isotonic_regression

from calibrant._shapes import Float, Tensor
from calibrant.metrics.ranking import ConfidenceRanks

_GRID = 1024
"""Places between 0 and 1 at which the smoothed gap is summed; no kernel is narrower than a step."""

_HALVINGS = 8
"""Halvings of the range of the width's logarithm; between the two ends that remain the error is nearly straight."""


def smooth_calibration_error(ranks: ConfidenceRanks) -> Float[Tensor, " n"]:
    r"""Return the smooth expected calibration error (smECE) of each row.

    .. math:: \mathrm{smECE}_\sigma = \int_0^1 \Big|\frac1n \sum_i (y_i - f_i) K_\sigma(t, f_i)\Big|\,dt

    with the Gaussian kernel K of width sigma, reflected at 0 and 1, at the width at which the error equals it:
    smECE is the sigma with smECE_sigma = sigma. It moves evenly with the confidences, where ECE jumps as one of them
    crosses the edge of a bin. Błasiok and Nakkiran (2024), "Smooth ECE: Principled Reliability Diagrams via Kernel
    Smoothing", Definition 5. A reflected Gaussian is the heat kernel of an interval, so it is applied to the cosine
    transform. No kernel narrower than 1/1024 is used: errors below 0.1 % are those at that width. NaN for a row without
    labelled pixels.

    :param ranks: one row an image, or one of all pixels.

    >>> half = ConfidenceRanks(torch.zeros(1, 352).long(), torch.zeros(1, 352).long())
    >>> half.count[0, 132] = 100  # sure of 0.907, right half of the time: every width gives the gap
    >>> half.correct[0, 132] = 50
    >>> smooth_calibration_error(half)
    tensor([0.4073], dtype=torch.float64)
    """
    count = ranks.count.double().numpy()
    total = count.sum(1, keepdims=True)
    gap = (ranks.correct.double() - ranks.confidence).numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        waves = dct((gap / total @ _shares()).astype(np.float32), type=2, norm="ortho", axis=1)
    low, high = np.full(len(count), np.log(1 / _GRID)), np.zeros(len(count))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        wider = _smoothed(waves, np.exp(middle)) > np.exp(middle)  # the error falls as the width grows
        low, high = np.where(wider, middle, low), np.where(wider, high, middle)
    first, last = (_smoothed(waves, np.exp(each)) for each in (low, high))
    # Where the straight line between the two errors meets the width.
    above, below = first - np.exp(low), np.exp(high) - last
    share = np.clip(above / np.maximum(above + below, 1e-12), 0, 1)
    return torch.from_numpy(first + share * (last - first))


@dataclass(frozen=True)
class CorpDecomposition:
    """The parts of the top-label Brier score: ``miscalibration - discrimination + uncertainty``, exactly.

    :param miscalibration: what the best monotone recalibration of the confidence would win.
    :param discrimination: what that recalibrated confidence wins over the accuracy alone.
    :param uncertainty: what the accuracy alone leaves.
    """

    miscalibration: Float[Tensor, " n"]
    discrimination: Float[Tensor, " n"]
    uncertainty: Float[Tensor, " n"]


def corp_decomposition(ranks: ConfidenceRanks) -> CorpDecomposition:
    """Return the CORP decomposition of the Brier score of "the prediction is right".

    The confidence is recalibrated by isotonic regression (pool adjacent violators), which needs no bins to be chosen,
    and reproduces itself. Dimitriadis, Gneiting and Jordan (2021), "Stable reliability diagrams for probabilistic
    classifiers", PNAS 118(8), eqs. (5) to (7). NaN for a row without labelled pixels.

    :param ranks: one row an image, or one of all pixels.

    >>> ranks = ConfidenceRanks(torch.zeros(1, 352).long(), torch.zeros(1, 352).long())
    >>> ranks.count[0, 132], ranks.correct[0, 132] = 100, 50  # one confidence, 0.907, and right half of the time
    >>> parts = corp_decomposition(ranks)
    >>> parts.miscalibration, parts.discrimination
    (tensor([0.1659], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """
    middles = ConfidenceRanks.middles().numpy()
    rows = [
        _decomposed(count, correct, middles)
        for count, correct in zip(ranks.count.double().numpy(), ranks.correct.double().numpy(), strict=True)
    ]
    parts = torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)
    return CorpDecomposition(*parts.unbind(1))


def recalibrated(ranks: ConfidenceRanks) -> Float[Tensor, "n b"]:
    """Return the accuracy that isotonic regression finds in each bin: the CORP reliability curve; NaN in empty bins.

    :param ranks: one row an image, or one of all pixels.
    """
    result = np.full(ranks.count.shape, np.nan)
    for i, (count, correct) in enumerate(zip(ranks.count.numpy(), ranks.correct.double().numpy(), strict=True)):
        seen = count > 0
        if seen.any():
            result[i, seen] = isotonic_regression(correct[seen] / count[seen], weights=count[seen]).x
    return torch.from_numpy(result)


def _decomposed(count: np.ndarray, correct: np.ndarray, said: np.ndarray) -> tuple[float, float, float]:
    seen = count > 0
    count, correct, said = count[seen], correct[seen], said[seen]
    total = count.sum()
    if not total:
        return (np.nan, np.nan, np.nan)
    mean = correct.sum() / total
    fitted = isotonic_regression(correct / count, weights=count).x

    def brier(p: np.ndarray | float) -> float:
        return float((count * np.square(p) - 2 * correct * p + correct).sum() / total)

    as_said, as_fitted, as_mean = brier(said), brier(fitted), brier(mean)
    return as_said - as_fitted, as_mean - as_fitted, as_mean


@cache
def _shares() -> np.ndarray:
    """How each bin is shared between the two nearest places of the grid, (b, g)."""
    place = np.clip(ConfidenceRanks.middles().numpy() * _GRID - 0.5, 0, _GRID - 1)
    before = np.minimum(place.astype(int), _GRID - 2)
    shares = np.zeros((len(place), _GRID))
    rows = np.arange(len(place))
    shares[rows, before] = 1 - (place - before)
    shares[rows, before + 1] = place - before
    return shares


def _smoothed(waves: np.ndarray, width: np.ndarray) -> np.ndarray:
    """The sum over the grid of the gap smoothed with a kernel of some width, one a row."""
    exponents = (-0.5 * np.square(np.pi * np.arange(_GRID))).astype(np.float32)
    kept = np.exp(exponents * np.square(width, dtype=np.float32)[:, None])
    kept *= waves
    gaps = idct(kept, type=2, norm="ortho", axis=1, overwrite_x=True)
    return np.abs(gaps, out=gaps).sum(1, dtype=np.float64)
