"""The calibrator that needs no choosing, beside its members, in-domain and after shifts, on few images and many.

``python -m experiments.selective_scaling.default [--data FOLDER | --smoke] [--only ROW …] [--seeds N]``: one row for
each data set and number of images to fit, with the stores of ``predict_black_boxes`` where they are. Rows are recorded
one by one, and fits that are there already are read again. At the end, row by row: is the default surely worse than the
best single member in likelihood or Brier score, surely worse than temperature scaling in anything, surely better than
every member? (A difference below :data:`LEAST` is none.)

What chose the constants of the default, and so proves nothing: three draws of ESPNet's logits (which features, the form
of the pool and of the confidence), and the model day-quarter of ``train_black_boxes``, which has no row (the gate).
"Drawn back" is the mean share of the anchor: 0 % where all that was learnt is applied, 100 % where nothing is.
"""

import argparse
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from calibrant.calibrators import StackedScaling
from calibrant.data.sets.camvid import DUSK, drive
from calibrant.evaluation import Comparison, compare, tally_all
from calibrant.metrics import SCORES, Measurement
from calibrant.predictions import Prediction, Predictions, Subset, with_logits
from experiments._data import add_option, use
from experiments._record import record
from experiments.selective_scaling._fits import Study, fit, halves, opened, predictions_of
from experiments.selective_scaling._methods import OURS
from experiments.selective_scaling._shifted import IN_PLACE
from experiments.selective_scaling._tables import HIGHER, show, verdict
from experiments.selective_scaling.predict_black_boxes import STORES, store_of
from experiments.selective_scaling.tables import OWN

MEMBERS = ("temperature", "vector, labels kept", "Dirichlet, labels kept", "isotonic")
SHOWN = ("nll", "brier", "ece", "ece_images", "ece_classwise", "auroc", "augrc")
PROPER = ("nll", "brier")
LEAST = 5e-5
"""Differences that four decimals do not show are rounding: a calibrator that fell back is temperature scaling."""


@dataclass(frozen=True)
class Config(Study):
    """What is run; the defaults are what ``experiments/results`` holds.

    :param seeds: of every row but that of ``many``.
    :param many: seeds of the row of ESPNet in-domain with half of its images.
    :param counts: of images to fit, as far as there are so many.
    :param models: of ``tables.OWN``, by which black boxes are judged, where their stores are there.
    :param most: images of a store to test on, evenly spaced.
    :param only: rows whose name begins with one of these; all if none.
    """

    methods: tuple[str, ...] = ("uncalibrated", *MEMBERS)
    many: tuple[int, ...] = tuple(range(20))
    counts: tuple[int, ...] = (40, 20, 10, 5)
    models: tuple[str, ...] = tuple(OWN)
    most: int = 36
    only: tuple[str, ...] = ()
    cache: str = "runs/default"

    @classmethod
    def smoke(cls, **changes: Any) -> "Config":
        """Return what runs in seconds, on synthetic data."""
        quick = {OURS: {"num_epochs": 1}}
        few = {"many": (0,), "counts": (4,), "models": (), "options": quick}
        return super().smoke(**(few | changes))


@dataclass(frozen=True)
class Row:
    """What is fitted to and tested on.

    :param name: of the row.
    :param draws: by seed, the images to fit on.
    :param tests: by shift, by seed, the images to test on.
    """

    name: str
    draws: Mapping[int, Predictions]
    tests: Mapping[str, Mapping[int, Predictions]] = field(default_factory=dict)


def rows(config: Config) -> Iterator[Row]:
    """Yield the rows, those of one source after another."""
    images = predictions_of(config)
    yield from _of_halves(config, images)
    if not config.folder:
        return
    day = [p for p in images if drive(p.key) not in DUSK]
    dusk = [p for p in images if drive(p.key) in DUSK]
    yield from _drawn(config, "ESPNet by day", day, {"dusk": dusk})
    yield from _drawn(config, "ESPNet at dusk", dusk, {"day": day})
    for name in config.models:
        model, part, tests = OWN[name]
        stores = [store_of(model, each) for each in (*part.split(","), *tests.values())]
        if not all(Path(store).is_dir() for store in stores):
            print(f"{name}: no stores in {STORES}", flush=True)
            continue
        fitted = opened(",".join(store_of(model, each) for each in part.split(",")), config.stride)
        where = {
            shift: _some(opened(store_of(model, each), config.stride), config.most) for shift, each in tests.items()
        }
        yield from _drawn(config, name, fitted, where)


def _of_halves(config: Config, images: Sequence[Prediction]) -> Iterator[Row]:
    """Half of the images to test on, and so many of the others to fit."""
    for count in config.counts:
        if count > len(images) // 2:
            continue
        seeds = config.many if count == config.counts[0] else config.seeds
        split = {seed: halves(images, seed, count / len(images)) for seed in seeds}
        name = "ESPNet" if config.folder else "made"
        draws = {seed: each[0] for seed, each in split.items()}
        tests: dict[str, Mapping[int, Predictions]] = {IN_PLACE: {seed: each[1] for seed, each in split.items()}}
        if not config.folder:
            hotter = {seed: [with_logits(p, 2 * p.logits) for p in each[1]] for seed, each in split.items()}
            tests["hotter"] = hotter
        yield Row(f"{name}, {count} images", draws, tests)


