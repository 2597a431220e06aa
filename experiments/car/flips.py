"""Classes that flip with known probabilities (Section 4.2.2, Figs. 6 and 7, Table 2 of the paper), on CamVid.

    python -m experiments.car.flips [--job NAME] [--smoke | --published]

F and G behind a trained black box, behind the true labels as one, and G given the true distribution; beside them the
paper's control and the samplers that need no training. Each training goes on from where it stopped, in ``runs``; with
``--job`` it is the only one, so that several can run side by side. The last call scores everything and records it.
"""

import argparse
import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from math import nan
from pathlib import Path
from typing import Any

import torch

from calibrant.calibrators import CalibrationNetwork, CalibrationRecipe, Calibrator
from calibrant.networks import CalibrationHead, Discriminator, RefinementUNet
from calibrant.predictions import Prediction
from calibrant.samplers import CopulaSampler, IndependentSampler, RefinementRecipe, RefinementSampler, Sampler
from calibrant.training import Augmentation
from experiments._data import add_option, use
from experiments._record import record
from experiments.car._flips_data import SOURCES, Scenes, TrueFlips
from experiments.car._flips_scores import Counted, calibration, overlap
from experiments.car._kept import kept_figures


@dataclass(frozen=True)
class Config:
    """What is run; the defaults train on one core.

    :param crop: pixels of a training window.
    :param head: sizes of F; ``refinement`` and ``discriminator`` of G and D.
    :param test_every: the step between frames of the test part that are scored; frames are a second apart.
    """

    scenes: Scenes = field(default_factory=Scenes)
    runs: str = "runs/flips"
    crop: tuple[int, int] = (24, 32)
    reads: str = "probabilities"
    head_steps: int = 600
    head_rate: float = 2e-3
    head: dict[str, Any] = field(default_factory=lambda: {"width": 16, "blocks": 5, "dropout": 0.0})
    recipe: RefinementRecipe = field(
        default_factory=lambda: RefinementRecipe(
            num_steps=2000,
            batch_size=8,
            num_samples=5,
            refinement_rate=1e-3,
            discriminator_rate=1e-3,
            discriminator_steps=1,
            discriminator_cycle=1,
            weight_decay=0.0,
            average=0.995,
        )
    )
    refinement: dict[str, Any] = field(
        default_factory=lambda: {"width": 24, "depth": 3, "gain": 1.0, "noise_size": 16, "dropout": 0.0}
    )
    discriminator: dict[str, Any] = field(default_factory=lambda: {"width": 8, "halvings": 2})
    num_samples: int = 16
    test_every: int = 2
    seed: int = 0

    @classmethod
    def smoke(cls) -> "Config":
        """Return what runs in seconds, on synthetic street scenes."""
        return cls(
            Scenes(folder="", num_draws=2, box_steps=2, box_width=4),
            runs="",
            crop=(24, 24),
            head_steps=2,
            recipe=RefinementRecipe.small(num_steps=2, batch_size=2, num_samples=2),
            refinement={"width": 4, "depth": 2, "gain": 1.0, "noise_size": 4},
            discriminator={"width": 4, "halvings": 2},
            num_samples=4,
            test_every=1,
        )

    @classmethod
    def published(cls) -> "Config":
        """Return the paper's networks, rates and samples, on CamVid whole; for a GPU."""
        return cls(
            Scenes(shrink=1, box_steps=20_000, box_batch=8, box_width=32),
            runs="runs/flips-published",
            crop=(128, 128),
            reads="labels",
            head_steps=20_000,
            head_rate=2e-4,
            head={},
            recipe=RefinementRecipe(batch_size=16, num_samples=7),
            refinement={"noise_size": 32},
            discriminator={},
            test_every=1,
        )

    def job(self, name: str) -> Calibrator | Sampler | torch.nn.Module | None:
        """Train what a job is called after, or read it: "box", "F trained", "G trained CAR", …"""
        kind, _, rest = name.partition(" ")
        if kind == "box":
            return self.scenes.black_box(self.folder())
        source, _, arm = rest.partition(" ")
        return self.calibrator(source) if kind == "F" else self.refiner(source, arm)

    def folder(self, *names: str) -> Path | None:
        """Return where checkpoints go; nowhere in the smallest run."""
        return Path(self.runs, *names) if self.runs else None

    def calibrator(self, source: str) -> CalibrationNetwork | None:
        """Return F behind a source; behind the truth there is none."""
        if source == "truth":
            return None
        return self.calibrator_of(self.predictions(source, "train", self.scenes.num_draws), "F", source)

    def calibrator_of(self, predictions: list[Prediction], *names: str) -> CalibrationNetwork:
        """Return F as it learns from predictions; its checkpoint goes where names say."""
        return CalibrationNetwork.fit(
            predictions,
            make=partial(CalibrationHead, **self.head),
            model_output=self.reads,
            recipe=CalibrationRecipe(
                num_steps=self.head_steps,
                learning_rate=self.head_rate,
                one_annotator=True,
                augmentation=Augmentation.of_scenes(crop=self.crop),
            ),
            seed=self.seed,
            checkpoint_path=self.folder(*names),
        )

    def refiner(self, source: str, arm: str) -> RefinementSampler:
        """Return G behind F behind a source."""
        recipe = replace(self.recipe, augmentation=Augmentation.of_scenes(crop=self.crop))
        train = self.predictions(source, "train", self.scenes.num_draws)
        classes, channels = train[0].num_classes, train[0].num_classes + 3
        torch.manual_seed(self.seed)
        return RefinementSampler.fit(
            train,
            self.calibrator(source),
            recipe=recipe if arm == "CAR" else recipe.with_cross_entropy(),
            network=RefinementUNet(channels, classes, **self.refinement),
            discriminator=Discriminator(channels, **self.discriminator),
            seed=self.seed,
            checkpoint_path=self.folder("G", source, arm),
        )

    def predictions(self, source: str, split: str, num_draws: int = 0) -> list[Prediction]:
        """Return what a source says of a split."""
        every = self.test_every if split == "test" else 1
        return self.scenes.predictions(source, split, self.folder(), num_draws=num_draws, every=every)


