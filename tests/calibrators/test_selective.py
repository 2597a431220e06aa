"""Selective scaling: the selector learns, the temperature is honest, the base is not made worse."""

from dataclasses import replace

import pytest
import torch

from calibrant.calibrators import (
    Identity,
    LearntSelector,
    MetaCal,
    NoSelector,
    Pixels,
    SelectiveScaling,
    Selector,
    SelectorQuality,
    TemperatureScaling,
    VectorScaling,
)
from calibrant.errors import FitError
from calibrant.evaluation import tally
from calibrant.metrics import LikelihoodSums, negative_log_likelihood
from calibrant.predictions import IGNORE, Prediction, split
from calibrant.testing import toy_predictions


class ClassZero(Selector):
    """Flag what is predicted as class 0."""

    def forward(self, logits, image=None):
        return logits.argmax(1) == 0

    def arguments(self):
        return {}


def two_faced(num_images=9, size=(30, 40), seed=0):
    """Calibrated predictions, but where class 0 is predicted it is a mistake four times in five."""
    generator, made = torch.Generator().manual_seed(seed), []
    for p in toy_predictions(num_images=num_images, num_classes=4, size=size, overconfidence=1.0, void=0.0, seed=seed):
        spoilt = (p.logits.argmax(0) == 0) & (torch.rand(size, generator=generator) < 0.8)
        other = torch.randint(1, 4, size, generator=generator)
        made.append(replace(p, labels=torch.where(spoilt, other, p.labels)))
    return made


def mean_nll(calibrator, predictions):
    return negative_log_likelihood(tally(LikelihoodSums.of, predictions, calibrator).pooled()).item()


def where_flagged(predictions, selector, flagged):
    """The predictions with labels only where the selector flags pixels, or only where it does not."""
    return [
        replace(p, labels=torch.where(selector(p.logits[None])[0] == flagged, p.labels, IGNORE)) for p in predictions
    ]


def test_branches_go_to_their_pixels():
    z = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    flagged = z.argmax(1, keepdim=True) == 0
    both = SelectiveScaling(ClassZero(), TemperatureScaling(4.0), TemperatureScaling(2.0))(z)
    torch.testing.assert_close(both, torch.where(flagged, z / 4, z / 2))
    vector = VectorScaling(torch.ones(3), torch.tensor([0.0, 0.0, 9.0]))
    mixed = SelectiveScaling(ClassZero(), TemperatureScaling(4.0), vector)(z)
    assert torch.equal(mixed.argmax(1), z.argmax(1))
    torch.testing.assert_close(mixed.movedim(1, 0)[:, flagged[:, 0]], (z / 4).movedim(1, 0)[:, flagged[:, 0]])
    # Where the vector scaling agrees on the winner, its logits pass; elsewhere only the winner's is raised.
    agrees = (vector(z).argmax(1) == z.argmax(1)) & ~flagged[:, 0]
    torch.testing.assert_close(mixed.movedim(1, 0)[:, agrees], vector(z).movedim(1, 0)[:, agrees])


def test_quality_is_counted_by_hand():
    # Three pixels: class 0 and right, class 0 and wrong, class 1 and wrong; one void.
    logits = torch.tensor([[2.0, 1.0, 0.0, 3.0], [0.0, 0.0, 1.0, 0.0]])
    labels = torch.tensor([[0, 1, 0, IGNORE]])
    quality = SelectorQuality.of(ClassZero(), [Prediction("a", logits, labels)])
    confidence = float((torch.tensor([2.0, 1.0]).sigmoid()).mean())
    assert (quality.precision, quality.recall, quality.flagged_accuracy) == (0.5, 0.5, 0.5)
    assert quality.flagged_share == pytest.approx(2 / 3)
    assert quality.flagged_confidence == pytest.approx(confidence)
    assert (quality.num_pixels, quality.num_classes) == (3, 2)
    assert not quality.uniform_is_harmful  # 0.5 < (0.806 + 0.5) / 2
    assert replace(quality, flagged_accuracy=0.7).uniform_is_harmful


def test_quality_where_nothing_is_flagged():
    quality = SelectorQuality.of(NoSelector(), toy_predictions())
    assert (quality.precision, quality.recall, quality.flagged_share) == (None, 0.0, 0.0)
    assert not quality.uniform_is_harmful


