"""Does calibrated adversarial refinement redraw what four radiologists drew? Real CT crops of LIDC-IDRI.

    python -m experiments.car.lidc [--finished | --scored | --train NAME SEED] [--published | --smoke]

Trains all that is not trained yet and scores it on patients that nothing was trained on; what is done is kept under
``runs/``. ``--finished`` trains nothing and scores what there is, ``--scored`` shows what is scored already;
``--train CAR 0`` trains that alone (``F 0`` is F); it can be said several times.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from calibrant.evaluation import draw_hypotheses
from calibrant.metrics import Interval
from calibrant.samplers import CopulaSampler, IndependentSampler, Sampler
from experiments._data import add_option, use
from experiments._record import RESULTS, record
from experiments.car._timed import Timer, folder_name
from experiments.car.lidc_config import LONGER, Config, arms
from experiments.car.lidc_jobs import (
    Images,
    behind_calibration_network,
    fitted_copula,
    recalibrated,
    refinement,
)
from experiments.car.lidc_pictures import draw_pictures
from experiments.car.lidc_scores import Columns, Drawn, Patients, argmax, kept_columns, looking_at_masks

BASE = ("CAR", "cGAN + cross-entropy", "cGAN, lambda 0")
FOUND = ("majority", "union", "redrawn")
MARKS = {"majority": 0.250, "union": 0.632, "redrawn": 0.024}
"""GED at 16 of what is made from the test masks themselves, known beforehand; two graders differ by .50."""
SHOWN = (
    "GED 16",
    "GED 50",
    "GED 100",
    "HM-IoU 16",
    "unbiased GED",
    "presence",
    "shape",
    "floor 16",
    "diversity",
    "KL to F",
    "KL of chance",
    "coverage",
    "width",
    "area CRPS",
)

Rows = dict[str, dict[int, Columns]]
"""Scores by row and seed."""


def samplers(
    config: Config, images: Images, seed: int, *, train: bool, score: bool
) -> Iterator[tuple[str, Images, Sampler]]:
    """Yield the rows of a seed that are drawn by samplers: name, images behind what it stands, sampler."""
    yield "independent pixels", images, IndependentSampler()
    yield "copula, one level", images, CopulaSampler(image=1.0)
    if score or (Path(config.runs) / f"copula-{seed}").exists():
        yield "copula, fitted", images, fitted_copula(config, images, seed)
    others = config.other_seeds
    behind = {"F": images}
    for name in ("temperature", "stacked") if seed in others else ():
        behind[name] = recalibrated(config, images, name, seed)
        yield f"copula behind {name}", behind[name], CopulaSampler(image=1.0)
    for name, arm in arms(config).items():
        if name.removesuffix(LONGER) in BASE or seed in others:
            sampler = refinement(config, behind[arm.behind], name, seed, train=train)
            if sampler is not None:
                yield name, behind[arm.behind], sampler


def score_all(
    config: Config, images: Images, *, train: bool, score: bool
) -> tuple[Rows, dict[int, dict[str, Sampler]]]:
    """Return the scores of every row that is there, and the samplers of each seed."""
    rows: Rows = {}
    kept: dict[int, dict[str, Sampler]] = {}

    def add(name: str, seed: int, draw: Any, about: object = "") -> None:
        path = Path(config.runs) / "scores" / f"{folder_name(name)}-{seed}.pt"
        if not (score or path.exists()):
            return
        of = f"{config.num_samples} samples, {about}"
        rows.setdefault(name, {})[seed] = kept_columns(path, of, draw)
        print(f"{name}, seed {seed}: GED 16 {float(rows[name][seed]['GED 16'].mean()):.4f}", flush=True)

    for name in FOUND:
        add(name, 0, partial(looking_at_masks, name, images.test, config.num_samples))
    for seed in config.seeds:
        if not train and not (Path(config.runs) / f"F-{seed}" / "logits.pt").exists():
            continue
        behind = behind_calibration_network(config, images, seed)
        add("F's argmax", seed, partial(argmax, behind.test, config.num_samples))
        for name, seen, sampler in samplers(config, behind, seed, train=train, score=score):
            kept.setdefault(seed, {})[name] = sampler
            add(name, seed, partial(_drawn, config, seen, sampler, seed), sampler)
    return rows, kept


def _drawn(config: Config, images: Images, sampler: Sampler, seed: int) -> Drawn:
    generator = torch.Generator().manual_seed(seed)
    return draw_hypotheses(sampler, images.test, num_samples=config.num_samples, generator=generator)


def means(rows: Rows, name: str, seeds: Sequence[int]) -> Columns:
    """Return a row's scores, the mean over seeds, image by image."""
    held = rows[name]
    return {score: torch.stack([held[seed][score] for seed in seeds]).mean(0) for score in held[seeds[0]]}


def table(rows: Rows, patients: Patients) -> dict[str, dict[str, Any]]:
    """Return each row's figures over its seeds, with intervals over patients and the deviation over seeds."""
    found: dict[str, dict[str, Any]] = {}
    for name, held in rows.items():
        seeds = sorted(held)
        scores = means(rows, name, seeds)
        found[name] = {"seeds": seeds}
        for score, values in scores.items():
            over = torch.tensor([float(held[seed][score].nanmean()) for seed in seeds], dtype=torch.float64)
            spread = float(over.std()) if len(seeds) > 1 else None
            found[name][score] = asdict(patients.interval(values)) | {"deviation over seeds": spread}
    return found


