"""Distances and scores of hypotheses against slow loops, by hand, and by what must hold."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from calibrant.errors import InputError, LabelError, MethodError, ShapeError
from calibrant.metrics import (
    HypothesisDistances,
    Resamples,
    Score,
    annotator_diversity,
    bootstrap,
    ged_floor,
    generalised_energy_distance,
    hungarian_matched_iou,
    presence_excess,
    resampled_scores,
    sample_diversity,
    shape_excess,
)
from calibrant.predictions import IGNORE

ged = generalised_energy_distance


def slow_distance(one, other, classes, empty, where):
    """1 - IoU of two maps as the papers' codes have it: class by class, pixel sets."""
    found = []
    for k in classes:
        a = {p for p in np.ndindex(one.shape) if where[p] and one[p] == k}
        b = {p for p in np.ndindex(one.shape) if where[p] and other[p] == k}
        if a | b:
            found.append(1 - len(a & b) / len(a | b))
        elif empty != "nan":
            found.append({"one": 0.0, "zero": 1.0}[empty])
    return float(np.mean(found)) if found else 0.0


def random_maps(n, m, a, num_classes, space=(5, 6), seed=0):
    rng = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randint(num_classes, (*shape, *space), generator=rng)  # noqa: E731
    return draw(m, n), draw(n, a)


@pytest.mark.parametrize("empty", ["one", "nan", "zero"])
@pytest.mark.parametrize(("num_classes", "classes"), [(2, [1]), (5, [0, 2, 4]), (5, None)])
def test_distances_are_those_of_a_slow_loop(num_classes, classes, empty):
    hypotheses, labels = random_maps(3, 4, 3, num_classes)
    hypotheses[1] = 0
    labels[0, 0] = 0
    labels[1, :, 0, :3] = IGNORE
    labels[2, 1, 1, 2] = IGNORE
    found = HypothesisDistances.of(hypotheses, labels, num_classes=num_classes, classes=classes, empty=empty)
    counted = range(num_classes) if classes is None else classes
    for i in range(3):
        where = (labels[i] != IGNORE).all(0).numpy()
        maps = [*hypotheses[:, i].numpy(), *labels[i].numpy()]
        slow = np.array([[slow_distance(x, y, counted, empty, where) for y in maps] for x in maps])
        np.testing.assert_allclose(found.between_hypotheses[i], slow[:4, :4], atol=1e-12)
        np.testing.assert_allclose(found.to_labels[i], slow[:4, 4:], atol=1e-12)
        np.testing.assert_allclose(found.between_labels[i], slow[4:, 4:], atol=1e-12)


def test_blocks_and_agreement_do_not_matter(monkeypatch):
    from calibrant.metrics import _pairs

    hypotheses, labels = random_maps(2, 6, 2, 3, (3, 4, 5))
    hypotheses[..., :3], labels[..., :3] = 1, 1  # most pixels agreed upon, in three dimensions
    hypotheses[:, 1], labels[1] = 2, 2
    whole = HypothesisDistances.of(hypotheses, labels, num_classes=3)
    monkeypatch.setattr(_pairs, "_BLOCK", 8)
    monkeypatch.delattr(np, "bitwise_count", raising=False)  # as in numpy 1
    blocks = HypothesisDistances.of(hypotheses, labels, num_classes=3)
    assert all(torch.equal(x, y) for x, y in zip(whole.columns(), blocks.columns(), strict=True))
    assert float(ged(whole)[1]) == 0
    maps = [*hypotheses[:, 0].numpy(), *labels[0].numpy()]
    slow = np.array([[slow_distance(x, y, range(3), "one", np.ones((3, 4, 5), bool)) for y in maps] for x in maps])
    np.testing.assert_allclose(whole.between_hypotheses[0], slow[:6, :6], atol=1e-12)
    np.testing.assert_allclose(whole.to_labels[0], slow[:6, 6:], atol=1e-12)


