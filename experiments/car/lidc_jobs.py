"""The trainings of the LIDC experiment: images, F, and what comes between F and a sampler; each goes on where it was.

A training that is done is read back from its checkpoint by the same call that began it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from calibrant.calibrators import CalibrationNetwork
from calibrant.data import BlobAnnotators, lidc_crops
from calibrant.networks import SmallUNet
from calibrant.predictions import Example, Prediction
from calibrant.samplers import RefinementRecipe
from calibrant.training import Augmentation, Devices

@dataclass(frozen=True)
class Config:
    """What is run; sizes for two cores by default.

    :param folder: of the crops; none for made blobs.
    :param crop: pixels a side, taken in the middle.
    :param window: pixels a side that networks are trained on, drawn at random; it is half of the work of the whole.
    :param held_out: share of the train patients that F is not trained on: what is fitted behind it is fitted there.
    :param width: of F, a U-Net.
    :param recipe: of G; the controls are changes to it.
    :param variant_seeds: the seeds of which the other trainings behind F's are run, beside the table's.
    :param numbers: of samples in the calibration loss, compared.
    """

    preset: str = "small, for two cores"
    folder: str = "../shared/data/lidc_crops"
    runs: str = "runs/lidc"
    seeds: tuple[int, ...] = (0, 1, 2)
    crop: int = 64
    window: int = 48
    held_out: float = 0.15
    width: int = 16
    calibration_steps: int = 2400
    calibration_batch: int = 8


def images(config: Config) -> tuple[list[Prediction], list[Prediction], list[Prediction]]:
    """Return what networks learn from, what is fitted behind F, and what is tested on; no patient is in two of them."""
    if not config.folder:
        made = [_without_black_box(each) for each in BlobAnnotators(48, seed=0)]
        return made[:24], made[24:36], made[36:]
    known, test = (lidc_crops(config.folder, split, crop=config.crop) for split in ("train", "val"))
    train, held_out = known.split([1 - config.held_out, config.held_out], seed=0)
    return tuple([_without_black_box(each) for each in part] for part in (train, held_out, test))


def _without_black_box(example: Example) -> Prediction:
    """Return the image with logits that say nothing: F sees the image alone."""
    nothing = torch.zeros(2, *example.image.shape[1:])
    return Prediction(example.key, nothing, example.labels, example.image)


def calibration_network(
    config: Config, train: Sequence[Prediction], seed: int, devices: Devices | None = None
) -> CalibrationNetwork:
    """Return F: a U-Net that sees the image and learns the mean of the four masks."""
    return CalibrationNetwork.fit(
        train,
        make=partial(_unet, width=config.width),
        reads="nothing",
        steps=config.calibration_steps,
        batch=config.calibration_batch,
        weight_decay=1e-4,
        augmentation=Augmentation.of_scans(crop=(config.window,) * 2, shift=0),
        average=0.995,
        seed=seed,
        folder=Path(config.runs) / f"F-{seed}",
        devices=devices,
    )


def _unet(in_channels: int, num_classes: int, *, width: int) -> nn.Module:
    network = SmallUNet(in_channels, num_classes, width=width)
    return network.to(memory_format=torch.channels_last)  # an eighth faster on a processor