def differences(rows: Rows, patients: Patients, pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Return the first less the second of each pair, on the same seeds and patients."""
    found = {}
    for one, other in pairs:
        seeds = sorted(set(rows.get(one, ())) & set(rows.get(other, ())))
        if seeds:
            first, second = means(rows, one, seeds), means(rows, other, seeds)
            gap = {score: patients.interval(first[score] - second[score]) for score in SHOWN}
            found[f"{one} - {other}"] = {"seeds": seeds} | {score: asdict(each) for score, each in gap.items()}
    return found


def compared(config: Config) -> list[tuple[str, str]]:
    """Return what is compared in pairs."""
    rivals = [*BASE[1:], "copula, one level", "copula, fitted", "independent pixels", "F's argmax", "majority"]
    pairs = [("CAR", rival) for rival in rivals] + [("cGAN + cross-entropy", "F's argmax")]
    for behind in ("temperature", "stacked"):
        pairs += [(f"CAR behind {behind}", "CAR"), (f"copula behind {behind}", "copula, one level")]
    control = "cGAN + cross-entropy"
    pairs += [(f"{name}{LONGER}", name) for name in ("CAR", control)]
    pairs += [(f"CAR{LONGER}", rival) for rival in (f"{control}{LONGER}", "copula, one level", "independent pixels")]
    return pairs + [(f"CAR, m={m}", "CAR") for m in config.numbers]


def show(figures: dict[str, dict[str, Any]], gaps: dict[str, dict[str, Any]]) -> None:
    """Print the table, the known marks beside it, and the differences."""
    print(f"\n{'':42s}{'seeds':>6s}" + "".join(f"{score:>14s}" for score in SHOWN))
    for name, row in figures.items():
        print(f"{name:42s}{len(row['seeds']):6d}" + "".join(f"{row[score]['value']:14.4f}" for score in SHOWN))
    print("\nunbiased GED is the excess over the floor, of which presence is 2 (share of maps with a nodule - share of")
    print("annotators who drew one)^2; one map that never varies can beat all samplers in HM-IoU (see majority)")
    print("\nknown marks, GED 16: " + ", ".join(f"{name} {mark:.3f}" for name, mark in MARKS.items()))
    apart = next(iter(figures.values()))["annotators' diversity"]["value"]
    print(f"two annotators differ by {apart:.3f}; known: .50")
    print("\ndifferences with 95 % intervals over patients")
    for name, row in gaps.items():
        cells = [Interval(**row[score]) for score in ("GED 16", "HM-IoU 16", "diversity")]
        told = "  ".join(f"{each.value:+.4f} ({each.low:+.4f} to {each.high:+.4f})" for each in cells)
        print(f"{name:84s} GED 16, HM-IoU 16, diversity: {told}")


def main(config: Config, *, train: bool = True, score: bool = True) -> dict[str, Any]:
    """Run and score what is missing (or not), print, record; return the figures."""
    begun = time.monotonic()
    images = Images.read(config)
    rows, kept = score_all(config, images, train=train, score=score)
    patients = Patients([each.key for each in images.test], num_resamples=config.num_resamples)
    figures = table(rows, patients)
    gaps = differences(rows, patients, compared(config))
    show(figures, gaps)
    about = {
        "images": {"train": len(images.train), "held out": len(images.held_out), "test": len(images.test)},
        "seconds of trainings": {
            f"{name}, seed {seed}": Timer.read(Path(config.runs) / f"{folder_name(name)}-{seed}")
            for name in ["F", *arms(config)]
            for seed in rows.get("F's argmax" if name == "F" else name, ())
        },
        "copulas": {seed: repr(each["copula, fitted"]) for seed, each in kept.items() if "copula, fitted" in each},
    }
    folder = RESULTS if config.folder else Path(config.runs)
    if kept:
        seed = min(kept)
        seen = behind_calibration_network(config, images, seed)
        draw_pictures(folder / "lidc_samples.png", seen.test, kept[seed], seed=seed)
    if config.folder:
        print(record("lidc", config, time.monotonic() - begun, {"table": figures, "differences": gaps} | about))
    return {"table": figures, "differences": gaps} | about


def train_alone(config: Config, jobs: Sequence[tuple[str, int]]) -> None:
    """Train arms, or F, each with a seed, in this order."""
    images = Images.read(config)
    for name, seed in jobs:
        behind = behind_calibration_network(config, images, seed)
        if name != "F":
            seen = recalibrated(config, behind, arms(config)[name].behind, seed)
            refinement(config, seen, name, seed, train=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few steps of each part on synthetic data, in seconds")
    parser.add_argument("--published", action="store_true", help="the paper's networks; wants a GPU")
    parser.add_argument("--finished", action="store_true", help="score what is trained, train nothing")
    parser.add_argument("--scored", action="store_true", help="train and score nothing, show what is there")
    parser.add_argument("--train", nargs=2, action="append", metavar=("NAME", "SEED"), help="train this alone")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    if given.smoke:
        with tempfile.TemporaryDirectory() as temporary:
            main(Config.smoke(temporary))
    else:
        chosen = Config.published() if given.published else Config()
        if given.train:
            names = ["F", *arms(chosen)]
            for name, seed in given.train:
                if name not in names or not seed.isdecimal():
                    parser.error(
                        f"expected a name and a seed, as in --train CAR 0; got {name!r} {seed!r}. Names: {names}"
                    )
            train_alone(chosen, [(name, int(seed)) for name, seed in given.train])
        else:
            main(chosen, train=not (given.finished or given.scored), score=not given.scored)
