"""Isotonic scaling: what it counts, what it learns, what it leaves alone."""

import numpy as np
import pytest
import torch
from sklearn.isotonic import IsotonicRegression

from calibrant.calibrators import IsotonicScaling, TemperatureScaling, load, save
from calibrant.calibrators._solve import log_odds, winner
from calibrant.calibrators.isotonic import BINS, SURE, _counts, _rising
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import FitError, InputError, ShapeError
from calibrant.predictions import IGNORE, Prediction
from calibrant.testing import tied_logits, toy_predictions


@pytest.mark.parametrize("c", [2, 19, 150])
def test_log_odds_and_winner_are_those_of_softmax_and_argmax(c):
    z = 3 * torch.randn(1, c, 300, generator=torch.Generator().manual_seed(c))
    odds, below = log_odds(z, 1.7)
    confidence = (z.double() / 1.7).softmax(1).amax(1, keepdim=True)
    torch.testing.assert_close(odds.double(), confidence.logit(), rtol=1e-3, atol=1e-3)
    assert torch.equal(winner(below)[0, 0], z.argmax(1)[0])
    ties = tied_logits(max(c, 3)).flatten(2)
    assert torch.equal(winner(ties - ties.amax(1, keepdim=True))[:, 0], ties.argmax(1))


@pytest.mark.parametrize("streamed", [True, False])
def test_every_labelled_pixel_is_counted_once(streamed):
    predictions = toy_predictions(num_images=7, size=(9, 11), void=0.3, num_annotators=2)
    source = predictions if streamed else Pixels.draw(predictions, per_image=None)
    counts = _counts(source, 1.5)
    cells = np.zeros((5, 2, 3, BINS))
    low = -np.log(2)
    for number, p in enumerate(predictions):
        for labels in p.labels:
            for row, column in np.argwhere((labels != IGNORE).numpy()):
                z = p.logits[:, row, column].double()
                sure = float((z / 1.5).softmax(0).max())
                at = round(min(max((np.log(sure / (1 - sure)) - low) / (SURE - low) * (BINS - 1), 0), BINS - 1))
                top = int(z.argmax())
                cells[number % 5, 0, top, at] += 1
                cells[number % 5, 1, top, at] += top == int(labels[row, column])
    assert counts.sum() == cells.sum()
    assert np.abs(counts - cells).sum() <= 0.01 * cells.sum()  # a rounding of float32 may fall to the next bin


def test_without_a_prior_it_is_isotonic_regression():
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 200, (3, BINS)).astype(float)
    right = rng.binomial(pixels.astype(int), np.linspace(0.2, 0.9, BINS)).astype(float)
    ours = _rising(np.stack([pixels, right]), np.full(BINS, 0.5), 0.0)
    for row in range(3):
        theirs = (
            IsotonicRegression().fit(np.arange(BINS), right[row] / pixels[row], pixels[row]).predict(np.arange(BINS))
        )
        assert np.all(np.diff(ours[row]) >= 0)
        # The same at the middle of each step, and a line between: never further off than the steps are high.
        steps = np.flatnonzero(np.diff(theirs)) + 1
        middles = [round(np.average(part, weights=pixels[row][part])) for part in np.split(np.arange(BINS), steps)]
        np.testing.assert_allclose(ours[row][middles], theirs[middles], atol=0.03)
        inner = slice(middles[0], middles[-1])
        assert len(np.unique(ours[row][inner])) == middles[-1] - middles[0]


def test_a_strong_prior_is_the_prior():
    counts = np.stack([np.full((2, BINS), 3.0), np.zeros((2, BINS))])
    toward = np.linspace(0.3, 0.99, BINS)
    np.testing.assert_allclose(_rising(counts, toward, 1e9), np.stack([toward, toward]), atol=1e-6)


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
