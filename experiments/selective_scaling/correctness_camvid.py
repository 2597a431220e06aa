"""Is correctness scaling better than every calibrator that keeps the label map? ESPNet's logits on CamVid.

    python -m experiments.selective_scaling.correctness_camvid [--smoke]

Half of the images to fit, half to test, once for each seed. The rivals are all methods of the command line that keep
the label map. Then the same with fewer images to fit on.
"""

import argparse
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import torch

from calibrant.calibrators import Calibrator
from calibrant.cli.methods import METHODS
from calibrant.data import open_folder
from calibrant.evaluation import Comparison, compare, tally_all
from calibrant.metrics import SCORES, Measurement
from calibrant.predictions import Prediction, Predictions, Subset, split
from calibrant.testing import toy_predictions
from experiments._record import record

SHOWN = ("nll", "brier", "auroc", "augrc", "ece", "ece_images", "ece_classwise", "accuracy")


@dataclass(frozen=True)
class Config:
    """What is run.

    :param shares: of the images, to fit on; the first makes the table.
    :param few: the methods that are compared on fewer images.
    """

    folder: str = "../shared/data/camvid_espnet_logits"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    shares: tuple[float, ...] = (0.5, 0.25, 0.125)
    few: tuple[str, ...] = ("temperature", "vector-kept", "isotonic")
    options: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    num_resamples: int = 1000

    @classmethod
    def smoke(cls) -> "Config":
        """Seconds, on made data."""
        quick = {"correctness": {"epochs": 1, "num_networks": 2}, "selective": {"epochs": 1}}
        return cls("", (0, 1), (0.5, 0.25), ("temperature",), quick, 50)


def predictions_of(config: Config) -> Sequence[Prediction]:
    """Return the predictions: the folder's, or made ones if there is none."""
    if config.folder:
        return list(open_folder(config.folder))
    return toy_predictions(num_images=16, num_classes=4, size=(24, 32))


def fit_all(config: Config, names: Sequence[str], images: Predictions, seed: int) -> tuple[dict[str, Calibrator], dict]:
    """Return the calibrators that keep the label map, and the seconds each took."""
    fitted, seconds = {}, {}
    for name in names:
        options = {} if name == "uncalibrated" else {"seed": seed, **config.options.get(name, {})}
        start = time.process_time()
        calibrator = METHODS[name].fit(images, **options)
        if calibrator.keeps_argmax:
            fitted[name], seconds[name] = calibrator, time.process_time() - start
    return fitted, seconds


def measure(
    config: Config, predictions: Sequence[Prediction], names: Sequence[str], share: float
) -> tuple[Comparison, dict[str, list[float]], dict[str, int]]:
    """Return figures less those of correctness scaling, seconds of each fit, and changed labels."""
    tallies: dict[str, list[Measurement]] = {}
    seconds: dict[str, list[float]] = {}
    changed: dict[str, int] = {}
    for seed in config.seeds:
        half, test = split(predictions, 0.5, seed=seed)
        count = round(share * len(predictions))
        order = torch.randperm(len(half), generator=torch.Generator().manual_seed(seed)).tolist()
        fitted, took = fit_all(config, names, Subset(half, sorted(order[:count])), seed)
        for name, tally in tally_all(partial(Measurement.of, num_bins=15), test, fitted).items():
            tallies.setdefault(name, []).append(tally)
            seconds.setdefault(name, []).append(took[name])
        for name, calibrator in fitted.items():
            with torch.no_grad():
                other = sum(int((calibrator(p.logits[None])[0].argmax(0) != p.logits.argmax(0)).sum()) for p in test)
            changed[name] = changed.get(name, 0) + other
        print(f"seed {seed}, {count} images to fit: done", flush=True)
    tallies = {name: each for name, each in tallies.items() if len(each) == len(config.seeds)}
    scores = {name: SCORES[name] for name in SHOWN}
    generator = torch.Generator().manual_seed(0)
    found = compare(tallies, generator=generator, scores=scores, num_resamples=config.num_resamples)
    return found, seconds, changed


def verdict(score: str, low: float, high: float) -> str:
    """Say who is better by the paired interval of a rival's figure less ours."""
    if low <= 0 <= high:
        return "="
    rival_higher = low > 0
    return "+" if rival_higher == (SCORES[score].better == "lower") else "-"


def show(found: Comparison) -> None:
    """Print figures; +, = and - say whether ours is better, no different or worse by the paired interval."""
    print(f"{'':22s}" + "".join(f"{score:>15s}" for score in SHOWN))
    for method, figures in found.values.items():
        cells = []
        for score in SHOWN:
            gap = found.differences[method][score]
            sign = "" if method == "correctness" else verdict(score, gap.low, gap.high)
            cells.append(f"{figures[score].value:13.4f} {sign:1s}")
        print(f"{method:22s}" + "".join(cells))


def as_numbers(found: Comparison) -> dict:
    """Return values and differences, with intervals."""
    return {
        "values": {m: {s: asdict(each) for s, each in f.items()} for m, f in found.values.items()},
        "rival less correctness": {m: {s: asdict(each) for s, each in f.items()} for m, f in found.differences.items()},
    }


def main(config: Config) -> dict[str, Comparison]:
    """Run the experiment, print its tables, record them; return the comparison at each number of images."""
    begun = time.monotonic()
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    predictions = predictions_of(config)
    every = ["correctness", *(name for name in METHODS if name != "correctness")]
    few = ["correctness", *(name for name in config.few if name in METHODS)]
    tables, results = {}, {}
    for share in config.shares:
        count = f"{round(share * len(predictions))} images to fit"
        names = every if share == config.shares[0] else few
        tables[count], seconds, changed = measure(config, predictions, names, share)
        print(f"\n{count}; means over {len(config.seeds)} seeds; rivals: + ours is better, = no difference, - worse")
        show(tables[count])
        results[count] = {"figures": as_numbers(tables[count]), "CPU seconds": seconds, "changed labels": changed}
        if config.folder:
            print(record("correctness_camvid", config, time.monotonic() - begun, results))
    return tables


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="made data, in seconds")
    main(Config.smoke() if parser.parse_args().smoke else Config())
