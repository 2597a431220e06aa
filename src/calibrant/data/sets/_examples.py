"""The images and labels of a data set in files: reading them, and saying what is wrong with one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calibrant._shapes import IGNORE, Float, Tensor
from calibrant.data._formats.names import split_name
from calibrant.data._formats.pictures import picture_size, stored_size
from calibrant.data._formats.reading import read_labels, read_picture, reading
from calibrant.data._formats.tiff import TIFF_SUFFIXES, read_bands
from calibrant.errors import DataError, LabelError
from calibrant.predictions import Example

Read = Callable[[Any], tuple[Float[Tensor, "k h w"], np.ndarray]]
_UNKNOWN = np.iinfo(np.int64).min


@dataclass(frozen=True)
class FileExamples:
    """The images of a data set and their labels, read when asked for.

    Images are (k, h, w), pictures (3, h, w), in [0, 1]; labels (a, h, w), one map as a rule, ``IGNORE`` where the data
    set's own rule says so.

    :param name: the name of the data set and of the split.
    :param keys: the names of the images.
    :param class_names: one name a class, in the order of their numbers.
    :param ignore: which pixels count as unlabelled, in words.
    :param files: for each image what ``read`` is called with: the image file and the label file, as a rule.
    :param read: returns an image and its classes, (h, w) or (a, h, w), from an entry of ``files``.
    """

    name: str
    keys: tuple[str, ...]
    class_names: tuple[str, ...]
    ignore: str
    _: KW_ONLY
    files: tuple[Any, ...] = field(repr=False)
    read: Read = field(repr=False)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.keys)

    def __iter__(self) -> Iterator[Example]:
        """Read the images in order."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int, /) -> Example:
        """Read one image and its labels.

        :raises DataError: a file is missing or broken, or image and labels are of unlike sizes.
        :raises LabelError: an id that the data set does not have.
        """
        image, labels = self.read(self.files[i])
        maps = torch.from_numpy(np.ascontiguousarray(labels, np.int64))
        return Example(self.keys[i], image, maps[None] if maps.ndim == 2 else maps)

    def take(self, numbers: Sequence[int]) -> "FileExamples":
        """Return some of the images.

        :param numbers: which, in the order in which they are wanted.
        """
        return replace(self, keys=tuple(self.keys[i] for i in numbers), files=tuple(self.files[i] for i in numbers))


@dataclass(frozen=True)
class PictureAndIds:
    """Reads a picture and a PNG of label ids.

    :param name: the name of the data set, for messages.
    :param table: the class of every id that the data set has, or ``IGNORE``.
    :param ids: reads the label file: ids (h, w).
    """

    name: str
    table: Mapping[int, int]
    ids: Callable[[Path], np.ndarray] = read_labels

    def __call__(self, files: tuple[Path, Path]) -> tuple[Float[Tensor, "3 h w"], np.ndarray]:
        """Return the image and its classes."""
        picture, label_file = files
        labels = classes_of(self.ids(label_file), self.table, label_file, self.name)
        return picture_for(picture, labels.shape), labels


def picture_for(file: Path, shape: tuple[int, ...] | None, divide_by: float | None = None) -> Float[Tensor, "k h w"]:
    """Read a picture that must be as large as its labels; of a TIFF all bands.

    :param file: the picture.
    :param shape: rows and columns of its labels; None if there are none.
    :param divide_by: what the numbers of TIFFs are divided by; None if nobody said.
    :raises DataError: it is not, or cannot be read.
    """
    with reading(file):
        if split_name(file, TIFF_SUFFIXES):
            bands = torch.from_numpy(read_bands(file, divide_by))
            if shape is not None and tuple(bands.shape[1:]) != tuple(shape):
                raise DataError(
                    f"{file}: expected a picture as large as its labels, {shape[0]} x {shape[1]} (rows x columns); got "
                    f"{bands.shape[1]} x {bands.shape[2]}. Resize neither by hand: take both from the same release."
                )
            return bands
        size, stored = picture_size(file), stored_size(file)
    if shape is not None and size != tuple(shape):
        if stored == tuple(shape):
            raise DataError(
                f"{file}: expected a picture as large as its labels, {shape[0]} x {shape[1]} (rows x columns); so it "
                f"is stored, but its EXIF orientation turns it to {size[0]} x {size[1]}. Were the labels drawn on the "
                "unturned picture? Then save it without EXIF."
            )
        raise DataError(
            f"{file}: expected a picture as large as its labels, {shape[0]} x {shape[1]} (rows x columns); "
            f"got {size[0]} x {size[1]}. Resize neither by hand: take both from the same release."
        )
    return read_picture(file, size)


def classes_of(ids: np.ndarray, table: Mapping[int, int], file: Path, name: str) -> np.ndarray:
    """Return the class of each id, or ``IGNORE``.

    :param ids: the ids (h, w) of a label file.
    :param table: the class of every id that the data set has, or ``IGNORE``.
    :param file: the label file, for the message.
    :param name: the name of the data set, for the message.
    :raises LabelError: an id that is not in the table, naming it and the file.
    """
    low, high = min(table), max(table)
    look_up = np.full(high - low + 1, _UNKNOWN)
    for number, k in table.items():
        look_up[number - low] = k
    classes = np.where((ids >= low) & (ids <= high), look_up[np.clip(ids, low, high) - low], _UNKNOWN)
    wrong = classes == _UNKNOWN
    if wrong.any():
        values = np.unique(ids[wrong]).tolist()
        shown = ", ".join(map(str, values[:5])) + (", …" if len(values) > 5 else "")
        raise LabelError(
            f"{file}: expected label ids of {name}, {_ranges(table)}; got {shown} in {int(wrong.sum())} of {ids.size} "
            "pixels. Give the label files as published, not instance ids, colours or another coding."
        )
    return classes


def same_ids(num_classes: int, ignore_index: int | None) -> dict[int, int]:
    """Return the table of ids that are classes already, and one id that is not.

    :param num_classes: the number of classes.
    :param ignore_index: the id of unlabelled pixels; None if every pixel is labelled.
    """
    return {k: k for k in range(num_classes)} | ({} if ignore_index is None else {ignore_index: IGNORE})


def _ranges(numbers: Mapping[int, int]) -> str:
    """Return numbers as people write them: 0..18, 255."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return ", ".join(f"{a}..{b}" if a < b else str(a) for a, b in runs)
