"""Isotonic scaling: what it counts, what it learns, what it leaves alone."""

import numpy as np
import pytest
import torch
from sklearn.isotonic import IsotonicRegression

from calibrant.calibrators import IsotonicScaling, TemperatureScaling, load, save
from calibrant.calibrators.isotonic import MAX_LOG_ODDS
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import FitError, InputError, ShapeError
from calibrant.predictions import IGNORE, Prediction
from calibrant.testing import tied_logits, toy_predictions


@pytest.mark.parametrize("c", [2, 19, 150])
def test_the_winner_gets_the_accuracy_of_its_confidence_and_the_others_keep_their_proportions(c):
    """Against numpy in float64."""
    rng = torch.Generator().manual_seed(c)
    z = 3 * torch.randn(1, c, 400, generator=rng)
    table = (1 / c + (1 - 1 / c) * torch.rand(c, 64, generator=rng)).sort(1).values
    probs = (z[0].double() / 1.7).softmax(0).numpy()
    confidence, winner = probs.max(0), probs.argmax(0)
    steps = np.linspace(-np.log(max(1, c - 1)), MAX_LOG_ODDS, 64)
    at = np.log(confidence) - np.log1p(-confidence)
    wanted = np.array([np.interp(x, steps, table[k].double().numpy()) for x, k in zip(at, winner, strict=True)])
    out = IsotonicScaling(table, 1.7)(z)
    assert torch.equal(out.argmax(1), z.argmax(1))
    found = out[0].double().softmax(0).numpy()
    np.testing.assert_allclose(found.max(0), wanted.clip(1 / c + 1e-4, 1 - 1e-6), atol=2e-5)
    in_proportion = probs * (1 - wanted) / (1 - confidence)
    in_proportion[winner, np.arange(400)] = wanted
    uncut = in_proportion.max(0) <= wanted
    assert uncut.mean() > 0.2
    np.testing.assert_allclose(found[:, uncut], in_proportion[:, uncut], atol=2e-5)
    # Elsewhere the largest others are cut to the winner's.
    assert (found.max(0) - np.sort(found, 0)[-2] < 1e-6)[~uncut].all()


def test_ties_keep_their_distribution():
    z = torch.tensor([[[2.0], [2.0], [0.0]]])
    out = IsotonicScaling(torch.full((3, 16), 0.9), 2.0)(z)
    torch.testing.assert_close(out.softmax(1), (z / 2).softmax(1))
    assert out[0, 0] == out[0, 1]


@pytest.mark.parametrize("pixels_per_image", [None, 10**6])
def test_every_labelled_pixel_counts_once(pixels_per_image):
    """Two annotators are an image read twice; what lies under unlabelled pixels changes nothing."""
    predictions = toy_predictions(num_images=1, size=(30, 40), void=0.3, num_annotators=2)
    (image,) = predictions
    apart = Prediction(image.key, torch.cat([image.logits] * 2, 1), torch.cat([*image.labels])[None])
    unlabelled = (apart.labels == IGNORE).all(0)
    spoilt = Prediction(image.key, torch.where(unlabelled, 50.0, apart.logits), apart.labels)
    tables = [
        IsotonicScaling.fit([source], pixels_per_image=pixels_per_image, seed=0).accuracy
        for source in (image, apart, spoilt)
    ]
    torch.testing.assert_close(tables[1], tables[0], rtol=0, atol=2e-3)  # the temperature is drawn from other pixels
    torch.testing.assert_close(tables[2], tables[1], rtol=0, atol=2e-3)


def test_streamed_and_in_memory_fits_agree():
    predictions = shaped(6, seed=0)
    streamed, drawn = (IsotonicScaling.fit(predictions, pixels_per_image=many) for many in (None, 10**6))
    torch.testing.assert_close(streamed.accuracy, drawn.accuracy, rtol=0, atol=0.02)


def test_with_many_pixels_it_is_the_isotonic_regression_of_scikit_learn():
    pixels = Pixels.draw(predictions := shaped(16, seed=0), per_image=None)
    fitted = IsotonicScaling.fit(predictions, by_class=False)
    z = pixels.logits[None]
    confidence = (z / fitted.temperature).softmax(1).amax(1)[0].numpy()
    right = (pixels.logits.argmax(0) == pixels.labels).numpy()
    theirs = IsotonicRegression().fit(confidence, right).predict(confidence)
    ours = fitted(z).softmax(1).amax(1)[0].numpy()
    assert np.abs(ours - theirs).mean() < 0.01
    assert bool((fitted.accuracy.diff(dim=1) >= 0).all())


