"""Table 2 of the paper in small: calibrators fitted in-domain and tested after a shift.

``python -m experiments.selective_scaling.shift [--data FOLDER | --smoke]``: the third party's stored logits are of
CamVid alone, so they are shifted from day to dusk. Stronger shifts are those of a small model of our own, trained by
day: the dusk drive, common corruptions, and KITTI's other city, camera and country.
"""

import argparse
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from calibrant.data import corrupted
from calibrant.data.sets.camvid import DUSK, drive
from calibrant.evaluation import Comparison
from calibrant.predictions import with_logits
from experiments._data import add_option, use
from experiments._record import record
from experiments.selective_scaling._fits import predictions_of
from experiments.selective_scaling._methods import OURS
from experiments.selective_scaling._own_model import Recipe, frames, kitti_frames, predicted, trained
from experiments.selective_scaling._paper import IN_DOMAIN, SHIFTED, print_changes
from experiments.selective_scaling._shifted import IN_PLACE, SHOWN, Shifted, Source, measure
from experiments.selective_scaling._tables import as_numbers, print_claims, show


@dataclass(frozen=True)
class Config(Shifted):
    """What is run; the defaults are what ``experiments/results`` holds.

    :param corruptions: by name, their strength of five.
    :param every: of the images of our own model's test sets, one in so many is used.
    :param recipe: of our own model; None leaves it out.
    """

    corruptions: Mapping[str, int] = field(default_factory=lambda: {"gaussian_noise": 3, "motion_blur": 3, "fog": 3})
    every: int = 3
    recipe: Recipe | None = field(default_factory=Recipe)


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
            f"{name} {strength}": corrupted(day, name, strength=strength, seed=0)
            for name, strength in config.corruptions.items()
        },
        "KITTI": kitti_frames(config.recipe, 2 * config.every),
    }
    yield Source(
        "own U-Net",
        predicted(network, frames(config.recipe, "lighting_day_val")),
        {name: predicted(network, examples) for name, examples in tests.items()},
    )


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
        sign = -1 if found.scores[score].better == "higher" else 1
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
    parser.add_argument("--smoke", action="store_true", help="synthetic data, in seconds")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    main(Config.smoke() if given.smoke else Config())
