"""The ECE of a calibrated model: De Moivre's closed form, sums over all outcomes, and draws; and known truths."""

from math import comb, pi, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import calibrant.metrics as cm
from calibrant.metrics import CalibrationBins, ClasswiseBins, ConfidenceRanks, LikelihoodSums


def one_bin(count: int, confidence: float) -> CalibrationBins:
    return CalibrationBins(
        torch.tensor([[count]]), torch.tensor([[0]]), torch.tensor([[count * confidence]], dtype=torch.float64)
    )


@given(st.integers(1, 60), st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 1 / 3, 1.0])))
def test_closed_form_is_the_sum_over_all_outcomes(count, share):
    expected = sum(
        comb(count, k) * share**k * (1 - share) ** (count - k) * abs(k / count - share) for k in range(count + 1)
    )
    assert cm.expected_error_if_calibrated(one_bin(count, share)).item() == pytest.approx(expected, abs=1e-9)


def test_closed_form_of_whole_numbers_of_right_pixels():
    for count, right in [(10, 3), (7, 7), (8, 0), (49, 7)]:
        share = right / count
        expected = sum(
            comb(count, k) * share**k * (1 - share) ** (count - k) * abs(k / count - share) for k in range(count + 1)
        )
        assert cm.expected_error_if_calibrated(one_bin(count, share)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", [10**6, 10**9])
def test_closed_form_nears_the_normal_law(count):
    found = cm.expected_error_if_calibrated(one_bin(count, 0.8)).item()
    assert found == pytest.approx(sqrt(2 / pi * 0.8 * 0.2 / count), rel=1e-3)


def test_closed_form_is_the_mean_of_draws():
    rng = np.random.default_rng(0)
    count = np.array([[5, 0, 40, 300]])
    share = np.array([[0.3, 0.0, 0.61, 0.97]])
    drawn = rng.binomial(count, share, (20_000, 4))
    bins = CalibrationBins(*(torch.from_numpy(x) for x in (count, np.zeros_like(count), count * share)))
    simulated = (np.abs(drawn - count * share).sum(1) / count.sum()).mean()
    assert cm.expected_error_if_calibrated(bins).item() == pytest.approx(simulated, rel=0.01)


@pytest.fixture(scope="module")
def truth():
    """Logits that are the logarithm of true probabilities, and labels drawn from them."""
    rng = torch.Generator().manual_seed(11)
    logits = 1.2 * torch.randn(60, 4, 40, 40, generator=rng)
    gumbel = -torch.empty_like(logits).exponential_(generator=rng).log()
    return logits, (logits + gumbel).argmax(1)


def test_true_probabilities_are_calibrated(truth):
    bins = CalibrationBins.of(*truth)
    pixels = truth[1].numel()
    assert cm.expected_calibration_error(bins.pooled()).item() < 3 * sqrt(15 / pixels)
    assert abs(cm.confidence_gap(bins.pooled()).item()) < 3 * 0.5 / sqrt(pixels)
    assert cm.classwise_calibration_error(ClasswiseBins.of(*truth).pooled()).item() < 3 * sqrt(15 / pixels)
    assert cm.adaptive_calibration_error(ConfidenceRanks.of(*truth).pooled()).item() < 3 * sqrt(15 / pixels)
    # Image by image the error is not zero but what chance leaves, which the closed form foretells.
    by_image = cm.expected_calibration_error(bins).mean().item()
    assert by_image > 0.02
    assert by_image == pytest.approx(cm.expected_error_if_calibrated(bins).mean().item(), rel=0.04)


def test_true_probabilities_have_their_own_entropy_as_likelihood(truth):
    sums = LikelihoodSums.of(*truth).pooled()
    assert cm.negative_log_likelihood(sums).item() == pytest.approx(cm.mean_entropy(sums).item(), abs=0.01)


@pytest.mark.parametrize(("factor", "sign"), [(2.0, 1), (0.5, -1)])
def test_a_known_temperature_shows_in_every_score(truth, factor, sign):
    logits, labels = truth
    hurt = factor * logits
    gap = cm.confidence_gap(CalibrationBins.of(hurt, labels).pooled()).item()
    true = logits.double().softmax(1).gather(1, logits.argmax(1, keepdim=True)).mean().item()
    expected = hurt.double().softmax(1).amax(1).mean().item() - true
    assert sign * gap > 0.05
    assert gap == pytest.approx(expected, abs=0.006)  # the true accuracy, up to the labels that were drawn
    # All bins err to one side, so the ECE is the gap.
    assert cm.expected_calibration_error(CalibrationBins.of(hurt, labels).pooled()).item() == pytest.approx(
        abs(gap), rel=0.03
    )
    before, after = (cm.negative_log_likelihood(LikelihoodSums.of(z, labels).pooled()).item() for z in (logits, hurt))
    assert after > before + 0.02
