"""Which sampler redraws best what four radiologists drew? Real CT crops of LIDC-IDRI, networks trained alike long.

    python -m experiments.car.rivals [--finished | --scored | --train NAME INPUTS SEED | --times] [--smoke]
        [--half-hour | --published] [--device cuda] [--jobs N]

Trains every sampler with one network that the library has (``calibrant.samplers.storage.LEARNT``), from the image
alone and from the image with the probabilities of F, and scores it on the val patients: free, drawn in other ways, and
coupled to F as calibrated on held-out patients and to the sampler's own mean. Beside them stand CAR and the copula
behind F, trained as in ``experiments.car.lidc`` and as long as there; the seconds of all trainings are recorded.
Trainings are kept under ``runs/``, the scores of each image among the results, so that the table can be made in parts:
``--finished`` trains nothing, ``--scored`` draws nothing either. What a sample takes is timed when the table is made,
all in one run, on a processor; ``--times`` prints what a step of each training takes. ``--share`` takes a share of the
steps, and has a record of its own. ``--half-hour`` is what half an hour of one core makes of the energy score, from the
image alone. ``--published`` is for a GPU: networks as wide as they were published, from the image alone.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from calibrant.metrics import Interval
from calibrant.samplers import Sampler
from experiments._data import add_option, use
from experiments._record import RESULTS, record
from experiments.car.lidc_jobs import Images, behind_calibration_network
from experiments.car.lidc_pictures import draw_pictures
from experiments.car.lidc_scores import Columns, Patients
from experiments.car.rivals_config import MILLISECONDS, Config
from experiments.car.rivals_jobs import at_once, trained
from experiments.car.rivals_rows import Rows, Source, has_f, read_scores, sources, train_and_score
from experiments.car.rivals_scores import SHOWN, pooled_ece
from experiments.car.rivals_times import milliseconds_a_sample, seconds_a_step

PUBLISHED = """published on LIDC, not comparable row by row (GED 16 / GED 100 / HM-IoU 16):
  all series of Kohl's 15,096 slices, split by series, 128 x 128: Probabilistic U-Net .277 / .252 / -,
    PHiSeg .250 / .224 / .586, SSN .257 / .225 / .558, CAR - / .228 / -, MoSE .218 / .189 / .624, CCDM .212 / .183 / -
  12,816 slices, split by patient, 128 x 128: Probabilistic U-Net .320 / - / .50, HPU-Net .270 / - / .53,
    CAR .264 / .243 / .592; split by slice, which leaks: Hu et al. GED 50 .267
here: crops of 64 x 64 around nodules, split by patient"""


def mean_over_seeds(held: Mapping[int, Columns], seeds: Sequence[int]) -> Columns:
    """Return a row's scores, the mean over seeds, image by image."""
    return {score: torch.stack([held[seed][score] for seed in seeds]).double().mean(0) for score in held[seeds[0]]}


def table(rows: Rows, patients: Patients) -> dict[str, dict[str, Any]]:
    """Return each row's figures over its seeds, with intervals over patients and the deviation over seeds."""
    found: dict[str, dict[str, Any]] = {}
    for name, held in rows.items():
        seeds = sorted(held)
        scores = mean_over_seeds(held, seeds)
        found[name] = {"seeds": seeds, "ECE of the mean": pooled_ece(scores, patients)}
        for score in (each for each in SHOWN if each in scores):
            over = torch.tensor([float(held[seed][score].nanmean()) for seed in seeds], dtype=torch.float64)
            spread = {"deviation over seeds": float(over.std()) if len(seeds) > 1 else None}
            found[name][score] = asdict(patients.interval(scores[score])) | spread
    return found


def differences(rows: Rows, patients: Patients, *, beside: str | None = None) -> dict[str, dict[str, Any]]:
    """Return each row less another, by default the best one by GED at 16, on the same seeds and patients."""
    best = beside or min(rows, key=lambda name: float(mean_over_seeds(rows[name], sorted(rows[name]))["GED 16"].mean()))
    found = {}
    for name in rows:
        seeds = sorted(set(rows[name]) & set(rows[best]))
        if name != best and seeds:
            one, other = mean_over_seeds(rows[name], seeds), mean_over_seeds(rows[best], seeds)
            gaps = {score: asdict(patients.interval(one[score] - other[score])) for score in ("GED 16", "HM-IoU 16")}
            found[f"{name} - {best}"] = {"seeds": seeds} | gaps
    return found


SHOWN_BESIDE = {"ECE of the mean": "ECE of mean", MILLISECONDS: "ms a sample"}
"""What the table shows beside the scores of each image, and its titles."""