JOBS = (
    "box",
    "F labels",
    "F trained",
    "G truth CAR",
    "G labels CAR",
    "G labels CE",
    "G trained CAR",
    "G trained CE",
)
CONTROL = "cGAN + cross-entropy"
PAPER = {("trained", "CAR"): "0.164", ("trained", CONTROL): "0.632", ("truth", "CAR"): "0.038"}
"""GED at 16 samples of Table 2."""
SAMPLERS = {
    "true flips of the likeliest map": lambda config, source: TrueFlips(config.scenes.flips),
    "copula, one field an image": lambda config, source: CopulaSampler(image=1.0),
    "copula, one field a region": lambda config, source: CopulaSampler(regions=1.0),
    "independent pixels": lambda config, source: IndependentSampler(),
    "CAR": lambda config, source: config.refiner(source, "CAR"),
    CONTROL: lambda config, source: config.refiner(source, "CE"),
}
"""What is compared: each makes a sampler behind a source, trained if need be. The control stands behind F only, as in
the paper; CAR behind the truth is the paper's G given the true distribution."""


def score(config: Config, source: str, name: str) -> dict[str, Any]:
    """Return the figures of F, or of a sampler, behind a source; they are kept beside the checkpoints."""
    path = config.folder("scores", f"{source}, {name}.json")
    return kept_figures(path, config, partial(_scored, config, source, name))


def _scored(config: Config, source: str, name: str) -> dict[str, Any]:
    start = time.process_time()
    predictions = config.predictions(source, "test")
    if name == "black box":
        figures = overlap(predictions)
    elif name == "F":
        flipped = config.predictions(source, "test", config.scenes.num_draws)
        figures = calibration(config.scenes.flips, predictions, flipped, config.calibrator(source))
    else:
        sampler = SAMPLERS[name](config, source)
        # The true flips are those of what the black box itself says.
        head = None if isinstance(sampler, TrueFlips) else config.calibrator(source)
        figures = figures_of(config, sampler, predictions, head)
        if isinstance(sampler, TrueFlips):  # which F has no part in
            figures = {title: value for title, value in figures.items() if not title.startswith("KL")}
    return figures | {"CPU seconds of scoring": round(time.process_time() - start)}


def figures_of(
    config: Config, sampler: Sampler, predictions: list[Prediction], head: Calibrator | None
) -> dict[str, Any]:
    """Return the figures of a sampler behind predictions and F."""
    how = {"num_samples": config.num_samples, "seed": config.seed}
    return Counted.of(config.scenes.flips, sampler, predictions, head, **how).figures(config.scenes.flips.probabilities)


def main(config: Config) -> dict[str, Any]:
    """Train what is missing, score, print and record everything."""
    begun = time.monotonic()
    results: dict[str, Any] = {"classes": config.scenes.names, "probabilities": config.scenes.flips.probabilities}
    for source in SOURCES:
        asked = [*(() if source == "truth" else ("F",)), *SAMPLERS]
        asked = [each for each in asked if source != "truth" or each != CONTROL]
        asked = ["black box", *asked] if source == "trained" else asked
        results[source] = {name: score(config, source, name) for name in asked}
        show(source, results[source])
    if config.runs:
        name = "flips" if config == Config() else "flips_published"
        print(record(name, config, time.monotonic() - begun, results))
    return results


def show(source: str, results: dict[str, Any]) -> None:
    """Print the scores behind one source beside the paper's."""
    print(f"\nblack box: {source}")
    if "black box" in results:
        print(
            "  the black box: pixel accuracy {pixel accuracy:.3f}, mean IoU {mean IoU:.3f}".format(
                **results["black box"]
            )
        )
    if "F" in results:
        for where in ("where the black box is right", "anywhere"):
            found = results["F"][where]
            print(f"  F, {where}: offset {found['mean offset']:.3f} on average, {found['worst offset']:.3f} at worst")
        print(f"  F, ECE {results['F']['ECE']:.4f}. The paper: 0.016, 0.06 and 0.0215")
    columns = ("GED", "GED, unbiased", "floor", "diversity", "mean offset", "worst offset")
    print(f"  {'':52}paper  " + "  ".join(f"{column:>13}" for column in columns))
    for name, found in results.items():
        if name not in ("F", "black box"):
            paper = PAPER.get((source, name), "")
            print(f"  {name:52}{paper:7}" + "  ".join(f"{found.get(column, nan):13.4f}" for column in columns))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", choices=JOBS, help="train this alone")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--smoke", action="store_true", help="synthetic street scenes, in seconds")
    how.add_argument("--published", action="store_true", help="the paper's sizes; for a GPU")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    chosen = Config.smoke() if given.smoke else Config.published() if given.published else Config()
    if given.job:
        chosen.job(given.job)
    else:
        main(chosen)
