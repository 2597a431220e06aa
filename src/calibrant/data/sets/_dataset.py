"""Images with a label map each, in files: pairing them by name, reading them, and saying what is amiss.

A file for one data set says three things: where its files lie, what its label ids mean, and where to get it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from calibrant._check import check_choice
from calibrant._shapes import IGNORE, Float, Tensor
from calibrant.data._reading import read_labels, read_picture, reading
from calibrant.errors import DataError, LabelError
from calibrant.predictions import Example

Pairs = tuple[tuple[str, Any], ...]
"""Keys, and what the reader of a data set is called with: the image file and the label file, as a rule."""
Read = Callable[[Any], tuple[Float[Tensor, "k h w"], np.ndarray]]
_UNKNOWN = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    :param name: as its authors write it.
    :param page: its official page.
    :param layout: the folders expected, drawn in about three lines.
    :param folder: what the unpacked folder is called; readers take it or the folder above it.
    """

    name: str
    page: str
    layout: str
    folder: str = ""

    def root(self, path: Path) -> Path:
        """Return the folder of the data set: ``path``, or the folder of the official name in it.

        :raises DataError: there is no such folder.
        """
        if not path.is_dir():
            raise self.missing(path, "the folder")
        return path / self.folder if self.folder and (path / self.folder).is_dir() else path

    def missing(self, path: Path, what: str, hint: str = "") -> DataError:
        """Return the error that says what was expected where, where to get it, and how it is laid out."""
        drawn = "\n".join(f"    {line.strip()}" for line in self.layout.strip().splitlines())
        return DataError(
            f"{path}: expected {what} of {self.name}; there is none.{' ' + hint if hint else ''} "
            f"Get it from {self.page}, and unpack it to look like\n{drawn}"
        )

    def files(self, folder: Path, ending: str, what: str) -> dict[str, Path]:
        """Return the files with an ending, in any depth, by their path in the folder without it.

        :raises DataError: the folder is missing, or has none.
        """
        if not folder.is_dir():
            raise self.missing(folder, f"the folder of {what}")
        found = {p.relative_to(folder).as_posix().removesuffix(ending): p for p in sorted(folder.rglob(f"*{ending}"))}
        if not found:
            others = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
            got = f"It has {others[0]}" + (f" and {len(others) - 1} more." if others[1:] else ".") if others else ""
            raise self.missing(folder, f"{what} (*{ending})", got)
        return found

    def paired(self, images: Mapping[str, Path], labels: Mapping[str, Path], where: Path, ending: str) -> "Pairs":
        """Return (key, image, labels), sorted; ``where`` and ``ending`` say how a missing label file is called.

        :raises DataError: an image has no labels, or labels have no image.
        """
        for have, lack, what in ((images, labels, "labels"), (labels, images, "an image")):
            if without := sorted(have.keys() - lack.keys()):
                more = f" (so do {len(without) - 1} more of {len(have)})" if without[1:] else ""
                at = f" at {where / (without[0] + ending)}" if what == "labels" else f" for {have[without[0]]}"
                raise DataError(
                    f"image {without[0]!r} of {self.name}: expected {what}{at}; there is none{more}. "
                    f"Copy the missing files, or remove {'the image' if what == 'labels' else 'the labels'}."
                )
        return tuple((key, (images[key], labels[key])) for key in sorted(images))


@dataclass(frozen=True)
class FileExamples:
    """The images of a data set and their labels, read when asked for.

    Images are (3, h, w) in [0, 1]; labels (1, h, w), ``IGNORE`` where the data set's own rule says so.

    :param name: of the data set and the split.
    :param keys: name the images.
    :param class_names: in the order of their numbers.
    :param ignore: which pixels count as unlabelled, in words.
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
        return Example(self.keys[i], image, torch.from_numpy(np.ascontiguousarray(labels, np.int64))[None])

    def take(self, numbers: Sequence[int]) -> "FileExamples":
        """Return some of the images, by number."""
        return replace(self, keys=tuple(self.keys[i] for i in numbers), files=tuple(self.files[i] for i in numbers))


@dataclass(frozen=True)
class PictureAndIds:
    """Reads a picture and a PNG of label ids.

    :param table: the class of every id that the data set has, or ``IGNORE``.
    :param ids: reads the label file.
    """

    name: str
    table: Mapping[int, int]
    ids: Callable[[Path], np.ndarray] = read_labels

    def __call__(self, files: tuple[Path, Path]) -> tuple[Float[Tensor, "3 h w"], np.ndarray]:
        """Return the image and its classes."""
        picture, label_file = files
        labels = classes_of(self.ids(label_file), self.table, label_file, self.name)
        return picture_for(picture, labels.shape), labels


def examples_of(
    source: Source, split: str, pairs: Pairs, class_names: Sequence[str], ignore: str, read: Read
) -> FileExamples:
    """Return the lazy source of these files."""
    keys, files = tuple(key for key, _ in pairs), tuple(paths for _, paths in pairs)
    name = f"{source.name} {split}".strip()
    return FileExamples(name, keys, tuple(class_names), ignore, files=files, read=read)


def picture_for(file: Path, shape: tuple[int, ...]) -> Float[Tensor, "3 h w"]:
    """Read a picture that must be as large as its labels.

    :raises DataError: it is not, or cannot be read.
    """
    with reading(file), Image.open(file) as image:
        size = image.size[::-1]
    if size != tuple(shape):
        raise DataError(
            f"{file}: expected a picture as large as its labels, {shape[0]} x {shape[1]} (rows x columns); "
            f"got {size[0]} x {size[1]}. Resize neither by hand: take both from the same release."
        )
    return read_picture(file, size)


def classes_of(ids: np.ndarray, table: Mapping[int, int], file: Path, name: str) -> np.ndarray:
    """Return the class of each id, or ``IGNORE``.

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


def listed(source: Source, folder: Path, split: str, image_ending: str) -> Pairs:
    """Return the pairs of ``images/KEY`` and ``labels/KEY.png`` whose keys ``splits/SPLIT.txt`` lists.

    :raises MethodError: there is no such list.
    :raises DataError: a listed file is missing.
    """
    check_choice(split, sorted(p.stem for p in (folder / "splits").glob("*.txt")), f"split of {source.name}")
    keys = (folder / "splits" / f"{split}.txt").read_text().split()
    pairs = tuple((k, (folder / "images" / f"{k}{image_ending}", folder / "labels" / f"{k}.png")) for k in keys)
    for _, files in pairs:
        for file in files:
            if not file.is_file():
                raise DataError(
                    f"{file}: expected this file of {source.name}, which splits/{split}.txt lists; there is none. "
                    "Copy it, or take the line out of the list."
                )
    return pairs


def same_ids(num_classes: int, ignore_index: int | None) -> dict[int, int]:
    """Return the table of ids that are classes already, and one id that is not."""
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
