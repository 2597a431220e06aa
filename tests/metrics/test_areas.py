"""Areas: slow loops, exact expectations, and coverage that any law must give."""

import itertools

import numpy as np
import pytest
import torch

from calibrant.errors import InputError, LabelError
from calibrant.metrics import (
    AreaSamples,
    area_bounds,
    area_crps,
    area_interval,
    area_pit,
    area_ranks,
    bootstrap,
    interval_coverage,
    interval_width,
)
from calibrant.predictions import IGNORE


def areas(sampled, labelled, weights=None):
    sampled, labelled = torch.as_tensor(sampled).double(), torch.as_tensor(labelled).double()
    weights = torch.full_like(labelled, 1 / labelled.shape[1]) if weights is None else torch.as_tensor(weights).double()
    return AreaSamples(sampled, labelled, weights)


def draws(n, m, a, seed=0):
    """A skew law of its own for each image; samples and annotators are draws of it alike."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(1, 10, (n, 1))
    return areas(scale * rng.exponential(size=(n, m)) ** 2, scale * rng.exponential(size=(n, a)) ** 2)


def test_areas_are_measured_where_all_annotators_labelled():
    rng = torch.Generator().manual_seed(0)
    hypotheses = torch.randint(3, (4, 2, 3, 4, 5), generator=rng)
    labels = torch.randint(3, (2, 2, 3, 4, 5), generator=rng)
    labels[0, 1, 0] = IGNORE
    labels[1, 1] = IGNORE
    found = AreaSamples.of(hypotheses, labels, num_classes=3, of_class=2, pixel_size=torch.tensor([0.5, 2.0]))
    assert found.sampled[0].tolist() == [float((x[0, 1:] == 2).sum()) / 2 for x in hypotheses]
    assert found.labelled[0].tolist() == [float((y[1:] == 2).sum()) / 2 for y in labels[0]]
    assert found.sampled[1].tolist() == [float((x[1] == 2).sum()) * 2 for x in hypotheses]
    assert found.weights.tolist() == [[0.5, 0.5], [1, 0]]


@pytest.mark.parametrize("fair", [True, False])
def test_crps_is_that_of_a_slow_loop(fair):
    found = draws(3, 6, 2)
    for i in range(3):
        x, total = found.sampled[i].tolist(), 0.0
        for y in found.labelled[i].tolist():
            total += sum(abs(a - y) for a in x) / 6
            total -= sum(abs(a - b) for a in x for b in x) / (2 * 6 * (5 if fair else 6))
        assert float(area_crps(found, fair=fair)[i]) == pytest.approx(total / 2)


def test_plain_crps_is_the_integral_over_distribution_functions():
    found = areas([[1.0, 4, 4.5]], [[3.0]])
    grid = np.linspace(0, 6, 600_001)
    forecast = (np.array([1, 4, 4.5])[:, None] <= grid).mean(0)
    integral = ((forecast - (grid >= 3)) ** 2).sum() * 1e-5
    assert float(area_crps(found, fair=False)) == pytest.approx(integral, abs=1e-4)


def test_fair_crps_does_not_depend_on_the_number_of_samples():
    whole = areas([[0.0, 1, 5, 9]], [[2.0, 6]])
    parts = [area_crps(areas([list(x)], [[2.0, 6]])) for x in itertools.combinations([0.0, 1, 5, 9], 2)]
    torch.testing.assert_close(torch.cat(parts).mean(), area_crps(whole)[0])
    assert bool(area_crps(areas([[1.0]], [[2.0]])).isnan())
    assert float(area_crps(areas([[1.0]], [[2.0]]), fair=False)) == 1


def test_intervals_cover_as_promised_whatever_the_law():
    """Of 19 samples the 90 % interval is the range: 18 in 20 outcomes; of 39 samples the second and the second last."""
    for m in (19, 39):
        coverage = interval_coverage(draws(20_000, m, 1))
        assert float(coverage.mean()) == pytest.approx(0.9, abs=0.01)
    few = interval_coverage(draws(20_000, 9, 1))
    assert float(few.mean()) == pytest.approx(8 / 10, abs=0.01)


@pytest.mark.parametrize("m", [3, 20])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_with_ties_spread_intervals_cover_as_promised_where_many_areas_are_zero(m, level):
    rng = np.random.default_rng(0)
    share = rng.uniform(size=(20_000, 1))
    lumpy = areas(
        *(np.where(rng.uniform(size=(20_000, k)) < share, 0, rng.integers(1, 5, (20_000, k))) for k in (m, 2))
    )
    assert float(interval_coverage(lumpy, level=level, ties="spread").mean()) == pytest.approx(level, abs=0.005)
    if m == 20:  # of three samples there is no interval of 90 %
        assert float(interval_coverage(lumpy, level=level).mean()) > level + 0.03


def test_interval_by_hand():
    found = areas([list(range(19, 0, -1))], [[1.0, 10, 20, 0.5]], [[0.25, 0.25, 0.5, 0]])
    low, high = area_interval(found)
    assert (float(low), float(high)) == pytest.approx((1, 19))
    assert float(interval_width(found, level=0.5)) == pytest.approx(10)
    assert float(interval_coverage(found)) == 0.5


def test_ranks_are_flat_for_exchangeable_draws_and_ties_are_shared():
    flat = area_ranks(draws(20_000, 4, 1)).mean(0)
    torch.testing.assert_close(flat, torch.full((5,), 0.2).double(), atol=0.012, rtol=0)
    tied = area_ranks(areas([[0.0, 0, 3]], [[0.0, 5]]))
    torch.testing.assert_close(tied, torch.tensor([[1 / 6, 1 / 6, 1 / 6, 1 / 2]]).double())
    rng = np.random.default_rng(0)
    lumpy = area_ranks(areas(rng.integers(0, 2, (20_000, 4)), rng.integers(0, 2, (20_000, 1)))).mean(0)
    torch.testing.assert_close(lumpy, torch.full((5,), 0.2).double(), atol=0.012, rtol=0)


def test_pit_is_uniform_even_with_ties():
    rng = np.random.default_rng(1)
    lumpy = areas(rng.integers(0, 3, (20_000, 3)), rng.integers(0, 3, (20_000, 1)))
    values = area_pit(lumpy, generator=torch.Generator().manual_seed(0)).flatten().numpy()
    assert np.abs(np.sort(values) - np.linspace(0, 1, len(values))).max() < 0.012
    none = areas([[1.0, 2]], [[1.0, 2]], [[1.0, 0]])
    assert area_pit(none, generator=torch.Generator().manual_seed(0)).isnan().tolist() == [[False, True]]


def test_an_image_without_annotators_has_no_score_and_rows_stack_ragged():
    hypotheses = torch.zeros(3, 1, 4, 4, dtype=torch.long)
    empty = AreaSamples.of(hypotheses, torch.full((1, 1, 4, 4), IGNORE), num_classes=2, of_class=1)
    full = AreaSamples.of(hypotheses, torch.ones(1, 2, 4, 4, dtype=torch.long), num_classes=2, of_class=1)
    stacked = AreaSamples.stack([empty, full])
    assert area_crps(stacked).tolist()[1] == 16
    for score in (area_crps, interval_coverage):
        assert score(stacked).isnan().tolist() == [True, False]
    assert bool(area_ranks(stacked)[0].isnan().all())
    within = bootstrap(area_crps, draws(10, 5, 2), generator=torch.Generator().manual_seed(0), num_resamples=20)
    assert within.low < within.high


def test_bad_input_is_told():
    with pytest.raises(LabelError, match=r"0\.\.1; got 2"):
        AreaSamples.of(torch.zeros(1, 1, 2, 2).long(), torch.zeros(1, 1, 2, 2).long(), num_classes=2, of_class=2)
    with pytest.raises(InputError, match=r"pass 0\.9"):
        area_interval(draws(1, 3, 1), level=90.0)
    with pytest.raises(InputError, match="cannot be added"):
        draws(2, 3, 1).pooled()


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_bounds_hold_however_pixels_depend_on_each_other(level):
    """Independent, all together, and the dependence that makes the largest areas as frequent as can be."""
    probs = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 2
    low, high = (bound[1] for bound in area_bounds(torch.stack([1 - probs, probs]), level=level))
    uniform = torch.rand(20_000, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shared = uniform[:, :1].expand_as(uniform)
    tail = (1 - level) / 2
    within = uniform[:, 1:2] < tail  # the event in which as many pixels have the class as their probabilities let
    share = (probs / tail).clamp_max(1)
    rest = (probs - share * tail) / (1 - tail)
    worst = torch.where(within, share, rest)
    for areas in ((uniform < probs).sum(1), (shared < probs).sum(1), (uniform < worst).sum(1)):
        inside = ((low <= areas) & (areas <= high)).double().mean()
        assert float(inside) >= level - 0.01
    largest = (uniform[within[:, 0]] < worst[within[:, 0]]).sum(1).double().mean()
    assert float(largest) == pytest.approx(float(high), rel=0.02)
    assert float(low) < float(probs.sum()) < float(high)


def test_bounds_are_of_the_pixels_that_count():
    probs = torch.tensor([[0.2, 0.7, 0.5], [0.8, 0.3, 0.5]])
    some = torch.tensor([True, False, True])
    assert torch.equal(area_bounds(probs, where=some)[1], area_bounds(probs[:, some])[1])
    with pytest.raises(InputError, match="a level between 0 and 1"):
        area_bounds(probs, level=1.0)
