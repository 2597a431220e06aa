"""The calibrator that needs no choosing, beside its members, in-domain and after shifts, on few images and many.

``python -m experiments.selective_scaling.default [--data FOLDER | --smoke] [--only ROW …] [--jobs N]``: one row for
each source of ``_default_rows`` and number of images to fit. Each row is kept under ``runs/`` as soon as it is
measured, with its commit and its seconds; the record holds all rows that are kept, those of earlier runs too. Fits that
are there already are read again. At the end, over the record, row by row and shift by shift: is the default surely
worse than the best single member in likelihood or Brier score, surely worse than temperature scaling in anything,
surely better than every member? (A difference below :data:`LEAST` is none.)

What chose the constants of the default, and so proves nothing: three draws of ESPNet's logits (which features, the form
of the pool and of the confidence), and the model day-quarter of ``train_black_boxes``, which has no row (the gate).
"Drawn back" is the mean share of the anchor: 0 % where all that was learnt is applied, 100 % where nothing is. The row
of temperature scaling is that anchor.
"""

import argparse
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from calibrant._storage.files import replacing
from calibrant.calibrators import StackedScaling
from calibrant.evaluation import Comparison, compare, tally_all
from calibrant.metrics import SCORES, Measurement
from experiments._data import add_option, use
from experiments._record import commit, record
from experiments.selective_scaling._default_rows import Judged, Source, sources
from experiments.selective_scaling._fits import fit
from experiments.selective_scaling._methods import OURS
from experiments.selective_scaling._shifted import IN_PLACE
from experiments.selective_scaling._tables import HIGHER, show, verdict

MEMBERS = ("temperature", "vector, labels kept", "Dirichlet, labels kept", "isotonic")
SHOWN = ("nll", "brier", "ece", "ece_images", "ece_classwise", "auroc", "augrc")
PROPER = ("nll", "brier")
LEAST = 5e-5
"""Differences that four decimals do not show are rounding: a calibrator that fell back is temperature scaling."""

BEHIND_BEST = "surely worse than the best member"
BEHIND_TEMPERATURE = "surely worse than temperature scaling"
AHEAD = "surely better than every member"

Tests = dict[str, dict[str, Any]]
"""By shift, what a row found."""


@dataclass(frozen=True)
class Config(Judged):
    """What is run; the defaults are what ``experiments/results`` holds.

    :param seeds: draws of the images to fit to, of every row but that of ``many``.
    :param many: draws of the row of ESPNet with half of its images.
    :param counts: of images to fit, as far as there are so many.
    :param only: rows whose name begins with one of these; all if none.
    """

    methods: tuple[str, ...] = ("uncalibrated", *MEMBERS)
    many: tuple[int, ...] = tuple(range(20))
    counts: tuple[int, ...] = (40, 20, 10, 5)
    only: tuple[str, ...] = ()
    cache: str = "runs/default"

    @classmethod
    def smoke(cls, **changes: Any) -> "Config":
        """Return what runs in seconds, on synthetic data."""
        few = {"many": (0,), "counts": (4,), "options": {OURS: {"num_epochs": 1}}}
        return super().smoke(**(few | changes))

    @property
    def rows(self) -> Path | None:
        """The folder of the rows that were measured, each in a file; None for those of made data."""
        if self.results is None:
            return None
        return Path(self.output or self.cache) / "rows"

    def wanted(self, name: str, count: int) -> bool:
        """Tell whether a row is asked for."""
        return not self.only or row_of(name, count).startswith(self.only)

    def drawn(self, name: str, count: int, source: Source) -> tuple[int, ...]:
        """Return the seeds of a row."""
        if name == "ESPNet" and count == self.counts[0]:
            return self.many
        return self.seeds[: source.most_seeds]


def row_of(name: str, count: int) -> str:
    """Return the name of a row.

    >>> row_of("ESPNet", 40)
    'ESPNet, 40 images'
    """
    return f"{name}, {count} images"


