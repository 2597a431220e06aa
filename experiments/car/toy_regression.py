"""Fig. 3 (a) of the paper: regression with two answers, learnt with and without the calibration loss.

``python -m experiments.car.toy_regression [--smoke]``: nine laws, five repeats, two arms. All 90 pairs of G and D are
trained side by side, as stacked matrices. The likelihood of samples, which the paper shows, cannot tell a collapsed
model from a right one, so two scores that can stand beside it.
"""

import argparse
import time
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calibrant.data import REGRESSION_SETTINGS
from calibrant.samplers.losses import adversarial_loss, discriminator_loss
from calibrant.training import seeded
from experiments._record import record

SETTINGS = REGRESSION_SETTINGS
BLOCK = 9
"""Networks whose samples are computed together."""


@dataclass(frozen=True)
class Config:
    """What is run; the defaults are the paper's and its code's.

    :param weight: lambda of the arm with the calibration loss.
    :param look_every: steps between two looks at all networks, on fresh inputs. (The paper: 10.)
    """

    repeats: int = 5
    calibration_steps: int = 1500
    calibration_batch: int = 1000
    steps: int = 5000
    batch: int = 100
    num_samples: int = 10
    weight: float = 1.0
    learning_rate: float = 1e-4
    width: int = 64
    look_every: int = 50
    look_size: int = 2000
    seed: int = 0

    @classmethod
    def smoke(cls) -> "Config":
        """Return what runs in seconds."""
        return cls(repeats=1, calibration_steps=4, calibration_batch=20, steps=6, batch=10, look_every=3, look_size=50)


class Networks(nn.Module):
    """Many networks of four hidden layers side by side: (network, case, in) to (network, case, 1).

    Sums of their losses have each its own gradient, and Adam looks at each weight alone: it is as if each were trained
    alone.
    """

    def __init__(self, count: int, num_inputs: int, width: int, slope: float, generator: torch.Generator) -> None:
        super().__init__()
        self.slope = slope
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise([num_inputs, width, width, width, width, 1]):
            for parameters, shape in ((self.weights, (count, before, after)), (self.biases, (count, 1, after))):
                drawn = torch.rand(shape, generator=generator) * 2 - 1
                parameters.append(nn.Parameter(drawn * before**-0.5))  # as torch begins a linear layer

    def forward(self, x: Tensor, which: slice = slice(None)) -> Tensor:
        """Return the outputs of some of the networks."""
        *hidden, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in hidden:
            x = F.leaky_relu(torch.baddbmm(bias[which], x, weight[which]), self.slope)
        return torch.baddbmm(last[1][which], x, last[0][which])


