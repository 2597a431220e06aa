"""Fits on what nobody checked, from Python: an answer or a sentence, never an error of torch."""

import contextlib
from dataclasses import replace

import pytest
import torch
from quick_methods import QUICK, fit_of

from calibrant.calibrators import DirichletScaling, TemperatureScaling, VectorScaling
from calibrant.calibrators._descend import descend
from calibrant.calibrators._newton import Taylor, minimise
from calibrant.calibrators._passes import Blocks
from calibrant.calibrators._quasi_newton import DiagonalFactors, lower_factors
from calibrant.calibrators._quasi_newton import minimise as minimise_steps
from calibrant.calibrators.pixels import MAX_SIZE, Pixels, bounded
from calibrant.errors import CalibrantError, FitError, LabelError, LogitsError, ShapeError
from calibrant.predictions import Prediction
from calibrant.testing import check_calibrator, toy_predictions

FITS = [name for name in QUICK if name != "uncalibrated"]
"""All methods but the one that reads nothing."""


def with_label(value):
    first, *others = toy_predictions()
    labels = first.labels.clone()
    labels[0, 3:6, 4:8] = value
    return [replace(first, labels=labels), *others]


def one_pixel():
    return [Prediction("a", torch.tensor([[2.0], [1.0], [0.0]])[..., None], torch.zeros(1, 1, 1, dtype=torch.long))]


@pytest.mark.parametrize("value", [7, -5])
@pytest.mark.parametrize("name", FITS)
def test_labels_that_are_no_class_are_refused_with_the_name_of_the_image(name, value):
    with pytest.raises(LabelError, match=rf"image 'toy0': expected labels in 0\.\.2, or unlabelled; got {value} in 12"):
        fit_of(QUICK[name])(with_label(value))


@pytest.mark.parametrize("name", FITS)
def test_images_of_unlike_classes_are_refused(name):
    mixed = [*toy_predictions()[:2], replace(toy_predictions(num_classes=5)[2], key="other")]
    with pytest.raises(ShapeError, match=r"image 'other': expected logits of 3 classes.* got 5"):
        fit_of(QUICK[name])(mixed)


@pytest.mark.parametrize("pixels_per_image", [None, 100])
@pytest.mark.parametrize("fit", [TemperatureScaling.fit, VectorScaling.fit, DirichletScaling.fit])
def test_streamed_and_drawn_pixels_are_both_looked_at(fit, pixels_per_image):
    with pytest.raises(LabelError, match="image 'toy0'"):
        fit(with_label(7), pixels_per_image=pixels_per_image)


def test_logits_that_are_not_finite_are_refused():
    first, *others = toy_predictions()
    z = first.logits.clone()
    z[0] = torch.nan
    with pytest.raises(LogitsError, match="image 'toy0': expected finite logits"):
        fit_of("meta-cal-star")([replace(first, logits=z), *others])


@pytest.mark.parametrize("name", [name for name in FITS if name != "network"])
@pytest.mark.parametrize("scale", [0.0, 1e-40, 1e30, 3e38])
def test_logits_of_any_size_end_in_a_calibrator_or_a_sentence(name, scale):
    predictions = [replace(p, logits=p.logits / 40 * scale) for p in toy_predictions()]
    try:
        calibrator = fit_of(QUICK[name])(predictions)
    except CalibrantError:
        return
    for p in predictions:
        assert bool(calibrator(p.logits[None], p.image[None]).isfinite().all())


@pytest.mark.parametrize("name", [name for name in FITS if name != "network" and not name.startswith("local")])
def test_a_single_pixel_ends_in_a_calibrator_or_a_sentence(name):
    with contextlib.suppress(FitError):
        fit_of(QUICK[name])(one_pixel())


def test_a_bound_leaves_logits_of_models_as_they_are():
    z = torch.tensor([65504.0, -65504.0, 0.1, -1e-40])
    assert torch.equal(bounded(z), z)
    assert bounded(torch.tensor(-1e30)) == -MAX_SIZE


def test_one_masked_logit_leaves_the_temperature():
    clean = toy_predictions(size=(48, 64), num_images=8)
    z = clean[0].logits.clone()
    which = int(clean[0].logits[:, 5, 5].argmin())
    z[which, 5, 5] = torch.finfo(torch.float32).min
    masked = TemperatureScaling.fit([replace(clean[0], logits=z), *clean[1:]]).temperature
    assert masked == pytest.approx(TemperatureScaling.fit(clean).temperature, rel=1e-3)


def test_a_fit_that_a_masked_logit_moves_breaks_the_contract():
    def squares(predictions):
        z = torch.cat([p.logits.flatten() for p in predictions])
        return TemperatureScaling(max(0.1, min(1e3, float(z.square().mean().sqrt()))))

    with pytest.raises(AssertionError, match=r"-3\.4e38 move the fit"):
        check_calibrator(squares)


def sums(**odd):
    zero = {"value": torch.zeros(()), "gradient": torch.zeros(1), "hessian": torch.eye(1)}
    return Taylor(**{name: part.double() for name, part in (zero | odd).items()})


@pytest.mark.parametrize("odd", ["value", "gradient", "hessian"])
def test_a_sum_that_is_not_finite_is_no_optimum(odd):
    pixels = Pixels.draw(toy_predictions())
    infinite = {odd: torch.full(getattr(sums(), odd).shape, torch.inf)}
    with pytest.raises(FitError, match="finite loss at the start"):
        minimise(lambda z, y, point: sums(**infinite), Blocks(pixels), torch.ones(1))


def test_sums_that_cease_to_be_finite_end_the_fit_short_of_its_optimum():
    pixels = Pixels.draw(toy_predictions())

    def term(z, y, point):
        away = float(point - 1)
        return sums(gradient=torch.ones(1) * len(y)) if away == 0 else sums(value=torch.tensor(torch.nan))

    found = minimise(term, Blocks(pixels), torch.ones(1))
    assert not found.converged
    assert float(found.point) == 1
    assert found.evaluations <= 100


def test_steps_that_leave_the_finite_numbers_are_told():
    pixels = Pixels.draw(toy_predictions())

    def slope(z, y, point):
        return (0.0, torch.ones(1, 1).double()) if float(point) == 0 else (float("nan"), torch.ones(1, 1).double())

    flat = DiagonalFactors(torch.ones(1, 1).double())
    with pytest.raises(FitError, match="stays finite"):
        minimise_steps(slope, lambda p: (0.0, torch.zeros_like(p)), flat, Blocks(pixels), torch.zeros(1, 1))


def test_factors_of_a_hessian_without_curvature_exist_and_of_one_that_is_not_finite_do_not():
    flat = torch.zeros(1, 2, 2).double()
    flat[0, 0, 0] = 4
    assert float(lower_factors(flat)[0, 0, 0]) == pytest.approx(2)
    with pytest.raises(FitError, match="finite second derivatives"):
        lower_factors(torch.full((1, 2, 2), torch.nan).double())


def test_a_training_whose_loss_ceases_to_be_finite_keeps_its_best_state_and_says_so(caplog):
    weight = torch.ones(1, requires_grad=True)
    losses = iter([1.0, float("inf"), 1.0])
    best = descend(
        [weight],
        loss=lambda _: weight.sum() * next(losses),
        batches=lambda _: [0],
        score=lambda: abs(float(weight)),
        num_epochs=3,
        learning_rate=0.1,
        name="a training",
    )
    assert best == pytest.approx(0.9, abs=1e-3)
    assert float(weight.detach()) == pytest.approx(best)
    assert "a training stopped in epoch 2 of 3" in caplog.text
