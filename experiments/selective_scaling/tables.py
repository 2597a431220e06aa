"""Tables 1 and 2 of the paper on any black boxes: calibrators down, models across, in-domain and after a shift.

    python -m experiments.selective_scaling.tables
    python -m experiments.selective_scaling.tables --fit NAME=STORE --test NAME=STORE --test NAME:SHIFT=STORE -o FOLDER

The first is what is recorded: the models of ``train_black_boxes`` in the stores of ``predict_black_boxes``. The second
is for stores of your own, which ``calibrant predict`` or ``import`` made; each option may be given more than once, and
STORE may be several with commas between. Without a test in-domain, images that are not drawn to fit are tested on.
The row of the ensemble is the mean of the model's own probabilities and those of each ``--member NAME[:SHIFT]=STORE``.
"""

import argparse
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calibrant.evaluation import Comparison, tally
from calibrant.metrics import SCORES, CalibrationBins, confidence_gap
from calibrant.models import EnsemblePredictions
from calibrant.predictions import Prediction, with_logits
from calibrant.testing import toy_predictions
from experiments._record import record
from experiments.selective_scaling._fits import opened
from experiments.selective_scaling._methods import OURS
from experiments.selective_scaling._paper import COLUMNS as PAPER
from experiments.selective_scaling._paper import IN_DOMAIN, SHIFTED, change
from experiments.selective_scaling._shifted import IN_PLACE, SHOWN, Shifted, Source, measure
from experiments.selective_scaling._tables import as_markdown, as_numbers, show, verdict
from experiments.selective_scaling.predict_black_boxes import store_of

BODY = ("ece_images", "nll")
"""What the tables hold: one of each for either."""

DAY = {IN_PLACE: "day", "dusk": "dusk", "KITTI": "kitti"}
OWN: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "SegFormer": ("day-half", "fit", DAY),
    "UperNet": ("day-upernet", "fit", DAY),
    "SegFormer, first halves": ("time-half", "fit", {"second halves": "later"}),
    "DAVIS": ("davis", "fit", {"second halves": "later"}),
    "aerial": ("aerial", "fit-val,fit-test", {"elsewhere": "elsewhere"}),
}
"""By name in the tables: the model, what it is fitted to, and what it is tested on."""


BY_DAY = {"SegFormer": "day-half", "UperNet": "day-upernet", "SegFormer, narrow": "day-quarter"}
"""Trained on the same images, and so the members of an ensemble."""


def _fitted() -> dict[str, str]:
    return {name: ",".join(store_of(model, p) for p in fit.split(",")) for name, (model, fit, _) in OWN.items()}


def _tests() -> dict[str, dict[str, str]]:
    return {name: {shift: store_of(model, p) for shift, p in tests.items()} for name, (model, _, tests) in OWN.items()}


def _members() -> dict[str, dict[str, tuple[str, ...]]]:
    others = {name: [model for model in BY_DAY.values() if model != own] for name, own in BY_DAY.items()}
    return {
        name: {shift: tuple(store_of(model, part) for model in models) for shift, part in DAY.items()}
        for name, models in others.items()
        if name in OWN
    }


@dataclass(frozen=True)
class Config(Shifted):
    """What is run; the defaults are what ``experiments/results`` holds.

    :param fitted: by model, the stores to fit to.
    :param tests: by model, by shift, the stores to test on.
    :param members: by model, by shift, what other models say of the same images: a store of each.
    :param most: images of a test set, evenly spaced.
    """

    folder: str = ""
    images: str = ""
    seeds: tuple[int, ...] = (0, 1, 2)
    fitted: Mapping[str, str] = field(default_factory=_fitted)
    tests: Mapping[str, Mapping[str, str]] = field(default_factory=_tests)
    members: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=_members)
    most: int = 36

    @classmethod
    def smoke(cls, **changes: object) -> "Config":
        """Return what runs in seconds, on synthetic data."""
        return super().smoke(**({"fitted": {}, "tests": {}, "members": {}} | changes))

    @property
    def results(self) -> Path | None:
        """Where figures go; None for those of synthetic data."""
        return replace(self, folder="stores", fitted={}).results if self.fitted else super().results


