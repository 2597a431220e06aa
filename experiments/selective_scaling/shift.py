"""Table 2 of the paper in small: calibrators fitted in-domain and tested after a shift.

``python -m experiments.selective_scaling.shift [--smoke]``: the third party's stored logits are of CamVid alone, so
they are shifted from day to dusk. Stronger shifts are those of a small model of our own, trained by day: the dusk
drive, common corruptions, and KITTI's other city, camera and country.
"""

import argparse
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from calibrant.data import Corrupted
from calibrant.data.camvid import DUSK, drive
from calibrant.evaluation import Comparison, compare, tally_all
from calibrant.metrics import SCORES, Measurement
from calibrant.predictions import Prediction, Predictions, Subset, with_logits
from experiments._record import record
from experiments.selective_scaling._fits import Study, fit_all, predictions_of
from experiments.selective_scaling._methods import OURS
from experiments.selective_scaling._own_model import Recipe, frames, kitti_frames, predicted, trained
from experiments.selective_scaling._paper import IN_DOMAIN, SHIFTED, print_changes
from experiments.selective_scaling._tables import as_numbers, print_claims, show

SHOWN = ("ece_images", "ece", "nll", "brier", "auroc", "augrc", "miou")
IN_PLACE = "in-domain"


@dataclass(frozen=True)
class Config(Study):
    """What is run; the defaults are what ``experiments/results`` holds.

    :param count: images to fit on, drawn anew for each seed.
    :param corruptions: by name, their strength of five.
    :param every: of the images of our own model's test sets, each so-manieth is used.
    :param recipe: of our own model; None leaves it out.
    """

    methods: tuple[str, ...] = (
        "uncalibrated",
        "temperature, published",
        "temperature",
        "vector, published",
        "vector, labels kept",
        "Dirichlet, published",
        "Dirichlet, labels kept",
        "Meta-Cal*, published",
        "Meta-Cal*",
        "local temperature, published",
        "isotonic",
        "selective, published",
        "selective",
    )
    count: int = 40
    corruptions: Mapping[str, int] = field(default_factory=lambda: {"gaussian_noise": 3, "motion_blur": 3, "fog": 3})
    every: int = 3
    kitti: str = "../shared/data/kitti_semantic"
    recipe: Recipe | None = field(default_factory=Recipe)


@dataclass(frozen=True)
class Source:
    """Predictions of one model.

    :param fitted: to draw images to fit on from; what is not drawn is tested in-domain, if ``tests`` has no such part.
    :param tests: by name, the images to test on.
    """

    name: str
    fitted: Sequence[Prediction]
    tests: Mapping[str, Sequence[Prediction]]


def sources(config: Config) -> Iterator[Source]:
    """Yield the models; made predictions are shifted by doubling their logits."""
    predictions = predictions_of(config)
    if not config.folder:
        yield Source("made", predictions, {"hotter": [with_logits(p, 2 * p.logits) for p in predictions]})
        return
    dusk = [p for p in predictions if drive(p.key) in DUSK]
    yield Source("ESPNet", [p for p in predictions if drive(p.key) not in DUSK], {"dusk": dusk})
    if config.recipe is None:
        return
    network = trained(config.recipe, Path(config.cache))
    day = frames(config.recipe, "lighting_day_test")[:: config.every]
    tests = {
        IN_PLACE: day,
        "dusk": frames(config.recipe, "lighting_dusk_all")[:: config.every],
        **{
            f"{name} {strength}": Corrupted(day, name, strength=strength, seed=0)
            for name, strength in config.corruptions.items()
        },
        "KITTI": kitti_frames(config.recipe, config.kitti, 2 * config.every),
    }
    yield Source(
        "own U-Net",
        predicted(network, frames(config.recipe, "lighting_day_val")),
        {name: predicted(network, examples) for name, examples in tests.items()},
    )


