"""The trial that chose the constants of the gate of stacked scaling (``calibrant.calibrators.stacked.gate``).

``python -m experiments.selective_scaling.gate_constants [--data FOLDER | --smoke]``. Stacked scaling is
fitted to images by day, and to images of KITTI, of the model day-quarter of ``train_black_boxes`` alone, whose stores
``predict_black_boxes`` makes and which no other record of the default holds. It is tested on images of either kind that
it was not fitted to, and at dusk. Of each test image are kept, under ``runs/``, its distance from the images of the fit
and its likelihood and Brier score at several shares of what was learnt; between two shares they count as linear.

A candidate is a number of standard errors by which the limit is lowered, an end (in limits) at which nothing is left of
what was learnt, and a power of limit / distance in which the share between is linear (0: in its logarithm). A row is a
kind of images to fit, their number, and a kind to test on; its figures are means over test images, of which each counts
once with its mean over the draws. What a row loses is relative: in-domain to all that was learnt, after a shift to the
better of that and the anchor. Chosen is the candidate that loses least, in the mean over the two scores of all rows, of
those that after no shift are in a score significantly worse than the anchor (a difference below ``default.LEAST`` is
none). What was chosen on some draws is judged on others, too.
"""

import argparse
import itertools
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calibrant._storage.files import replacing
from calibrant.calibrators import StackedScaling
from calibrant.calibrators.stacked.context import context_of
from calibrant.calibrators.stacked.gate import Gate, descriptions, fit_gate
from calibrant.metrics import LikelihoodSums, brier_score, negative_log_likelihood
from calibrant.predictions import Prediction, Subset, with_logits
from experiments._data import add_option, use
from experiments._record import record
from experiments.selective_scaling._default_rows import some
from experiments.selective_scaling._fits import Study, digest_of, fit, opened, predictions_of
from experiments.selective_scaling._gate_candidates import PACKAGE, SHARES, Candidate, Row, chosen, summary
from experiments.selective_scaling._methods import OURS
from experiments.selective_scaling.predict_black_boxes import store_of

Images = Mapping[str, Sequence[Prediction]]


@dataclass(frozen=True)
class Config(Study):
    """What is run; the defaults are what ``experiments/results`` holds.

    :param folder: the model, by the name of its stores; empty for made predictions.
    :param seeds: draws of the images to fit to; the networks are drawn alike in all.
    :param others: further draws, which choose nothing; what was chosen is judged on them again.
    :param counts: of images to fit.
    :param most: images to test on of each kind, evenly spaced.
    :param errors: of the candidates.
    :param ends: of the candidates; None for no end.
    :param powers: of the candidates; without an end only those above 0.
    """

    folder: str = "day-quarter"
    seeds: tuple[int, ...] = (0, 1, 2)
    others: tuple[int, ...] = (3, 4, 5)
    counts: tuple[int, ...] = (10, 20, 40)
    most: int = 24
    errors: tuple[float, ...] = (0, 1, 2, 3, 4)
    ends: tuple[float | None, ...] = (1.5, 1.75, 2, 2.5, 3, 4, None)
    powers: tuple[float, ...] = (-2, -1, 0, 1, 2, 3, 4)
    cache: str = "runs/gate_constants"

    @classmethod
    def smoke(cls, **changes: Any) -> "Config":
        """Return what runs in seconds, on made data."""
        return super().smoke(**({"others": (1,), "counts": (4,), "options": {OURS: {"num_epochs": 1}}} | changes))


def images_of(config: Config) -> tuple[Images, Images]:
    """Return images to fit to and to test on, by kind."""
    if not config.folder:
        made = predictions_of(config)
        return {"made": made}, {"made": made, "hotter": [with_logits(p, 2 * p.logits) for p in made]}
    parts = {part: opened(store_of(config.folder, part), config.stride) for part in ("fit", "day", "kitti", "dusk")}
    tests = {name: some(parts[name.lower()], config.most) for name in ("day", "KITTI", "dusk")}
    return {"day": parts["fit"], "KITTI": parts["kitti"]}, tests


def scored(config: Config, images: Subset, tests: Images) -> dict[str, Any]:
    """Return the limit for each number of errors, and distance and scores of each test image; what is kept is read."""
    about = {**config.options, "errors": config.errors, "shares": SHARES}
    about |= {"tests": {kind: len(test) for kind, test in tests.items()}}
    name = digest_of("scores at shares", 0, about, itertools.chain(images, *tests.values()))
    kept = Path(config.cache) / "scores" / f"{name}.json" if config.cache else None
    if kept is not None and kept.exists():
        return json.loads(kept.read_text())
    stacked = fit(config, OURS, images, 0).calibrator
    assert isinstance(stacked, StackedScaling)
    gates = _gates(stacked, images, config.errors)
    found = {
        "limits": [gate.limit for gate in gates],
        "tests": {kind: _test(stacked, gates[0], test) for kind, test in tests.items()},
    }
    if kept is not None:
        with replacing(kept) as temporary:
            temporary.write_text(json.dumps(found))
    return found


