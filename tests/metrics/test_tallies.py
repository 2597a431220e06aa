"""What holds for every tally: rows add, stack and resample; its parts are the tallies they would be alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import calibrant.metrics as cm
from calibrant.metrics import CalibrationBins, ClassCounts, ClasswiseBins, ConfidenceRanks, LikelihoodSums, Measurement
from calibrant.metrics._arithmetic import Scratch, bin_of, first_zero
from calibrant.predictions import IGNORE


def measurement(num_images=6, num_classes=4, space=(11, 12), seed=0, **options):
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_images, num_classes, *space, generator=rng)
    labels = torch.where(torch.rand(num_images, *space, generator=rng) < 0.7, logits.argmax(1), 0)
    labels[:, :5, :6] = 1
    labels[torch.rand(labels.shape, generator=rng) < 0.1] = IGNORE
    return logits, labels, Measurement.of(logits, labels, **options)


def close(first, second) -> bool:
    pairs = zip(first.columns(), second.columns(), strict=True)
    return all(torch.allclose(a.double(), b.double(), rtol=1e-12, atol=1e-9) for a, b in pairs)


def test_every_part_of_a_measurement_is_the_tally_it_would_be_alone():
    logits, labels, found = measurement(num_bins=10, width=3)
    assert close(found.bins, CalibrationBins.of(logits, labels, num_bins=10))
    assert close(found.classwise, ClasswiseBins.of(logits, labels, num_bins=10))
    assert close(found.likelihood, LikelihoodSums.of(logits, labels))
    assert close(found.classes, ClassCounts.of(logits, labels))
    assert close(found.ranks, ConfidenceRanks.of(logits, labels))
    near = cm.boundary(labels, width=3)
    assert close(found.boundary, CalibrationBins.of(logits, labels, num_bins=10, where=near))
    inside = cm.interior(labels, width=3)
    assert close(found.interior, CalibrationBins.of(logits, labels, num_bins=10, where=inside))
    wrong = cm.mistaken(logits, labels)
    assert close(found.mistaken, CalibrationBins.of(logits, labels, num_bins=10, where=wrong))
    assert close(found.correct, CalibrationBins.of(logits, labels, num_bins=10, where=~wrong))
    for k in range(4):
        of_class = CalibrationBins(*(column[:, k] for column in found.by_prediction.columns()))
        assert close(of_class, CalibrationBins.of(logits, labels, num_bins=10, where=logits.argmax(1) == k))
    assert 0 < int(found.interior.count.sum()) < int(found.bins.count.sum())


def test_parts_of_the_pixels_add_to_the_whole():
    logits, labels, _ = measurement()
    half = torch.rand(labels.shape, generator=torch.Generator().manual_seed(9)) < 0.5
    for kind in (CalibrationBins, ClasswiseBins, LikelihoodSums, ClassCounts, ConfidenceRanks, Measurement):
        whole, one, other = (kind.of(logits, labels, where=w) for w in (torch.ones_like(half), half, ~half))
        assert close(kind.added([one, other]), whole)
        assert close(whole.minus(one), other)


def test_a_bin_emptied_by_subtraction_keeps_no_trace():
    logits, labels, _ = measurement(num_images=40, num_classes=2)
    found = Measurement.of(logits * 3, labels)
    for bins in (found.interior, found.correct, found.bins.minus(found.bins)):
        assert torch.all(bins.confidence[bins.count == 0] == 0)
        assert torch.all(bins.confidence >= 0)
        curve = cm.reliability_curve(bins)
        assert torch.equal(curve.confidence.isnan(), bins.count == 0)
        some = bins.count.sum(1) > 0
        assert torch.all(cm.maximum_calibration_error(bins)[some] <= 1)
        assert torch.all(cm.brier_decomposition(bins).reliability[some] <= 1)


def test_scores_are_float64_whatever_the_counts():
    *_, found = measurement()
    for tally in (found, found.pooled(), found.resampled(torch.ones(1, 6, dtype=torch.float64))):
        for name, score in cm.SCORES.items():
            assert score.of(tally).dtype == torch.float64, name
            assert score.of(tally).shape == (len(tally),), name
        for value in (cm.intersection_over_union(tally.classes), cm.dice(tally.classes)):
            assert value.dtype == torch.float64
        curve = cm.reliability_curve(tally.bins)
        assert {curve.accuracy.dtype, curve.confidence.dtype, curve.fraction.dtype} == {torch.float64}


def test_pooling_stacking_and_resampling_agree():
    *_, found = measurement()
    *_, more = measurement(seed=1)
    both = Measurement.stack([found, more])
    assert len(both) == 12
    assert close(both.pooled(), Measurement.stack([found.pooled(), more.pooled()]).pooled())
    assert close(both.pooled(), both.resampled(torch.ones(1, 12, dtype=torch.float64)))
    twice = torch.zeros(2, 12, dtype=torch.float64)
    twice[0, 3] = 1
    twice[1, [0, 0, 5]] = torch.tensor([1.0, 1.0, 2.0]).double()
    again = both.resampled(twice)
    assert close(again.take([0]), both.take([3]))
    assert close(again.take([1]), Measurement.added([both.take([0]), both.take([5]), both.take([5])]))


def test_pooled_error_is_at_most_the_mean_weighted_by_pixels():
    *_, found = measurement()
    weights = found.bins.count.sum(1).double()
    mean = (cm.expected_calibration_error(found.bins) * weights).sum() / weights.sum()
    assert cm.expected_calibration_error(found.bins.pooled()) <= mean + 1e-12


def test_augrc_is_a_function_of_auroc_and_accuracy():
    """Traub et al. (2024), eq. 9: AUGRC = (1 - AUROC) acc (1 - acc) + (1 - acc)² / 2."""
    *_, found = measurement()
    accuracy = cm.pixel_accuracy(found.classes)
    expected = (1 - cm.auroc(found.ranks)) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2
    assert torch.allclose(cm.augrc(found.ranks), expected, rtol=1e-12)


def test_bounds_of_scores():
    *_, found = measurement(seed=4)
    bins = found.bins
    assert torch.all(cm.confidence_gap(bins).abs() <= cm.expected_calibration_error(bins) + 1e-15)
    assert torch.all(cm.expected_calibration_error(bins) <= cm.maximum_calibration_error(bins) + 1e-15)
    iou, dice = cm.intersection_over_union(found.classes), cm.dice(found.classes)
    assert torch.allclose(dice, 2 * iou / (1 + iou), equal_nan=True)
    risk = cm.risk_coverage_curve(found.ranks).risk[:, -1]
    assert torch.allclose(risk, 1 - cm.pixel_accuracy(found.classes))


def test_finer_bins_of_equal_width_never_lower_the_error():
    logits, labels, _ = measurement()
    coarse, fine = (cm.expected_calibration_error(CalibrationBins.of(logits, labels, num_bins=b)) for b in (5, 15))
    assert torch.all(coarse <= fine + 1e-12)


def test_rows_sort_by_their_keys_and_unnamed_rows_stay():
    bins = CalibrationBins.of(*measurement()[:2])
    named = [CalibrationBins(*(c[i : i + 1] for c in bins.columns()), keys=(key,)) for i, key in enumerate("fbdace")]
    stacked = CalibrationBins.stack(named)
    assert stacked.keys == tuple("abcdef")
    assert torch.equal(stacked.count, bins.count[[3, 1, 4, 2, 5, 0]])
    assert CalibrationBins.stack([stacked]).keys == stacked.keys
    assert stacked.take([2, 0]).keys == ("c", "a")
    assert CalibrationBins.stack([bins, *named]).keys == ()


@given(st.integers(1, 64), st.floats(0, 1, width=32))
def test_bins_are_closed_above_to_the_last_bit(num_bins, probability):
    from fractions import Fraction

    import numpy as np

    number = int(bin_of(np.array([probability], np.float32), num_bins)[0])
    assert 0 <= number < num_bins
    assert Fraction(probability) <= Fraction(number + 1, num_bins)
    assert Fraction(probability) > Fraction(number, num_bins) or (probability == 0 and number == 0)


@given(st.integers(2, 300), st.integers(0, 2**32 - 1))
def test_the_first_of_the_largest_is_predicted(num_classes, seed):
    import numpy as np

    logits = np.random.default_rng(seed).integers(-3, 1, (num_classes, 20)).astype(np.float32)
    below = logits - logits.max(0)
    assert first_zero(below, Scratch()).tolist() == logits.argmax(0).tolist()


def test_all_scores_have_a_title_a_note_and_a_direction():
    for name, score in cm.SCORES.items():
        assert name.isidentifier()
        assert score.title
        assert score.note.endswith(".")
        assert score.better in ("", "lower", "higher")


@pytest.mark.parametrize("name", ["ece", "nll", "brier", "auroc", "miou"])
def test_scores_do_not_change_what_they_score(name):
    *_, found = measurement()
    before = [column.clone() for column in found.columns()]
    cm.SCORES[name].of(found)
    assert all(torch.equal(a, b) for a, b in zip(before, found.columns(), strict=True))