def show(figures: Mapping[str, Mapping[str, Any]], gaps: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the table, best GED first, the differences, and what was published."""
    titles = (*(score[:12] for score in SHOWN), *SHOWN_BESIDE.values())
    print(f"\n{'':44s}{'seeds':>6s}" + "".join(f"{title:>13s}" for title in titles))
    for name, row in sorted(figures.items(), key=lambda item: item[1]["GED 16"]["value"]):
        cells = [row[score]["value"] if score in row else float("nan") for score in (*SHOWN, *SHOWN_BESIDE)]
        print(f"{name:44s}{len(row['seeds']):6d}" + "".join(f"{cell:13.4f}" for cell in cells))
    print(
        "\nexcess is GED without the diagonal, 0 for a perfect sampler, and not defined for draws that depend on each"
    )
    print("other; one map that never varies, the consensus of the annotators, can have the best HM-IoU of all")
    for name, row in gaps.items():
        told = [Interval(**row[score]) for score in ("GED 16", "HM-IoU 16")]
        listed = "  ".join(f"{each.value:+.4f} ({each.low:+.4f} to {each.high:+.4f})" for each in told)
        print(f"{name:90s} GED 16, HM-IoU 16: {listed}")
    print(f"\n{PUBLISHED}")


def main(config: Config, *, train: bool = True, draw: bool = True, jobs: int = 1) -> dict[str, Any]:
    """Run and score what is missing (or not), print, record; return the figures."""
    begun = time.monotonic()
    if train and has_f(config):
        at_once(jobs, train_f, [(config, seed) for seed in config.seeds])
    if draw:
        at_once(jobs, partial(train_and_score, train=train), [(config, source) for source in sources(config)])
    rows, seconds = read_scores(config)
    if not rows:
        print("nothing is trained yet")
        return {}
    test = Images.read(config.lidc).test
    patients = Patients([each.key for each in test], num_resamples=config.num_resamples)
    found = {
        "table": table(rows, patients),
        "differences": differences(rows, patients),
        "seconds of trainings": seconds,
    }
    if config.device == "cpu":
        taken = milliseconds_a_sample(config, test[0])
        for row, figures in found["table"].items():
            figures[MILLISECONDS] = {"value": taken[row]}
    show(found["table"], found["differences"])
    folder = RESULTS if config.folder else Path(config.runs)
    shown = dict(samplers_of_images(config))
    if len(shown) > 1:
        draw_pictures(folder / f"{config.record}_samples.png", test, shown, seed=0, shown=tuple(shown))
    if config.folder:
        print(record(config.record, config, time.monotonic() - begun, found))
    return found


def train_f(config: Config, seed: int) -> None:
    """Train F, if it is not trained yet."""
    behind_calibration_network(config.lidc, Images.read(config.lidc), seed)


def samplers_of_images(config: Config) -> Iterator[tuple[str, Sampler]]:
    """Yield the samplers of the first seed that see the image alone, as far as they are here, by their rows."""
    for name in config.steps:
        sampler = trained(config, name, "image", config.seeds[0], None)
        if sampler is not None:
            yield f"{name}, image", sampler


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few steps of each part on synthetic data")
    parser.add_argument("--finished", action="store_true", help="score what is trained, train nothing")
    parser.add_argument("--scored", action="store_true", help="train and score nothing, show what is there")
    parser.add_argument("--times", action="store_true", help="print the seconds that a step of each training takes")
    parser.add_argument(
        "--train", nargs=3, action="append", metavar=("NAME", "INPUTS", "SEED"), help="train and score this alone"
    )
    add_option(parser)
    parser.add_argument("--half-hour", action="store_true", help="the energy score alone, trained for half an hour")
    parser.add_argument("--published", action="store_true", help="networks as wide as published, on a GPU")
    parser.add_argument("--device", help="where networks are trained and drawn from, such as cuda")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="train and score so many at once")
    parser.add_argument("--share", type=float, default=1.0, help="take this share of the steps, to see how long it is")
    given = parser.parse_args()
    use(given.data)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    chosen = Config.published() if given.published else Config.half_an_hour() if given.half_hour else Config()
    if given.device:
        chosen = replace(chosen, device=given.device)
    if given.share != 1:
        chosen = chosen.shortened(given.share)
    if given.smoke:
        with tempfile.TemporaryDirectory() as temporary:
            smoke = replace(Config.smoke(temporary), device=chosen.device)
            main(smoke, jobs=given.jobs)
    elif given.times:
        for title, each in seconds_a_step(chosen):
            print(f"{title}: {each:.3f} s of processor a step", flush=True)
    elif given.train:
        known = list(dict.fromkeys((each.name, each.inputs) for each in sources(chosen)))
        for kind, inputs, seed in given.train:
            if (kind, inputs) not in known or not seed.isdecimal():
                parser.error(
                    f"expected --train NAME INPUTS SEED with NAME INPUTS of {known}; got {kind} {inputs} {seed}"
                )
            train_and_score(chosen, Source(kind, inputs, int(seed)), train=True)
    else:
        train = not (given.finished or given.scored)
        main(chosen, train=train, draw=not given.scored, jobs=given.jobs)