def sources(config: Config) -> Iterator[Source]:
    """Yield the models, one in memory at a time; made ones if there are none."""
    for name, stores in config.fitted.items():
        tests = {where: _some(each, config) for where, each in config.tests.get(name, {}).items()}
        ensembles = {
            where: EnsemblePredictions([tests[where], *(_some(each, config) for each in members)])
            for where, members in config.members.get(name, {}).items()
        }
        yield Source(name, opened(stores, config.stride), tests, ensembles)
    if not config.fitted:
        for seed in (0, 1):
            made = toy_predictions(num_images=8, num_classes=4, size=(12, 16), seed=seed)
            hotter = [with_logits(p, 2 * p.logits) for p in made]
            ensembles = {} if seed else {"hotter": EnsemblePredictions([hotter, made])}
            yield Source(f"made {seed}", made, {"hotter": hotter}, ensembles)


def _some(stores: str, config: Config) -> list[Prediction]:
    whole = opened(stores, config.stride)
    return whole[:: max(1, math.ceil(len(whole) / config.most))]


def _gap(predictions: Sequence[Prediction]) -> float:
    return float(confidence_gap(tally(CalibrationBins.of, predictions).pooled()))


def _rows(columns: Mapping[str, Comparison]) -> list[str]:
    return list(dict.fromkeys(method for found in columns.values() for method in found.values))


def _with(method: str, columns: Mapping[str, Comparison]) -> dict[str, Comparison]:
    """The columns where there is such a row: not every model has an ensemble."""
    return {name: found for name, found in columns.items() if method in found.values}


def print_table(title: str, columns: Mapping[str, Comparison], score: str, kept: Mapping[str, bool]) -> dict:
    """Print a table as Markdown, the least of a column in bold; return its numbers."""
    every = {method: _with(method, columns) for method in _rows(columns)}
    rows = {m: {name: found.values[m][score].value for name, found in here.items()} for m, here in every.items()}
    named = {f"{m}{'' if kept.get(m, True) else ' (may change labels)'}": row for m, row in rows.items()}
    print(f"\n{title}: {SCORES[score].title}\n\n{as_markdown('calibrator', named)}")
    return rows


def print_summary(title: str, columns: Mapping[str, Comparison], paper: Mapping[str, tuple[float, ...]]) -> dict:
    """Print and return what each method does to the error over all columns, beside the paper's street scenes.

    The change is that of the mean over columns, as the paper's is here. A rival is surely behind or ahead of ours in a
    column by the paired interval.
    """
    print(
        f"\n{title}: image-wise ECE against no calibration over {len(columns)} columns, where there is such a row; "
        "the paper's on street scenes\n"
    )
    print("| calibrator | paper | ours | lower in | least in | NLL lower in | ECE, NLL: behind ours in | ahead in |")
    print(f"|{'---|' * 8}")
    summary: dict[str, dict[str, Any]] = {}
    for method in _rows(columns):
        here = _with(method, columns).values()
        kind = method.split(",")[0]
        told = change(dict(paper), kind) if kind in PAPER and method != "uncalibrated" else None
        row: dict[str, Any] = {"paper": told}
        for score in BODY:
            mine = [found.values[method][score].value for found in here]
            none = [found.values["uncalibrated"][score].value for found in here]
            least = [min(figures[score].value for figures in found.values.values()) for found in here]
            said = [verdict(score, found.differences[method][score]) for found in here]
            row[score] = {
                "change": sum(mine) / sum(none) - 1,
                "lower": sum(a < b for a, b in zip(mine, none, strict=True)),
                "least": sum(a == b for a, b in zip(mine, least, strict=True)),
                "behind ours": said.count("+") if method != OURS else "–",
                "ahead of ours": said.count("-") if method != OURS else "–",
            }
        summary[method] = row
        error, likelihood = (row[score] for score in BODY)
        cells = [
            method,
            "–" if told is None else f"{told:+.0%}",
            f"{error['change']:+.0%}",
            error["lower"],
            error["least"],
        ]
        cells += [likelihood["lower"]]
        cells += [f"{error[way]}, {likelihood[way]}" for way in ("behind ours", "ahead of ours")]
        print(f"| {' | '.join(map(str, cells))} |")
    return summary