def test_a_selector_is_its_layers_on_log_probabilities():
    """By hand, in float64."""
    rng = torch.Generator().manual_seed(1)
    weights = [torch.randn(out, into, generator=rng) for into, out in ((5, 5), (5, 10), (10, 5), (5, 1))]
    biases = [torch.randn(len(weight), generator=rng) for weight in weights]
    z = 4 * torch.randn(2, 5, 30, 7, generator=rng)
    x = z.double().log_softmax(1).movedim(1, -1)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = (x @ weight.double().T + bias.double()).relu()
    expected = (x @ weights[-1].double().T + biases[-1].double())[..., 0]
    selector = LearntSelector(weights, biases)
    torch.testing.assert_close(selector.log_odds(z)[:, 0].double(), expected, rtol=1e-4, atol=1e-3)
    assert torch.equal(selector(z), selector.log_odds(z)[:, 0] > 0)


def test_the_published_network_starts_at_the_identity_and_the_global_generator_stays():
    pixels, before = Pixels.draw(toy_predictions(num_classes=5)), torch.get_rng_state()
    selector = LearntSelector.fit(*pixels.hold_out(0.5), widths=(5, 10, 5), num_epochs=0)
    torch.testing.assert_close(selector.layers()[0][0], torch.eye(5), rtol=0, atol=1e-4)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_selector_learns_which_class_is_never_right():
    predictions = [
        replace(p, labels=torch.where(p.logits.argmax(0) == 1, 2, p.logits.argmax(0))[None])
        for p in toy_predictions(num_images=6, num_classes=4, size=(30, 40))
    ]
    kept, held = split(predictions, 0.5, seed=0)
    selector = LearntSelector.fit(Pixels.draw(kept), Pixels.draw(held), num_epochs=12, pixels_per_batch=256)
    quality = SelectorQuality.of(selector, held)
    assert quality.precision > 0.95
    assert quality.recall > 0.95


@pytest.fixture(scope="module")
def fitted():
    return SelectiveScaling.fit(two_faced(), base=TemperatureScaling.fit, num_epochs=6)


def test_the_validated_fit_beats_its_base_where_mistakes_can_be_seen(fitted):
    fresh = two_faced(seed=5)
    base = TemperatureScaling.fit(two_faced())
    assert isinstance(fitted.selector, LearntSelector)
    assert mean_nll(fitted, fresh) < 0.95 * mean_nll(base, fresh)
    assert fitted.mistaken.temperature > 3 * fitted.others.temperature
    assert fitted.others.temperature == pytest.approx(1, abs=0.2)
    assert fitted.quality.precision > 0.6
    assert "by NLL of those held out" in fitted.notes[0]


def test_the_chosen_temperature_is_the_best_of_all(fitted):
    held = split(two_faced(), 2 / 3, seed=0)[1]
    flagged = where_flagged(held, fitted.selector, True)
    for factor in (0.7, 1.5, 1e9):
        other = TemperatureScaling(fitted.mistaken.temperature * factor)
        assert mean_nll(fitted.mistaken, flagged) < mean_nll(other, flagged)


def test_each_branch_is_fitted_on_its_own_pixels():
    seen = {}

    def recorded(name):
        def fit(predictions):
            seen.setdefault(name, []).append([p.labels for p in predictions])
            return TemperatureScaling(1.0)

        return fit

    predictions = two_faced(num_images=6)
    found = SelectiveScaling.fit(predictions, base=recorded("base"), mistaken=recorded("mistaken"), num_epochs=3)
    kept, held = split(predictions, 2 / 3, seed=0)
    selector = LearntSelector.fit(Pixels.draw(kept), Pixels.draw(held), num_epochs=3)
    (suspects,), (whole, rest) = seen["mistaken"], seen["base"]
    for labels, p in zip(suspects, where_flagged(held, selector, True), strict=True):
        assert torch.equal(labels, p.labels)
    for labels, p in zip(whole, predictions, strict=True):
        assert torch.equal(labels, p.labels)
    for labels, p in zip(rest, where_flagged(predictions, selector, False), strict=True):
        assert torch.equal(labels, p.labels)
    assert "falls back" in found.notes[0]  # the same temperature everywhere cannot be a gain


def test_it_falls_back_to_a_base_that_is_the_truth_and_says_so_once(caplog):
    """Labels drawn from the probabilities: whatever is done to some of the pixels makes them worse."""
    predictions = toy_predictions(num_images=9, overconfidence=1.0, size=(40, 50))
    found = SelectiveScaling.fit(
        predictions, base=Identity.fit, mistaken=lambda _: TemperatureScaling(4.0), num_epochs=2
    )
    assert isinstance(found.selector, NoSelector)
    assert "falls back to its base alone" in found.notes[0]
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [found.notes[0]]
    z = predictions[0].logits[None]
    assert torch.equal(found(z), z)


