"""The rows of the comparison of samplers: what each is made of, and its scores, which are kept in files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from calibrant.calibrators import Calibrator, TemperatureScaling
from calibrant.errors import InputError
from calibrant.predictions import Prediction
from calibrant.samplers import CopulaSampler, EnergyScoreSampler, MeanOfSamples, Sampler
from calibrant.samplers.network_sampler import NetworkSampler
from calibrant.samplers.storage import LEARNT
from experiments.car._timed import Timer, folder_name
from experiments.car.lidc_jobs import Images, behind_calibration_network, on_device, refinement
from experiments.car.lidc_scores import Columns
from experiments.car.rivals_config import Config
from experiments.car.rivals_jobs import folder_of, trained, training_images
from experiments.car.rivals_scores import (
    columns,
    columns_of_one_draw,
    keep_columns,
    kept_columns,
    kept_training,
)

Rows = dict[str, dict[int, Columns]]
"""Scores by row and seed."""

COPULA = "copula, one level, behind F"


@dataclass(frozen=True)
class Source:
    """What rows come from: a training, of a seed.

    :param name: of ``LEARNT``, or of an arm of ``experiments.car.lidc``, or ``COPULA``, which needs none.
    :param inputs: what the network is given, "image" or "both"; of the others, "both".
    """

    name: str
    inputs: str
    seed: int

    @property
    def title(self) -> str:
        """The name of its row, free."""
        shown = {"image": ", image", "both": ", image and F"}[self.inputs]
        return f"{self.name}{shown}" if self.name in LEARNT else self.name


def sources(config: Config) -> list[Source]:
    """Return all that rows come from: from the image alone first, then seed by seed what stands behind F; CAR last."""
    of_image = [Source(name, "image", seed) for seed in config.seeds for name in config.steps]
    behind_f = [Source(name, "both", seed) for seed in config.seeds for name in (COPULA, *config.steps)]
    car = [Source(name, "both", seed) for seed in config.seeds for name in config.car]
    return [each for each in (*of_image, *behind_f, *car) if each.inputs in config.inputs]


def rows_of(config: Config, source: Source) -> list[str]:
    """Return the names of the rows of a source: free, drawn in other ways, and coupled."""
    if source.name == COPULA:
        return [source.title]
    coupled = [f"{source.title}, coupled to F"] if has_f(config) else []
    if source.name not in LEARNT:
        return [source.title, *coupled]
    others = [f"{source.title}, {how}" for how in ("spread", "all orientations")] if source.name == "energy" else []
    own = [f"{source.title}, coupled to its mean"] if source.name in config.own_mean else []
    return [source.title, *others, *coupled, *own]


def has_f(config: Config) -> bool:
    """Return whether anything stands behind F."""
    return "both" in config.inputs


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
    return image.contiguous().cpu().numpy().tobytes()


def behind_f(config: Config, seed: int, *, train: bool) -> Images | None:
    """Return the images with the logits of F, trained now or before; None if it is not, or nothing stands behind it."""
    wanted = has_f(config) and (train or (Path(config.lidc_runs) / f"F-{seed}" / "logits.pt").exists())
    return behind_calibration_network(config.lidc, Images.read(config.lidc), seed) if wanted else None


def sampler_of(config: Config, source: Source, behind: Images | None, *, train: bool) -> Sampler | None:
    """Return a source's sampler, trained now or before; None if it is not, or stands behind an F that is not."""
    if source.inputs == "image":
        return trained(config, source.name, "image", source.seed, training_images(config) if train else None)
    if behind is None:
        return None
    if source.name == COPULA:
        return CopulaSampler(image=1.0)
    if source.name not in LEARNT:
        return refinement(config.lidc, behind, source.name, source.seed, train=train)
    seen = [*behind.train, *behind.held_out] if train else None
    return trained(config, source.name, source.inputs, source.seed, seen)


