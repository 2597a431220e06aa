"""Which sampler redraws best what four radiologists drew? Real CT crops of LIDC-IDRI, networks trained alike long.

    python -m experiments.car.rivals [--finished | --scored | --train NAME INPUTS SEED | --times] [--smoke]

Trains every sampler with one network that the library has (``calibrant.samplers.storage.LEARNT``), from the image
alone and from the image with the probabilities of F, and scores it on the val patients: free, with spread draws, and
coupled to F as calibrated on held-out patients and to the sampler's own mean. Beside them stand CAR and the copula
behind F, trained as in ``experiments.car.lidc`` and as long as there; the seconds of all trainings are recorded. What
is done is kept under ``runs/``: ``--finished`` trains nothing, ``--scored`` draws nothing either; ``--times`` prints
what a step of each training takes.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from calibrant.calibrators import Calibrator, TemperatureScaling
from calibrant.errors import InputError
from calibrant.metrics import Interval
from calibrant.predictions import Prediction
from calibrant.samplers import CopulaSampler, Coupled, EnergyScoreSampler, MeanOfSamples, Sampler
from calibrant.samplers.storage import LEARNT
from experiments._data import add_option, use
from experiments._record import RESULTS, record
from experiments.car.lidc_jobs import Images, behind_calibration_network, refinement
from experiments.car.lidc_pictures import draw_pictures
from experiments.car.lidc_scores import Columns, Patients
from experiments.car.rivals_config import Config
from experiments.car.rivals_jobs import Timer, folder_of, seconds_a_step, trained, training_images
from experiments.car.rivals_scores import SHOWN, kept_columns, pooled_ece

PUBLISHED = """published on LIDC, not comparable row by row (GED 16 / GED 100 / HM-IoU 16):
  all series of Kohl's 15,096 slices, split by series, 128 x 128: Probabilistic U-Net .277 / .252 / -,
    PHiSeg .250 / .224 / .586, SSN .257 / .225 / .558, CAR - / .228 / -, MoSE .218 / .189 / .624, CCDM .212 / .183 / -
  12,816 slices, split by patient, 128 x 128: Probabilistic U-Net .320 / - / .50, HPU-Net .270 / - / .53,
    CAR .264 / .243 / .592; split by slice, which leaks: Hu et al. GED 50 .267