def test_a_sampler_that_knows_one_of_two_modes_by_hand():
    """Two disjoint modes, one of them always said: 2 * 1/2 - 0 - 1/2 = 1/2; half of the labels are matched."""
    left, right = torch.tensor([[1, 0]]), torch.tensor([[0, 1]])
    found = HypothesisDistances.of(torch.stack([left] * 4), torch.stack([left, right], 1), num_classes=2, classes=[1])
    assert float(ged(found)) == 0.5
    assert float(hungarian_matched_iou(found)) == 0.5
    assert float(sample_diversity(found)) == 0
    assert float(annotator_diversity(found)) == 1
    assert float(ged(found, diagonal=False)) == 0  # two annotators at random say the same: nothing is proven
    assert float(ged_floor(found, 4)) == 0.75
    assert float(ged_floor(found, math.inf)) == 0.5


def test_with_absent_classes_at_one_classes_that_change_together_are_not_seen():
    """Two regions that are there together or not at all; drawn one without the other, each is as often there."""
    left, right = torch.zeros(8, dtype=torch.long), torch.zeros(8, dtype=torch.long)
    left[:4], right[4:] = 1, 2
    together, apart = torch.stack([0 * left, left + right]), torch.stack([left, right])
    how = {"num_classes": 3, "classes": (1, 2)}
    for empty, wanted in (("one", 0.0), ("nan", 0.5)):
        found = HypothesisDistances.of(apart[:, None], together[None], empty=empty, **how)
        assert float(ged(found)[0]) == pytest.approx(wanted, abs=1e-6)


def test_a_set_is_at_distance_zero_from_itself():
    hypotheses, _ = random_maps(3, 5, 1, 3)
    found = HypothesisDistances.of(hypotheses, hypotheses.movedim(0, 1), num_classes=3)
    torch.testing.assert_close(ged(found), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(hungarian_matched_iou(found), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("empty", ["one", "zero"])
@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_fewer_samples_are_the_mean_over_all_choices(k, empty):
    hypotheses, labels = random_maps(2, 6, 3, 2)
    hypotheses[2:4] = 0
    of = lambda maps: HypothesisDistances.of(maps, labels, num_classes=2, classes=[1], empty=empty)  # noqa: E731
    whole = of(hypotheses)
    choices = [ged(of(hypotheses[list(chosen)])) for chosen in itertools.combinations(range(6), k)]
    torch.testing.assert_close(ged(whole, num_samples=k), torch.stack(choices).mean(0))
    if k > 1:
        unbiased = [ged(of(hypotheses[list(chosen)]), diagonal=False) for chosen in itertools.combinations(range(6), k)]
        torch.testing.assert_close(ged(whole, diagonal=False), torch.stack(unbiased).mean(0))
    torch.testing.assert_close(ged(whole.first(k)), ged(of(hypotheses[:k])))


def test_published_value_is_the_unbiased_one_plus_diversity_over_m():
    hypotheses, labels = random_maps(2, 6, 4, 2)
    found = HypothesisDistances.of(hypotheses, labels, num_classes=2)
    bias = sample_diversity(found) / 6 + annotator_diversity(found) / 4
    torch.testing.assert_close(ged(found), ged(found, diagonal=False) + bias)
    torch.testing.assert_close(ged(found, num_samples=10**9), ged(found) - sample_diversity(found) / 6)


def test_the_floor_is_what_perfect_samplers_score():
    """All draws of 2 samples and 3 annotators from a law of three modes, weighted: no chance in it."""
    modes = torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]])
    law = [0.5, 0.3, 0.2]
    total = dict.fromkeys(["ged", "floor", "unbiased"], 0.0)
    draws = list(itertools.product(range(3), repeat=5))
    chosen = torch.tensor(draws)
    found = HypothesisDistances.of(modes[chosen[:, :2]].movedim(1, 0), modes[chosen[:, 2:]], num_classes=2, classes=[1])
    chance = torch.tensor([math.prod(law[i] for i in draw) for draw in draws]).double()
    total = {name: float((chance * x).sum()) for name, x in {
        "ged": ged(found), "floor": ged_floor(found, 2), "unbiased": ged(found, diagonal=False)}.items()}  # fmt: skip
    assert total["ged"] == pytest.approx(total["floor"], abs=1e-7)
    assert total["unbiased"] == pytest.approx(0, abs=1e-7)
    pairs = torch.tensor(list(itertools.product(range(3), repeat=2)))
    known = HypothesisDistances.of(
        modes[pairs].movedim(1, 0), modes.expand(9, 3, 4), num_classes=2, classes=[1],
        weights=torch.tensor(law).expand(9, 3), modes=True,
    )  # fmt: skip
    chance = torch.tensor([law[i] * law[j] for i, j in pairs.tolist()]).double()
    torch.testing.assert_close((chance * ged(known)).sum(), ged_floor(known, 2)[0])
    assert float((chance * ged(known, diagonal=False)).sum()) == pytest.approx(0, abs=1e-7)
    torch.testing.assert_close(annotator_diversity(known)[0], 2 * ged_floor(known, 2)[0])


