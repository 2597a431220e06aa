"""Scores of the samplers that are compared, image by image, with independent draws or dependent ones."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calibrant._storage.files import replacing
from calibrant.calibrators import Calibrator
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
from calibrant.samplers._fields import largest
from calibrant.samplers.coupled import coupled
from calibrant.samplers.network_sampler import NetworkSampler
from calibrant.training import seeded
from experiments.car.lidc_scores import Columns, Patients

SIZES = (16, 50, 100)
"""Samples at which GED is shown."""

OF, TRAINING = "of", "training"
"""In a file of scores: what they are of, and the seconds of the training."""

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
)
"""Columns of the table, besides the pooled ECE of the mean of the samples. Distances are 1 - IoU of the nodule."""


def columns(sampler: Sampler, images: Sequence[Prediction], num_samples: int, seed: int) -> Columns:
    """Return all scores of each image, and the bins of the mean of its samples.

    Of independent draws one set gives GED at any number of samples; of others, sets of each number are drawn.
    """
    independent = sampler.draws == "independent"
    sizes = [m for m in SIZES if m <= num_samples]
    rows = []
    for image in images:
        maps = drawn(sampler, image, num_samples, seed)
        fewer = None if independent else {m: drawn(sampler, image, m, seed) for m in sizes if m < num_samples}
        rows.append(_scored(maps, fewer, image))
    return _stacked(rows)


def columns_of_one_draw(
    sampler: NetworkSampler,
    marginals: Mapping[str, Calibrator | None],
    images: Sequence[Prediction],
    num_samples: int,
    seed: int,
) -> dict[str, Columns]:
    """Return the scores of several rows whose maps are made of the same samples, drawn once: that takes longest.

    Fewer samples are a random choice of the whole set, as ``Coupled(sampler, set_size=num_samples)`` draws them.

    :param marginals: by row, what its maps are coupled to; None leaves them free, as the sampler draws them.
    """
    rows: dict[str, list[dict[str, Tensor]]] = {row: [] for row in marginals}
    for image in images:
        generator = seeded(seed, "one draw", image.key)
        logits, seen = image.logits[None], None if image.image is None else image.image[None]
        scores = torch.cat(list(sampler.scores(logits, seen, num_samples=num_samples, generator=generator)))[:, 0]
        for row, calibrator in marginals.items():
            if calibrator is None:
                maps = largest(scores[:, None])[:, 0]
            else:
                probs = calibrator(logits, seen)[0].double().softmax(0).flatten(1)
                level = float(torch.rand((), generator=generator))
                maps = coupled(scores.float().flatten(2), probs, level).unflatten(1, scores.shape[2:])
            maps = maps.cpu()
            fewer = None if calibrator is None else {m: maps[:m] for m in SIZES if m < num_samples}
            rows[row].append(_scored(maps, fewer, image))
    return {row: _stacked(each) for row, each in rows.items()}


def _stacked(rows: Sequence[Mapping[str, Tensor]]) -> Columns:
    """Scores of all images, in single precision: they are compared by their first four digits."""
    return {name: torch.stack([row[name] for row in rows]).float() for name in rows[0]}


def _scored(maps: Tensor, fewer: Mapping[int, Tensor] | None, image: Prediction) -> dict[str, Tensor]:
    """The scores of one image; sets of fewer maps are given where draws depend on each other, and None elsewhere."""
    whole = _distances(maps, image, independent=fewer is None)
    distances = {m: whole for m in SIZES if m <= len(maps)}
    distances |= {m: _distances(each, image, independent=False) for m, each in (fewer or {}).items()}
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
    }
    mean = torch.stack([(maps == k).double().mean(0) for k in range(2)])
    bins = CalibrationBins.of(mean.clamp_min(1e-6).log()[None], image.labels[None])
    counts = {f"bins {name}": getattr(bins, name) for name in ("count", "correct", "confidence")}
    return {name: value[0] for name, value in (scores | counts).items()}


def drawn(sampler: Sampler, image: Prediction, num_samples: int, seed: int) -> Tensor:
    """Return maps drawn for an image."""
    generator = torch.Generator().manual_seed(1000 * seed + num_samples)
    ((_, maps),) = draw_hypotheses(sampler, [image], num_samples=num_samples, generator=generator)
    return maps.cpu()


def _distances(maps: Tensor, image: Prediction, *, independent: bool) -> HypothesisDistances:
    labels = image.labels[None]
    return HypothesisDistances.of(maps[:, None], labels, num_classes=2, classes=[1], independent=independent)


def kept_columns(path: Path, of: str) -> Columns | None:
    """Return the scores in a file; None if there are none, or they are of something else."""
    if not path.exists():
        return None
    with np.load(path) as held:
        if str(held[OF]) != of:
            return None
        return {name: torch.from_numpy(held[name]) for name in held.files if name not in (OF, TRAINING)}


def kept_training(path: Path) -> dict[str, Any]:
    """Return the seconds of the training that the scores in a file came of; nothing if they are not known."""
    if not path.exists():
        return {}
    with np.load(path) as held:
        return json.loads(str(held[TRAINING]))


def keep_columns(path: Path, of: str, found: Columns, training: Mapping[str, Any] | None = None) -> None:
    """Write the scores of a row and a seed into a file, with what they are of and how long the training took."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: value.numpy() for name, value in found.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays, **{OF: of, TRAINING: json.dumps(dict(training or {}))})


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
