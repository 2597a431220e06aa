"""Correctness scaling of version 0.1.0: its equations; that what was stored answers is in tests/golden."""

import math

import pytest
import torch

from calibrant.calibrators import DirichletScaling, TemperatureScaling, VectorScaling, load, save
from calibrant.calibrators._projections import EXCLUDED
from calibrant.calibrators.correctness import CorrectnessScaling, MistakeModel, Recalibration, TemperatureNetwork
from calibrant.calibrators.correctness.features import NAMES
from calibrant.calibrators.correctness.parts import pooled, redistributed
from calibrant.errors import InputError, ShapeError
from calibrant.testing import toy_predictions


def drawn(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(c, *, hidden=6):
    """A temperature network with random weights."""
    f = len(NAMES)
    tensors = [drawn(hidden, f, scale=0.2), drawn(c, hidden), drawn(c, hidden, seed=1), drawn(hidden), drawn(hidden)]
    return TemperatureNetwork(torch.zeros(f), torch.ones(f), *tensors, torch.tensor(0.1))


def member(c, *, seed=0):
    return DirichletScaling(torch.eye(c) + drawn(c, c, seed=seed, scale=0.3), drawn(c, seed=seed), keep_labels=True)


def everything(c):
    """Correctness scaling with a random part for each equation."""
    mistakes = MistakeModel(torch.ones(c), drawn(c), drawn(c, c))
    recalibration = Recalibration(torch.linspace(0.4, 1, 1001))
    return CorrectnessScaling(
        TemperatureScaling(1.5), network(c), mistakes, member(c), recalibration, notes=("a note",)
    )


def test_the_pool_is_the_mean_of_two_probabilities():
    prediction, second = toy_predictions(num_classes=4)[0], member(4)
    pool = CorrectnessScaling(TemperatureScaling(1 / 0.7), None, second_member=second)(prediction.logits[None])
    own = (0.7 * prediction.logits[None]).softmax(1)
    mean = (own + second(0.7 * prediction.logits[None]).softmax(1)) / 2
    torch.testing.assert_close(pool.softmax(1), mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(pooled(own.log(), own.log()), own.log())


def test_without_a_mistake_model_the_order_of_all_classes_stays():
    logits = drawn(2, 6, 20, 24, scale=4)
    out = CorrectnessScaling(TemperatureScaling(1.3), network(6))(logits)
    assert torch.equal(out.argsort(stable=True, dim=1), logits.argsort(stable=True, dim=1))
    largest = logits.amax(1, keepdim=True)
    ratio = (out - out.amax(1, keepdim=True)) / (logits - largest).clamp_max(-1e-3)
    factors = ratio.masked_fill(logits == largest, torch.nan).nan_to_num(0).amax(1)
    assert float(factors.std()) > 0.01  # temperatures differ from pixel to pixel


def test_where_rounding_favours_another_class_the_label_stays():
    """In the mean a class as likely as the winner may round above it: in 3 of these pixels it did."""
    logits = drawn(1, 4, 200, 200, seed=3, scale=2)
    steps = torch.randint(-2, 3, (200, 200), generator=torch.Generator().manual_seed(1))
    logits[:, 1] = logits[:, 0] * (1 + 2**-22 * steps)
    both = CorrectnessScaling(TemperatureScaling(1.4), None, second_member=member(4, seed=3))(logits)
    assert torch.equal(both.argmax(1), logits.argmax(1))


def test_mistakes_are_redistributed_below_the_winner():
    margins = drawn(1, 5, 200, scale=3)
    margins -= margins.amax(1, keepdim=True)
    winners, factor = margins == 0, torch.rand(1, 1, 200, generator=torch.Generator()) + 0.5
    others = drawn(1, 5, 200, seed=5, scale=2).masked_fill(winners, EXCLUDED).log_softmax(1)
    probs = redistributed(margins * factor, others, winners).softmax(1)
    wanted = (margins * factor).softmax(1).amax(1)
    torch.testing.assert_close(probs.masked_fill(~winners, 0).amax(1), wanted, rtol=1e-4, atol=1e-5)
    assert bool((probs <= probs.masked_fill(~winners, 0).amax(1, keepdim=True) * (1 + 1e-5)).all())
    # In their own proportion, but for those that have come as high as the winner.
    cut = ((1 - wanted[0]) * others[0].exp().amax(0)) > wanted[0]
    assert bool(cut.any())
    assert bool((~cut).any())
    nearest = torch.stack([shared_by_hand(q, o) for q, o in zip(wanted[0], others[0].T.exp(), strict=True)], 1)
    torch.testing.assert_close(probs[0].masked_fill(winners[0], 0), nearest, rtol=1e-3, atol=1e-5)


def shared_by_hand(confidence, others):
    """Cut what is above the winner and lift the others, again and again."""
    cut = torch.zeros_like(others, dtype=torch.bool)
    while True:
        lift = (1 - confidence - cut.sum() * confidence) / others.masked_fill(cut, 0).sum()
        above = (others * lift > confidence) & ~cut
        if not bool(above.any()):
            return torch.where(cut, confidence, others * lift)
        cut |= above


def test_it_wants_parts_that_keep_the_labels_and_the_classes_of_its_fit():
    vector = VectorScaling(torch.ones(3), torch.zeros(3))
    with pytest.raises(InputError, match="expected base to keep the label map; got VectorScaling"):
        CorrectnessScaling(vector, None)
    with pytest.raises(InputError, match="expected second_member to keep the label map; got VectorScaling"):
        CorrectnessScaling(TemperatureScaling(1.0), None, second_member=vector)
    with pytest.raises(ShapeError, match="logits of 4 classes, as fitted"):
        CorrectnessScaling(TemperatureScaling(1.0), network(4))(torch.zeros(1, 3, 2, 2))


def test_three_dimensions_and_gradients():
    logits = drawn(1, 4, 5, 6, 7).requires_grad_()
    calibrator = CorrectnessScaling(
        TemperatureScaling(1.3), network(4), MistakeModel(torch.ones(4), drawn(4), drawn(4, 4))
    )
    out = calibrator(logits)
    assert out.shape == logits.shape
    out.softmax(1)[:, 0].sum().backward()
    assert bool(logits.grad.isfinite().all())
    assert bool((logits.grad != 0).any())


def test_half_precision_and_scale():
    """The features are of the base's logits, so a model whose logits are doubled gets the same probabilities."""
    logits = drawn(1, 4, 16, 16, scale=3)
    one, two = (CorrectnessScaling(TemperatureScaling(t), network(4)) for t in (1.5, 3.0))
    torch.testing.assert_close(one(logits).softmax(1), two(2 * logits).softmax(1))
    half = one(logits.half())
    assert half.dtype == torch.float32
    confidence = [float(z.softmax(1).amax(1).mean()) for z in (half, one(logits))]
    assert math.isclose(*confidence, rel_tol=1e-2)


def test_it_is_stored(tmp_path):
    calibrator = everything(4)
    save(calibrator, tmp_path)
    loaded = load(tmp_path)
    assert loaded.notes == ("a note",)
    assert torch.equal(loaded(drawn(2, 4, 9, 9)), calibrator(drawn(2, 4, 9, 9)))
