"""Networks side by side learn as each would alone, and the scores tell a right law from a collapsed one."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.car import toy_regression as toy


def test_stacked_networks_learn_as_each_alone():
    generator = torch.Generator().manual_seed(0)
    together = toy.Networks(3, 2, 8, 0.01, generator)
    alone = torch.nn.Sequential(
        *[
            layer
            for number, weight in enumerate(together.weights)
            for layer in (torch.nn.Linear(*weight.shape[1:]), *([torch.nn.LeakyReLU(0.01)] if number < 4 else []))
        ]
    )
    linears = [layer for layer in alone if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for layer, weight, bias in zip(linears, together.weights, together.biases, strict=True):
            layer.weight.copy_(weight[1].T)
            layer.bias.copy_(bias[1, 0])
    optimisers = [torch.optim.Adam(each.parameters(), lr=1e-3) for each in (together, alone)]
    for _ in range(5):
        x = torch.randn(3, 20, 2, generator=generator)
        y = x.sum(2, keepdim=True)
        for optimiser, loss in zip(
            optimisers,
            ((together(x) - y).square().mean((1, 2)).sum(), (alone(x[1]) - y[1]).square().mean()),
            strict=True,
        ):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    x = torch.randn(3, 20, 2, generator=generator)
    torch.testing.assert_close(together(x)[1], alone(x[1]), rtol=1e-4, atol=1e-5)


def test_scores_tell_the_truth_from_a_collapsed_model():
    config = toy.Config(repeats=2, look_size=4000)

    class Answers(torch.nn.Module):
        """The first arm draws from the true laws; the second always gives the lower answer."""

        def forward(self, given):
            x = given[..., 0].reshape(2, len(toy.SETTINGS), 2, -1)
            y = torch.empty_like(x)
            generator = torch.Generator().manual_seed(1)
            for number, task in enumerate(toy.SETTINGS):
                y[0, number] = task.answers(x[0, number].flatten(), generator=generator).reshape(2, -1)
                y[1, number] = task.modes(x[1, number])[1]
            return y.reshape(*given.shape[:2], 1)

    def mean(x):
        return torch.zeros_like(x)

    seen = toy.look(config, mean, Answers(), 0)
    right, collapsed = 0, 1
    assert float(seen.miscalibration[right].max()) < 0.02
    assert float(seen.miscalibration[collapsed].min()) > 0.02
    assert float((seen.rarer_answer[right] - 1).abs().max()) < 0.2
    assert float(seen.rarer_answer[collapsed].max()) == 0.0
    assert float(seen.likelihood[collapsed].mean()) > float(seen.likelihood[right].mean())  # what it cannot tell


def test_smoke(capsys):
    curves = toy.main(toy.Config.smoke())
    assert len(curves["likelihood, without"]) == 2
    assert all(low <= middle <= high for curve in curves.values() for low, middle, high in curve)
    assert "paper" in capsys.readouterr().out


@pytest.mark.parametrize("arm", [0, 1])
def test_the_calibration_loss_acts_on_its_arm_alone(arm):
    """Without steps of chance: the same draws with another weight change the first arm and not the second."""
    config = toy.Config.smoke()
    calibration = toy.train_calibration_networks(config)
    one, other = (
        toy.train_refinement_networks(replace(config, weight=weight, learning_rate=1e-2), calibration)[-1]
        for weight in (0.0, 50.0)
    )
    assert torch.equal(one.miscalibration[arm], other.miscalibration[arm]) == (arm == 1)
