"""The default and its members beside the calibrators of other libraries, on the same real logits, in one process.

``python -m benchmarks.peers [--data FOLDER] [--seeds N] [--pixels N] [--record]``: ESPNet's logits of 80 images of
CamVid, 40 to fit and all pixels of the other 40 to test. All fits see the labels of the same pixels, drawn once an
image; others are unlabelled to them. Other libraries get those pixels as rows. Each is fitted by its defaults, and
Fiducio's by its L-BFGS besides; a library that is not installed is named. Time is that of the processor, on one thread,
without imports and compilers. ``--record`` keeps the figures, with the versions, for the page that shows them.
"""

import argparse
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from experiments._data import add_option, use
from experiments._record import record
from experiments.selective_scaling._fits import Study, halves, predictions_of
from experiments.selective_scaling._tables import verdict
from torch import Tensor

from benchmarks._peers import COMPARED, Scale, compared_peers, installed
from calibrant import IGNORE
from calibrant.errors import DataError
from calibrant.evaluation import compare, tally
from calibrant.methods import parse_method
from calibrant.metrics import SCORES, Measurement
from calibrant.predictions import Prediction, Predictions, with_logits

OURS = {
    "stacked, the default": "stacked",
    "temperature": "temperature",
    "vector, labels kept": "vector-kept",
    "Dirichlet, labels kept": "dirichlet-kept",
    "isotonic": "isotonic",
    "vector": "vector",
    "Dirichlet": "dirichlet",
}
"""What is fitted of ours, as the command line names it; the first is compared with all others."""
SHOWN = ("nll", "brier", "ece", "ece_images")


@dataclass(frozen=True)
class Config(Study):
    """What is run; the defaults are what ``experiments/results`` holds.

    :param pixels: labelled pixels of an image to fit, drawn at random; all others are unlabelled.
    :param ours: by name, what is fitted of ours.
    """

    seeds: tuple[int, ...] = (0,)
    pixels: int = 4000
    ours: Mapping[str, str] = field(default_factory=lambda: dict(OURS))

    @classmethod
    def smoke(cls, **changes: Any) -> "Config":
        """Return what runs in seconds, on synthetic data."""
        few = {"pixels": 100, "ours": {"stacked, the default": "stacked:num_epochs=1", "temperature": "temperature"}}
        return super().smoke(**(few | changes))


def sampled(images: Predictions, pixels: int, seed: int) -> list[Prediction]:
    """Return images in which so many labelled pixels at most, drawn at random, keep their labels."""
    generator = torch.Generator().manual_seed(seed)
    return [replace(p, labels=_kept(p.labels, pixels, generator)) for p in images]


def _kept(labels: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    there = (labels.flatten() != IGNORE).nonzero().flatten()
    chosen = there[torch.randperm(len(there), generator=generator)[:pixels]]
    kept = torch.full_like(labels.flatten(), IGNORE)
    kept[chosen] = labels.flatten()[chosen]
    return kept.view_as(labels)


def fits_of(config: Config, images: Sequence[Prediction]) -> dict[str, Callable[[], Scale]]:
    """Return all fits to the images, ours first, by name."""
    ours: dict[str, Callable[[], Scale]] = {
        name: partial(parse_method(text).fit, images) for name, text in config.ours.items()
    }
    z = torch.cat([p.logits.float().flatten(1) for p in images], 1)
    y = torch.cat([p.labels[0].flatten() for p in images])
    return ours | compared_peers(z[None, :, y != IGNORE], y[None, y != IGNORE])


@dataclass
class Found:
    """What was found of one calibrator: by draw, its counts, its time, and the share of labels that it changed."""

    counts: list[Measurement] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)


def measured(config: Config, images: Sequence[Prediction]) -> dict[str, Found]:
    """Fit everything for every draw, and count what it says of the other images."""
    found: dict[str, Found] = {}
    for seed in config.seeds:
        fitted, tested = halves(images, seed)
        labelled = sampled(fitted, config.pixels, seed)
        small = fits_of(config, sampled(fitted, 50, seed))
        for name, fit in ({"uncalibrated": lambda: lambda x: x} | fits_of(config, labelled)).items():
            if seed == config.seeds[0] and name not in config.ours and name in small:
                small[name]()  # imports and compilers are no part of the time
            begun = time.process_time()
            scale = fit()
            each = found.setdefault(name, Found())
            each.seconds.append(time.process_time() - begun)
            with torch.no_grad():
                scaled = [with_logits(p, scale(p.logits.float()[None])[0].float()) for p in tested]
            each.counts.append(tally(partial(Measurement.of, num_bins=15), scaled))
            each.changed.append(_changed(tested, scaled))
            print(f"seed {seed}, {name}: {each.seconds[-1]:.1f} s", flush=True)
    return found


def _changed(raw: Predictions, scaled: Sequence[Prediction]) -> float:
    changed = [
        (a.logits.float().argmax(0) != b.logits.argmax(0))[a.labels[0] != IGNORE]
        for a, b in zip(raw, scaled, strict=True)
    ]
    return float(torch.cat(changed).double().mean())


def versions() -> dict[str, str]:
    """Return the version of each library that is installed, and "not installed" of the others."""
    return {"torch": version("torch")} | {name: installed(name) or "not installed" for name in COMPARED}


def main(config: Config, keep: bool = False) -> dict[str, Any]:
    """Measure, print and, if asked to, record; return the table."""
    begun = time.monotonic()
    torch.set_num_threads(1)
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    told = versions()
    print("; ".join(f"{name} {each}" for name, each in told.items()), flush=True)
    found = measured(config, predictions_of(config))
    first = next(iter(config.ours))
    tallies = {name: found[name].counts for name in (first, *(each for each in found if each != first))}
    compared = compare(
        tallies,
        generator=torch.Generator().manual_seed(0),
        scores={name: SCORES[name] for name in SHOWN},
        num_resamples=config.num_resamples,
    )
    print(f"\n{len(config.seeds)} draws; + = -: the default is better than, not told from, worse than this row")
    print(f"{'':40s}" + "".join(f"{score:>13s}" for score in SHOWN) + "  labels changed   seconds to fit")
    table: dict[str, Any] = {}
    for name, figures in compared.values.items():
        each = found[name]
        gaps = {} if name == first else {s: verdict(s, compared.differences[name][s]) for s in SHOWN}
        changed, seconds = (sum(part) / len(part) for part in (each.changed, each.seconds))
        cells = "".join(f"{figures[s].value:11.4f} {gaps.get(s, ' ')}" for s in SHOWN)
        print(f"{name:40s}{cells}{changed:14.2%}{seconds:14.1f}")
        table[name] = {s: f"{v.value:.6f} [{v.low:.6f}, {v.high:.6f}]" for s, v in figures.items()}
        table[name] |= {"default is": gaps, "labels changed": f"{changed:.6f}", "seconds": round(seconds, 2)}
    if keep and config.results:
        figures = {"versions": told, "table": table}
        print(record("peers", config, time.monotonic() - begun, figures, config.results), flush=True)
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="synthetic data, in seconds")
    parser.add_argument("--seeds", type=int, default=1, help="draws of the images to fit to")
    parser.add_argument("--pixels", type=int, default=4000, help="labelled pixels of an image to fit to")
    parser.add_argument("--record", action="store_true", help="keep the figures in experiments/results")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    chosen = Config(seeds=tuple(range(given.seeds)), pixels=given.pixels)
    try:
        main(Config.smoke() if given.smoke else chosen, given.record)
    except DataError as missing:  # the last of ``make bench``, most of which needs no data
        print(f"left out: {missing}")