def in_another_way(row: str, title: str, sampler: Sampler) -> Sampler | None:
    """Return what draws a row that has samples of its own; None for rows that are made of one draw of the sampler."""
    if row == f"{title}, spread":
        return EnergyScoreSampler(**(sampler.arguments() | {"draws": "spread"}))
    if row == f"{title}, all orientations":
        assert isinstance(sampler, EnergyScoreSampler)
        return sampler.in_orientations("all")
    return None if isinstance(sampler, NetworkSampler) else sampler


def marginals_of(row: str, title: str, sampler: NetworkSampler, calibrated: Calibrator | None) -> Calibrator | None:
    """Return what the maps of a row are coupled to; None if they are free."""
    if row == f"{title}, coupled to its mean":
        return MeanOfSamples(sampler)
    return calibrated if row == f"{title}, coupled to F" else None


def scores_of(config: Config, source: Source, row: str) -> tuple[Path, str]:
    """Return the file of the scores of a row and a seed, and what they are of."""
    of = f"{config.num_samples} samples of {config.crop} pixels a side, {row}"
    if source.name in LEARNT:
        sizes = dict(config.sizes.get(source.name, {}))
        of += f", {config.steps[source.name]} steps of {config.batch_size}, {config.widths} {sizes}"
    return config.scores / f"{folder_name(row)}-{source.seed}.npz", of


def train_and_score(config: Config, source: Source, *, train: bool) -> None:
    """Train what is missing (or not), and draw and score those rows of a source that are not scored yet."""
    missing = [row for row in rows_of(config, source) if kept_columns(*scores_of(config, source, row)) is None]
    if not missing:
        return
    behind = behind_f(config, source.seed, train=train)
    if behind is None:
        missing = [row for row in missing if not row.endswith("coupled to F")]
    sampler = sampler_of(config, source, behind, train=train)
    if sampler is None:
        return
    sampler = sampler.to(config.device)
    images = Images.read(config.lidc) if source.inputs == "image" or behind is None else behind
    test = [on_device(each, config.device) for each in images.test]
    calibrated = None
    if behind is not None:
        scaled = TemperatureScaling.fit(behind.held_out)
        calibrated = Kept([on_device(each, config.device) for each in behind.test], scaled)
    others = {row: in_another_way(row, source.title, sampler) for row in missing}
    found = {
        row: columns(other, test, config.num_samples, source.seed) for row, other in others.items() if other is not None
    }
    alike = [row for row, other in others.items() if other is None]
    if alike:
        assert isinstance(sampler, NetworkSampler)
        marginals = {row: marginals_of(row, source.title, sampler, calibrated) for row in alike}
        found |= columns_of_one_draw(sampler, marginals, test, config.num_samples, source.seed)
    training = Timer.read(training_folder(config, source))
    for row, each in found.items():
        keep_columns(*scores_of(config, source, row), each, training)
        print(f"{row}, seed {source.seed}: GED 16 {float(each['GED 16'].mean()):.4f}", flush=True)


def training_folder(config: Config, source: Source) -> Path:
    """Return where the training of a source is kept; that of the copula, which has none, is F's."""
    if source.name in LEARNT:
        return folder_of(config, source.name, source.inputs, source.seed)
    name = "F" if source.name == COPULA else folder_name(source.name)
    return Path(config.lidc_runs) / f"{name}-{source.seed}"


def read_scores(config: Config) -> tuple[Rows, dict[str, Any]]:
    """Return the scores of every row that is there, and the seconds of the trainings."""
    rows: Rows = {}
    seconds: dict[str, Any] = {}
    for source in sources(config):
        for row in rows_of(config, source):
            found = kept_columns(*scores_of(config, source, row))
            if found is not None:
                rows.setdefault(row, {})[source.seed] = found
        spent = kept_training(scores_of(config, source, source.title)[0])
        seconds |= {f"{source.title}, seed {source.seed}": spent} if spent else {}
    return rows, seconds
