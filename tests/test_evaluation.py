"""Counting sources of predictions: one read, rows by key, images left out, calibrators side by side, comparison."""

import pytest
import torch

from calibrant.calibrators import Calibrator, calibrated
from calibrant.errors import InputError, LabelError, LogitsError, ShapeError
from calibrant.evaluation import compare, tally, tally_all
from calibrant.evaluation.comparison import _ranks
from calibrant.metrics import CalibrationBins, Measurement, Resampled, Score, confidence_gap, expected_calibration_error
from calibrant.predictions import IGNORE, Prediction


class Divide(Calibrator):
    """Temperature scaling, as short as it goes."""

    def __init__(self, temperature):
        super().__init__()
        self.temperature = temperature

    def forward(self, logits, image=None):
        return logits / self.temperature

    def arguments(self):
        return {"temperature": self.temperature}


class AddImage(Calibrator):
    def forward(self, logits, image=None):
        assert image is not None
        return logits + image

    def arguments(self):
        return {}


class Source(list):
    """A list that counts how often an image is read."""

    reads = 0

    def __iter__(self):
        for prediction in super().__iter__():
            self.reads += 1
            yield prediction


def predictions(num_images=6, num_classes=3, seed=0):
    """Images of unlike sizes, in no order of their keys."""
    rng = torch.Generator().manual_seed(seed)
    source = Source()
    for number in range(num_images):
        space = (6 + number, 9)
        logits = 3 * torch.randn(num_classes, *space, generator=rng)
        labels = torch.where(torch.rand(1, *space, generator=rng) < 0.6, logits.argmax(0), 0)
        labels[torch.rand(labels.shape, generator=rng) < 0.1] = IGNORE
        source.append(Prediction(f"{(5 * number) % 7}", logits, labels, torch.ones(1, *space)))
    return source


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.columns(), second.columns(), strict=True))


def test_each_image_is_a_row_named_by_its_key_in_order_of_keys():
    source = predictions()
    found = tally(CalibrationBins.of, source)
    assert found.keys == tuple(sorted(p.key for p in source))
    for key, number in zip(found.keys, range(len(found)), strict=True):
        prediction = next(p for p in source if p.key == key)
        assert same(found.take([number]), CalibrationBins.of(prediction.logits[None], prediction.labels[None]))


def test_the_order_of_the_images_changes_nothing():
    source = predictions()
    whole = tally(Measurement.of, source)
    assert same(tally(Measurement.of, source[::-1]), whole)
    shards = [tally(Measurement.of, source[i::3]) for i in (2, 0, 1)]
    assert Measurement.stack(shards).keys == whole.keys
    assert same(Measurement.stack(shards), whole)


def test_logits_are_read_once_for_all_calibrators():
    source = predictions()
    found = tally_all(CalibrationBins.of, source, {"as they are": None, "two": Divide(2.0), "again": Divide(2.0)})
    assert source.reads == len(source)
    assert same(found["as they are"], tally(CalibrationBins.of, source))
    assert same(found["two"], found["again"])
    scaled = [Prediction(p.key, p.logits / 2, p.labels) for p in source]
    assert same(found["two"], tally(CalibrationBins.of, scaled))


def test_a_calibrator_sees_the_image_and_no_gradient_is_kept():
    source = predictions()
    changed = calibrated(source[0], AddImage())
    assert torch.equal(changed, source[0].logits + 1)
    weight = torch.nn.Parameter(torch.tensor(2.0))
    divide = Divide(weight)
    assert not calibrated(source[0], divide).requires_grad
    assert calibrated(source[0], None) is source[0].logits


def test_images_without_labels_are_left_out_and_named():
    source = predictions()
    source[1].labels.fill_(IGNORE)
    source[4].labels.fill_(IGNORE)
    found = tally(CalibrationBins.of, source)
    assert found.left_out == tuple(sorted((source[1].key, source[4].key)))
    assert len(found) == len(found.keys) == 4
    assert not expected_calibration_error(found).isnan().any()
    assert found.take([0]).left_out == found.left_out
    one, other = tally(CalibrationBins.of, source[:3]), tally(CalibrationBins.of, source[3:])
    assert CalibrationBins.stack([other, one]).left_out == found.left_out


