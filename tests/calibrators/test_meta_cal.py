"""Meta-Cal and the oracle: selective scaling with other selectors."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from sklearn.isotonic import IsotonicRegression

from calibrant.calibrators import (
    EntropyAbove,
    MetaCal,
    OracleSelector,
    SelectiveScaling,
    SelectorQuality,
    TemperatureScaling,
    Uniform,
    VectorScaling,
    load,
    oracle_predictions,
    save,
)
from calibrant.calibrators._likelihood import entropy
from calibrant.calibrators.pixels import Pixels
from calibrant.calibrators.selective.meta_cal import _threshold_for
from calibrant.errors import FitError, InputError
from calibrant.predictions import IGNORE
from calibrant.testing import toy_predictions


@pytest.mark.parametrize("c", [2, 19, 150])
def test_entropy_is_that_of_scipy(c):
    z = 8 * torch.randn(2, c, 50, generator=torch.Generator().manual_seed(c))
    z[0, :, 0] = 0.0
    z[0, 0, 1] = 1e4  # certain: a plain -p log p is nan here
    wanted = scipy_entropy(z.double().softmax(1).numpy(), axis=1)
    np.testing.assert_allclose(entropy(z).squeeze(1).numpy(), wanted, atol=2e-5, rtol=1e-4)


def test_miscoverage_is_controlled():
    """At most alpha of the right pixels of new images is rejected."""
    for alpha in (0.02, 0.1, 0.3):
        fitted = MetaCal.fit(toy_predictions(num_images=10, size=(40, 50)), alpha=alpha, max_aside=2000)
        tested = Pixels.draw(toy_predictions(num_images=10, size=(40, 50), seed=1), per_image=None)
        rejected = fitted.selector(tested.logits[None])[0]
        right = tested.logits.argmax(0) == tested.labels
        assert float(rejected[right].double().mean()) == pytest.approx(alpha, abs=0.02)


def test_the_accuracy_wanted_is_reached():
    for accuracy in (0.8, 0.9):
        fitted = MetaCal.fit(toy_predictions(num_images=10, size=(40, 50)), accuracy=accuracy, max_aside=5000)
        tested = Pixels.draw(toy_predictions(num_images=10, size=(40, 50), seed=1), per_image=None)
        accepted = ~fitted.selector(tested.logits[None])[0]
        right = tested.logits.argmax(0) == tested.labels
        assert float(right[accepted].double().mean()) == pytest.approx(accuracy, abs=0.03)


def test_threshold_is_that_of_scikit_learn():
    """The authors' way: bins along the entropy, running means, a falling isotonic regression."""
    rng = np.random.default_rng(0)
    ranks = np.sort(rng.uniform(0, 2, 500))
    right = rng.uniform(size=500) < 1 - 0.4 * ranks
    means = ranks.reshape(20, 25).mean(1)
    reached = np.cumsum(right.reshape(20, 25).mean(1)) / np.arange(1, 21)
    model = IsotonicRegression(increasing=False, out_of_bounds="nan").fit(reached, means)
    for accuracy in (0.75, 0.85, 0.93):
        ours = _threshold_for(accuracy, torch.tensor(ranks), torch.tensor(right))
        assert ours == pytest.approx(model.predict([accuracy])[0], rel=1e-9)


