"""The energy-score arm of the regression task: its gradient, and that it learns a law of two answers."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.car import toy_energy
from experiments.car.toy_regression import Config


def test_the_gradient_is_that_of_the_energy_score():
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64).requires_grad_()
    answers = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    across = (samples - answers[:, None]).abs().mean(1)
    within = (samples[:, :, None] - samples[:, None]).abs().sum((1, 2)) / (5 * 4)
    (gradient,) = torch.autograd.grad((2 * across - within).sum(), samples)
    torch.testing.assert_close(toy_energy.energy_gradient(samples.detach(), answers), gradient)


def test_it_learns_a_law_in_a_few_steps():
    config = replace(Config.smoke(), steps=200, batch=50, num_samples=8, learning_rate=5e-3, look_every=100, width=16)
    config = replace(config, look_size=400)
    _, last = toy_energy.main(replace(config, seed=1))["miscalibration"]
    assert last[1] < 0.12
    assert toy_energy.main(Config.smoke())["likelihood"]
