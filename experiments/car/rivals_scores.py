"""Scores of the samplers that are compared, image by image, with independent draws or dependent ones."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from calibrant.evaluation import draw_hypotheses
from calibrant.metrics import (
    AreaSamples,
    CalibrationBins,
    HypothesisDistances,
    area_crps,
    expected_calibration_error,
    ged_floor,
    generalised_energy_distance,
    hungarian_matched_iou,
    interval_coverage,
    interval_width,
    presence_excess,
    sample_diversity,
    shape_excess,
)
from calibrant.predictions import Prediction
from calibrant.samplers import Sampler
from experiments.car.lidc_scores import Columns, Patients

SIZES = (16, 50, 100)
"""Samples at which GED is shown."""

SECONDS = "milliseconds a sample"

SHOWN = (
    *(f"GED {m}" for m in SIZES),
    "HM-IoU 16",
    "diversity",
    "excess",
    "presence",
    "shape",
    "floor 16",
    "coverage",
    "width",
    "area CRPS",
    SECONDS,
)
"""Columns of the table, besides the pooled ECE of the mean of the samples. Distances are 1 - IoU of the nodule."""


def columns(sampler: Sampler, images: Sequence[Prediction], num_samples: int, seed: int) -> Columns:
    """Return all scores of each image, and the bins of the mean of its samples.

    Of independent draws one set gives GED at any number of samples; of others, sets of each number are drawn. The
    time is that of a processor: it is left out where images lie elsewhere.
    """
    rows = list(_scored(sampler, images, num_samples, seed))
    found = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    if images[0].logits.device.type != "cpu":
        del found[SECONDS]
    return found


def _scored(sampler: Sampler, images: Sequence[Prediction], num_samples: int, seed: int):
    independent = sampler.draws == "independent"
    sizes = [m for m in SIZES if m <= num_samples]
    for image in images:
        spent = time.process_time()
        maps = drawn(sampler, image, num_samples, seed)
        spent = time.process_time() - spent
        sets = {m: maps if independent or m == num_samples else drawn(sampler, image, m, seed) for m in sizes}
        distances = {m: _distances(each, image, independent) for m, each in sets.items()}
        whole = distances[max(sizes)]
        areas = AreaSamples.of(maps[:, None], image.labels[None], num_classes=2, of_class=1)
        scores = {f"GED {m}": generalised_energy_distance(each, num_samples=m) for m, each in distances.items()}
        scores |= {
            "HM-IoU 16": hungarian_matched_iou(distances[16], 16),
            "diversity": sample_diversity(whole),
            "excess": generalised_energy_distance(whole, diagonal=False),
            "presence": presence_excess(whole),
            "shape": shape_excess(whole),
            "floor 16": ged_floor(whole, 16),
            "coverage": interval_coverage(areas, level=0.9),
            "width": interval_width(areas, level=0.9),
            "area CRPS": area_crps(areas),
            SECONDS: torch.tensor([1000 * spent / num_samples], dtype=torch.float64),
        }
        mean = torch.stack([(maps == k).double().mean(0) for k in range(2)])
        bins = CalibrationBins.of(mean.clamp_min(1e-6).log()[None], image.labels[None])
        counts = {f"bins {name}": getattr(bins, name) for name in ("count", "correct", "confidence")}
        yield {name: value[0] for name, value in (scores | counts).items()}


def drawn(sampler: Sampler, image: Prediction, num_samples: int, seed: int) -> Tensor:
    """Return maps drawn for an image."""
    generator = torch.Generator().manual_seed(1000 * seed + num_samples)
    ((_, maps),) = draw_hypotheses(sampler, [image], num_samples=num_samples, generator=generator)
    return maps.cpu()


def _distances(maps: Tensor, image: Prediction, independent: bool) -> HypothesisDistances:
    labels = image.labels[None]
    return HypothesisDistances.of(maps[:, None], labels, num_classes=2, classes=[1], independent=independent)


def kept_columns(path: Path, of: str) -> Columns | None:
    """Return the scores in a file; None if there are none, or they are of something else."""
    if not path.exists():
        return None
    held = torch.load(path, weights_only=True)
    return held["columns"] if held["of"] == of else None


def keep_columns(path: Path, of: str, found: Columns) -> None:
    """Write the scores of a row and a seed into a file, with what they are of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save({"of": of, "columns": found}, temporary)
    temporary.replace(path)


def pooled_ece(held: Mapping[str, Tensor], patients: Patients) -> dict[str, float]:
    """Return the pooled ECE of the mean of the samples, with its 95 % interval over patients."""
    names = ("count", "correct", "confidence")
    sums = {}
    for name in names:
        column = held[f"bins {name}"].double()
        of_patient = torch.zeros(patients.weights.shape[1], column.shape[1], dtype=torch.float64)
        sums[name] = of_patient.index_add(0, patients.of, column)
    whole = CalibrationBins(**{name: each.sum(0, keepdim=True) for name, each in sums.items()})
    again = CalibrationBins(**{name: patients.weights @ each for name, each in sums.items()})
    drawn = expected_calibration_error(again)
    low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {"value": float(expected_calibration_error(whole)), "low": low, "high": high}
