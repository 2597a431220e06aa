"""Samplers with one network on the classes that flip: what ``experiments.car.flips`` shows of CAR.

    python -m experiments.car.flips_learnt [--train NAME SOURCE] [--finished] [--smoke]

Each is trained behind the true labels as the black box, or behind a trained black box, on the same windows of the same
images with the same draws of labels, and sees the image and what the black box says: there is no F. It is scored with
the same test images, as it draws, and behind the true labels also coupled to its own mean, which is calibrated on the
val images. What is done is kept under ``runs/``; ``--finished`` trains nothing.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from calibrant.calibrators import DirichletScaling
from calibrant.samplers import (
    Coupled,
    EnergyScoreLoss,
    LearntSampler,
    MeanOfSamples,
    Sampler,
    load_sampler,
    save_sampler,
)
from calibrant.samplers.learnt_sampler import SampleLoss
from calibrant.samplers.network_sampler import NetworkSampler
from calibrant.samplers.storage import LEARNT, STORAGE
from calibrant.training import Augmentation
from experiments._data import add_option, use
from experiments._record import record
from experiments.car._flips_scores import drawn_frequencies
from experiments.car._kept import kept_figures
from experiments.car._timed import Timer
from experiments.car.flips import Config as FlipsConfig
from experiments.car.flips import figures_of, show
from experiments.car.rivals_config import network_of
from experiments.car.rivals_jobs import listed

EXPONENT_1 = "energy, exponent 1"
"""The energy score as a mean over classes, which does not see which of them change together."""


@dataclass(frozen=True)
class Config:
    """What is run.

    :param flips: the images, their windows, and how they are scored.
    :param samplers: which are trained, by name, and what is changed of its loss.
    :param sources: what they stand behind: "labels", "trained".
    :param coupled: behind which of these they are coupled, too: it is slow where a pixel may be of a dozen classes, as
        behind a trained black box.
    :param steps: of each training.
    :param batch_size: windows of a step.
    :param sizes: arguments of their networks besides ``SIZES``, by sampler.
    :param frequency_samples: hypotheses of each image of which the frequencies of flips are counted once more.
    :param val_draws: label maps of each val image, to which Dirichlet scaling of the mean of samples is fitted.
    :param smoothing: of the energy score, in pixels: so large an area, where there should be none, counts half, so that
        a few stray pixels do not weigh as much as a road. Chosen before any of these trainings, for windows of 24 x 32.
    """

    flips: FlipsConfig = field(default_factory=FlipsConfig)
    runs: str = "runs/flips_learnt"
    samplers: tuple[str, ...] = ("energy", EXPONENT_1, "ssn", "probabilistic-unet")
    sources: tuple[str, ...] = ("labels", "trained")
    coupled: tuple[str, ...] = ("labels",)
    steps: int = 8000
    batch_size: int = 8
    frequency_samples: int = 256
    val_draws: int = 64
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    smoothing: float = 8.0

    @classmethod
    def smoke(cls, runs: str) -> "Config":
        """Return what runs in seconds, on synthetic street scenes."""
        return cls(
            FlipsConfig.smoke(),
            runs,
            samplers=(EXPONENT_1, "probabilistic-unet"),
            steps=2,
            batch_size=2,
            frequency_samples=6,
            val_draws=2,
            sizes={
                "energy": {"width": 4, "depth": 1, "num_maps": 3, "hidden": 8},
                "probabilistic-unet": {"widths": (4, 8)},
            },
        )

    def loss(self, name: str) -> SampleLoss:
        """Return what a sampler is trained by: the energy score counts the classes that flip, like the metric."""
        if kind_of(name) != "energy":
            return LEARNT[name].loss()
        classes, exponent = tuple(self.flips.scenes.flips.classes), 1.0 if name == EXPONENT_1 else None
        return EnergyScoreLoss(classes=classes, smoothing=self.smoothing, exponent=exponent)

    def folder(self, name: str, source: str) -> Path:
        """Return where a training is kept."""
        return Path(self.runs) / f"{name}-{source}"


def kind_of(name: str) -> str:
    """Return the sampler that a name stands for, by which :data:`LEARNT` knows it."""
    return name.split(", ")[0]


def trained(config: Config, name: str, source: str, *, train: bool = True) -> LearntSampler | None:
    """Return a sampler as trained behind a source; None if it is not, and is not to be."""
    folder, kind = config.folder(name, source), LEARNT[kind_of(name)]
    if not STORAGE.holds(folder):
        if not train:
            return None
        augmentation = Augmentation.of_scenes(crop=config.flips.crop)
        with Timer(folder):
            found = kind.fit(
                config.flips.predictions(source, "train", config.flips.scenes.num_draws),
                loss=config.loss(name),
                recipe=replace(
                    kind.recipe, num_steps=config.steps, batch_size=config.batch_size, augmentation=augmentation
                ),
                make=network_of(kind_of(name), config.sizes),
                seed=config.flips.seed,
                checkpoint_path=folder,
                watch=lambda done, figures: print(name, source, done, listed(figures), flush=True),
            )
        save_sampler(found, folder)
    sampler = load_sampler(folder)
    assert isinstance(sampler, LearntSampler)
    return sampler


def rows(config: Config, name: str, source: str, sampler: NetworkSampler) -> dict[str, dict[str, Any]]:
    """Return the figures of a sampler as it draws, and coupled to its own mean, calibrated on the val images."""
    flips, test = config.flips.scenes.flips, config.flips.predictions(source, "test")
    drawers: dict[str, Sampler] = {name: sampler}
    if source in config.coupled:
        mean = MeanOfSamples.fit(
            config.flips.predictions(source, "val", config.val_draws),
            sampler=sampler,
            calibrate=partial(DirichletScaling.fit, safe=False),
            num_samples=config.frequency_samples,
        )
        drawers[f"{name}, coupled to its calibrated mean"] = Coupled(sampler, mean)
    found = {}
    for title, drawer in drawers.items():
        figures = figures_of(config.flips, drawer, test, None)
        # There is no F, and what is unbiased of independent maps is not of coupled ones.
        without = ("KL", "GED, unbiased", "presence") if drawer is not sampler else ("KL",)
        found[title] = {what: value for what, value in figures.items() if not what.startswith(without)}
        how = {"num_samples": config.frequency_samples, "seed": config.flips.seed}
        found[title]["of many samples"] = drawn_frequencies(flips, drawer, test, **how)
    return found


def main(config: Config, *, train: bool = True) -> dict[str, Any]:
    """Train what is missing (or not), score, print and record; return the figures."""
    begun = time.monotonic()
    results: dict[str, Any] = {}
    for source in config.sources:
        for name in config.samplers:
            sampler = trained(config, name, source, train=train)
            if sampler is None:
                continue
            path = config.folder(name, source) / "figures.json"
            one = replace(config, samplers=(name,), sources=(source,))
            found = kept_figures(path, one, partial(rows, config, name, source, sampler))
            found[name]["training"] = Timer.read(config.folder(name, source))
            results.setdefault(source, {}).update(found)
        if source in results:
            show(source, results[source])
            for name, found in results[source].items():
                many = "{samples} samples: offset {mean offset:.4f} on average, {worst offset:.4f} at worst"
                print(f"  {name:52}" + many.format(**found["of many samples"]))
    if config.flips.runs and results:
        print(record("flips_learnt", config, time.monotonic() - begun, results))
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few steps on synthetic street scenes")
    parser.add_argument("--finished", action="store_true", help="score what is trained, train nothing")
    parser.add_argument("--train", nargs=2, action="append", metavar=("NAME", "SOURCE"), help="train this alone")
    add_option(parser)
    asked = parser.parse_args()
    use(asked.data)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    if asked.smoke:
        with tempfile.TemporaryDirectory() as temporary:
            main(Config.smoke(temporary))
    elif asked.train:
        chosen = Config()
        for title, place in asked.train:
            if title not in chosen.samplers or place not in chosen.sources:
                parser.error(f"expected one of {chosen.samplers} and of {chosen.sources}; got {title} {place}")
            trained(chosen, title, place)
    else:
        main(Config(), train=not asked.finished)
