"""Table 1 of the paper in small: calibrators in-domain, on a real third party's logits.

``python -m experiments.selective_scaling.in_domain [--smoke]``: half of the images to fit, half to test, several times.
Published recipes stand beside fits at their optimum.
"""

import argparse
import logging
import time
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import track

from calibrant.calibrators import Identity, SelectiveScaling, TemperatureScaling, VectorScaling
from calibrant.data import open_folder
from calibrant.evaluation import compare, tally_all
from calibrant.metrics import Measurement
from calibrant.predictions import split
from calibrant.report import as_json, terminal_table
from calibrant.testing import toy_predictions
from experiments._record import record

SCORES = ("ece_images", "ece", "ece_classwise", "nll", "brier", "auroc", "augrc", "miou")
METHODS = {
    "uncalibrated": lambda predictions, **_: Identity(),
    "temperature scaling, as published": TemperatureScaling.fit_as_published,
    "temperature scaling": TemperatureScaling.fit,
    "vector scaling, as published": VectorScaling.fit_as_published,
    "vector scaling": VectorScaling.fit,
    "selective scaling, as published": SelectiveScaling.fit_as_published,
    "selective scaling, validated": SelectiveScaling.fit,
}


@dataclass(frozen=True)
class Config:
    """What is run; the defaults are what ``experiments/results`` holds.

    :param folder: logits and labels; empty for made predictions.
    """

    folder: str = "../shared/data/camvid_espnet_logits"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    share: float = 0.5

    @classmethod
    def smoke(cls) -> "Config":
        """Return what runs in seconds."""
        return cls(folder="", seeds=(0,))


def main(config: Config) -> None:
    begun = time.monotonic()
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    source = open_folder(config.folder) if config.folder else toy_predictions(num_images=6)
    measured: dict[str, list[Measurement]] = {name: [] for name in METHODS}
    for seed in track(config.seeds, "splits"):
        fitted, tested = split(source, config.share, seed=seed)
        calibrators = {name: fit(fitted, seed=seed) for name, fit in METHODS.items()}
        for name, tally in tally_all(Measurement.of, tested, calibrators).items():
            measured[name].append(tally)
    comparison = compare(measured, generator=torch.Generator().manual_seed(0))
    Console(width=180).print(terminal_table(comparison, SCORES))
    if config.folder:
        print(record("in_domain", config, time.monotonic() - begun, as_json(comparison)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="made data, in seconds")
    main(Config.smoke() if parser.parse_args().smoke else Config())