@torch.no_grad()
def _gates(stacked: StackedScaling, images: Subset, errors: Sequence[float]) -> list[Gate]:
    described = torch.cat([_described(stacked, p) for p in images])
    alone = [[i] for i in range(len(images))]
    gates = [fit_gate(described, alone, errors=each) for each in errors]
    return [gate for gate in gates if gate is not None]


@torch.no_grad()
def _test(stacked: StackedScaling, gate: Gate, test: Sequence[Prediction]) -> dict[str, list[Any]]:
    whole = StackedScaling(**stacked.arguments() | {"gate": None})
    return {
        "keys": [p.key for p in test],
        "distances": [float(gate.distance(_described(stacked, p))) for p in test],
        "scores": [_scores(whole, p).tolist() for p in test],
    }


def _described(stacked: StackedScaling, prediction: Prediction) -> Tensor:
    return descriptions(context_of(prediction.logits[None], None, stacked.anchor))


def _scores(whole: StackedScaling, prediction: Prediction) -> Tensor:
    """Return likelihood and Brier score at each share; of logits, as the gate mixes them."""
    z, share = prediction.logits[None], torch.tensor(SHARES).view(-1, *[1] * prediction.logits.ndim)
    mixed = share * whole(z) + (1 - share) * whole.anchor(z)
    sums = LikelihoodSums.of(mixed, prediction.labels[None].expand(len(mixed), *prediction.labels.shape))
    return torch.stack([negative_log_likelihood(sums), brier_score(sums)], 1)


def rows_of(config: Config, fitted: Images, tests: Images, seeds: Sequence[int]) -> dict[str, Row]:
    """Return all rows of these draws, by name: fits and scores what is not kept."""
    rows = {}
    for (kind, source), count in itertools.product(fitted.items(), config.counts):
        draws = []
        for seed in seeds:
            order = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed)).tolist()
            images = Subset(source, order[:count])
            seen = set(images.keys)
            new = {name: [p for p in test if p.key not in seen] for name, test in tests.items()}
            draws.append(scored(config, images, new))
            print(f"{kind}, {count} images, draw {seed}: scored", flush=True)
        for name in tests:
            rows[f"{kind}, {count} images, {name}"] = Row.of(draws, name, config.errors, inside=name == kind)
    return rows


def candidates(config: Config) -> list[Candidate]:
    """Return all that are tried."""
    tried = itertools.starmap(Candidate, itertools.product(config.errors, config.ends, config.powers))
    return [each for each in tried if each.end is not None or each.power > 0]


def main(config: Config) -> dict[str, Any]:
    """Score what is not kept, judge all candidates; print, record and return the figures."""
    torch.set_num_threads(1)
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    begun, images = time.monotonic(), images_of(config)
    rows, others = (rows_of(config, *images, seeds) for seeds in (config.seeds, config.others))
    found, again = ({str(each): summary(those, each) for each in candidates(config)} for those in (rows, others))
    figures = {
        "chosen": chosen(found),
        "the package's": str(PACKAGE),
        "rows": {name: row.figures(PACKAGE) for name, row in rows.items()},
        "candidates": found,
        "on other draws": {"chosen": chosen(again), "candidates": {each: again[each] for each in named(found)}},
    }
    show(figures)
    if config.results:
        record("gate_constants", config, time.monotonic() - begun, figures, config.results)
    return figures


def named(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the chosen candidate and the package's, once if they are one."""
    return list(dict.fromkeys(each for each in (chosen(found), str(PACKAGE)) if each))


def show(figures: Mapping[str, Any], most: int = 8) -> None:
    """Print each row, the candidates that lose least, of all and of those that may be chosen, and the named ones."""
    for name, row in figures["rows"].items():
        print(f"{name:26s}" + "; ".join(f"{what}: {each}" for what, each in row.items()))
    found, others = figures["candidates"], figures["on other draws"]
    ordered = sorted(found, key=lambda name: found[name]["all, mean"])
    allowed = [name for name in ordered if not found[name]["significantly worse"]]
    print(f"\nlosses in % of {len(found)} candidates (* chosen, # the package's); least of all, then of those allowed")
    print(f"{'':34s}" + " | ".join(next(iter(found.values()))))
    for name in dict.fromkeys((*ordered[:most], *allowed[:most], *named(found))):
        marks = f"{'*' if name == figures['chosen'] else ''}{'#' if name == str(PACKAGE) else ''}"
        print(_line(f"{marks:2s}{name}", found[name]))
    print(f"on other draws, which would choose {others['chosen']}")
    print("\n".join(_line(f"  {name}", each) for name, each in others["candidates"].items()), flush=True)


def _line(name: str, figures: Mapping[str, float]) -> str:
    return f"{name:34s}" + " | ".join(f"{each:{len(what)}.6g}" for what, each in figures.items())


def asked() -> Config:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="made data, in seconds")
    parser.add_argument("--output", "-o", default="", help="where figures go, if not among the recorded ones")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    return Config.smoke() if given.smoke else Config(output=given.output)


if __name__ == "__main__":
    main(asked())
