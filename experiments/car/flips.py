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
from pathlib import Path
from typing import Any

import torch

from calibrant.calibrators import CalibrationNetwork, Calibrator, calibrated
from calibrant.evaluation import draw_hypotheses, tally
from calibrant.metrics import (
    CalibrationBins,
    FlipCounts,
    HypothesisDistances,
    SampleDivergence,
    expected_calibration_error,
    expected_sample_divergence,
    flip_frequencies,
    flip_offsets,
    ged_floor,
    generalised_energy_distance,
    reliability_curve,
    sample_divergence,
    sample_diversity,
)
from calibrant.networks import CalibrationHead, Discriminator, RefinementUNet
from calibrant.predictions import Prediction
from calibrant.samplers import CopulaSampler, IndependentSampler, RefinementRecipe, RefinementSampler, Sampler
from calibrant.training import Augmentation
from experiments._record import record
from experiments.car._flips_data import SOURCES, Scenes, TrueFlips

PAPER = {"CAR": 0.164, "cGAN + cross-entropy": 0.632, "G given the truth": 0.038}
"""GED at 16 samples of Table 2."""


@dataclass(frozen=True)
class Config:
    """What is run; the defaults train on one core.

    :param crop: pixels of a training window.
    :param head: sizes of F; ``refinement`` and ``discriminator`` of G and D.
    """

    scenes: Scenes = field(default_factory=Scenes)
    runs: str = "runs/flips"
    crop: tuple[int, int] = (24, 32)
    reads: str = "probabilities"
    head_steps: int = 600
    head_rate: float = 2e-3
    head: dict[str, Any] = field(default_factory=lambda: {"width": 16, "blocks": 5, "dropout": 0.0})
    recipe: RefinementRecipe = field(
        default_factory=lambda: RefinementRecipe.small(
            steps=2000, batch=8, num_samples=5, discriminator_rate=1e-3, discriminator_cycle=1
        )
    )
    refinement: dict[str, Any] = field(
        default_factory=lambda: {"width": 24, "depth": 3, "gain": 1.0, "noise_size": 16, "dropout": 0.0}
    )
    discriminator: dict[str, Any] = field(default_factory=lambda: {"width": 8, "halvings": 2})
    num_samples: int = 16
    seed: int = 0

    @classmethod
    def smoke(cls) -> "Config":
        """Return what runs in seconds, on made streets."""
        return cls(
            Scenes(folder="", num_draws=2, box_steps=2, box_width=4),
            runs="",
            crop=(24, 24),
            head_steps=2,
            recipe=RefinementRecipe.small(steps=2, batch=2, num_samples=2),
            refinement={"width": 4, "depth": 2, "gain": 1.0, "noise_size": 4},
            discriminator={"width": 4, "halvings": 2},
            num_samples=4,
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
            recipe=RefinementRecipe(batch=16, num_samples=7),
            refinement={"noise_size": 32},
            discriminator={},
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
        return CalibrationNetwork.fit(
            self.predictions(source, "train", self.scenes.num_draws),
            make=partial(CalibrationHead, **self.head),
            reads=self.reads,
            steps=self.head_steps,
            learning_rate=self.head_rate,
            one_annotator=True,
            augmentation=Augmentation.of_scenes(crop=self.crop),
            seed=self.seed,
            folder=self.folder("F", source),
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
            folder=self.folder("G", source, arm),
        )

    def predictions(self, source: str, split: str, num_draws: int = 0) -> list[Prediction]:
        """Return what a source says of a split."""
        return self.scenes.predictions(source, split, self.folder(), num_draws=num_draws)


JOBS = ("box", "F labels", "G truth CAR", "F trained", "G labels CAR", "G trained CAR", "G labels CE", "G trained CE")


def samplers(config: Config, source: str) -> dict[str, Sampler]:
    """Return what is compared behind a source."""
    arms = {"G given the truth": "CAR"} if source == "truth" else {"CAR": "CAR", "cGAN + cross-entropy": "CE"}
    return {
        "true flips of the likeliest map": TrueFlips(config.scenes.flips),
        **{name: config.refiner(source, arm) for name, arm in arms.items()},
        "copula, one field an image": CopulaSampler(image=1.0),
        "copula, one field a region": CopulaSampler(regions=1.0),
        "independent pixels": IndependentSampler(),
    }


@dataclass(frozen=True)
class Counted:
    """What is counted of the hypotheses of each image."""

    distances: HypothesisDistances
    flips: FlipCounts
    divergence: SampleDivergence

    @classmethod
    def of(cls, config: Config, sampler: Sampler, predictions: list[Prediction], head: Calibrator | None) -> "Counted":
        """Draw hypotheses of every image and compare them to all 32 label maps that it can have."""
        flips, rows = config.scenes.flips, []
        generator = torch.Generator().manual_seed(config.seed)
        drawn = draw_hypotheses(sampler, predictions, head, num_samples=config.num_samples, generator=generator)
        for prediction, hypotheses in drawn:
            clean, batch = prediction.labels[0], hypotheses[:, None]
            modes, weights = flips.modes(clean)
            distances = HypothesisDistances.of(
                batch,
                modes[None],
                num_classes=flips.num_classes,
                classes=flips.classes,
                empty="nan",
                weights=weights[None],
                modes=True,
            )
            rows.append(
                (
                    distances,
                    FlipCounts.of(batch, clean[None], pairs=flips.pairs),
                    SampleDivergence.of(batch, prediction.logits[None], where=(clean >= 0)[None]),
                )
            )
        return cls(*(type(column[0]).stack(column) for column in zip(*rows, strict=True)))

    def figures(self, probabilities: tuple[float, ...]) -> dict[str, Any]:
        """Return scores, means over images that show one of the classes that flip; offsets pool all pixels."""
        ged, diversity = generalised_energy_distance(self.distances), sample_diversity(self.distances)
        offsets = flip_offsets(self.flips.pooled(), probabilities)
        return {
            "GED": round(float(ged.nanmean()), 4),
            "GED, unbiased": round(float(generalised_energy_distance(self.distances, diagonal=False).nanmean()), 4),
            "floor": round(float(ged_floor(self.distances, self.distances.num_samples).nanmean()), 4),
            "diversity": round(float(diversity.nanmean()), 4),
            "KL of mean from probabilities": round(float(sample_divergence(self.divergence).nanmean()), 4),
            "KL expected": round(float(expected_sample_divergence(self.divergence).nanmean()), 4),
            "frequencies": rounded(flip_frequencies(self.flips.pooled())[0]),
            "mean offset": round(float(offsets.nanmean()), 4),
            "worst offset": round(float(offsets.nan_to_num().max()), 4),
        }


def calibration(config: Config, source: str, head: CalibrationNetwork) -> dict[str, Any]:
    """Return flip frequencies of F where the black box is right, as published, and anywhere; its reliability."""
    flips = config.scenes.flips
    rows = []
    for prediction in config.predictions(source, "test"):
        logits, clean = calibrated(prediction, head)[None], prediction.labels
        right = flips.undone(prediction.logits.argmax(0))[None] == clean
        rows.append(
            [FlipCounts.of_probabilities(logits, clean, pairs=flips.pairs, where=where) for where in (right, None)]
        )
    found: dict[str, Any] = {}
    for name, column in zip(("where the black box is right", "anywhere"), zip(*rows, strict=True), strict=True):
        counts = FlipCounts.stack(column).pooled()
        offsets = flip_offsets(counts, flips.probabilities)
        found[name] = {
            "frequencies": rounded(flip_frequencies(counts)[0]),
            "mean offset": round(float(offsets.nanmean()), 4),
            "worst offset": round(float(offsets.nan_to_num().max()), 4),
        }
    flipped = config.predictions(source, "test", config.scenes.num_draws)
    bins = tally(partial(CalibrationBins.of, num_bins=10), flipped, head).pooled()
    curve = reliability_curve(bins)
    found["ECE"] = round(float(expected_calibration_error(bins)), 4)
    found["reliability"] = {
        "confidence": rounded(curve.confidence[0]),
        "accuracy": rounded(curve.accuracy[0]),
        "share": rounded(curve.share[0]),
    }
    return found


def rounded(values: torch.Tensor) -> Any:
    """Return a tensor as lists of four decimals."""
    return (values.double() * 1e4).round().div(1e4).tolist()


def main(config: Config, sources: tuple[str, ...] = SOURCES) -> dict[str, Any]:
    """Train what is missing, score, print and record everything."""
    begun = time.monotonic()
    results: dict[str, Any] = {"classes": config.scenes.names, "probabilities": config.scenes.flips.probabilities}
    for source in sources:
        predictions, head = config.predictions(source, "test"), config.calibrator(source)
        results[source] = {"F": calibration(config, source, head)} if head is not None else {}
        for name, sampler in samplers(config, source).items():
            start = time.process_time()
            # The true flips are those of what the black box itself says.
            counted = Counted.of(config, sampler, predictions, None if isinstance(sampler, TrueFlips) else head)
            results[source][name] = counted.figures(config.scenes.flips.probabilities)
            results[source][name]["seconds"] = round(time.process_time() - start, 1)
        show(source, results[source])
    if config.runs:
        name = "flips" if config == Config() else "flips_published"
        print(record(name, config, time.monotonic() - begun, results))
    return results


def show(source: str, results: dict[str, Any]) -> None:
    """Print the scores behind one source beside the paper's."""
    print(f"\nblack box: {source}")
    if "F" in results:
        for where in ("where the black box is right", "anywhere"):
            found = results["F"][where]
            print(f"  F, {where}: offset {found['mean offset']:.3f} on average, {found['worst offset']:.3f} at worst")
        print(f"  F, ECE {results['F']['ECE']:.4f}. The paper: 0.016, 0.06 and 0.0215")
    columns = ("GED", "GED, unbiased", "floor", "diversity", "mean offset", "worst offset")
    print(f"  {'':34}paper  " + "  ".join(f"{column:>13}" for column in columns))
    for name, found in results.items():
        if name != "F":
            paper = f"{PAPER[name]:.3f}" if name in PAPER else ""
            print(f"  {name:34}{paper:7}" + "  ".join(f"{found[column]:13.4f}" for column in columns))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", choices=JOBS, help="train this alone")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--smoke", action="store_true", help="made streets, in seconds")
    how.add_argument("--published", action="store_true", help="the paper's sizes; for a GPU")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    chosen = Config.smoke() if given.smoke else Config.published() if given.published else Config()
    if given.job:
        chosen.job(given.job)
    else:
        main(chosen)