def _drawn(
    config: Config, name: str, fitted: Sequence[Prediction], where: Mapping[str, Sequence[Prediction]]
) -> Iterator[Row]:
    """So many of the images to fit, all of the other sets to test on; what is not drawn is in-domain, if none is."""
    for count in config.counts:
        most = len(fitted) if IN_PLACE in where else 3 * len(fitted) // 4
        if count > most:
            continue
        orders = {
            seed: torch.randperm(len(fitted), generator=torch.Generator().manual_seed(seed)).tolist()
            for seed in config.seeds
        }
        draws = {seed: Subset(fitted, sorted(order[:count])) for seed, order in orders.items()}
        tests: dict[str, Mapping[int, Predictions]] = {}
        if IN_PLACE not in where:  # the same images, whatever the count
            tests[IN_PLACE] = {seed: Subset(fitted, sorted(order[most:])) for seed, order in orders.items()}
        tests |= {shift: dict.fromkeys(config.seeds, images) for shift, images in where.items()}
        yield Row(f"{name}, {count} images", draws, tests)


def _some(images: Sequence[Prediction], most: int) -> Sequence[Prediction]:
    return images[:: max(1, -(-len(images) // most))]


def measure(config: Config, row: Row) -> tuple[dict[str, Comparison], dict[str, str]]:
    """Fit for every seed and test everywhere; return a comparison for each test, and how far images are drawn back."""
    tallies: dict[str, dict[str, list[Measurement]]] = {}
    back: dict[str, list[float]] = {}
    for seed, images in row.draws.items():
        found = {name: fit(config, name, images, seed).calibrator for name in (OURS, *config.methods)}
        for where, tests in row.tests.items():
            for name, counted in tally_all(partial(Measurement.of, num_bins=15), tests[seed], found).items():
                tallies.setdefault(where, {}).setdefault(name, []).append(counted)
            stacked = found[OURS]
            assert isinstance(stacked, StackedScaling)
            with torch.no_grad():
                shares = [float(stacked.shares(p.logits[None])) for p in tests[seed]]
            back.setdefault(where, []).append(1 - sum(shares) / len(shares))
    generator = partial(torch.Generator().manual_seed, 0)
    scores = {name: SCORES[name] for name in SHOWN}
    compared = {
        where: compare(each, generator=generator(), scores=scores, num_resamples=config.num_resamples)
        for where, each in tallies.items()
    }
    return compared, {where: f"{sum(each) / len(each):.0%}" for where, each in back.items()}


def verdicts(found: Comparison) -> dict[str, Any]:
    """Return what the row says of the goals: where the default is surely worse, and whether it is surely the best."""
    members = [name for name in MEMBERS if name in found.values]
    best = {score: min(members, key=lambda name, s=score: _signed(found, name, s)) for score in SHOWN}
    behind_best = [s for s in PROPER if _verdict(found, best[s], s) == "-"]
    behind_temperature = [s for s in SHOWN if _verdict(found, "temperature", s) == "-"]
    ahead = all(_verdict(found, name, s) == "+" for s in PROPER for name in members)
    return {
        "surely worse than the best member": behind_best,
        "surely worse than temperature scaling": behind_temperature,
        "surely better than every member": ahead,
    }


def _verdict(found: Comparison, name: str, score: str) -> str:
    gap = found.differences[name][score]
    return "=" if abs(gap.value) < LEAST else verdict(score, gap)


def _signed(found: Comparison, name: str, score: str) -> float:
    value = found.values[name][score].value
    return -value if score in HIGHER else value


def main(config: Config) -> dict[str, dict[str, Any]]:
    """Run the experiment, print and record it row by row; return the verdicts by row."""
    begun = time.monotonic()
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    said: dict[str, dict[str, Any]] = {}
    results: dict[str, Any] = {}
    for row in rows(config):
        if config.only and not row.name.startswith(config.only):
            continue
        compared, back = measure(config, row)
        for where, found in compared.items():
            title = f"{row.name}, {where}"
            show(found, SHOWN, f"{title}; means over {len(row.draws)} seeds; drawn back: {back[where]}", {})
            said[title] = verdicts(found) | {"drawn back": back[where]}
            print("  " + "; ".join(f"{what}: {each or 'none'}" for what, each in said[title].items()), flush=True)
            values = {
                n: {s: f"{v.value:.6f} [{v.low:.6f}, {v.high:.6f}]" for s, v in each.items()}
                for n, each in found.values.items()
            }
            results[title] = {"values": values, **said[title]}
        if config.results:
            record("default", config, time.monotonic() - begun, results, config.results)
    inside = [each for title, each in said.items() if title.endswith(IN_PLACE)]
    print(
        f"\n{len(said)} rows: surely worse than the best member in {_count(said, 'surely worse than the best member')},"
    )
    print(f"surely worse than temperature scaling in {_count(said, 'surely worse than temperature scaling')};")
    best = sum(each["surely better than every member"] for each in inside)
    print(f"surely better than every member in {best} of {len(inside)} rows in-domain")
    return said


def _count(said: Mapping[str, Mapping[str, Any]], what: str) -> int:
    return sum(bool(each[what]) for each in said.values())


def asked() -> Config:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="synthetic data, in seconds")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="rows whose name begins so")
    parser.add_argument("--seeds", type=int, default=5, help="draws of the images to fit to")
    parser.add_argument("--many", type=int, default=20, help="draws of the row of ESPNet with half of its images")
    parser.add_argument("--output", "-o", default="", help="where figures go, if not among the recorded ones")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    if given.smoke:
        return Config.smoke()
    return replace(
        Config(),
        only=tuple(given.only),
        seeds=tuple(range(given.seeds)),
        many=tuple(range(given.many)),
        output=given.output,
    )


if __name__ == "__main__":
    main(asked())
