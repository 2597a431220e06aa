"""The regression task of Fig. 3 (a) of the CAR paper, learnt by the energy score and nothing else.

    python -m experiments.car.toy_energy [--smoke]

Nine laws, five repeats, as in ``experiments.car.toy_regression``: the same cases, networks of the same width, the same
number of steps, samples and rate; but one network alone, which sees x and noise and is trained by the unbiased energy
score of its samples (Gneiting and Raftery, 2007), in one dimension twice the CRPS. Scores are those of that experiment.
"""

import argparse
import time

import torch
from torch import Tensor

from calibrant.training import seeded
from experiments._record import record
from experiments.car._stacked import Trainable
from experiments.car.toy_regression import SETTINGS, Config, Look, batches, draw, look, quartiles


def energy_gradient(samples: Tensor, answers: Tensor) -> Tensor:
    r"""Return the gradient of :math:`\frac2m \sum_j |s_j - y| - \frac1{m(m-1)} \sum_{j \ne k} |s_j - s_k|`.

    :param samples: (..., m, cases), in which no two are equal.
    :param answers: (..., cases).
    """
    m = samples.shape[-2]
    ranks = samples.argsort(-2).argsort(-2)  # of m - 1 others, so many are below
    between = (2 * ranks - (m - 1)).float()
    return 2 / m * torch.sign(samples - answers[..., None, :]) - 2 / (m * (m - 1)) * between


def train(config: Config) -> list[Tensor]:
    """Return samples of all networks at each look: (rows, cases)."""
    rows = torch.arange(config.rows)
    networks = Trainable.begin(config.rows, 2, config.width, 0.01, seeded(config.seed, "energy"), rows)
    optimiser = torch.optim.Adam([networks.flat], lr=config.learning_rate, fused=True)
    seen = []
    for step, (x, y) in enumerate(batches(config, "cases", config.steps, config.batch, rows)):
        size = config.num_samples * config.batch
        noise = torch.randn(config.rows, size, 1, generator=seeded(config.seed, "energy noise", step))
        drawn = networks(torch.cat([x.repeat(1, config.num_samples, 1), noise], 2))
        samples = drawn.reshape(config.rows, config.num_samples, config.batch)
        gradient = energy_gradient(samples, y[..., 0]) / config.batch
        networks.backward(gradient.reshape(config.rows, size, 1))
        optimiser.step()
        if (step + 1) % config.look_every == 0:
            seen.append(sampled(config, networks, step + 1))
    return seen


def sampled(config: Config, networks: Trainable, step: int) -> Tensor:
    """Return one sample for each of the fresh inputs of a look, which are those of the other arms."""
    generator = seeded(config.seed, "look", step)
    x, _ = draw(config, config.look_size, generator)
    noise = torch.randn(config.rows, config.look_size, 1, generator=generator)
    return networks(torch.cat([x, noise], 2))[..., 0].clone()


def scored(config: Config, samples: Tensor, step: int) -> Look:
    """Return the scores of every network: those of two arms, of which there is one."""
    both = look(config, samples.expand(2, *samples.shape), step)
    return Look(both.likelihood[0], both.miscalibration[0], both.rarer_answer[0])


def main(config: Config) -> dict[str, list[list[float]]]:
    """Run, print, and return the curves."""
    seen = [scored(config, each, (number + 1) * config.look_every) for number, each in enumerate(train(config))]
    names = ("likelihood", "miscalibration", "rarer_answer")
    curves = {name: [quartiles(getattr(each, name)) for each in seen] for name in names}
    print("at the end, quartiles of", config.rows, "networks of", len(SETTINGS), "laws")
    for name, curve in curves.items():
        print(f"{name:16}" + "  ".join(f"{value:8.3f}" for value in curve[-1]))
    return curves


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few steps, in seconds")
    torch.set_num_threads(1)
    if parser.parse_args().smoke:
        main(Config.smoke())
    else:
        begun = time.monotonic()
        found = main(Config())
        print(record("car_toy_energy", Config(), time.monotonic() - begun, {"curves": found}))
