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

    x, _ = toy.look_draws(config, 0)
    x = x.reshape(len(toy.SETTINGS), config.repeats, -1)
    samples = torch.empty(2, *x.shape)  # the first arm draws from the true laws; the second gives the lower answer
    for number, task in enumerate(toy.SETTINGS):
        answers = task.answers(x[number].flatten(), generator=torch.Generator().manual_seed(number))
        samples[0, number] = answers.reshape(x[number].shape)
        samples[1, number] = task.modes(x[number])[1]
    seen = toy.look(config, samples.flatten(1, 2), 0)
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
    one, other = (toy.train_together(replace(config, weight=weight, learning_rate=1e-2))[-1] for weight in (1e-9, 50.0))
    assert torch.equal(one[arm], other[arm]) == (arm == 1)


def test_what_is_learnt_does_not_depend_on_who_shares_the_process():
    config = replace(toy.Config.smoke(), learning_rate=1e-3)
    some = torch.tensor([1, 4, 7, 8])
    torch.testing.assert_close(toy.train(config, some), toy.train_together(config)[:, :, some])
    torch.testing.assert_close(toy.train_together(replace(config, processes=2))[:, :, some], toy.train(config, some))


@pytest.mark.parametrize("slope", [0.0, 0.01])
@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_are_those_of_autograd(slope, frozen):
    generator = torch.Generator().manual_seed(0)
    networks = toy.Networks(3, 2, 8, slope, generator).requires_grad_(not frozen)
    x = torch.randn(3, 20, 2, generator=generator, requires_grad=True)
    scale = torch.randn(3, 20, 1, generator=generator)
    plain = x
    for number, (weight, bias) in enumerate(zip(networks.weights, networks.biases, strict=True)):
        plain = torch.baddbmm(bias, plain, weight)
        plain = torch.nn.functional.leaky_relu(plain, slope) if number < 4 else plain
    wanted = [x, *(() if frozen else networks.parameters())]
    slow = torch.autograd.grad((plain * scale).sum(), wanted)
    found = torch.autograd.grad((networks(x) * scale).sum(), wanted)
    for one, other in zip(found, slow, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