def test_fits_of_its_parts_do_not_warn(caplog):
    """Two images with too little in them for vector scaling, which warns of that where it was asked for itself."""
    predictions = two_faced(num_images=2)
    for p in predictions:
        p.labels[:, :15] = int(p.key[-1])
    assert any("falls back" in note for note in VectorScaling.fit(predictions).notes)
    assert "vector scaling falls back" in caplog.text
    caplog.clear()
    SelectiveScaling.fit(predictions, base=VectorScaling.fit, num_epochs=2)
    SelectiveScaling.fit_as_published(predictions, base=VectorScaling.fit, num_epochs=2)
    MetaCal.fit(predictions, base=VectorScaling.fit)
    assert "vector scaling falls back" not in caplog.text
    VectorScaling.fit(predictions)
    assert caplog.text.count("vector scaling falls back") == 1


@pytest.mark.parametrize("seed", range(3))
def test_it_is_never_worse_than_its_base_on_the_held_out_images(seed):
    predictions = toy_predictions(num_images=5, overconfidence=1.0 + seed, seed=seed)
    held = split(predictions, 2 / 3, seed=seed)[1]
    for base in (Identity.fit, TemperatureScaling.fit):
        found = SelectiveScaling.fit(predictions, base=base, num_epochs=2, seed=seed)
        assert mean_nll(found, held) <= mean_nll(base(predictions), held) + 1e-6


def test_without_mistakes_it_is_its_base():
    predictions = [replace(p, labels=p.logits.argmax(0)[None]) for p in toy_predictions()]
    found = SelectiveScaling.fit(predictions, base=Identity.fit)
    assert isinstance(found.selector, NoSelector)
    assert "No selector could be trained" in found.notes[0]
    z = predictions[0].logits[None]
    assert torch.equal(found(z), z)


def test_one_image_cannot_be_split():
    with pytest.raises(FitError, match="at least two images"):
        SelectiveScaling.fit(toy_predictions(num_images=1))


@pytest.mark.parametrize(("recall", "temperature"), [(0.6, 1e10), (0.51, 1e10), (0.5, 2.0), (0.4, 2.0), (0.2, 2.0)])
def test_the_published_rule(recall, temperature, monkeypatch):
    quality = SelectorQuality(0.5, recall, 0.2, 0.5, 0.6, 3, 1000)
    monkeypatch.setattr(SelectorQuality, "of", lambda *_: quality)
    found = SelectiveScaling.fit_as_published(toy_predictions(), num_epochs=1)
    assert found.mistaken.temperature == temperature
    assert isinstance(found.others, Identity)
    assert ("says nothing between" in found.notes[0]) == (0.35 <= recall <= 0.5)
    assert any("harmful" in note for note in found.notes)  # 0.5 >= (0.6 + 1/3) / 2
    assert [w.shape[0] for w, _ in found.selector.layers()] == [3, 6, 3, 1]


def test_mistake_weight_raises_recall():
    predictions = toy_predictions(num_images=6, num_classes=4, size=(30, 40), spread=1.5)
    once, often = (
        SelectiveScaling.fit_as_published(predictions, num_epochs=30, mistake_weight=w).quality.recall
        for w in (1.0, 4.0)
    )
    assert often > once + 0.05


def test_an_image_reaches_selector_and_branches():
    class Bright(Selector):
        def forward(self, logits, image=None):
            return image[:, 0] > 0.5

        def arguments(self):
            return {}

    z, image = torch.randn(1, 3, 4, 5), torch.rand(1, 2, 4, 5)
    out = SelectiveScaling(Bright(), TemperatureScaling(2.0), Identity())(z, image)
    torch.testing.assert_close(out, torch.where(image[:, :1] > 0.5, z / 2, z))


def test_a_fit_does_not_depend_on_whether_gradients_are_on():
    z = toy_predictions()[0].logits[None]

    def fitted():
        selective = SelectiveScaling.fit(toy_predictions(), num_epochs=1)
        return selective(z), TemperatureScaling.fit_as_published(toy_predictions(), num_epochs=1)(z)

    with_gradients = fitted()
    with torch.no_grad():
        without = fitted()
    assert all(map(torch.equal, with_gradients, without))
