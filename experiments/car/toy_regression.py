"""Fig. 3 (a) of the paper: regression with two answers, learnt with and without the calibration loss.

``python -m experiments.car.toy_regression [--smoke]``: nine laws, five repeats, two arms. All 90 pairs of G and D are
trained side by side, as stacked matrices, half of them by each of two processes. The likelihood of samples, which the
paper shows, cannot tell a collapsed model from a right one, so two scores that can stand beside it.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from calibrant.data import REGRESSION_SETTINGS
from calibrant.training import seeded
from experiments._record import record
from experiments.car._stacked import Networks, Trainable

SETTINGS = REGRESSION_SETTINGS
BLOCK = 8
"""Networks whose samples are computed together: as many as a processor's cache holds."""
STEPS_AT_ONCE = 50
"""Steps whose cases are drawn together: the cases of one are too few to be worth their nine laws' calls."""


@dataclass(frozen=True)
class Config:
    """What is run; the defaults are the paper's and its code's.

    :param weight: lambda of the arm with the calibration loss.
    :param processes: that share the networks, each on one thread; what is learnt does not depend on it.
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
    look_every: int = 100
    look_size: int = 2000
    seed: int = 0
    processes: int = 2

    @property
    def rows(self) -> int:
        """Laws and repeats: the networks of an arm."""
        return len(SETTINGS) * self.repeats

    @classmethod
    def smoke(cls) -> "Config":
        """Return what runs in seconds."""
        return cls(
            repeats=1,
            calibration_steps=4,
            calibration_batch=20,
            steps=6,
            batch=10,
            look_every=3,
            look_size=50,
            processes=1,
        )


def draw(config: Config, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs and answers of every law and repeat: (laws * repeats, cases, 1)."""
    found = [task.draw(config.repeats * count, generator=generator) for task in SETTINGS]
    x, y = (torch.stack(column) for column in zip(*found, strict=True))
    return x.reshape(-1, count, 1), y.reshape(-1, count, 1)


