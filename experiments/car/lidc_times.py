"""What the number of samples in the calibration loss costs, beside what it buys: the times of the LIDC ablation.

``python -m experiments.car.lidc_times [--data FOLDER | --smoke]`` trains G a few steps at each m, in turn, all in one
process, after ``experiments.car.lidc`` has trained F; quality is what that has recorded.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch

from experiments._data import add_option, use
from experiments._record import RESULTS, record
from experiments.car import lidc_config
from experiments.car.lidc_jobs import Images, behind_calibration_network, train_refinement


@dataclass(frozen=True)
class Config:
    """What is timed.

    :param steps: of G at each m, in each of so many rounds.
    """

    lidc: lidc_config.Config = field(default_factory=lidc_config.Config)
    steps: int = 30
    rounds: int = 5
    seed: int = 0

    @classmethod
    def smoke(cls, runs: str) -> "Config":
        """Return what runs in seconds, on synthetic data."""
        return cls(lidc_config.Config.smoke(runs), steps=2, rounds=1)


def times(config: Config) -> dict[int, float]:
    """Return processor milliseconds of a step at each m: the median of the rounds, after one that does not count."""
    images = behind_calibration_network(config.lidc, Images.read(config.lidc), config.seed)
    found: dict[int, list[float]] = {m: [] for m in config.lidc.numbers}
    for round_number in range(config.rounds + 1):
        for m, seconds in found.items():
            recipe = replace(config.lidc.recipe, num_samples=m, num_steps=config.steps)
            begun = time.process_time()
            train_refinement(config.lidc, images, recipe, config.seed)
            if round_number:
                seconds.append(time.process_time() - begun)
    return {m: 1000 * median(seconds) / config.steps for m, seconds in found.items()}


def quality(m: int, own: int) -> dict[str, float]:
    """Return what is recorded of CAR with m samples, for the seeds for which all of them are."""
    recorded = json.loads((RESULTS / "lidc.json").read_text())
    other = next(name for name in recorded["table"] if name.startswith("CAR, m=")) if m == own else f"CAR, m={m}"
    row, gap = recorded["table"][other], recorded["differences"][f"{other} - CAR"]
    scores = ("GED 16", "HM-IoU 16", "diversity")
    return {each: round(row[each]["value"] - (gap[each]["value"] if m == own else 0.0), 4) for each in scores}


def main(config: Config) -> dict[str, Any]:
    """Time, print and record."""
    begun = time.monotonic()
    found = times(config)
    own, figures = config.lidc.recipe.num_samples, {}
    for m, milliseconds in found.items():
        figures[m] = {
            "milliseconds a step": round(milliseconds, 1),
            "over that of the table's": round(milliseconds / found[own], 2) if own in found else None,
            **(quality(m, own) if config.lidc.folder else {}),
        }
        print(f"m = {m}: " + ", ".join(f"{name} {value}" for name, value in figures[m].items()))
    if config.lidc.folder:
        print(record("lidc_times", config, time.monotonic() - begun, {"numbers of samples": figures}))
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="synthetic data, in seconds")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    torch.set_num_threads(1)
    if given.smoke:
        with tempfile.TemporaryDirectory() as temporary:
            main(Config.smoke(temporary))
    else:
        main(Config())