here: crops of 64 x 64 around nodules, split by patient"""

Rows = dict[str, dict[int, Columns]]
"""Scores by row and seed."""


def behind(config: Config, name: str, sampler: Sampler, own: Calibrator | None, calibrated: Calibrator | None) -> dict:
    """Return the rows of a sampler with scores: free, with spread draws, and coupled."""
    found: dict[str, Sampler] = {name: sampler}
    if isinstance(sampler, EnergyScoreSampler):
        arguments = sampler.arguments() | {"draws": "spread"}
        found[f"{name}, spread"] = EnergyScoreSampler(**arguments)
    if calibrated is not None:
        found[f"{name}, coupled to F"] = Coupled(sampler, calibrated)
    if own is not None:
        found[f"{name}, coupled to its mean"] = Coupled(sampler, own)
    return found


class Kept(Calibrator):
    """Logits that were worked out before, by the image: those of an F that is stored as its logits alone."""

    def __init__(self, images: Sequence[Prediction], calibrator: Calibrator) -> None:
        super().__init__()
        self.logits = {_name(each.image): calibrator(each.logits[None]) for each in images}

    def forward(self, logits, image=None):
        """Return the logits kept for the image."""
        return torch.cat([self.logits[_name(each)] for each in image])

    def arguments(self) -> dict[str, Any]:
        """Raise: it is not for storing."""
        raise InputError(
            "expected a calibrator that can be stored; these logits belong to the images of one run. Fit F anew."
        )


def _name(image: torch.Tensor) -> bytes:
    return image.contiguous().numpy().tobytes()


def samplers(config: Config, seed: int, *, train: bool) -> Iterator[tuple[str, Sequence[Prediction], Sampler, str]]:
    """Yield the rows of a seed: name, test images with the logits it stands behind, sampler, folder of its training."""
    lidc = config.lidc
    images = Images.read(lidc)
    has_f = (Path(lidc.runs) / f"F-{seed}" / "logits.pt").exists() or train
    known = behind_calibration_network(lidc, images, seed) if has_f else None
    calibrated = None if known is None else Kept(known.test, TemperatureScaling.fit(known.held_out))
    if known is not None:
        yield "copula, one level, behind F", known.test, CopulaSampler(image=1.0), ""
        for arm in config.car:
            sampler = refinement(lidc, known, arm, seed, train=train)
            if sampler is not None:
                for name, each in behind(config, arm, sampler, None, calibrated).items():
                    yield name, known.test, each, arm
    whole = training_images(config) if train else None
    for kind in LEARNT:
        for inputs in config.inputs:
            seen, shown = (whole, images.test) if inputs == "image" else (None, None)
            if inputs != "image" and known is not None:
                seen, shown = ([*known.train, *known.held_out] if train else None), known.test
            if shown is None:
                continue
            sampler = trained(config, kind, inputs, seed, seen)
            if sampler is not None:
                name = f"{kind}, {'image' if inputs == 'image' else 'image and F'}"
                own = MeanOfSamples(sampler)
                for row, each in behind(config, name, sampler, own, calibrated).items():
                    yield row, shown, each, str(folder_of(config, kind, inputs, seed).name)


def score_all(config: Config, *, train: bool, draw: bool) -> tuple[Rows, dict[str, Sampler], dict[str, Any]]:
    """Return the scores of every row that is there, the samplers of the first seed, and the seconds of trainings."""
    rows: Rows = {}
    shown: dict[str, Sampler] = {}
    seconds: dict[str, Any] = {}
    for seed in config.seeds:
        for name, images, sampler, folder in samplers(config, seed, train=train):
            path = Path(config.runs) / "scores" / f"{name.replace(' ', '_').replace(',', '')}-{seed}.pt"
            if not (draw or path.exists()):
                continue
            of = f"{config.num_samples} samples, {sampler}"
            rows.setdefault(name, {})[seed] = kept_columns(path, of, sampler, images, config.num_samples, seed)
            if seed == config.seeds[0] and sampler.draws == "independent":
                shown[name] = sampler
            for runs in (config.runs, config.lidc_runs):
                spent = Timer.read(Path(runs) / folder) if folder else {}
                seconds |= {f"{folder}, seed {seed}": spent} if spent else {}
            print(f"{name}, seed {seed}: GED 16 {float(rows[name][seed]['GED 16'].mean()):.4f}", flush=True)
    return rows, shown, seconds


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
        for score in (score for score in SHOWN if score in scores):
            over = torch.tensor([float(held[seed][score].nanmean()) for seed in seeds], dtype=torch.float64)
            spread = {"deviation over seeds": float(over.std()) if len(seeds) > 1 else None}
            found[name][score] = asdict(patients.interval(scores[score])) | spread
    return found


def differences(rows: Rows, patients: Patients) -> dict[str, dict[str, Any]]:
    """Return each row less the best one by GED at 16, on the same seeds and patients."""
    best = min(rows, key=lambda name: float(mean_over_seeds(rows[name], sorted(rows[name]))["GED 16"].mean()))
    found = {}
    for name in rows:
        seeds = sorted(set(rows[name]) & set(rows[best]))
        if name != best and seeds:
            one, other = mean_over_seeds(rows[name], seeds), mean_over_seeds(rows[best], seeds)
            gaps = {score: asdict(patients.interval(one[score] - other[score])) for score in ("GED 16", "HM-IoU 16")}
            found[f"{name} - {best}"] = {"seeds": seeds} | gaps
    return found


def show(figures: Mapping[str, Mapping[str, Any]], gaps: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the table, best GED first, the differences, and what was published."""
    print(f"\n{'':44s}{'seeds':>6s}" + "".join(f"{score[:12]:>13s}" for score in (*SHOWN, "ECE of mean")))
    for name, row in sorted(figures.items(), key=lambda item: item[1]["GED 16"]["value"]):
        cells = [row[score]["value"] if score in row else float("nan") for score in (*SHOWN, "ECE of the mean")]
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


def main(config: Config, *, train: bool = True, draw: bool = True) -> dict[str, Any]:
    """Run and score what is missing (or not), print, record; return the figures."""
    begun = time.monotonic()
    rows, shown, seconds = score_all(config, train=train, draw=draw)
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
    show(found["table"], found["differences"])
    folder = RESULTS if config.folder else Path(config.runs)
    if draw:
        from_image = {name: each for name, each in shown.items() if name.endswith("image")}
        draw_pictures(folder / "rivals_samples.png", test, from_image, seed=0, shown=tuple(from_image))
    if config.folder:
        print(record("rivals", config, time.monotonic() - begun, found))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few steps of each part on synthetic data")
    parser.add_argument("--finished", action="store_true", help="score what is trained, train nothing")
    parser.add_argument("--scored", action="store_true", help="train and score nothing, show what is there")
    parser.add_argument("--times", action="store_true", help="print the seconds that a step of each training takes")
    parser.add_argument(
        "--train", nargs=3, action="append", metavar=("NAME", "INPUTS", "SEED"), help="train this alone"
    )
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    chosen = Config()
    if given.smoke:
        with tempfile.TemporaryDirectory() as temporary:
            main(Config.smoke(temporary))
    elif given.times:
        for title, each in seconds_a_step(chosen):
            print(f"{title}: {each:.3f} s of processor a step", flush=True)
    elif given.train:
        for kind, inputs, seed in given.train:
            if kind not in LEARNT or inputs != "image" or not seed.isdecimal():
                parser.error(
                    f"expected --train NAME image SEED with a name of {list(LEARNT)}; got {kind} {inputs} {seed}"
                )
            trained(chosen, kind, inputs, int(seed), training_images(chosen))
    else:
        main(chosen, train=not (given.finished or given.scored), draw=not given.scored)
