"""Networks side by side learn as each would alone, and the scores tell a right law from a collapsed one."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.car import toy_regression as toy

from calibrant.samplers.losses import adversarial_loss, discriminator_loss


def _alone(together: toy.Networks, number: int) -> torch.nn.Sequential:
    """Return one of the networks, of torch's layers."""
    layers = []
    for weight, bias in zip(together.weights, together.biases, strict=True):
        linear = torch.nn.Linear(*weight.shape[1:])
        with torch.no_grad():
            linear.weight.copy_(weight[number].T)
            linear.bias.copy_(bias[number, 0])
        layers += [linear, torch.nn.LeakyReLU(together.slope)]
    return torch.nn.Sequential(*layers[:-1])


def test_stacked_networks_learn_as_each_alone():
    generator = torch.Generator().manual_seed(0)
    together = toy.Networks(3, 2, 8, 0.01, generator)
    alone = _alone(together, 1)
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


def test_parts_share_memory_with_the_whole():
    whole = toy.Networks(5, 2, 8, 0.01, torch.Generator().manual_seed(0))
    x = torch.randn(5, 20, 2, generator=torch.Generator().manual_seed(1))
    parts = whole.split(2)
    assert [len(part.weights[0]) for part in parts] == [2, 2, 1]
    before = whole(x).detach()
    with torch.no_grad():
        parts[1].biases[-1].add_(1)
        whole[torch.tensor([4])].biases[-1].add_(1)  # a copy
    torch.testing.assert_close((whole(x) - before)[:, 0, 0], torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0]))
    assert not any(parameter.requires_grad for parameter in parts[0].requires_grad_(False).parameters())
    assert all(parameter.requires_grad for parameter in whole.parameters())


@pytest.mark.parametrize(("number", "num"), [(0, 3), (1, 1)])
def test_gradients_of_an_arm_are_those_of_plain_networks(number, num):
    config = toy.Config(repeats=1, width=8, num_samples=num, weight=2.0)
    rows, generator = torch.arange(0, 9, 2), torch.Generator().manual_seed(0)
    arm = toy.Arm(config, number, rows, block=2)
    x, y, target, once = torch.randn(4, len(rows), 20, 1, generator=generator)
    noise = torch.randn(num, len(rows), 20, 1, generator=generator)
    arm.discriminate(x, y, target, once)
    arm.refine(x, target, torch.cat(list(noise), 1))
    for row in range(len(rows)):
        g, d = _alone(arm.refinement, row), _alone(arm.discriminators, row)
        fake = g(torch.cat([x[row], target[row], once[row]], 1)).detach()
        real, made = (d(torch.cat([x[row], answers], 1)).flatten() for answers in (y[row], fake))
        discriminator_loss(real, made).backward()
        _assert_same_gradients(arm.discriminators, row, d)
        drawn = [g(torch.cat([x[row], target[row], some[row]], 1)) for some in noise]
        loss = torch.stack([adversarial_loss(d(torch.cat([x[row], each], 1)).flatten()) for each in drawn]).mean()
        if number == 0:
            loss = loss + 2.0 * 0.5 * (torch.stack(drawn).mean(0) - target[row]).square().mean()
        loss.backward()
        _assert_same_gradients(arm.refinements[row // 2], row % 2, g)


def _assert_same_gradients(together: toy.Networks, number: int, alone: torch.nn.Sequential) -> None:
    for found, plain in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(found.grad[number].T.reshape(plain.shape), plain.grad, rtol=1e-4, atol=1e-6)


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
