"""Is a probability the share of the radiologists who would say so? Real CT crops of LIDC-IDRI with four of them.

``python -m experiments.car.lidc_shares [--data FOLDER | --smoke]``, after ``experiments.car.lidc`` has trained F, which
learns from the mean of their masks. F as it is, with temperature scaling and with the default are fitted on patients
held out and judged on the val patients: in bins of the probability of a nodule, its mean, and the share of the masks
that show one, with intervals over patients. Each radiologist's label of a pixel counts as one.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from calibrant.calibrators import Fit, Identity
from calibrant.evaluation import tally_all
from calibrant.methods import parse_method
from calibrant.metrics import ClasswiseBins, Interval
from experiments._data import add_option, use
from experiments._record import RESULTS, record
from experiments.car import lidc_config
from experiments.car.figures import INK, save
from experiments.car.lidc_jobs import Images, behind_calibration_network
from experiments.car.lidc_scores import Patients

FITS: Mapping[str, Fit] = {
    "F": lambda images: Identity(),
    "temperature scaling": parse_method("temperature").fit,
    "stacked scaling": parse_method("stacked").fit,
}
"""By name, what is fitted behind F."""

NODULE = 1
"""The class of a nodule."""


@dataclass(frozen=True)
class Config:
    """What is measured.

    :param seeds: of F.
    :param num_bins: of the probability of a nodule, alike wide.
    """

    lidc: lidc_config.Config = field(default_factory=lidc_config.Config)
    seeds: tuple[int, ...] = (0, 1, 2)
    num_bins: int = 10
    num_resamples: int = 1000

    @classmethod
    def smoke(cls, runs: str) -> "Config":
        """Return what runs in seconds, on synthetic data."""
        return cls(lidc_config.Config.smoke(runs), seeds=(0,), num_resamples=50)


def counted(config: Config) -> dict[str, Tensor]:
    """Return (3, n, b) for each fit: labels, labels that say nodule, and probability, by image and bin, over seeds."""
    found: dict[str, Tensor] = {}
    for seed in config.seeds:
        images = behind_calibration_network(config.lidc, Images.read(config.lidc), seed)
        fitted = {name: fit(images.held_out) for name, fit in FITS.items()}
        count = partial(ClasswiseBins.of, num_bins=config.num_bins)
        for name, bins in tally_all(count, images.test, fitted).items():
            columns = torch.stack([each[:, NODULE].double() for each in (bins.count, bins.positive, bins.probability)])
            found[name] = found[name] + columns if name in found else columns
    return found


def of_fit(columns: Tensor, patients: Patients) -> dict[str, Any]:
    """Return the bins of a fit, and the calibration error of the nodule's probability, with intervals over patients."""
    sums = torch.zeros(3, patients.weights.shape[1], columns.shape[2], dtype=torch.float64)
    sums = sums.index_add(1, patients.of, columns)
    whole, drawn = sums.sum(1), torch.einsum("rp,kpb->krb", patients.weights, sums)
    bins = []
    for number, (count, positive, probability) in enumerate(whole.T.tolist()):
        if count:
            shares = drawn[1, :, number] / drawn[0, :, number]
            share = _interval(positive / count, shares)
            bins.append({"labels": round(count), "probability": probability / count, "share": asdict(share)})
    return {"bins": bins, "calibration error": asdict(_interval(float(_error(whole)), _error(drawn)))}


def _error(sums: Tensor) -> Tensor:
    """The mean gap of share and probability, over labels."""
    count, positive, probability = sums
    return (positive - probability).abs().sum(-1) / count.sum(-1)


def _interval(value: float, drawn: Tensor) -> Interval:
    low, high = torch.nanquantile(drawn, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(value, low, high)


def picture(found: Mapping[str, Any]) -> Figure:
    """Return shares against probabilities, with intervals; on the diagonal they are the same."""
    figure = Figure((4.2, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    for (name, each), colour, shift in zip(found.items(), INK, (-0.008, 0.0, 0.008), strict=False):
        x = torch.tensor([row["probability"] for row in each["bins"]])
        value, low, high = (torch.tensor([row["share"][k] for row in each["bins"]]) for k in ("value", "low", "high"))
        bars = torch.stack([value - low, high - value]).clamp_min(0)
        axes.errorbar(x + shift, value, bars, color=colour, fmt="o-", markersize=3, linewidth=0.9, label=name)
    axes.set(xlabel="probability of a nodule", ylabel="share of the radiologists who marked one", aspect="equal")
    axes.legend(frameon=False)
    return figure


def show(found: Mapping[str, Any]) -> None:
    """Print the bins of each fit."""
    for name, each in found.items():
        error = Interval(**each["calibration error"])
        print(f"\n{name}: calibration error {error.value:.4f} [{error.low:.4f}, {error.high:.4f}]")
        for row in each["bins"]:
            share = Interval(**row["share"])
            inside = "" if share.low <= row["probability"] <= share.high else "   outside"
            print(
                f"  {row['labels']:9d} labels: probability {row['probability']:.3f}, share {share.value:.3f} "
                f"[{share.low:.3f}, {share.high:.3f}]{inside}"
            )


def outside(bins: Sequence[Mapping[str, Any]]) -> int:
    """Return in how many bins the mean probability lies outside the interval of the share."""
    return sum(not row["share"]["low"] <= row["probability"] <= row["share"]["high"] for row in bins)


def main(config: Config) -> dict[str, Any]:
    """Measure, print, draw and record; return what was found, by fit."""
    begun = time.monotonic()
    test = Images.read(config.lidc).test
    patients = Patients([each.key for each in test], num_resamples=config.num_resamples)
    found = {name: of_fit(columns, patients) for name, columns in counted(config).items()}
    found = {name: each | {"bins outside": outside(each["bins"])} for name, each in found.items()}
    show(found)
    folder = RESULTS if config.lidc.folder else Path(config.lidc.runs)
    save(picture(found), folder / "lidc_shares.svg")
    if config.lidc.folder:
        print(record("lidc_shares", config, time.monotonic() - begun, {"fits": found}))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="synthetic data, in seconds")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        main(Config.smoke(temporary) if given.smoke else Config())