def test_nothing_to_count_is_an_error():
    source = predictions(2)
    for prediction in source:
        prediction.labels.fill_(IGNORE)
    with pytest.raises(InputError, match="labelled pixels in at least one image"):
        tally(CalibrationBins.of, source)
    with pytest.raises(InputError, match="got none in 0 images"):
        tally(CalibrationBins.of, [])


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda p: p.logits.view(-1)[5:7].fill_(float("nan")), LogitsError),
        (lambda p: p.logits.view(-1)[5].fill_(float("inf")), LogitsError),
        (lambda p: p.logits.view(-1)[5].fill_(-float("inf")), LogitsError),
        (lambda p: p.labels.view(-1)[3].fill_(255), LabelError),
        (lambda p: p.labels.view(-1)[3].fill_(-1), LabelError),
    ],
)
def test_an_image_that_cannot_be_counted_is_named(spoil, error):
    source = predictions()
    spoil(source[2])
    for count in (CalibrationBins.of, Measurement.of):
        with pytest.raises(error, match=f"^image '{source[2].key}': expected"):
            tally(count, source)


def test_images_of_other_classes_cannot_share_a_tally():
    with pytest.raises(ShapeError, match="as many classes as in the images before"):
        tally(Measurement.of, [*predictions(2), *predictions(1, num_classes=4)])


SCORES = {
    "gap": Score("gap", confidence_gap, pooled=True, better="lower"),
    "ece": Score("ECE", expected_calibration_error, pooled=False, better="lower"),
    "sure": Score("confidence", lambda b: b.confidence.sum(-1) / b.count.sum(-1), pooled=True, better="higher"),
    "plain": Score("no direction", confidence_gap, pooled=True),
}


def bins(gaps, keys=None):
    """Rows of one bin with confidence .9 and an accuracy less by the gap."""
    gaps = torch.as_tensor(gaps, dtype=torch.float64)[:, None]
    count = torch.full(gaps.shape, 10_000)
    keys = keys or tuple(f"{i:02d}" for i in range(len(gaps)))
    return CalibrationBins(count, ((0.9 - gaps) * 10_000).round().long(), 0.9 * count.double(), keys=keys)


def noise(size=30, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) / 20


def run(tallies):
    return compare(tallies, generator=torch.Generator().manual_seed(0), scores=SCORES, num_resamples=300)


def test_the_best_is_marked_where_it_is_certain():
    found = run({"raw": [bins(noise() + 0.2)], "good": [bins(noise() + 0.1)], "bad": [bins(noise() + 0.25)]})
    assert found.best["gap"] == "good"
    assert found.values["good"]["gap"].value == pytest.approx(0.1 + noise().mean().item(), abs=1e-3)
    assert found.differences["raw"]["gap"].value == 0
    assert found.differences["good"]["gap"].value == pytest.approx(-0.1, abs=1e-3)
    assert found.differences["good"]["gap"].excludes_zero()
    assert found.differences["bad"]["gap"].low > 0
    assert found.best["sure"] is None  # all alike
    assert found.best["plain"] is None  # no direction


def test_no_best_is_marked_where_any_rival_may_be_as_good():
    found = run({"raw": [bins(noise() + 0.2)], "one": [bins(noise(seed=1))], "other": [bins(noise(seed=2))]})
    assert found.best["gap"] is None
    assert found.differences["one"]["gap"].excludes_zero()
    assert run({"alone": [bins(noise())]}).best["gap"] is None


def test_the_higher_of_two_is_best_where_higher_is_better():
    low, high = bins(noise()), bins(noise())
    low.confidence.mul_(0.5)
    assert run({"low": [low], "high": [high]}).best["sure"] == "high"


