"""The losses against slow loops, limits and derivatives."""

import math

import pytest
import torch

from calibrant.samplers.losses import (
    adversarial_loss,
    calibration_loss,
    discriminator_loss,
    label_planes,
    r1_penalty,
    spread,
)


def drawn(seed=0, m=5, n=2, c=3):
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(m, n, c, 4, 3, generator=generator).softmax(2)
    return samples, torch.randn(n, c, 4, 3, generator=generator).softmax(1)


def test_calibration_loss_is_the_divergence_of_the_mean():
    samples, target = drawn()
    total = 0.0
    for i in range(2):
        for y in range(4):
            for x in range(3):
                for k in range(3):
                    p, q = float(samples[:, i, k, y, x].mean()), float(target[i, k, y, x])
                    total += p * (math.log(p) - math.log(q))
    assert float(calibration_loss(samples, target)) == pytest.approx(total / 24, rel=1e-5)


def test_calibration_loss_sees_the_mean_alone_and_keeps_single_samples_free():
    target = torch.tensor([[[0.7], [0.3]]])
    hard = torch.tensor([[1.0, 0.0]] * 7 + [[0.0, 1.0]] * 3).reshape(10, 1, 2, 1).requires_grad_()
    loss = calibration_loss(hard, target)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
    (gradient,) = torch.autograd.grad(loss, hard)
    # The same for every sample and for both classes: nothing draws one sample to the mean.
    torch.testing.assert_close(gradient, torch.full_like(gradient, 0.1), rtol=0, atol=1e-5)


def test_no_gradient_reaches_the_target():
    samples, target = drawn()
    samples.requires_grad_()
    target.requires_grad_()
    calibration_loss(samples, target).backward()
    assert samples.grad is not None
    assert target.grad is None


def test_calibration_loss_is_finite_where_classes_are_ruled_out():
    samples = torch.tensor([[[[1.0], [0.0]]]])
    loss = calibration_loss(samples, 1 - samples[0])
    assert float(loss) == pytest.approx((0.999 - 0.001) * math.log(999), rel=1e-4)


def test_adversarial_losses_are_those_of_the_sigmoid():
    real, fake = torch.tensor([0.3, -2.0]), torch.tensor([1.0, -0.5])
    assert float(adversarial_loss(fake)) == pytest.approx(float(-fake.sigmoid().log().mean()), rel=1e-5)
    expected = -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()
    assert float(discriminator_loss(real, fake)) == pytest.approx(float(expected), rel=1e-5)
    assert float(adversarial_loss(torch.tensor([-1e4]))) == 1e4  # no saturation, no infinity


@pytest.mark.parametrize("of_probability", [True, False])
def test_r1_is_the_squared_norm_of_the_gradient(of_probability):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 3, 4, generator=generator, requires_grad=True)
    pairs = torch.randn(5, 2, 3, 4, generator=generator, requires_grad=True)
    judged = (weight * pairs).sum((1, 2, 3))
    found = r1_penalty(judged, pairs, of_probability=of_probability)
    probs = judged.detach().sigmoid()
    slope = (probs * (1 - probs)) if of_probability else torch.ones(5)
    torch.testing.assert_close(found, (slope.square() * weight.square().sum()).mean())
    found.backward()
    assert float(weight.grad.abs().sum()) > 0


def test_unlabelled_pixels_have_no_plane():
    planes = label_planes(torch.tensor([[0, 2, -100]]), 3)
    assert planes[0].T.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_spread():
    target = torch.tensor([[[0.7], [0.3]]])
    hard = (torch.rand(20_000, 1, 1, 1, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    assert float(spread(torch.cat([1 - hard, hard], 2), target)) == pytest.approx(1.0, abs=0.03)
    soft = target.expand(4, *target.shape)
    assert float(spread(soft, target)) == pytest.approx(0.0, abs=1e-6)