def draw(config: Config, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and answers of every law and repeat: (laws * repeats, cases, 1)."""
    found = [task.draw(config.repeats * count, generator=generator) for task in SETTINGS]
    x, y = (torch.stack(column) for column in zip(*found, strict=True))
    return x.reshape(-1, count, 1), y.reshape(-1, count, 1)


def train_calibration_networks(config: Config) -> Networks:
    """Return F of every law and repeat, fitted to the mean of the answers (a Gaussian likelihood of scale 1)."""
    networks = Networks(len(SETTINGS) * config.repeats, 1, config.width, 0.0, seeded(config.seed, "F"))
    optimiser = torch.optim.Adam(networks.parameters(), lr=config.learning_rate)
    for step in range(config.calibration_steps):
        x, y = draw(config, config.calibration_batch, seeded(config.seed, "F", step))
        loss = 0.5 * (networks(x) - y).square().mean((1, 2)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return networks.requires_grad_(False)


@dataclass(frozen=True)
class Look:
    """Scores of every network, (arms, laws, repeats).

    :param likelihood: mean log p(sample | x) under the truth, of one sample an input; a floor of -25.3, as published.
    :param miscalibration: the mean distance of sorted P(Y <= sample | x) from even spacing: 0 for the right law,
        0.25 for one answer in the middle.
    :param rarer_answer: how often the rarer answer is given where there are two well apart (x < 0.4), over how often
        it should: 1 for the right law, 0 for a collapsed model.
    """

    likelihood: Tensor
    miscalibration: Tensor
    rarer_answer: Tensor


@torch.no_grad()
def look(config: Config, calibration: Networks, refinement: Networks, step: int) -> Look:
    """Return the scores of every network on fresh inputs."""
    generator = seeded(config.seed, "look", step)
    x, _ = draw(config, config.look_size, generator)
    condition = torch.cat([x, calibration(x)], 2).repeat(2, 1, 1)
    shape = (2, len(SETTINGS), config.repeats, config.look_size)
    samples = refinement(_noisy(condition, generator)).reshape(shape)
    inputs = x.reshape(shape[1:]).expand(shape)
    likelihood, miscalibration, rarer = (torch.empty(shape[:3]) for _ in range(3))
    even = (torch.arange(config.look_size) + 0.5) / config.look_size
    for number, task in enumerate(SETTINGS):
        y, at = samples[:, number], inputs[:, number]
        likelihood[:, number] = task.log_density(y, at, floor=1e-11).mean(2)
        miscalibration[:, number] = (task.distribution(y, at).sort(2).values - even).abs().mean(2)
        apart = at < 0.4
        share = ((y > 0) & apart).sum(2) / apart.sum(2)  # the upper answer is never the likelier one
        rarer[:, number] = share / (1 - task.lower)
    return Look(likelihood, miscalibration, rarer)


def train_refinement_networks(config: Config, calibration: Networks) -> list[Look]:
    """Train G and D of both arms and return what was seen on the way; the first arm has the calibration loss."""
    half = len(SETTINGS) * config.repeats
    refinement = Networks(2 * half, 3, config.width, 0.01, seeded(config.seed, "G"))
    discriminators = Networks(2 * half, 2, config.width, 0.01, seeded(config.seed, "D"))
    optimisers = [torch.optim.Adam(each.parameters(), lr=config.learning_rate) for each in (refinement, discriminators)]
    seen = []
    for step in range(config.steps):
        generator = seeded(config.seed, "G", step)
        x, y = draw(config, config.batch, generator)
        target = calibration(x)

        with torch.no_grad():
            fake = refinement(_noisy(torch.cat([x, target], 2).repeat(2, 1, 1), generator))
        answers = torch.cat([y.repeat(2, 1, 1), fake], 1)
        real, made = discriminators(torch.cat([x.repeat(2, 2, 1), answers], 2)).split(config.batch, 1)
        optimisers[1].zero_grad()
        # A mean over cases and networks, times the networks: the sum of what each is trained with.
        (2 * half * discriminator_loss(real.flatten(), made.flatten())).backward()
        optimisers[1].step()

        optimisers[0].zero_grad()
        for arm, num in ((0, config.num_samples), (1, 1)):
            for rows in torch.arange(half).split(BLOCK if num > 1 else half):  # as many as a processor's cache holds
                laws = slice(int(rows[0]), int(rows[-1]) + 1)
                which = slice(arm * half + laws.start, arm * half + laws.stop)
                inputs, aim = x[laws].repeat(1, num, 1), target[laws]
                drawn = refinement(_noisy(torch.cat([inputs, aim.repeat(1, num, 1)], 2), generator), which)
                judged = discriminators(torch.cat([inputs, drawn], 2), which)
                loss = len(rows) * adversarial_loss(judged.flatten())
                if arm == 0:
                    mean = drawn.reshape(len(rows), num, config.batch).mean(1)
                    loss = loss + config.weight * 0.5 * (mean - aim.squeeze(2)).square().mean(1).sum()
                loss.backward(inputs=list(refinement.parameters()))
        optimisers[0].step()
        if (step + 1) % config.look_every == 0:
            seen.append(look(config, calibration, refinement, step + 1))
        if (step + 1) % 250 == 0:
            print(f"step {step + 1} of {config.steps}", flush=True)
    return seen


def _noisy(condition: Tensor, generator: torch.Generator) -> Tensor:
    """Return what G sees: input, calibration, and a number of its own for each sample."""
    return torch.cat([condition, torch.randn(*condition.shape[:2], 1, generator=generator)], 2)


def quartiles(values: Tensor) -> list[float]:
    """Return the lower quartile, the median and the upper quartile over laws and repeats."""
    return [round(float(q), 4) for q in torch.quantile(values.flatten(), torch.tensor([0.25, 0.5, 0.75]))]


def main(config: Config) -> dict[str, list]:
    """Run, print, record, and return the curves."""
    begun, worked = time.monotonic(), time.process_time()
    seen = train_refinement_networks(config, train_calibration_networks(config))
    curves = {
        f"{name}, {arm}": [quartiles(getattr(each, name)[number]) for each in seen]
        for name in ("likelihood", "miscalibration", "rarer_answer")
        for number, arm in enumerate(("with calibration loss", "without"))
    }
    print(f"{'at the end (quartiles)':48}  paper                                   ours")
    claims = {
        "likelihood": ("higher, sooner, steadier", "lower, wider"),
        "miscalibration": ("mean matches F", "collapses"),
        "rarer_answer": ("both answers", "one lost at high bias"),
    }
    for title, curve in curves.items():
        name, _, arm = title.partition(", ")
        claim = claims[name][arm == "without"]
        print(f"{title:48}  {claim:38}  " + "  ".join(f"{value:8.3f}" for value in curve[-1]))
    truth = [float(task.log_density(*task.draw(20_000, generator=seeded(0))[::-1]).mean()) for task in SETTINGS]
    print(f"true answers have a log-likelihood of {min(truth):.2f} to {max(truth):.2f}, median {sorted(truth)[4]:.2f}")
    if config != Config.smoke():
        settings = [{"lower": task.lower, "noise": task.noise} for task in SETTINGS]
        last = {name: getattr(seen[-1], name).tolist() for name in ("likelihood", "miscalibration", "rarer_answer")}
        worked = round(time.process_time() - worked)
        figures = {"CPU seconds": worked, "curves": curves, "settings": settings, "end": last}
        print(record("car_toy_regression", config, time.monotonic() - begun, figures))
    return curves


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few steps of each part, in seconds")
    main(Config.smoke() if parser.parse_args().smoke else Config())
