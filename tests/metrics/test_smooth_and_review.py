"""Smooth calibration error, CORP, the histogram over images, and thresholds: known truths and slow references."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression

from calibrant.errors import InputError
from calibrant.metrics import (
    CalibrationBins,
    ConfidenceRanks,
    best_threshold,
    corp_decomposition,
    recalibrated,
    reliability_histogram,
    review_cost,
    review_curve,
    smooth_calibration_error,
    top_label_brier_score,
)
from calibrant.metrics.likelihood import LikelihoodSums


def drawn(factor: float, *, seed: int = 0, count: int = 20_000):
    """Logits (1, 3, p) whose truth is their softmax, times a factor, and labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(1, 3, count, generator=generator)
    labels = torch.multinomial(logits[0].softmax(0).T, 1, generator=generator)[:, 0]
    return factor * logits, labels[None]


def confidence_and_right(logits, labels):
    confidence, said = logits.double().softmax(1).max(1)
    return confidence[0].numpy(), (said == labels)[0].numpy()


def slow_smooth_error(confidence, right, grid=200):
    """By its definition: the reflected kernel summed pixel by pixel (grouped to 1/1000), and bisection."""
    gaps, edges = np.histogram(confidence, 1000, (0, 1), weights=right - confidence)
    kept = gaps != 0
    middles, gaps = ((edges[:-1] + edges[1:]) / 2)[kept], gaps[kept] / len(confidence)
    at = (np.arange(grid) + 0.5) / grid

    def error(width):
        images = (shift + sign * middles for shift in (-2, 0, 2) for sign in (-1, 1))
        return np.abs(sum(norm.pdf(at[:, None], image, width) @ gaps for image in images)).mean()

    low, high = 1e-3, 1.0
    for _ in range(10):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return low


@pytest.mark.parametrize("factor", [1.3, 3.0])
def test_smooth_error_is_that_of_its_definition(factor):
    logits, labels = drawn(factor)
    found = float(smooth_calibration_error(ConfidenceRanks.of(logits, labels)))
    assert found == pytest.approx(slow_smooth_error(*confidence_and_right(logits, labels)), rel=0.02)


def test_smooth_error_of_one_confidence_is_the_gap_and_of_calibrated_ones_is_small():
    logits = torch.tensor([2.0, 0.0])[None, :, None].expand(1, 2, 1000)
    labels = (torch.arange(1000) >= 500).long()[None]
    gap = torch.tensor(2.0).sigmoid() - 0.5
    assert float(smooth_calibration_error(ConfidenceRanks.of(logits, labels))) == pytest.approx(float(gap), abs=4e-3)
    assert float(smooth_calibration_error(ConfidenceRanks.of(*drawn(1.0)))) < 0.012
    nothing = ConfidenceRanks(*(torch.zeros(2, 352).long() for _ in range(2)))
    assert smooth_calibration_error(nothing).isnan().all()
    assert corp_decomposition(nothing).miscalibration.isnan().all()
    assert recalibrated(nothing).isnan().all()


def test_corp_is_isotonic_regression_pixel_by_pixel_and_adds_up():
    logits, labels = drawn(2.0)
    parts = corp_decomposition(ConfidenceRanks.of(logits, labels))
    confidence, right = confidence_and_right(logits, labels)
    fitted = IsotonicRegression().fit_transform(confidence, right.astype(float))

    def brier(p):
        return np.square(right - p).mean()

    assert float(parts.miscalibration) == pytest.approx(brier(confidence) - brier(fitted), abs=5e-4)
    assert float(parts.discrimination) == pytest.approx(brier(right.mean()) - brier(fitted), abs=5e-4)
    assert float(parts.uncertainty) == pytest.approx(right.mean() * (1 - right.mean()))
    whole = float(top_label_brier_score(LikelihoodSums.of(logits, labels)))
    added = parts.miscalibration - parts.discrimination + parts.uncertainty
    assert float(added) == pytest.approx(whole, abs=2e-4)
    curve = recalibrated(ConfidenceRanks.of(logits, labels))[0]
    assert bool((curve[~curve.isnan()].diff() >= 0).all())


def test_histogram_counts_each_image_once_in_each_of_its_bins():
    count = torch.tensor([[0, 4], [2, 10], [5, 0]])
    correct = torch.tensor([[0, 4], [0, 5], [5, 0]])
    bins = CalibrationBins(count, correct, count.double() / 2)
    found = reliability_histogram(bins, num_steps=4)
    assert found.tolist() == [[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5]]
    empty = CalibrationBins(torch.zeros(3, 2).long(), torch.zeros(3, 2).long(), torch.zeros(3, 2).double())
    assert reliability_histogram(empty).isnan().all()


def test_thresholds_decide_what_counting_pixels_says():
    logits, labels = drawn(1.5)
    curve = review_curve(ConfidenceRanks.of(logits, labels))
    confidence, right = confidence_and_right(logits.float(), labels)
    assert (float(curve.threshold[0]), float(curve.threshold[-1])) == (0, 1)
    for i in (0, 100, 140, 200, 352):
        low = confidence <= float(curve.threshold[i])
        assert float(curve.reviewed[0, i]) == pytest.approx(low.mean(), abs=2e-4)
        assert float(curve.caught[0, i]) == pytest.approx((low & ~right).sum() / (~right).sum(), abs=2e-3)
        assert float(curve.missed[0, i]) == pytest.approx((~low & ~right).mean(), abs=2e-4)
    assert bool(curve.left[0, -1].isnan())


def test_the_rule_for_calibrated_confidence_is_the_cheapest_where_it_is_calibrated():
    for factor, holds in ((1.0, True), (3.0, False)):
        curve = review_curve(ConfidenceRanks.of(*drawn(factor, count=100_000)))
        cost = review_cost(curve, mistake=8, review=1)[0]
        at = int((curve.threshold - best_threshold(mistake=8, review=1)).abs().argmin())
        assert (float(cost[at]) < 1.01 * float(cost.min())) is holds
    assert best_threshold(mistake=1, review=2) == 0
    with pytest.raises(InputError, match="expected prices above 0"):
        best_threshold(mistake=0, review=1)
