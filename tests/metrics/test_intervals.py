"""Intervals over images: what must be exact, and whether they hold the truth as often as they say."""

import pytest
import torch

from calibrant.errors import InputError
from calibrant.metrics import (
    CalibrationBins,
    LikelihoodSums,
    Resampled,
    Resamples,
    Score,
    bootstrap,
    confidence_gap,
    expected_calibration_error,
    paired_difference,
    resampled_scores,
)
from calibrant.metrics.likelihood import negative_log_likelihood


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(gap, pixels=1000):
    """One bin a row: confidence .8 and an accuracy of .8 less the gap."""
    gap = torch.as_tensor(gap, dtype=torch.float64)[:, None]
    count = torch.full(gap.shape, pixels)
    return CalibrationBins(count, ((0.8 - gap) * pixels).round().long(), 0.8 * count.double())


@pytest.mark.parametrize("pooled", [False, True])
def test_a_constant_score_has_no_width(pooled):
    found = bootstrap(confidence_gap, rows([0.1] * 9), generator=generator(), pooled=pooled)
    assert found.value == pytest.approx(0.1)
    assert found.high - found.low < 1e-12
    assert found.excludes_zero()


@pytest.mark.parametrize("pooled", [False, True])
def test_equal_tallies_differ_by_exactly_zero(pooled):
    tally = rows(torch.randn(20, generator=generator()) / 20)
    found = paired_difference(confidence_gap, tally, tally, generator=generator(), pooled=pooled)
    assert (found.value, found.low, found.high) == (0, 0, 0)
    assert not found.excludes_zero()


def test_a_difference_that_all_images_share_is_certain_though_its_parts_are_not():
    noise = torch.randn(30, generator=generator()) / 20
    first, second = rows(noise + 0.05), rows(noise)
    found = paired_difference(confidence_gap, first, second, generator=generator(), pooled=True)
    alone = bootstrap(confidence_gap, first, generator=generator(), pooled=True)
    assert found.value == pytest.approx(0.05, abs=1e-3)
    assert found.high - found.low < 0.1 * (alone.high - alone.low)


def test_resampled_values_are_those_of_the_rows_drawn():
    tally = rows(torch.linspace(-0.1, 0.1, 7))
    resamples = Resamples.draw([tally], generator=generator(), num_resamples=60)
    assert torch.all(resamples.weights.sum(1) == 7)
    assert torch.all(resamples.weights == resamples.weights.round())
    scores = {name: Score("gap", confidence_gap, pooled=name == "pixels") for name in ("images", "pixels")}
    found = resampled_scores(scores, tally, resamples)
    for r, weights in enumerate(resamples.weights):
        drawn = tally.take([i for i, w in enumerate(weights.long().tolist()) for _ in range(w)])
        assert found["images"].values[r].item() == pytest.approx(confidence_gap(drawn).mean().item(), abs=1e-12)
        assert found["pixels"].values[r].item() == pytest.approx(confidence_gap(drawn.pooled()).item(), abs=1e-12)
    assert found["pixels"].value == confidence_gap(tally.pooled()).item()


def test_images_without_the_score_are_left_out_of_its_mean():
    tally = rows([0.1, 0.3, 0.0])
    tally.count[2], tally.correct[2], tally.confidence[2] = 0, 0, 0
    found = bootstrap(confidence_gap, tally, generator=generator())
    assert found.value == pytest.approx(0.2)
    assert 0.09 < found.low <= found.high < 0.31
    nothing = bootstrap(confidence_gap, tally.take([2]), generator=generator())
    assert all(x != x for x in (nothing.value, nothing.low, nothing.high))


def test_the_same_seed_gives_the_same_interval_and_a_level_widens_it():
    tally = rows(torch.randn(25, generator=generator(3)) / 20)
    first, again, wider = (
        bootstrap(confidence_gap, tally, generator=generator(1), level=level) for level in (0.9, 0.9, 0.99)
    )
    assert first == again
    assert wider.low < first.low < first.high < wider.high


def test_quantiles_of_a_known_law():
    values = torch.arange(-500, 501, dtype=torch.float64)
    found = Resampled(0.0, values).interval(level=0.9)
    assert (found.low, found.high) == pytest.approx((-450, 450))


@pytest.mark.parametrize("pooled", [False, True])
def test_intervals_hold_the_truth_about_as_often_as_they_say(pooled):
    """Images differ in how over-confident a model is on them; the truth is the mean over all images there could be."""
    rng, held = generator(7), 0
    for trial in range(200):
        tally = rows(0.05 + torch.randn(40, generator=rng) / 20)
        found = bootstrap(confidence_gap, tally, generator=generator(trial), pooled=pooled, num_resamples=200)
        held += found.low <= 0.05 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_pixels_of_an_image_are_not_taken_as_independent():
    """Ten times the pixels of the same images leave the interval as wide as it was."""
    gaps = torch.randn(30, generator=generator()) / 20
    few, many = (
        bootstrap(expected_calibration_error, rows(gaps, pixels), generator=generator()) for pixels in (1000, 10_000)
    )
    assert many.high - many.low == pytest.approx(few.high - few.low, rel=0.05)


def test_tallies_of_other_images_are_not_paired():
    first, second = rows([0.1, 0.2]), rows([0.1, 0.2, 0.3])
    with pytest.raises(InputError, match="same images"):
        paired_difference(confidence_gap, first, second, generator=generator())


def test_a_score_of_another_tally():
    rng = generator(2)
    logits, labels = torch.randn(12, 3, 6, 6, generator=rng), torch.randint(3, (12, 6, 6), generator=rng)
    sums = LikelihoodSums.of(logits, labels)
    found = bootstrap(negative_log_likelihood, sums, generator=rng)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("pooled", [False, True])
def test_rows_and_resamples_some_at_a_time_give_the_same(monkeypatch, pooled):
    from calibrant.metrics import intervals

    scores = {"gap": Score("gap", confidence_gap, pooled=pooled)}
    tally = rows(torch.rand(200, generator=generator()) / 2)

    def found():
        resamples = Resamples.draw([tally], generator=generator(1), num_resamples=30)
        return resampled_scores(scores, tally, resamples)["gap"]

    whole = found()
    taken = []
    take = type(tally).take
    monkeypatch.setattr(type(tally), "take", lambda self, some: taken.append(len(some)) or take(self, some))
    monkeypatch.setattr(intervals, "_ROWS_AT_ONCE", 70)
    monkeypatch.setattr(intervals, "_at_once", lambda num_images: 7)
    parts = found()
    assert taken == ([] if pooled else [70, 70, 60])
    assert parts.value == whole.value
    torch.testing.assert_close(parts.values, whole.values, rtol=1e-13, atol=0)  # matrix products round otherwise


def test_an_image_may_be_drawn_more_often_than_a_byte_counts():
    tally = rows(torch.zeros(300))
    weights = Resamples.draw([tally], generator=generator(), num_resamples=5).weights
    assert weights.sum(1).tolist() == [300] * 5
    assert weights.dtype == torch.uint8
    monotone = torch.zeros(1, 300, dtype=torch.long)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randint", lambda high, size, generator: monotone.expand(size))
        weights = Resamples.draw([tally], generator=generator(), num_resamples=2).weights
    assert weights[:, 0].tolist() == [300, 300]
