"""Fits reach the optimum, recover the truth, and are defined where there is none."""

import pytest
import torch

from calibrant.calibrators import TemperatureScaling, VectorScaling, _newton
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import FitError, InputError, ShapeError
from calibrant.predictions import IGNORE, Prediction
from calibrant.testing import toy_predictions


def distorted(num_classes=5, **options):
    """Predictions whose true map is a vector scaling, not a temperature."""
    generator = torch.Generator().manual_seed(7)
    weight = 1 + 0.3 * torch.rand(num_classes, 1, 1, generator=generator)
    bias = torch.randn(num_classes, 1, 1, generator=generator)
    toys = toy_predictions(num_classes=num_classes, overconfidence=1.0, **options)
    made = [Prediction(p.key, (p.logits * weight + bias) * 1.8, p.labels) for p in toys]
    return made, 1 / (1.8 * weight.flatten()), -bias.flatten() / weight.flatten()


def columns(predictions):
    pixels = Pixels.draw(predictions, per_image=None)
    return pixels.logits.double(), pixels.labels


def nll(z, labels):
    return torch.nn.functional.cross_entropy(z.T, labels)


def lbfgs(z, labels, *, vector):
    """The optimum by torch's L-BFGS in float64, which shares nothing with ours."""
    c = z.shape[0]
    weight = torch.ones(c if vector else 1, 1, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(c, 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias] if vector else [weight],
        max_iter=500,
        tolerance_grad=1e-10,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        loss = nll(z * weight + bias, labels)
        loss.backward()
        return loss

    optimiser.step(closure)
    return float(closure().detach())


@pytest.mark.parametrize("pixels_per_image", [None, 700], ids=["all pixels", "drawn"])
@pytest.mark.parametrize("void", [0.0, 0.3])
def test_fits_reach_the_optimum_of_a_float64_lbfgs(pixels_per_image, void):
    predictions, _, _ = distorted(num_images=6, size=(30, 40), void=void)
    pixels = Pixels.draw(predictions, per_image=pixels_per_image, seed=3)
    z, labels = pixels.logits.double(), pixels.labels
    temperature = TemperatureScaling.fit(predictions, pixels_per_image=pixels_per_image, seed=3).temperature
    assert float(nll(z / temperature, labels)) == pytest.approx(lbfgs(z, labels, vector=False), rel=1e-6)
    fitted = VectorScaling.fit(predictions, pixels_per_image=pixels_per_image, strength=0, safe=False, seed=3)
    reached = nll(z * fitted.weight.double()[:, None] + fitted.bias.double()[:, None], labels)
    assert float(reached) == pytest.approx(lbfgs(z, labels, vector=True), rel=1e-6)


def test_the_optimum_is_reached_for_nearly_perfect_predictions():
    predictions = toy_predictions(num_images=3, size=(40, 50), spread=25.0, overconfidence=3.0)
    z, labels = columns(predictions)
    temperature = TemperatureScaling.fit(predictions, pixels_per_image=None).temperature
    best = lbfgs(z / 3, labels, vector=False)  # the same optimum, from a start that L-BFGS can manage
    assert float(nll(z / temperature, labels)) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("overconfidence", [0.4, 1.0, 3.0])
def test_temperature_recovers_a_known_overconfidence(overconfidence):
    predictions = toy_predictions(num_images=8, size=(40, 50), overconfidence=overconfidence)
    assert TemperatureScaling.fit(predictions).temperature == pytest.approx(overconfidence, rel=0.03)


def test_vector_scaling_recovers_a_known_distortion():
    predictions, weight, bias = distorted(num_images=12, size=(50, 60), void=0.1)
    fitted = VectorScaling.fit(predictions, pixels_per_image=None)
    torch.testing.assert_close(fitted.weight, weight, rtol=0.06, atol=0)
    torch.testing.assert_close(fitted.bias - fitted.bias.mean(), bias - bias.mean(), rtol=0, atol=0.06)


def test_every_annotator_counts():
    """Two annotators are the same data as two images with one each."""
    twice = toy_predictions(num_images=2, num_annotators=2, size=(20, 30))
    apart = [Prediction(f"{p.key}{a}", p.logits, p.labels[a : a + 1]) for p in twice for a in range(2)]
    for method in (TemperatureScaling, VectorScaling):
        one, two = (method.fit(source, pixels_per_image=None)(twice[0].logits[None]) for source in (twice, apart))
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_void_pixels_do_not_count():
    predictions = toy_predictions(num_images=2, size=(20, 30), void=0.5)
    spoilt = [
        Prediction(p.key, torch.where(p.labels == IGNORE, 1e4 * torch.randn_like(p.logits), p.logits), p.labels)
        for p in predictions
    ]
    for method in (TemperatureScaling, VectorScaling):
        one, two = (
            method.fit(source, pixels_per_image=None)(predictions[0].logits[None]) for source in (predictions, spoilt)
        )
        torch.testing.assert_close(one, two)


def test_half_precision_is_fitted_in_float32():
    predictions = toy_predictions(num_images=2, size=(20, 30))
    half = [Prediction(p.key, p.logits.half(), p.labels) for p in predictions]
    full = [Prediction(p.key, p.logits.half().float(), p.labels) for p in predictions]
    assert TemperatureScaling.fit(half).temperature == TemperatureScaling.fit(full).temperature


def test_streamed_and_in_memory_fits_agree():
    predictions = toy_predictions(num_images=3, size=(20, 30))
    streamed = TemperatureScaling.fit(predictions, pixels_per_image=None).temperature
    assert streamed == pytest.approx(TemperatureScaling.fit(predictions, pixels_per_image=10**6).temperature, rel=1e-6)


class TestDegenerate:
    def test_all_right_ends_at_a_bound_and_says_so(self, caplog):
        predictions = [Prediction(p.key, p.logits, p.logits.argmax(0)[None]) for p in toy_predictions()]
        fitted = TemperatureScaling.fit(predictions)
        assert 1e-3 <= fitted.temperature < 0.05
        assert "nearly all are right" in fitted.notes[0]
        assert fitted.notes[0] in caplog.text

    def test_all_wrong_ends_at_the_upper_bound_and_says_so(self):
        predictions = [Prediction(p.key, p.logits, p.logits.argmin(0)[None]) for p in toy_predictions()]
        fitted = TemperatureScaling.fit(predictions)
        assert fitted.temperature == pytest.approx(1000)
        assert "less than a uniform guess" in fitted.notes[0]

    def test_a_class_without_labels_is_pushed_down_but_stays_finite(self):
        predictions = [
            Prediction(p.key, p.logits, torch.where(p.labels == 2, 0, p.labels)) for p in toy_predictions(num_images=8)
        ]
        fitted = VectorScaling.fit(predictions)
        assert bool(fitted.bias.isfinite().all())
        assert 1 < float(fitted.bias[:2].mean() - fitted.bias[2]) < 60
        assert any("1 of 3 classes" in note for note in fitted.notes)
        z, labels = columns(predictions)
        reached = nll(z * fitted.weight.double()[:, None] + fitted.bias.double()[:, None], labels)
        assert float(reached) == pytest.approx(lbfgs(z, labels, vector=True), rel=1e-5)

    @pytest.mark.parametrize("method", [TemperatureScaling, VectorScaling])
    @pytest.mark.parametrize("pixels_per_image", [None, 10])
    def test_nothing_to_fit_on(self, method, pixels_per_image):
        void = [Prediction(p.key, p.logits, torch.full_like(p.labels, IGNORE)) for p in toy_predictions()]
        for nothing in ([], void):
            with pytest.raises(FitError):
                method.fit(nothing, pixels_per_image=pixels_per_image)

    def test_huge_logits_end_in_a_temperature(self):
        predictions = [Prediction(p.key, 1e5 * p.logits, p.labels) for p in toy_predictions(num_images=8)]
        assert TemperatureScaling.fit(predictions).temperature == pytest.approx(1000)


def test_as_published_stops_within_its_steps():
    """40 epochs of one batch of at most 20 maps move T by at most 0.04, far from a truth of 3."""
    predictions = toy_predictions(overconfidence=3.0, num_images=8)
    fitted = TemperatureScaling.fit_as_published(predictions)
    assert 1.03 < fitted.temperature < 1.045
    vector = VectorScaling.fit_as_published(predictions)
    assert float((vector.weight - 1).abs().max()) < 0.045


def test_as_published_with_more_epochs_comes_to_the_optimum():
    predictions = toy_predictions(overconfidence=1.3, num_images=8, size=(20, 30))
    fitted = TemperatureScaling.fit_as_published(predictions, num_epochs=600)
    assert fitted.temperature == pytest.approx(1.3, abs=0.06)


def test_forgetting_to_fit_is_a_type_error():
    with pytest.raises(TypeError, match="temperature"):
        TemperatureScaling()
    with pytest.raises(TypeError, match="weight"):
        VectorScaling()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_are_positive(temperature):
    with pytest.raises(InputError, match="positive temperature"):
        TemperatureScaling(temperature)


def test_vector_scaling_of_another_number_of_classes():
    with pytest.raises(ShapeError, match="3 classes"):
        VectorScaling(torch.ones(3), torch.zeros(3))(torch.zeros(1, 4, 2, 2))


def test_a_temperature_is_a_division():
    z = torch.randn(3, 5, 40, 1000, generator=torch.Generator().manual_seed(0))  # several blocks an image
    torch.testing.assert_close(TemperatureScaling(1.7)(z), z / 1.7, rtol=3e-7, atol=0)
    small = z[..., :3].repeat(90, 1, 1, 1)  # several images a block
    torch.testing.assert_close(TemperatureScaling(1.7)(small), small / 1.7, rtol=3e-7, atol=0)
    last = z.to(memory_format=torch.channels_last)
    assert torch.equal(TemperatureScaling(1.7)(last), TemperatureScaling(1.7)(z))


def test_vector_scaling_is_affine():
    z = torch.randn(2, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    weight, bias = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, -1.0, 1.0])
    expected = z * weight[None, :, None, None] + bias[None, :, None, None]
    torch.testing.assert_close(VectorScaling(weight, bias)(z), expected)


