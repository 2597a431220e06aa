"""The trainings of the LIDC experiment: each in a folder; if cut short it goes on, if done it is read back."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from calibrant.calibrators import (
    CalibrationNetwork,
    CalibrationRecipe,
    StackedScaling,
    TemperatureScaling,
    calibrated,
)
from calibrant.data import BlobAnnotators, split_groups
from calibrant.data.sets.lidc import patient
from calibrant.networks import Discriminator, RefinementUNet, SegNet, SmallUNet
from calibrant.predictions import Example, Prediction, with_logits
from calibrant.samplers import CopulaSampler, RefinementRecipe, RefinementSampler, load_sampler, save_sampler
from calibrant.training import Augmentation, reproducible
from experiments._data import lidc_crops, place
from experiments.car._timed import Timer, folder_name
from experiments.car.lidc_config import Config, arms

log = logging.getLogger("calibrant")


@dataclass(frozen=True)
class Images:
    """What networks learn from, what is fitted behind F, and what is tested on; no patient is in two of them."""

    train: Sequence[Prediction]
    held_out: Sequence[Prediction]
    test: Sequence[Prediction]

    @classmethod
    def read(cls, config: Config) -> "Images":
        """Read all images; a black box there is none, so their logits say nothing."""
        if not config.folder:
            made = [without_black_box(each) for each in BlobAnnotators(24, seed=0)]
            return cls(made[:12], made[12:18], made[18:])
        known, test = (lidc_crops(place(config.folder), split, crop=config.crop) for split in ("train", "val"))
        train, held_out = split_groups(known, (1 - config.held_out, config.held_out), group=patient, seed=0)
        return cls(*([without_black_box(each) for each in part] for part in (train, held_out, test)))

    def behind(self, logits: Sequence[torch.Tensor]) -> "Images":
        """Return the images with other logits, in order."""
        found = iter(logits)
        return Images(*([with_logits(p, next(found)) for p in part] for part in (self.train, self.held_out, self.test)))

    def all(self) -> list[Prediction]:
        """Return all images in order."""
        return [*self.train, *self.held_out, *self.test]


def without_black_box(example: Example) -> Prediction:
    """Return an example as a prediction whose logits say nothing."""
    return Prediction(example.key, torch.zeros(2, *example.image.shape[1:]), example.labels, example.image)


def on_device(prediction: Prediction, device: str) -> Prediction:
    """Return a prediction whose logits and image, all that is drawn from, are on a device; its labels stay."""
    image = None if prediction.image is None else prediction.image.to(device)
    return replace(prediction, logits=prediction.logits.to(device), image=image)


def behind_calibration_network(config: Config, images: Images, seed: int) -> Images:
    """Return the images with the logits of F, trained first: from the image alone, to the mean of the masks."""
    folder = Path(config.runs) / f"F-{seed}"
    kept = folder / "logits.pt"
    if not kept.exists():
        with Timer(folder, config.device):
            found = CalibrationNetwork.fit(
                images.train,
                make=partial(_calibration_network, width=config.width),
                model_output="nothing",
                recipe=CalibrationRecipe(
                    num_steps=config.calibration_steps,
                    batch_size=config.calibration_batch,
                    weight_decay=1e-4,
                    augmentation=Augmentation.of_scans(crop=(config.window,) * 2, shift=0),
                    average=0.995,
                ),
                seed=seed,
                checkpoint_path=folder,
                devices=config.devices,
            )
            found = found.to(config.device)
            logits = [calibrated(on_device(each, config.device), found).cpu() for each in images.all()]
            _keep(torch.stack(logits), kept)
    return images.behind(list(torch.load(kept, weights_only=True)))


def _calibration_network(in_channels: int, num_classes: int, *, width: int | None) -> nn.Module:
    return SegNet(in_channels, num_classes) if width is None else SmallUNet(in_channels, num_classes, width=width)


def recalibrated(config: Config, images: Images, behind: str, seed: int) -> Images:
    """Return the images with the logits of F calibrated by what was fitted on those held out."""
    if behind == "F":
        return images
    kept = Path(config.runs) / f"F-{seed}" / f"logits-{behind}.pt"
    if not kept.exists():
        if behind == "temperature":
            calibrator = TemperatureScaling.fit(images.held_out)
            log.info("temperature behind F, seed %d: %.3f", seed, calibrator.temperature)
        else:
            calibrator = StackedScaling.fit(images.held_out, **config.stacked)
        _keep(torch.stack([calibrated(prediction, calibrator) for prediction in images.all()]), kept)
    return images.behind(list(torch.load(kept, weights_only=True)))


def _keep(logits: torch.Tensor, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(logits, temporary)
    os.replace(temporary, path)


def refinement(config: Config, images: Images, name: str, seed: int, *, train: bool) -> RefinementSampler | None:
    """Return G as trained by one arm behind the images' logits; None if it is not and is not to be."""
    folder = Path(config.runs) / f"{folder_name(name)}-{seed}"
    kept = folder / "sampler"
    if not kept.exists():
        if not train:
            return None
        with Timer(folder, config.device):
            found = train_refinement(config, images, arms(config)[name].recipe, seed, folder)
        save_sampler(found, kept)
    sampler = load_sampler(kept)
    assert isinstance(sampler, RefinementSampler)
    return sampler


def train_refinement(
    config: Config, images: Images, recipe: RefinementRecipe, seed: int, folder: Path | None = None
) -> RefinementSampler:
    """Return G trained by a recipe behind the images' logits; it goes on from what a folder holds."""
    channels = 2 + images.train[0].image.shape[0]
    with reproducible(seed, "weights"):
        if config.width is None:
            network, judge = RefinementUNet(channels, 2), Discriminator(channels)
        else:
            network = RefinementUNet.small(channels, 2)
            judge = Discriminator.small(channels, width=8)
    windows = Augmentation.of_scans(crop=(config.view,) * 2, shift=0)
    return RefinementSampler.fit(
        [_middle(prediction, config.middle) for prediction in images.train],
        recipe=replace(recipe, augmentation=windows),
        network=network,
        discriminator=judge,
        seed=seed,
        checkpoint_path=folder,
        devices=config.devices,
    )


def _middle(prediction: Prediction, side: int) -> Prediction:
    top, left = ((size - side) // 2 for size in prediction.logits.shape[1:])
    window = (..., slice(top, top + side), slice(left, left + side))
    assert prediction.image is not None
    return Prediction(prediction.key, prediction.logits[window], prediction.labels[window], prediction.image[window])


def fitted_copula(config: Config, images: Images, seed: int) -> CopulaSampler:
    """Return the copula fitted to the annotators of the images held out."""
    kept = Path(config.runs) / f"copula-{seed}"
    if not kept.exists():
        save_sampler(CopulaSampler.fit(images.held_out, classes=[1], seed=seed), kept)
    sampler = load_sampler(kept)
    assert isinstance(sampler, CopulaSampler)
    return sampler
