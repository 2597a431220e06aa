"""Published data sets by name, as the command line knows them: a new data set is one file and one line here."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from calibrant.data.sets._examples import FileExamples
from calibrant.data.sets.ade20k import ade20k
from calibrant.data.sets.aerial import aerial
from calibrant.data.sets.bdd100k import bdd100k
from calibrant.data.sets.brats import brats
from calibrant.data.sets.camvid import camvid
from calibrant.data.sets.cityscapes import cityscapes
from calibrant.data.sets.coco_stuff import coco_stuff
from calibrant.data.sets.curvas import curvas
from calibrant.data.sets.davis import davis
from calibrant.data.sets.kitti import kitti
from calibrant.data.sets.lidc import lidc_folder
from calibrant.data.sets.qubiq import qubiq
from calibrant.data.sets.spacenet7 import spacenet7
from calibrant.data.sets.synthia import synthia
from calibrant.errors import InputError


@dataclass(frozen=True)
class Published:
    """How a published data set is read.

    :param read: ``read(path)``, or ``read(path, split)`` if there are splits.
    :param split: the split that is read if none is named; None if there are no splits.
    """

    read: Callable[..., FileExamples]
    split: str | None = None


def _brats_layers(path: str | os.PathLike[str], split: str) -> FileExamples:
    try:
        layers = [int(number) for number in split.split(",")]
    except ValueError as error:
        raise InputError(f"expected the split of BraTS to be layers such as 75 or 75,100; got {split!r}.") from error
    return brats(path, layers=layers)


def _qubiq_task(path: str | os.PathLike[str], split: str) -> FileExamples:
    dataset, _, rest = split.partition("/")
    task, _, part = rest.partition("/")
    if task and not task.isdecimal():
        raise InputError(
            f"expected the split of QUBIQ to be DATASET, DATASET/TASK or DATASET/TASK/PART, such as "
            f"prostate/2/Validation; got {split!r}."
        )
    return qubiq(path, dataset, task=int(task or 1), part=part or "Training")


DATA_SETS: Mapping[str, Published] = {
    "ade20k": Published(ade20k, "val"),
    "aerial": Published(aerial),
    "bdd100k": Published(bdd100k, "val"),
    "brats": Published(_brats_layers, "75"),
    "camvid": Published(camvid, "test"),
    "cityscapes": Published(cityscapes, "val"),
    "coco-stuff": Published(coco_stuff, "val"),
    "curvas": Published(curvas, "training"),
    "davis": Published(davis, "val"),
    "kitti": Published(kitti),
    "kitti-camvid11": Published(partial(kitti, classes="camvid11")),
    "lidc": Published(lidc_folder),
    "qubiq": Published(_qubiq_task, "brain-growth"),
    "spacenet7": Published(spacenet7),
    "spacenet7-buildings": Published(partial(spacenet7, without_background=True)),
    "synthia": Published(synthia),
}
"""Data sets with classes and a rule for unlabelled pixels of their own."""
