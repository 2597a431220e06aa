"""Dirichlet scaling: its optimum, its regularisation, its truth, and when it gives up."""

import math

import pytest
import torch

from calibrant.calibrators import (
    DirichletScaling,
    TemperatureScaling,
    VectorScaling,
    _newton,
    _quasi_newton,
    load,
    save,
)
from calibrant.calibrators._likelihood import FLOOR
from calibrant.calibrators.dirichlet import DIAGONAL, RIDGE
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import FitError, InputError, ShapeError
from calibrant.predictions import IGNORE, Prediction
from calibrant.testing import toy_predictions


def log_probs(pixels):
    return pixels.logits.double().log_softmax(0).clamp_min(math.log(FLOOR))


def lbfgs(pixels, strength, bias_strength, temperature):
    """The optimum of the documented loss by torch's L-BFGS in float64, which shares nothing with ours."""
    x, c = log_probs(pixels), pixels.logits.shape[0]
    weight = torch.eye(c, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(c, 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=2000,
        tolerance_grad=1e-9,
        tolerance_change=1e-15,
        history_size=60,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        loss = objective(x, pixels.labels, weight, bias, strength, bias_strength, temperature)
        loss.backward()
        return loss

    optimiser.step(closure)
    return float(closure().detach())


def objective(x, labels, weight, bias, strength, bias_strength, temperature):
    off = weight - torch.diag(weight.diagonal())
    away = weight.diagonal() - 1 / temperature
    everything = (off**2).sum() + (away**2).sum() + (bias**2).sum()
    return (
        torch.nn.functional.cross_entropy((weight @ x + bias).T, labels)
        + strength * ((off**2).sum() + DIAGONAL * (away**2).sum())
        + bias_strength * (bias**2).sum()
        + RIDGE / 2 * everything
    )


@pytest.mark.parametrize(("strength", "bias_strength"), [(0.0, 0.0), (0.01, 0.002), (1.0, None)])
@pytest.mark.parametrize("streamed", [False, True])
def test_reaches_the_optimum_of_a_float64_lbfgs(strength, bias_strength, streamed):
    predictions = toy_predictions(num_images=4, num_classes=6, size=(30, 40), void=0.2)
    fitted = DirichletScaling.fit(
        predictions,
        strength=strength,
        bias_strength=bias_strength,
        safe=False,
        pixels_per_image=None if streamed else 900,
    )
    pixels = Pixels.draw(predictions, per_image=None if streamed else 900)
    temperature = TemperatureScaling.fit(predictions, pixels_per_image=None if streamed else 900).temperature
    bias_strength = strength / 10 if bias_strength is None else bias_strength
    reached = objective(
        log_probs(pixels),
        pixels.labels,
        fitted.weight.double(),
        fitted.bias.double()[:, None],
        strength,
        bias_strength,
        temperature,
    )
    assert float(reached) == pytest.approx(lbfgs(pixels, strength, bias_strength, temperature), rel=1e-5)


def confused(count, *, seed=0, c=4):
    """Labels from softmax(W log p + b) of a known matrix W."""
    generator = torch.Generator().manual_seed(seed)
    weight = 0.6 * torch.eye(c) + 0.15 * torch.randn(c, c, generator=torch.Generator().manual_seed(9))
    bias = torch.linspace(-0.5, 0.5, c)
    predictions = []
    for number in range(count):
        z = 2.5 * torch.randn(c, 40, 50, generator=generator)
        true = torch.einsum("kc,c...->k...", weight, z.log_softmax(0)) + bias[:, None, None]
        labels = (true - torch.empty_like(true).exponential_(generator=generator).log()).argmax(0)
        predictions.append(Prediction(f"{seed}-{number}", z, labels[None]))
    return predictions, weight, bias


def test_recovers_a_known_matrix():
    predictions, weight, bias = confused(12)
    fitted = DirichletScaling.fit(predictions)
    assert "strength" in fitted.notes[0]
    # A row added to all rows changes nothing: compare what is left of it.
    torch.testing.assert_close(fitted.weight - fitted.weight.mean(0), weight - weight.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(fitted.bias - fitted.bias.mean(), bias - bias.mean(), rtol=0, atol=0.08)


def test_two_images_with_pixels_alike_do_not_lead_it_astray():
    """Pixels of an image are not independent: each image's labels hang on one class of its own, which says nothing."""
    predictions = []
    for number, p in enumerate(toy_predictions(num_images=6, num_classes=8, size=(24, 24), void=0.0)):
        labels = p.labels.clone()
        labels[:, :12] = number
        predictions.append(Prediction(p.key, p.logits, labels))
    kept, held = predictions[:3], Pixels.draw(predictions[3:], per_image=None)
    temperature = TemperatureScaling.fit(kept)
    for method in (DirichletScaling, VectorScaling):
        fitted, wild = method.fit(kept), method.fit(kept, strength=0, safe=False)
        assert "falls back to temperature scaling" in fitted.notes[0]
        assert fitted.keeps_labels
        z = held.logits[None]
        torch.testing.assert_close(fitted(z).softmax(1), temperature(z).softmax(1), rtol=1e-4, atol=1e-6)
        loss = [float(torch.nn.functional.cross_entropy(f(z)[0].T, held.labels)) for f in (fitted, wild)]
        assert loss[0] < loss[1]


def test_a_single_image_is_temperature_scaling():
    (image,) = toy_predictions(num_images=1)
    fitted = DirichletScaling.fit([image])
    assert "a single image" in fitted.notes[0]
    z = image.logits[None]
    torch.testing.assert_close(fitted(z).softmax(1), TemperatureScaling.fit([image])(z).softmax(1))
    assert not torch.equal(DirichletScaling.fit([image], safe=False).weight, fitted.weight)


def test_a_class_without_labels_stays_where_it_was():
    predictions = [
        Prediction(p.key, p.logits, torch.where(p.labels == 2, IGNORE, p.labels)) for p in toy_predictions(num_images=8)
    ]
    fitted = DirichletScaling.fit(predictions, strength=0.01, safe=False)
    temperature = TemperatureScaling.fit(predictions).temperature
    assert float(fitted.weight[2, 2]) == pytest.approx(1 / temperature, abs=2.0)


def test_published_recipe_is_the_slow_one():
    """AdamW of torch, epoch by epoch, on log(softmax + 1e-10)."""
    predictions = toy_predictions(num_images=5, num_classes=3)
    fitted = DirichletScaling.fit_as_published(predictions, num_epochs=15, seed=2)
    pixels = Pixels.draw(predictions, per_image=56 * 56, seed=2)
    kept, held = pixels.hold_out(0.2, seed=2)
    layer = torch.nn.Linear(3, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3))
        layer.bias.zero_()
    optimiser = torch.optim.AdamW(layer.parameters(), lr=1e-3, weight_decay=1e-6)

    def loss(part):
        scores = layer((part.logits.softmax(0) + 1e-10).log().T)
        return torch.nn.functional.cross_entropy(scores, part.labels)

    best, state = math.inf, None
    for epoch in range(16):  # four images to train on are one batch
        if epoch:
            optimiser.zero_grad()
            loss(kept).backward()
            optimiser.step()
        now = loss(held).item()
        if now < best:
            best, state = now, (layer.weight.detach().clone(), layer.bias.detach().clone())
    torch.testing.assert_close(fitted.weight, state[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fitted.bias, state[1], rtol=1e-4, atol=1e-4)


def test_many_classes_share_a_preconditioner(monkeypatch):
    predictions = toy_predictions(num_images=4, num_classes=6, size=(30, 40))
    one = DirichletScaling.fit(predictions, strength=0.01, safe=False)
    monkeypatch.setattr("calibrant.calibrators.dirichlet.MAX_BLOCKS", 2)
    two = DirichletScaling.fit(predictions, strength=0.01, safe=False)
    torch.testing.assert_close(one.weight, two.weight, rtol=0, atol=0.02)


def test_stored_with_all_it_needs(tmp_path):
    calibrator = DirichletScaling(torch.eye(3) * 2, torch.arange(3.0), floor=1e-10, keep_labels=True, notes=("a",))
    save(calibrator, tmp_path)
    loaded = load(tmp_path)
    assert loaded.keeps_labels
    assert loaded.floor == 1e-10
    z = torch.randn(1, 3, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(z), calibrator(z))


def test_errors_say_what_to_do():
    with pytest.raises(InputError, match="finite square weight"):
        DirichletScaling(torch.eye(2) * torch.nan, torch.zeros(2))
    with pytest.raises(ShapeError, match="Fit on predictions of this model"):
        DirichletScaling(torch.eye(2), torch.zeros(2))(torch.zeros(1, 3, 4))
    with pytest.raises(FitError, match="labelled"):
        DirichletScaling.fit([Prediction("a", torch.zeros(3, 4, 4), torch.full((1, 4, 4), IGNORE))])


def test_a_search_is_bounded_and_says_that_it_stopped():
    predictions = toy_predictions(num_images=2, num_classes=5, size=(20, 30))
    blocks, start = _newton.Blocks(Pixels.draw(predictions)), torch.zeros(2, 5, dtype=torch.float64)

    def slope(z, labels, point):
        """Weights and biases of vector scaling, by autograd."""
        point = point.clone().requires_grad_()
        with torch.enable_grad():
            scaled = point[0][:, None] * z.double() + point[1][:, None]
            loss = torch.nn.functional.cross_entropy(scaled.T, labels, reduction="sum")
        return float(loss.detach()), torch.autograd.grad(loss, point)[0]

    def none(point):
        return 0.0, torch.zeros_like(point)

    factors = _quasi_newton.DiagonalFactors(torch.ones(2, 5, dtype=torch.float64))
    few, enough = (
        _quasi_newton.minimise(slope, none, factors, blocks, start, tolerance=1e-12, max_evaluations=most)
        for most in (3, 500)
    )
    assert not few.converged
    assert few.evaluations <= 3 + 20  # it ends between line searches
    assert enough.converged
    assert enough.value < few.value
    exact = VectorScaling.fit(predictions, strength=0, safe=False, pixels_per_image=None)
    torch.testing.assert_close(enough.point[0].float(), exact.weight, rtol=0, atol=2e-3)