def shaped(count, *, seed, c=3):
    """Labels whose chance of being right is a known function of confidence and class, and no temperature's."""
    generator = torch.Generator().manual_seed(seed)
    predictions = []
    for number in range(count):
        z = 2.5 * torch.randn(c, 40, 50, generator=generator)
        confidence, top = z.softmax(0).max(0)
        right = torch.rand(top.shape, generator=generator) < known(confidence, top)
        rest = z.masked_fill(z == z.amax(0), -torch.inf) - torch.empty_like(z).exponential_(generator=generator).log()
        other = rest.argmax(0)
        predictions.append(Prediction(f"{seed}-{number}", z, torch.where(right, top, other)[None]))
    return predictions


def known(confidence, top):
    return torch.where(top == 0, 0.34 + 0.5 * confidence**6, 0.34 + 0.6 * confidence**2)


def test_a_known_truth_is_learnt_by_class():
    fitted = IsotonicScaling.fit(shaped(10, seed=0))
    tested = Pixels.draw(shaped(4, seed=1), per_image=None)
    z = tested.logits[None]
    out = fitted(z)
    assert torch.equal(out.argmax(1), z.argmax(1))
    confidence, top = z.softmax(1).max(1)
    gap = (out.softmax(1).amax(1) - known(confidence, top)).abs()[0]
    assert float(gap.mean()) < 0.025
    temperature = TemperatureScaling.fit(shaped(10, seed=0))(z).softmax(1).amax(1)
    assert float((temperature - known(confidence, top)).abs().mean()) > 0.05


def test_nothing_to_mend_stays_as_temperature_scaling_has_it():
    predictions = toy_predictions(num_images=10, size=(40, 50), overconfidence=2.0)
    z = predictions[0].logits[None]
    torch.testing.assert_close(
        IsotonicScaling.fit(predictions)(z).softmax(1).amax(1), (z / 2).softmax(1).amax(1), rtol=0, atol=0.05
    )


def test_a_single_image_is_temperature_scaling():
    predictions = toy_predictions(num_images=1, size=(40, 50))
    z = predictions[0].logits[None]
    fitted, temperature = IsotonicScaling.fit(predictions), TemperatureScaling.fit(predictions)
    torch.testing.assert_close(fitted(z).softmax(1), temperature(z).softmax(1), rtol=0, atol=3e-3)


def test_the_order_of_classes_is_kept():
    predictions = shaped(6, seed=0, c=6)
    z = predictions[0].logits[None]
    out = IsotonicScaling.fit(predictions)(z)
    assert bool((out.gather(1, z.argsort(1)).diff(dim=1) >= 0).all())


def test_half_precision_ties_do_not_run_away():
    predictions = toy_predictions(num_images=6, size=(30, 40))
    coarse = [Prediction(p.key, (p.logits * 2).round().half() / 2, p.labels) for p in predictions]  # many ties
    fitted = IsotonicScaling.fit(coarse)
    pixels = Pixels.draw(coarse, per_image=None)
    loss = torch.nn.functional.cross_entropy(fitted(pixels.logits[None])[0].T, pixels.labels)
    plain = TemperatureScaling.fit(coarse)(pixels.logits[None])[0].T
    assert float(loss) < 1.05 * float(torch.nn.functional.cross_entropy(plain, pixels.labels))


class Counted(list):
    """Predictions that count how often they are read."""

    reads = 0

    def __iter__(self):
        for p in super().__iter__():
            self.reads += 1
            yield p

    def __getitem__(self, i):
        self.reads += 1
        return super().__getitem__(i)


def test_it_reads_the_images_once():
    """But for the look at 32 of them, and the first for the number of classes."""
    source = Counted(toy_predictions(num_images=120, size=(4, 5)))
    IsotonicScaling.fit(source)
    assert 120 < source.reads <= 120 + 32 * 8 + 8


def test_stored_and_bounded(tmp_path):
    fitted = IsotonicScaling.fit(toy_predictions(num_images=4))
    save(fitted, tmp_path)
    z = tied_logits(3)
    out = fitted(z)
    assert torch.equal(load(tmp_path)(z), out)
    assert bool(out.isfinite().all())
    with pytest.raises(InputError, match="rising"):
        IsotonicScaling(torch.tensor([[0.5, 0.4]]), 1.0)
    with pytest.raises(ShapeError, match="3 classes"):
        fitted(torch.zeros(1, 4, 5))
    with pytest.raises(FitError, match="unlabelled"):
        IsotonicScaling.fit([Prediction("a", torch.zeros(3, 4), torch.full((1, 4), IGNORE))])