def measure_source(config: Config, name: str) -> dict[str, Tests]:
    """Measure the rows of a source that are asked for, print and keep each; return what they found, by row."""
    torch.set_num_threads(1)
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    found: dict[str, Tests] = {}
    begun, code = time.monotonic(), commit()
    source = sources(config)[name]()
    for count in () if source is None else source.counts or config.counts:
        if count > source.available or not config.wanted(name, count):
            continue
        row, seeds = row_of(name, count), config.drawn(name, count, source)
        tests = measure(config, source, count, seeds, row)
        seconds, begun = round(time.monotonic() - begun), time.monotonic()
        found[row] = {where: each | {"seeds": len(seeds)} for where, each in tests.items()}
        print(f"{row}: {len(seeds)} draws, {seconds} s, what was read or made for it too", flush=True)
        if config.rows:
            keep(config.rows, row, {"commit": code, "seconds": seconds, "tests": found[row]})
    return found


def measure(config: Config, source: Source, count: int, seeds: tuple[int, ...], row: str) -> Tests:
    """Fit for every seed and test everywhere; print and return, by shift, figures and what they say of the goals."""
    tallies: dict[str, dict[str, list[Measurement]]] = {}
    back: dict[str, list[float]] = {}
    for seed in seeds:
        images, tests = source.drawn(count, seed)
        found = {name: fit(config, name, images, seed).calibrator for name in (OURS, *config.methods)}
        stacked = found[OURS]
        assert isinstance(stacked, StackedScaling)
        if "temperature" in found:  # fitted apart it would be to other pixels, and differ by that alone
            found["temperature"] = stacked.anchor
        for where, shown in tests.items():
            for name, counted in tally_all(partial(Measurement.of, num_bins=15), shown, found).items():
                tallies.setdefault(where, {}).setdefault(name, []).append(counted)
            with torch.no_grad():
                shares = [float(stacked.shares(p.logits[None])) for p in shown]
            back.setdefault(where, []).append(1 - sum(shares) / len(shares))
    return {where: _told(config, row, where, each, back[where]) for where, each in tallies.items()}


def _told(
    config: Config, row: str, where: str, tallies: Mapping[str, list[Measurement]], back: list[float]
) -> dict[str, Any]:
    """Compare what was counted, print the table, and return it as the record holds it."""
    found = compare(
        tallies,
        generator=torch.Generator().manual_seed(0),
        scores={name: SCORES[name] for name in SHOWN},
        num_resamples=config.num_resamples,
    )
    said = verdicts(found) | {"drawn back": f"{sum(back) / len(back):.0%}"}
    show(found, SHOWN, f"{row}, {where}; means over {len(back)} seeds; drawn back: {said['drawn back']}", {})
    print("  " + "; ".join(f"{what}: {each or 'none'}" for what, each in said.items()), flush=True)
    values = {
        name: {s: f"{v.value:.6f} [{v.low:.6f}, {v.high:.6f}]" for s, v in each.items()}
        for name, each in found.values.items()
    }
    return {"values": values, **said}


def keep(folder: Path, row: str, about: Mapping[str, Any]) -> None:
    """Keep a row in a file of its own, in place of what an earlier run found."""
    with replacing(folder / f"{re.sub(r'[^0-9A-Za-z]+', '-', row)}.json") as temporary:
        temporary.write_text(json.dumps({"row": row} | about))


def kept(config: Config) -> dict[str, dict[str, Any]]:
    """Return the rows that are kept, by row and shift, with commit and seconds; in the order of the sources."""
    assert config.rows is not None
    files = (json.loads(file.read_text()) for file in sorted(config.rows.glob("*.json")))
    there = {each["row"]: each for each in files}
    found: dict[str, dict[str, Any]] = {}
    for name in sources(config):
        for row in (row_of(name, count) for count in config.counts):
            if row not in there:
                continue
            about = {each: there[row][each] for each in ("commit", "seconds")}
            found |= {f"{row}, {where}": about | each for where, each in there[row]["tests"].items()}
    return found