def test_values_are_means_over_repetitions():
    keys = tuple(f"{i:02d}" for i in range(30))
    halves = [keys[:15], keys[15:]]
    first = [bins(noise(15, seed) + 0.1, half) for seed, half in enumerate(halves)]
    second = [bins(noise(15, seed), half) for seed, half in enumerate(halves)]
    found = run({"first": first, "second": second})
    mean = sum(confidence_gap(each.pooled()).item() for each in first) / 2
    assert found.values["first"]["gap"].value == pytest.approx(mean)
    assert found.best["gap"] == "second"
    # The same images twice tell no more than once.
    once, twice = run({"m": [bins(noise())]}), run({"m": [bins(noise())] * 2})
    assert twice.values["m"]["gap"].low == pytest.approx(once.values["m"]["gap"].low)


def test_methods_must_be_counted_on_the_same_images():
    with pytest.raises(InputError, match="'other' to be counted on the same images"):
        run({"one": [bins(noise())], "other": [bins(noise(29))]})
    with pytest.raises(InputError, match="at least one method"):
        run({})
    with pytest.raises(InputError, match="at least one method"):
        run({"one": []})


def test_a_score_that_is_not_defined_marks_nothing():
    scores = {
        "odd": Score(
            "odd", lambda b: torch.full((len(b),), torch.nan, dtype=torch.float64), pooled=True, better="lower"
        )
    }
    found = compare(
        {"a": [bins(noise())], "b": [bins(noise(seed=1))]}, generator=torch.Generator().manual_seed(0), scores=scores
    )
    assert found.best["odd"] is None
    assert found.values["a"]["odd"].low != found.values["a"]["odd"].low


def test_ranks_and_leaders_are_those_of_a_slow_loop():
    rng = torch.Generator().manual_seed(1)
    names = "abcd"
    drawn = {name: (float(torch.rand((), generator=rng)), torch.rand(40, generator=rng).double()) for name in names}
    drawn["twin"] = drawn["b"]
    drawn["unknown"] = (float("nan"), torch.full((40,), float("nan"), dtype=torch.float64))
    for better, sign in (("lower", 1), ("higher", -1)):
        score = Score("any", lambda tally: tally, pooled=False, better=better)
        found = _ranks({name: Resampled(*each) for name, each in drawn.items()}, score)

        def rank(values, name, sign=sign):
            known = {each: sign * v for each, v in values.items() if v == v}
            if name not in known:
                return len(known) + 1.0
            ahead = sum(v < known[name] for v in known.values())
            level = sum(v == known[name] for v in known.values())
            return ahead + (level + 1) / 2

        moved = {name: values - values.mean() + value for name, (value, values) in drawn.items()}
        for name in drawn:
            assert found[name].value == rank({each: value for each, (value, _) in drawn.items()}, name)
            again = [rank({each: float(values[r]) for each, values in moved.items()}, name) for r in range(40)]
            tails = torch.quantile(torch.tensor(again, dtype=torch.float64), torch.tensor([0.025, 0.975]).double())
            assert [found[name].low, found[name].high] == pytest.approx(tails.tolist())


def test_a_comparison_says_who_leads_and_how_far_the_others_are_behind():
    tallies = {
        name: [tally(CalibrationBins.of, predictions(), Divide(t))] for name, t in {"a": 1, "b": 2, "c": 3}.items()
    }
    scores = {
        "ece": Score("ECE", expected_calibration_error, pooled=True, better="lower"),
        "gap": Score("gap", confidence_gap, pooled=True),
    }
    found = compare(tallies, generator=torch.Generator().manual_seed(0), scores=scores, num_resamples=50)
    value = {name: row["ece"].value for name, row in found.values.items()}
    assert found.leaders == {"ece": min(value, key=value.__getitem__)}
    for name, each in value.items():
        assert found.behind[name]["ece"].value == each - min(value.values())
        assert found.ranks[name]["ece"].value == 1 + sum(other < each for other in value.values())
        assert set(found.ranks[name]) == {"ece"}
    assert found.best["gap"] is None