def test_the_others_are_fitted_on_accepted_pixels_that_were_not_set_aside():
    predictions = toy_predictions(num_images=4, size=(20, 30), overconfidence=2.0)
    seen = []

    def base(source):
        seen.extend(source)
        return TemperatureScaling(2.0)

    fitted = MetaCal.fit(predictions, alpha=0.2, pixels_per_image=None, base=base)
    entropies = torch.cat([torch.special.entr(p.logits.softmax(0)).sum(0) for p in seen])
    assert float(entropies.max()) < fitted.threshold
    pixels = Pixels.draw(predictions, per_image=None)
    accepted = ~fitted.selector(pixels.logits[None])[0]
    right = int((pixels.logits.argmax(0) == pixels.labels).sum())
    # A tenth of the right pixels is set aside, 80 % of them below the threshold.
    assert len(entropies) == pytest.approx(int(accepted.sum()) - 0.8 * (right // 10), abs=2)


def test_it_is_selective_scaling_with_an_entropy_selector():
    z = toy_predictions()[0].logits[None]
    for keep_labels, rejected in ((False, Uniform()), (True, TemperatureScaling(1e10))):
        ours = MetaCal(0.7, TemperatureScaling(2.0), keep_labels=keep_labels)
        scaling = SelectiveScaling(EntropyAbove(0.7), rejected, TemperatureScaling(2.0), keep_labels=keep_labels)
        assert torch.equal(ours(z), scaling(z))
        assert ours.keeps_labels == scaling.keeps_labels == keep_labels
    assert not hasattr(MetaCal, "fit_as_published")


def test_rejected_pixels_are_uniform_and_keep_their_label_if_asked():
    predictions = toy_predictions(num_images=4)
    plain, star = MetaCal.fit(predictions), MetaCal.fit(predictions, keep_labels=True)
    assert plain.threshold == star.threshold
    z = predictions[0].logits[None]
    rejected = plain.selector(z)
    assert bool(rejected.any())
    out = plain(z).softmax(1)
    assert bool((out.movedim(1, 0)[:, rejected] == out.movedim(1, 0)[:1, rejected]).all())
    torch.testing.assert_close(out.movedim(1, 0)[:, rejected], torch.full_like(out.movedim(1, 0)[:, rejected], 1 / 3))
    assert not plain.keeps_labels
    assert star.keeps_labels
    assert torch.equal(star(z).argmax(1), z.argmax(1))
    torch.testing.assert_close(star(z).softmax(1), out, rtol=0, atol=1e-6)
    torch.testing.assert_close(out.movedim(1, 0)[:, ~rejected], plain.others(z).softmax(1).movedim(1, 0)[:, ~rejected])


def test_any_base(tmp_path):
    fitted = MetaCal.fit(toy_predictions(num_images=6), base=VectorScaling.fit, keep_labels=True)
    assert isinstance(fitted.others, VectorScaling)
    save(fitted, tmp_path)
    z = toy_predictions()[0].logits[None]
    assert torch.equal(load(tmp_path)(z), fitted(z))


def test_what_cannot_be_learnt():
    with pytest.raises(FitError, match="Choose one between"):
        MetaCal.fit(toy_predictions(), accuracy=0.1)
    with pytest.raises(InputError, match="alpha"):
        MetaCal.fit(toy_predictions(), alpha=1.0)
    with pytest.raises(FitError, match="Add images"):
        MetaCal.fit(toy_predictions(num_images=1, size=(2, 3)))


def quality(detection_rate, false_alarm_rate=0.0, num_annotators=1):
    predictions = toy_predictions(num_images=3, size=(20, 30), num_annotators=num_annotators)
    oracle = oracle_predictions(predictions, detection_rate, false_alarm_rate)
    return SelectorQuality.of(OracleSelector(), oracle)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_the_oracle_finds_what_it_is_told_to(rate):
    found = quality(rate)
    assert (found.recall or 0.0) == pytest.approx(rate, abs=0.01)
    assert found.precision in (None, 1.0)
    alarmed = quality(rate, 0.1)
    assert alarmed.flagged_share == pytest.approx(
        (found.flagged_share or 0.0) + 0.1 * (1 - quality(1.0).flagged_share), abs=0.01
    )


def test_what_is_found_at_a_low_rate_is_found_at_a_high_one():
    predictions = toy_predictions(num_images=2, num_annotators=2)
    low, high = (oracle_predictions(predictions, rate, seed=4)[1].image for rate in (0.2, 0.7))
    assert bool((high >= low).all())
    assert float(high.sum()) > float(low.sum()) > 0
    assert not torch.equal(low, oracle_predictions(predictions, 0.2, seed=5)[1].image)
    void = (predictions[1].labels == IGNORE).all(0)
    assert not bool(oracle_predictions(predictions, 1.0, 1.0)[1].image[0][void].any())


def test_more_found_mistakes_are_better_calibrated():
    predictions = toy_predictions(num_images=3, size=(30, 40), overconfidence=1.0)
    scaling = SelectiveScaling(OracleSelector(), TemperatureScaling(1e10), TemperatureScaling(1.0))
    gaps = []
    for rate in (0.0, 0.5, 1.0):
        wrong_confidence = []
        for p in oracle_predictions(predictions, rate):
            confidence = scaling(p.logits[None], p.image[None]).softmax(1).amax(1)[0]
            wrong = (p.logits.argmax(0) != p.labels[0]) & (p.labels[0] != IGNORE)
            wrong_confidence.append(confidence[wrong])
        gaps.append(float(torch.cat(wrong_confidence).mean()))
    assert gaps[0] > gaps[1] > gaps[2] == pytest.approx(1 / 3, abs=1e-4)


def test_an_oracle_needs_its_predictions():
    with pytest.raises(InputError, match="oracle_predictions"):
        OracleSelector()(torch.zeros(1, 3, 4))
    with pytest.raises(InputError, match="between 0 and 1"):
        oracle_predictions(toy_predictions(), 1.5)


def test_entropy_selector_flags_the_uncertain():
    z = torch.tensor([[[0.0, 9.0], [0.0, 0.0], [0.0, 0.0]]])
    assert EntropyAbove(1.0)(z).tolist() == [[True, False]]