def verdicts(found: Comparison) -> dict[str, Any]:
    """Return what the row says of the goals: where the default is surely worse, and whether it is surely the best."""
    members = [name for name in MEMBERS if name in found.values]
    best = {score: min(members, key=lambda name, s=score: _signed(found, name, s)) for score in SHOWN}
    behind_best = [s for s in PROPER if _verdict(found, best[s], s) == "-"]
    behind_temperature = [s for s in SHOWN if _verdict(found, "temperature", s) == "-"]
    ahead = all(_verdict(found, name, s) == "+" for s in PROPER for name in members)
    return {
        BEHIND_BEST: behind_best,
        BEHIND_TEMPERATURE: behind_temperature,
        AHEAD: ahead,
    }


def _verdict(found: Comparison, name: str, score: str) -> str:
    gap = found.differences[name][score]
    return "=" if abs(gap.value) < LEAST else verdict(score, gap)


def _signed(found: Comparison, name: str, score: str) -> float:
    value = found.values[name][score].value
    return -value if score in HIGHER else value


def main(config: Config, jobs: int = 1) -> dict[str, dict[str, Any]]:
    """Measure the rows, so many sources at once; record and return all that are kept, by row and shift."""
    begun = time.monotonic()
    said: dict[str, dict[str, Any]] = {}
    wanted = [name for name in sources(config) if any(config.wanted(name, count) for count in config.counts)]
    with _started(config, wanted, jobs) as measured:
        for rows in measured:
            said |= {f"{row}, {where}": each for row, tests in rows.items() for where, each in tests.items()}
            if config.results:
                record("default", config, time.monotonic() - begun, kept(config), config.results)
    said = kept(config) if config.results else said
    print_goals(said)
    return said


@contextmanager
def _started(config: Config, names: list[str], jobs: int) -> Iterator[Iterator[dict[str, Tests]]]:
    """Measure sources one after another here, or several at once, each in a process."""
    if jobs == 1:
        yield (measure_source(config, name) for name in names)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        begun: list[Future[dict[str, Tests]]] = [pool.submit(measure_source, config, name) for name in names]
        yield (each.result() for each in begun)


def print_goals(said: Mapping[str, Mapping[str, Any]]) -> None:
    """Print how many rows meet each goal, and those that do not."""
    commits = {each["commit"] for each in said.values() if "commit" in each}
    print(f"\n{len(said)} rows" + (f", measured at {', '.join(sorted(commits))}" if commits else ""))
    for what in (BEHIND_BEST, BEHIND_TEMPERATURE):
        behind = {title: each[what] for title, each in said.items() if each[what]}
        print(f"{what} in {len(behind)}{':' if behind else ''}")
        print("".join(f"  {title}: {', '.join(scores)}\n" for title, scores in behind.items()), end="")
    inside = [title for title in said if title.endswith(IN_PLACE)]
    others = [title for title in inside if not said[title][AHEAD]]
    print(f"{AHEAD} in {len(inside) - len(others)} of {len(inside)} rows in-domain" + ("; not in:" if others else ""))
    print("".join(f"  {title}\n" for title in others), end="", flush=True)


def asked() -> tuple[Config, int]:
    """Return what the command line asks for, and how many processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="synthetic data, in seconds")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="rows whose name begins so")
    parser.add_argument("--seeds", type=int, help="draws of the images to fit to, which is not recorded")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with a source and one thread")
    parser.add_argument("--output", "-o", default="", help="where figures go, if not among the recorded ones")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    if given.smoke:
        return Config.smoke(), given.jobs
    config = Config(only=tuple(given.only), output=given.output)
    if given.seeds is None:
        return config, given.jobs
    few = tuple(range(given.seeds))
    return replace(config, seeds=few, many=few, output=given.output or "runs/studies"), given.jobs


if __name__ == "__main__":
    main(*asked())