def measure(config: Config, source: Source) -> tuple[dict[str, Comparison], dict[str, bool]]:
    """Fit for every seed, test everywhere; return a comparison for each test set, and which methods keep labels."""
    tallies: dict[str, dict[str, list[Measurement]]] = {}
    kept: dict[str, bool] = {}
    for seed in config.seeds:
        order = torch.randperm(len(source.fitted), generator=torch.Generator().manual_seed(seed)).tolist()
        count = min(config.count, 3 * len(order) // 4 if IN_PLACE not in source.tests else len(order))
        fitted = fit_all(config, Subset(source.fitted, sorted(order[:count])), seed)
        calibrators = {name: each.calibrator for name, each in fitted.items()}
        kept |= {name: kept.get(name, True) and each.keeps_argmax for name, each in calibrators.items()}
        tests: dict[str, Predictions] = {**source.tests}
        if IN_PLACE not in tests:
            tests = {IN_PLACE: Subset(source.fitted, sorted(order[count:]))} | tests
        for where, test in tests.items():
            for name, tally in tally_all(partial(Measurement.of, num_bins=15), test, calibrators).items():
                tallies.setdefault(where, {}).setdefault(name, []).append(tally)
        print(f"{source.name}, seed {seed}: fitted to {count} images", flush=True)
    return {
        where: compare(
            by_method,
            generator=torch.Generator().manual_seed(0),
            scores={name: SCORES[name] for name in SHOWN},
            num_resamples=config.num_resamples,
        )
        for where, by_method in tallies.items()
    }, kept


def claims(found: Comparison, kept: Mapping[str, bool]) -> dict[str, tuple[str, bool]]:
    """Return the paper's claims of Table 2, and what is asked of ours, and whether they hold in one test set."""
    values = {name: figures["ece_images"].value for name, figures in found.values.items()}
    least = min(values, key=values.__getitem__)
    lines = {}
    for name in ("selective, published", "selective", OURS):
        paper = "–" if name == OURS else "yes"
        lines[f"{name} has the least image-wise ECE (the least: {least})"] = (paper, name == least)
    for name in ("temperature", "selective, published", "selective", "isotonic", OURS):
        gap = found.values["uncalibrated"]["nll"].value - found.values[name]["nll"].value
        better = values[name] < values["uncalibrated"]
        paper = "–" if name in (OURS, "isotonic") else "yes"
        lines[f"{name} is better than none: image-wise ECE"] = (paper, better)
        lines[f"{name} is better than none: NLL ({-gap:+.4f})"] = ("–", gap > 0)
    rivals = [name for name, keeps in kept.items() if keeps and name != OURS]
    for score in ("ece_images", "nll", "brier", "auroc"):
        sign = -1 if SCORES[score].better == "higher" else 1
        beaten = [r for r in rivals if sign * found.differences[r][score].value > 0]
        sure = [r for r in beaten if found.differences[r][score].excludes_zero()]
        line = f"{OURS} beats all {len(rivals)} that keep labels on {score} ({len(beaten)}, {len(sure)} of them surely)"
        lines[line] = ("–", len(beaten) == len(rivals))
    return lines


def main(config: Config) -> dict[str, Comparison]:
    """Run the experiment, print and record it; return the comparison of each model and test set."""
    begun = time.monotonic()
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    tables: dict[str, Comparison] = {}
    results = {}
    for source in sources(config):
        found, kept = measure(config, source)
        for where, comparison in found.items():
            title = f"{source.name}, {where}"
            tables[title] = comparison
            show(comparison, SHOWN, f"{title}; means over {len(config.seeds)} seeds", kept)
            images = {name: figures["ece_images"].value for name, figures in comparison.values.items()}
            paper, named = (IN_DOMAIN, "BDD100K") if where == IN_PLACE else (SHIFTED, "BDD100K to Cityscapes")
            changes = print_changes(paper, images, named)
            held = print_claims("Table 2", claims(comparison, kept))
            results[title] = {**as_numbers(comparison), "paper and ours": changes, "claims": held}
        if config.folder:
            print(record("shift", config, time.monotonic() - begun, results), flush=True)
    return tables


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="made data, in seconds")
    main(Config.smoke() if parser.parse_args().smoke else Config())