@pytest.mark.parametrize(("m", "a"), [(16, 4), (4, 4), (2, 4), (6, 4), (5, 3)])
def test_matching_is_that_of_repeated_sets(m, a):
    hypotheses, labels = random_maps(4, m, a, 2)
    found = HypothesisDistances.of(hypotheses, labels, num_classes=2, classes=[1])
    for i in range(4):
        iou = 1 - found.to_labels[i].numpy()
        size = math.lcm(m, a)
        square = np.repeat(np.repeat(iou, size // m, 0), size // a, 1)  # with a | m: each annotator m / a times
        rows, columns = linear_sum_assignment(square, maximize=True)
        assert float(hungarian_matched_iou(found)[i]) == pytest.approx(square[rows, columns].mean())


def test_weights_are_repetitions():
    """A set with weights 1/4, 3/4 is the set in which the second map stands three times."""
    hypotheses, labels = random_maps(3, 4, 2, 3, seed=1)
    weighted = HypothesisDistances.of(
        hypotheses, labels, num_classes=3,
        weights=torch.tensor([[1.0, 3.0]] * 3), sample_weights=torch.tensor([[1.0, 2, 2, 3]] * 3),
    )  # fmt: skip
    repeated = HypothesisDistances.of(hypotheses[[0, 1, 1, 2, 2, 3, 3, 3]], labels[:, [0, 1, 1, 1]], num_classes=3)
    torch.testing.assert_close(ged(weighted), ged(repeated))
    torch.testing.assert_close(hungarian_matched_iou(weighted), hungarian_matched_iou(repeated))


def test_ragged_annotators_are_padded():
    hypotheses, labels = random_maps(2, 4, 4, 2)
    alone = [
        HypothesisDistances.of(hypotheses[:, i : i + 1], labels[i : i + 1, : 4 - 2 * i], num_classes=2) for i in (0, 1)
    ]
    labels[1, 2:] = IGNORE  # an annotator who labelled nothing weighs nothing
    together = HypothesisDistances.of(hypotheses, labels, num_classes=2)
    weighted = HypothesisDistances.of(
        hypotheses, labels.abs().clamp(max=1), num_classes=2, weights=torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    )
    stacked = HypothesisDistances.stack(alone)
    for score in (ged, hungarian_matched_iou, annotator_diversity, lambda d: ged_floor(d, 3)):
        expected = torch.cat([score(each) for each in alone])
        for found in (together, weighted, stacked):
            torch.testing.assert_close(score(found), expected)


def test_what_has_no_score_is_nan():
    hypotheses, labels = random_maps(3, 3, 2, 3)
    labels[0] = IGNORE
    labels[1][labels[1] == 2] = 0
    hypotheses[:, 2] = 0  # shows none of what counts; the image still counts
    found = HypothesisDistances.of(hypotheses, labels, num_classes=3, classes=[2], empty="nan")
    for score in (ged, hungarian_matched_iou, sample_diversity, lambda d: ged(d, diagonal=False)):
        assert score(found).isnan().tolist() == [True, True, False]
    assert float(hungarian_matched_iou(found)[2]) == 0
    one = HypothesisDistances.of(hypotheses[:1], labels[:, :1], num_classes=3)
    assert bool(sample_diversity(one).isnan().all())
    assert bool(ged(one, diagonal=False).isnan().all())
    assert ged(one, num_samples=1).isnan().tolist() == [True, False, False]


def test_rows_have_no_sum_but_intervals():
    hypotheses, labels = random_maps(6, 4, 2, 2)
    found = HypothesisDistances.of(hypotheses, labels, num_classes=2)
    with pytest.raises(InputError, match="cannot be added"):
        found.pooled()
    with pytest.raises(InputError, match="cannot be added"):
        found.resampled(torch.ones(1, 6).double())
    within = bootstrap(ged, found, generator=torch.Generator().manual_seed(0), num_resamples=50)
    assert within.low < within.value < within.high
    resamples = Resamples.draw([found], generator=torch.Generator().manual_seed(0), num_resamples=5)
    drawn = resampled_scores({"ged": Score("GED", ged, pooled=False)}, found, resamples)["ged"]
    assert drawn.value == pytest.approx(float(ged(found).mean()))
    torch.testing.assert_close(drawn.values, resamples.weights_of(found) @ ged(found) / 6)


def test_rows_sort_by_key_and_can_be_taken():
    hypotheses, labels = random_maps(3, 4, 2, 2)
    found = HypothesisDistances.of(hypotheses, labels, num_classes=2)
    torch.testing.assert_close(ged(found.take([2, 0])), ged(found)[[2, 0]])


@pytest.mark.parametrize(
    ("error", "words", "change"),
    [
        (ShapeError, "one weight an image and annotator", {"weights": torch.ones(2, 3)}),
        (InputError, "0 or more", {"weights": torch.tensor([[1.0, -1], [1, 1]])}),
        (LabelError, "at least one class", {"classes": []}),
        (LabelError, "at least one class", {"classes": [2]}),
        (LabelError, "labels in 0..1", {"labels": torch.full((2, 2, 4, 4), 2)}),
        (LabelError, "ignore_index=255", {"labels": torch.full((2, 2, 4, 4), 255)}),
        (LabelError, "name a class everywhere", {"hypotheses": torch.full((3, 2, 4, 4), IGNORE)}),
        (MethodError, "Did you mean 'nan'", {"empty": "nann"}),
    ],
)
def test_bad_input_is_told(error, words, change):
    hypotheses, labels = random_maps(2, 3, 2, 2, (4, 4))
    with pytest.raises(error, match=words):
        HypothesisDistances.of(**{"hypotheses": hypotheses, "labels": labels, "num_classes": 2} | change)


def test_numbers_of_samples_that_cannot_be_are_told():
    hypotheses, labels = random_maps(2, 3, 2, 2)
    found = HypothesisDistances.of(hypotheses, labels, num_classes=2)
    with pytest.raises(InputError, match="1 to 3 samples"):
        hungarian_matched_iou(found, 4)
    weighted = HypothesisDistances.of(hypotheses, labels, num_classes=2, sample_weights=torch.tensor([[1.0, 2, 3]] * 2))
    with pytest.raises(InputError, match="weigh the same"):
        ged(weighted, num_samples=2)


@pytest.mark.parametrize("empty", ["one", "nan", "zero"])
def test_the_excess_is_split_into_presence_and_shape(empty):
    """Presence is 2 (pi - g)^2 of one class; both parts together are the unbiased GED, whatever the convention."""
    generator = torch.Generator().manual_seed(0)
    modes = torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]])
    ours = torch.multinomial(torch.tensor([0.7, 0.1, 0.2]), 4000, True, generator=generator).reshape(200, 20)
    theirs = torch.multinomial(torch.tensor([0.2, 0.4, 0.4]), 2000, True, generator=generator).reshape(200, 10)
    found = HypothesisDistances.of(modes[ours].movedim(1, 0), modes[theirs], num_classes=2, classes=[1], empty=empty)
    presence, whole = presence_excess(found), ged(found, diagonal=False)
    torch.testing.assert_close(presence + shape_excess(found), whole)
    assert float(presence.mean()) == pytest.approx(2 * (0.3 - 0.8) ** 2, abs=0.03)
    same = HypothesisDistances.of(modes[theirs].movedim(1, 0), modes[theirs], num_classes=2, classes=[1], empty=empty)
    assert float(presence_excess(same).mean()) < 0