def main(config: Config) -> dict[str, dict[str, Comparison]]:
    """Run the study, print and record it; return the columns of both tables."""
    begun = time.monotonic()
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    columns: dict[str, dict[str, Comparison]] = {"Table 1": {}, "Table 2": {}}
    results: dict[str, dict] = {}
    keeps: dict[str, bool] = {}
    for source in sources(config):
        gaps = {where: _gap(each) for where, each in {"to fit": source.fitted, **source.tests}.items()}
        told = ", ".join(f"{value:+.4f} {where}" for where, value in gaps.items())
        print(f"{source.name}, confidence less accuracy of the model itself: {told}", flush=True)
        results[source.name] = {"confidence less accuracy": gaps}
        found, kept = measure(config, source)
        keeps |= {name: keeps.get(name, True) and each for name, each in kept.items()}
        for where, comparison in found.items():
            table = "Table 1" if where == IN_PLACE else "Table 2"
            name = source.name if where == IN_PLACE else f"{source.name}: {where}"
            columns[table][name] = comparison
            show(comparison, SHOWN, f"{source.name}, {where}; means over {len(config.seeds)} seeds", kept)
            results[f"{source.name}, {where}"] = as_numbers(comparison)
    for table, paper in (("Table 1", IN_DOMAIN), ("Table 2", SHIFTED)):
        if columns[table]:
            results[table] = {score: print_table(table, columns[table], score, keeps) for score in BODY}
            results[table]["summary"] = print_summary(table, columns[table], paper)
    if config.results:
        print(record("tables", config, time.monotonic() - begun, results, config.results), flush=True)
    return columns


def named(texts: Sequence[str], parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return NAME=STORE by name."""
    for text in texts:
        if "=" not in text.strip("="):
            parser.error(f"expected NAME=STORE; got {text!r}.")
    return dict(text.split("=", 1) for text in texts)


def asked() -> Config:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="synthetic data, in seconds")
    parser.add_argument("--fit", action="append", default=[], metavar="NAME=STORE", help="predictions to fit to")
    parser.add_argument("--test", action="append", default=[], metavar="NAME[:SHIFT]=STORE", help="… and to test on")
    parser.add_argument("--member", action="append", default=[], metavar="NAME[:SHIFT]=STORE", help="of an ensemble")
    parser.add_argument("--only", nargs="+", choices=OWN, help="of the recorded models these, which is not recorded")
    parser.add_argument("--stride", type=int, default=4, help="the step between rows and columns that are taken")
    parser.add_argument("--most", type=int, default=36, help="images of a test set, evenly spaced")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the images to fit to")
    parser.add_argument("--output", "-o", default="runs/studies", help="where the figures of your stores go")
    given = parser.parse_args()
    if given.smoke:
        return Config.smoke()
    config = Config(stride=given.stride, most=given.most, seeds=tuple(range(given.seeds)))
    if given.only:
        return replace(config, fitted={name: config.fitted[name] for name in given.only}, output=given.output)
    if not given.fit:
        return config
    fitted, tests, members = named(given.fit, parser), {}, {}
    for name, store in named(given.test, parser).items():
        model, _, shift = name.partition(":")
        if model not in fitted:
            parser.error(f"expected --fit {model}=STORE beside --test {name}; got --fit of {', '.join(fitted)}.")
        tests.setdefault(model, {})[shift or IN_PLACE] = store
    for text in given.member:
        name, store = next(iter(named([text], parser).items()))
        model, _, shift = name.partition(":")
        if (shift or IN_PLACE) not in tests.get(model, {}):
            parser.error(f"expected --test {name}=STORE beside --member {name}; got none.")
        others = members.setdefault(model, {})
        others[shift or IN_PLACE] = (*others.get(shift or IN_PLACE, ()), store)
    return replace(config, fitted=fitted, tests=tests, members=members, output=given.output)


if __name__ == "__main__":
    main(asked())
