"""What the figures draw: curves over all repetitions, with bands from drawing images again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from calibrant._shapes import Float, Tensor
from calibrant.metrics import (
    CalibrationBins,
    ConfidenceRanks,
    Measurement,
    Resamples,
    Tally,
    reliability_curve,
    risk_coverage_curve,
)

T = TypeVar("T", bound=Tally)


@dataclass(frozen=True)
class Reliability:
    """Bin by bin: what was said, what came true, in how many pixels; nan in empty bins.

    :param low: lower bound of the accuracy, from the interval of the gap over images.
    :param confidence: mean confidence of the pixels of each bin.
    :param accuracy: share of right pixels in each bin.
    :param fraction: share of all pixels in each bin.
    :param high: upper bound of the accuracy, from the same interval.
    """

    confidence: Float[Tensor, " b"]
    accuracy: Float[Tensor, " b"]
    fraction: Float[Tensor, " b"]
    low: Float[Tensor, " b"]
    high: Float[Tensor, " b"]


@dataclass(frozen=True)
class RiskCoverageLine:
    """The error among the most confident pixels, for growing fractions of pixels kept.

    :param coverage: fractions of pixels kept, the most confident first; rising, up to 1.
    :param risk: share of wrong pixels among those kept.
    """

    coverage: Float[Tensor, " q"]
    risk: Float[Tensor, " q"]

    def at(self, coverage: float) -> float:
        """Return the risk at a coverage, between the nearest two points.

        :param coverage: a fraction of pixels kept, above 0 and up to 1.
        """
        after = int(torch.searchsorted(self.coverage, coverage).clamp(max=len(self.coverage) - 1))
        before = max(0, after - 1)
        span = float(self.coverage[after] - self.coverage[before])
        share = 1.0 if span == 0 else (coverage - float(self.coverage[before])) / span
        share = min(max(share, 0.0), 1.0)
        return float(self.risk[before] * (1 - share) + self.risk[after] * share)


def draws(measurements: Mapping[str, Sequence[Measurement]], *, seed: int = 0, num_resamples: int = 500) -> Resamples:
    """Return resamples shared by all figures of a page.

    :param measurements: by method, one measurement a repetition.
    :param seed: seed of what is drawn.
    :param num_resamples: how many times images are drawn.
    """
    rows = [measurement for repetitions in measurements.values() for measurement in repetitions]
    return Resamples.draw(rows, generator=torch.Generator().manual_seed(seed), num_resamples=num_resamples)


def pooled_bins(bins: Sequence[CalibrationBins]) -> CalibrationBins:
    """Return one row with the pixels of all images of all repetitions.

    :param bins: one tally a repetition.
    """
    return CalibrationBins.stack([rows.pooled() for rows in bins]).pooled()


def reliability(measurements: Sequence[T], resamples: Resamples, of: Callable[[T], CalibrationBins]) -> Reliability:
    """Return the reliability of all repetitions' pixels together, with its 95 % band over images.

    :param of: which bins of a tally are meant.
    :param measurements: tallies of one method, one a repetition.
    :param resamples: drawn from the images of all of them.
    """
    bins = [of(measurement) for measurement in measurements]
    curve = reliability_curve(pooled_bins(bins))
    # An image that is tested in several repetitions is drawn in all of them or in none.
    weights = (resamples.weights_of(measurement) for measurement in measurements)
    drawn = CalibrationBins.added(rows.resampled(weight) for rows, weight in zip(bins, weights, strict=True))
    gap = (drawn.correct - drawn.confidence) / drawn.count
    low, high = torch.nanquantile(gap, torch.tensor([0.025, 0.975], dtype=gap.dtype), dim=0)
    confidence, accuracy, fraction = (
        column[0].double() for column in (curve.confidence, curve.accuracy, curve.fraction)
    )
    return Reliability(confidence, accuracy, fraction, (confidence + low).clamp(0, 1), (confidence + high).clamp(0, 1))


def risk_coverage(ranks: Sequence[ConfidenceRanks], *, most_points: int = 200) -> RiskCoverageLine:
    """Return the risk-coverage curve of all repetitions' pixels together, thinned to what a figure shows.

    :param ranks: of one method, one tally a repetition.
    :param most_points: how many points the curve has at most.
    """
    curve = risk_coverage_curve(ConfidenceRanks.stack([rows.pooled() for rows in ranks]).pooled())
    coverage, risk = curve.coverage[0].double(), curve.risk[0].double()
    known = ~(coverage.isnan() | risk.isnan()) & (coverage > 0)
    coverage, order = coverage[known].sort(stable=True)
    risk = risk[known][order]
    # A pixel of a figure holds at most one point; the last point, all pixels kept, always stays.
    cell = (coverage * most_points).ceil()
    last = torch.ones_like(cell, dtype=torch.bool)
    last[:-1] = cell[:-1] != cell[1:]
    return RiskCoverageLine(coverage[last], risk[last])