def test_gradients_reach_the_logits():
    z = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(TemperatureScaling(2.0)(z).sum(), z)
    torch.testing.assert_close(gradient, torch.full_like(z, 0.5))


@pytest.mark.parametrize("method", [TemperatureScaling, VectorScaling])
def test_sums_are_the_derivatives_of_the_value(method):
    """The hand-written gradient and Hessian against autograd in float64."""
    from calibrant.calibrators import temperature, vector

    z, labels = columns(toy_predictions(num_images=1))
    c = len(z)
    if method is TemperatureScaling:
        term, point = temperature._negative_log_likelihood, torch.tensor([0.7], dtype=torch.float64)

        def value(x):
            return nll(z * x, labels) * len(labels)
    else:
        term, point = vector._negative_log_likelihood, torch.linspace(-0.5, 1.5, 2 * c, dtype=torch.float64)

        def value(x):
            return nll(z * x[:c, None] + x[c:, None], labels) * len(labels)

    taylor = term(z.float(), labels, point)
    torch.testing.assert_close(taylor.value, value(point), rtol=1e-6, atol=0)
    torch.testing.assert_close(taylor.gradient, torch.autograd.functional.jacobian(value, point), rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(taylor.hessian, torch.autograd.functional.hessian(value, point), rtol=1e-5, atol=1e-3)


def test_minimise_says_when_the_steps_run_out():
    predictions = toy_predictions(overconfidence=5.0)
    from calibrant.calibrators.temperature import _negative_log_likelihood

    start = torch.tensor([40.0])
    few = _newton.minimise(_negative_log_likelihood, _newton.Blocks(predictions), start, max_evaluations=2)
    assert not few.converged
    enough = _newton.minimise(_negative_log_likelihood, _newton.Blocks(predictions), start)
    assert enough.converged
    assert 1 / float(enough.point) == pytest.approx(5.0, rel=0.15)
