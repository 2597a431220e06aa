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


def _begin(count: int, slope: float = 0.01, seed: int = 0) -> toy.Trainable:
    return toy.Trainable.begin(count, 2, 8, slope, torch.Generator().manual_seed(seed), torch.arange(count))


def test_stacked_networks_learn_as_each_alone():
    generator = torch.Generator().manual_seed(0)
    together = _begin(3)
    alone = _alone(together, 1)
    optimisers = [torch.optim.Adam(parameters, lr=1e-3) for parameters in ([together.flat], alone.parameters())]
    for _ in range(5):
        x = torch.randn(3, 20, 2, generator=generator)
        y = x.sum(2, keepdim=True)
        together.backward((together(x) - y) / 10)
        optimisers[1].zero_grad()
        (alone(x[1]) - y[1]).square().mean().backward()
        for optimiser in optimisers:
            optimiser.step()
    x = torch.randn(3, 20, 2, generator=generator)
    torch.testing.assert_close(together(x)[1], alone(x[1]), rtol=1e-4, atol=1e-5)


def test_parts_share_parameters_and_gradients_with_the_whole():
    whole = _begin(5)
    x = torch.randn(5, 20, 2, generator=torch.Generator().manual_seed(1))
    parts = whole.split([2, 2, 1])
    assert [len(part) for part in parts] == [2, 2, 1]
    before = whole(x)
    parts[1].biases[-1].add_(1)
    torch.testing.assert_close((whole(x) - before)[:, 0, 0], torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0]))
    parts[2](x[4:])
    parts[2].backward(torch.ones(1, 20, 1))
    touched = whole.gradients[-1].flatten()
    assert touched.tolist() == [0, 0, 0, 0, 20]
    assert whole.flat.grad.data_ptr() == whole.gradients[0].data_ptr()


def test_gradients_of_the_arms_are_those_of_plain_networks(monkeypatch):
    monkeypatch.setattr(toy, "BLOCK", 2)
    config, num = toy.Config(repeats=1, width=8, weight=2.0), 3
    rows, generator = torch.arange(0, 9, 2), torch.Generator().manual_seed(0)
    arms = toy.Arms(config, rows)
    x, y, target, once = torch.randn(4, len(rows), 20, 1, generator=generator)
    first = torch.randn(2 * len(rows), 20, 1, generator=generator)
    often = torch.randn(num, len(rows), 20, 1, generator=generator)
    arms.discriminate(x, y, target, first)
    arms.refine(x, target, torch.cat(list(often), 1), once)
    for network in range(2 * len(rows)):
        row, calibrated = network % len(rows), network < len(rows)
        g, d = _alone(arms.refinement, network), _alone(arms.discriminators, network)
        fake = g(torch.cat([x[row], target[row], first[network]], 1)).detach()
        real, made = (d(torch.cat([x[row], answers], 1)).flatten() for answers in (y[row], fake))
        discriminator_loss(real, made).backward()
        _assert_same_gradients(arms.discriminators, network, d)
        noises = often[:, row] if calibrated else once[None, row]
        drawn = [g(torch.cat([x[row], target[row], some], 1)) for some in noises]
        loss = torch.stack([adversarial_loss(d(torch.cat([x[row], each], 1)).flatten()) for each in drawn]).mean()
        if calibrated:
            loss = loss + 2.0 * 0.5 * (torch.stack(drawn).mean(0) - target[row]).square().mean()
        loss.backward()
        _assert_same_gradients(arms.refinement, network, g)


def _assert_same_gradients(together: toy.Networks, number: int, alone: torch.nn.Sequential) -> None:
    for found, plain in zip(together.gradients, alone.parameters(), strict=True):
        torch.testing.assert_close(found[number].T.reshape(plain.shape), plain.grad, rtol=1e-4, atol=1e-6)


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
def test_gradients_are_those_of_autograd(slope):
    networks, generator = _begin(3, slope), torch.Generator().manual_seed(0)
    x = torch.randn(3, 20, 2, generator=generator, requires_grad=True)
    scale = torch.randn(3, 20, 1, generator=generator)
    leaves = [each.clone().requires_grad_() for each in networks.parameters]
    plain = x
    for number in range(5):
        plain = torch.baddbmm(leaves[2 * number + 1], plain, leaves[2 * number])
        plain = torch.nn.functional.leaky_relu(plain, slope) if number < 4 else plain
    for_input, *for_parameters = torch.autograd.grad((plain * scale).sum(), [x, *leaves])
    torch.testing.assert_close(networks(x.detach()), plain.detach(), rtol=1e-4, atol=1e-5)
    networks.backward(scale)
    for found, slow in zip(networks.gradients, for_parameters, strict=True):
        torch.testing.assert_close(found, slow, rtol=1e-4, atol=1e-5)
    networks(x.detach())
    torch.testing.assert_close(networks.backward(scale, learn=False), for_input, rtol=1e-4, atol=1e-5)
