"""LIDC-IDRI: lung nodules that up to four radiologists outlined, in the two forms that papers publish.

===============  ====================================================================================================
``lidc_folder``  the crops of Kohl et al.: ``images/PATIENT/z-105.0_c0.png`` and ``gt/PATIENT/z-105.0_c0_l0.png``, …
``lidc_pickle``  the single file of Knegt's re-implementation (PHiSeg, SSN): 128 x 128 crops, masks, series
===============  ====================================================================================================

Both give examples with an image (1, h, w) in [0, 1] and labels (4, h, w): 0 background, 1 nodule; every pixel is
labelled. A radiologist who did not mark the slice is an empty map, as published. Radiologists are not told apart
between images. Splits must keep patients apart: ``split_groups(lidc_folder(path), (0.6, 0.2, 0.2), group=patient,
seed=0)``, with :func:`patient` and :func:`~calibrant.data.split_groups`.
"""

import os
import pickle
import re
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from calibrant._shapes import Float, Tensor
from calibrant.data._formats.pictures import FORMATS
from calibrant.data._formats.reading import reading
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples, Read
from calibrant.errors import DataError, InputError

CLASSES = ("background", "nodule")
LIDC = DataSet(
    "LIDC-IDRI",
    "the link in hierarchical_probabilistic_unet/README.md of github.com/google-deepmind/deepmind-research",
    """train/
       ├── images/LIDC-IDRI-0001/z-105.0_c0.png
       └── gt/LIDC-IDRI-0001/z-105.0_c0_l{0,1,2,3}.png""",
    class_names=CLASSES,
    ignore="nothing",
)
KNEGT = "The file is linked from the README of github.com/stefanknegt/Probabilistic-Unet-Pytorch."
_MASK = re.compile(r"(?P<image>.+)_l(?P<reader>\d)\.png")


def lidc_folder(path: str | os.PathLike[str], *, crop: int | None = None) -> FileExamples:
    """Return the crops of one split in the folders that Kohl et al. published (180 x 180 pixels of 0.5 mm).

    Keys are ``PATIENT/NAME``. Images and masks are matched by name; readers are numbered from 0 or from 1.

    :param path: the folder of a split, such as ``train``, with ``images`` and ``gt``.
    :param crop: rows and columns that are kept in the middle; 128 is what published networks see; None for all.
    :raises DataError: the folder is missing or empty, or an image has not four masks, or a mask no image.
    """
    root = LIDC.root(path)
    if not (root / "images").is_dir() or not (root / "gt").is_dir():
        raise LIDC.missing(root, "the folders images/ and gt/ of a split")
    masks: dict[str, dict[int, Path]] = {}
    for file in sorted((root / "gt").rglob("*.png")):
        name = _MASK.fullmatch(file.relative_to(root / "gt").as_posix())
        if name is None:
            raise DataError(f"{file}: expected the name of a mask, such as z-105.0_c0_l0.png. Move it out of gt/.")
        masks.setdefault(name["image"], {})[int(name["reader"])] = file
    images = LIDC.files(root, "images/*.png", "images")
    if stray := sorted(masks.keys() - images.keys()):
        raise DataError(f"{root}: expected an image for every mask; none for {stray[0]}. Copy the folder again.")
    for name in images:
        readers = sorted(masks.get(name, {}))
        if readers not in ([0, 1, 2, 3], [1, 2, 3, 4]):
            raise DataError(
                f"{root}: expected the masks {name}_l0.png to _l3.png (or _l1 to _l4); found those of readers "
                f"{readers}. Copy the folder again."
            )
    files = ((image, *(masks[key][reader] for reader in sorted(masks[key]))) for key, image in images.items())
    return LIDC.of(tuple(zip(images, files, strict=True)), read=_Cropped(_pictures, crop))


def lidc_pickle(path: str | os.PathLike[str], *, allow_pickle: bool = False, crop: int | None = None) -> FileExamples:
    """Return the crops of Knegt's pickle, as PHiSeg and SSN use them; the whole file is read into memory.

    Keys are ``SERIES/NAME``: the CT series is all that the file says of patients.

    :param path: the file.
    :param allow_pickle: reading a pickle runs the code in it. Say True for a file whose origin you trust.
    :param crop: rows and columns that are kept in the middle; None for all.
    :raises InputError: ``allow_pickle`` is False.
    :raises DataError: the file is missing or holds something else.
    """
    if not allow_pickle:
        raise InputError(
            f"{path}: expected permission to read a pickle, which can run any code that is in it. If you trust where "
            "the file is from, pass allow_pickle=True."
        )
    with _reading(Path(path)), open(path, "rb") as stream:
        records = pickle.load(stream)
        pairs = tuple(
            (f"{record['series_uid']}/{name}", (record["image"], tuple(record["masks"])))
            for name, record in records.items()
        )
    return LIDC.of(pairs, read=_Cropped(_arrays, crop))


def patient(key: str) -> str:
    """Return the patient that an image shows, or the CT series if it is from the pickle.

    :param key: the key of an image.

    >>> patient("LIDC-IDRI-0001/z-105.0_c0")
    'LIDC-IDRI-0001'
    """
    return key.split("/")[0]


@dataclass(frozen=True)
class _Cropped:
    """Reads an image and its masks, and keeps the middle."""

    read: Read
    crop: int | None

    def __call__(self, files: Any) -> tuple[Float[Tensor, "1 h w"], np.ndarray]:
        image, masks = self.read(files)
        if self.crop is not None:
            top, left = ((size - self.crop) // 2 for size in image.shape[1:])
            if min(top, left) < 0:
                raise InputError(
                    f"expected a crop of at most {min(image.shape[1:])} pixels, the size of the images; got "
                    f"{self.crop}. Give a smaller one, or None."
                )
            window = (..., slice(top, top + self.crop), slice(left, left + self.crop))
            image, masks = image[window].contiguous(), masks[window]
        return image, masks


def _pictures(files: tuple[Path, ...]) -> tuple[Float[Tensor, "1 h w"], np.ndarray]:
    image, *masks = files
    grey = (_grey(image) / 255).astype(np.float32)
    return torch.from_numpy(grey)[None], np.stack([_binary(_grey(mask), mask) for mask in masks])


def _grey(file: Path) -> np.ndarray:
    with reading(file), Image.open(file, formats=FORMATS) as image:
        return np.asarray(image.convert("L"))


def _binary(mask: np.ndarray, file: Path) -> np.ndarray:
    if not np.isin(mask, (0, 1, 255)).all():
        raise DataError(f"{file}: expected a mask of 0 and 255; got other values too. It may have been compressed.")
    return mask > 0


def _arrays(record: tuple[Any, tuple[Any, ...]]) -> tuple[Float[Tensor, "1 h w"], np.ndarray]:
    image, masks = record
    return torch.from_numpy(np.array(image, np.float32))[None], np.stack(masks) > 0


@contextmanager
def _reading(file: Path) -> Generator[None]:
    """Turn whatever goes wrong with the pickle into a sentence that says where to get it."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{file}: expected a file; there is none. {KNEGT}") from error
    except (OSError, KeyError, TypeError, ValueError, AttributeError, EOFError) as error:
        raise DataError(f"{file}: expected LIDC data; cannot read it ({error!r}). {KNEGT}") from error
    except (zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise DataError(f"{file}: expected a whole file; it is broken ({error}). {KNEGT}") from error