def batches(config: Config, purpose: str, steps: int, size: int, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and answers of some laws and repeats, (rows, size, 1), for every step."""
    for first in range(0, steps, STEPS_AT_ONCE):
        num = min(STEPS_AT_ONCE, steps - first)
        drawn = draw(config, num * size, seeded(config.seed, purpose, first))
        yield from zip(*(each[rows].split(size, 1) for each in drawn), strict=True)


def train_calibration_networks(config: Config, rows: Tensor) -> Networks:
    """Return F of some laws and repeats, fitted to the mean of the answers (a Gaussian of scale 1)."""
    networks = Trainable.begin(config.rows, 1, config.width, 0.0, seeded(config.seed, "F"), rows)
    blocks = networks.split(_sizes(len(rows)))
    optimiser = _adam(config, networks)
    for x, y in batches(config, "F", config.calibration_steps, config.calibration_batch, rows):
        for block, inputs, answers in zip(blocks, x.split(BLOCK), y.split(BLOCK), strict=True):
            block.backward((block(inputs) - answers) / config.calibration_batch)  # of half the mean squared error
        optimiser.step()
    return networks


class Arms:
    """G and D of both arms, for some laws and repeats: first all with the calibration loss, then all without.

    D learns of few cases, all networks at once; G of more, in blocks where it has several samples a case.
    """

    def __init__(self, config: Config, rows: Tensor) -> None:
        both = torch.cat([rows, config.rows + rows])
        self.refinement, self.discriminators = (
            Trainable.begin(2 * config.rows, num_inputs, config.width, 0.01, seeded(config.seed, name), both)
            for name, num_inputs in (("G", 3), ("D", 2))
        )
        self.weight, sizes = config.weight, [*_sizes(len(rows)), len(rows)]
        self.pairs = list(zip(self.refinement.split(sizes), self.discriminators.split(sizes), strict=True))

    def sample(self, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
        """Return one sample a case of all networks.

        :param x: (rows, cases, 1), as is the target.
        :param noise: (arms * rows, cases, 1).
        """
        return self.refinement(torch.cat([torch.cat([x, target], 2).repeat(2, 1, 1), noise], 2))

    def discriminate(self, x: Tensor, y: Tensor, target: Tensor, noise: Tensor) -> None:
        """Make the gradients of D."""
        answers = torch.cat([y.repeat(2, 1, 1), self.sample(x, target, noise)], 1)
        gradient = torch.sigmoid(self.discriminators(torch.cat([x.repeat(2, 2, 1), answers], 2)))
        gradient[:, : y.shape[1]] -= 1  # of softplus(-real) + softplus(made)
        self.discriminators.backward(gradient / y.shape[1])

    def refine(self, x: Tensor, target: Tensor, often: Tensor, once: Tensor) -> None:
        """Make the gradients of G, from as many samples a case as there is noise for.

        :param often: (rows, samples * cases, 1), for the arm with the calibration loss.
        :param once: (rows, cases, 1), for that without.
        """
        *first, last = zip(
            self.pairs,
            [*_given(x, target, often).split(BLOCK), _given(x, target, once)],
            [*target.split(BLOCK), target],
            strict=True,
        )
        for pair, given, aim in first:
            _refine(*pair, given, aim, self.weight)
        _refine(*last[0], *last[1:], 0.0)


def _given(x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    return torch.cat([torch.cat([x, target], 2).repeat(1, noise.shape[1] // x.shape[1], 1), noise], 2)


def _refine(networks: Networks, judges: Networks, given: Tensor, aim: Tensor, weight: float) -> None:
    drawn, num = networks(given), given.shape[1]
    judged = judges(torch.cat([given[..., :1], drawn], 2))
    gradient = judges.backward(torch.sigmoid(-judged) / -num, learn=False)[..., 1:]  # of softplus(-judged)
    if weight:
        gap = drawn.reshape(len(aim), -1, aim.shape[1]).mean(1) - aim.squeeze(2)
        gradient = gradient + (weight / num * gap).repeat(1, num // aim.shape[1])[..., None]  # of half its square
    networks.backward(gradient)


def train(config: Config, rows: Tensor) -> Tensor:
    """Train F, then G and D of both arms, of some laws and repeats; return samples: (looks, arms, rows, cases).

    All draws are made for all rows, whichever are trained, so what a network learns does not depend on its company.
    """
    calibration = train_calibration_networks(config, rows)
    arms = Arms(config, rows)
    refining, discriminating = _adam(config, arms.refinement), _adam(config, arms.discriminators)
    seen = []
    for step, (x, y) in enumerate(batches(config, "cases", config.steps, config.batch, rows)):
        generator = seeded(config.seed, "noise", step)
        target = calibration(x)
        noise = torch.randn(2, config.rows, config.batch, 1, generator=generator)[:, rows]
        more = [torch.randn(config.rows, num * config.batch, 1, generator=generator) for num in (config.num_samples, 1)]
        arms.discriminate(x, y, target, noise.flatten(0, 1))
        discriminating.step()
        arms.refine(x, target, *(each[rows] for each in more))
        refining.step()
        if (step + 1) % config.look_every == 0:
            x, noise = (each[..., rows, :, :] for each in look_draws(config, step + 1))
            seen.append(arms.sample(x, calibration(x), noise.flatten(0, 1)).reshape(noise.shape))
        if (step + 1) % 250 == 0 and 0 in rows:
            print(f"step {step + 1} of {config.steps}", flush=True)
    return torch.stack(seen).squeeze(4)


def look_draws(config: Config, step: int) -> tuple[Tensor, Tensor]:
    """Return fresh inputs, (rows, cases, 1), and noise, (arms, rows, cases, 1)."""
    generator = seeded(config.seed, "look", step)
    x, _ = draw(config, config.look_size, generator)
    return x, torch.randn(2, config.rows, config.look_size, 1, generator=generator)


def _sizes(rows: int) -> list[int]:
    return [len(block) for block in torch.arange(rows).split(BLOCK)]


def _adam(config: Config, networks: Trainable) -> torch.optim.Adam:
    return torch.optim.Adam([networks.flat], lr=config.learning_rate, fused=True)


def train_together(config: Config) -> Tensor:
    """Return what :func:`train` does for all rows, of several processes with one thread each."""
    if config.processes == 1:
        return train(config, torch.arange(config.rows))
    shares = [torch.arange(config.rows)[first :: config.processes] for first in range(config.processes)]
    # What is forked need not import torch anew.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(config.processes, context, torch.set_num_threads, (1,)) as pool:
        parts = list(pool.map(train, [config] * config.processes, shares))
    found = torch.empty(*parts[0].shape[:2], config.rows, config.look_size)
    for share, part in zip(shares, parts, strict=True):
        found[:, :, share] = part
    return found


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


def look(config: Config, samples: Tensor, step: int) -> Look:
    """Return the scores of every network.

    :param samples: (arms, rows, cases), for the inputs of :func:`look_draws` at this step.
    """
    shape = (2, len(SETTINGS), config.repeats, config.look_size)
    samples = samples.reshape(shape)
    inputs = look_draws(config, step)[0].reshape(shape[1:]).expand(shape)
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


def quartiles(values: Tensor) -> list[float]:
    """Return the lower quartile, the median and the upper quartile over laws and repeats."""
    return [round(float(q), 4) for q in torch.quantile(values.flatten(), torch.tensor([0.25, 0.5, 0.75]))]


def main(config: Config) -> dict[str, list]:
    """Run, print, record, and return the curves."""
    begun = time.monotonic()
    drawn = train_together(config)
    seen = [look(config, samples, (number + 1) * config.look_every) for number, samples in enumerate(drawn)]
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
    lost = (seen[-1].rarer_answer == 0).flatten(1)
    print("never give the rarer answer: {}, without {}, of {}".format(*lost.sum(1).tolist(), lost.shape[1]))
    truth = [float(task.log_density(*task.draw(20_000, generator=seeded(0))[::-1]).mean()) for task in SETTINGS]
    print(f"true answers have a log-likelihood of {min(truth):.2f} to {max(truth):.2f}, median {sorted(truth)[4]:.2f}")
    if config != Config.smoke():
        settings = [{"lower": task.lower, "noise": task.noise} for task in SETTINGS]
        last = {name: getattr(seen[-1], name).tolist() for name in ("likelihood", "miscalibration", "rarer_answer")}
        worked = round(sum(os.times()[:4]))  # of its processes too
        figures = {"CPU seconds": worked, "curves": curves, "settings": settings, "end": last}
        print(record("car_toy_regression", config, time.monotonic() - begun, figures))
    return curves


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few steps of each part, in seconds")
    main(Config.smoke() if parser.parse_args().smoke else Config())
