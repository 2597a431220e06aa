"""What a data set is: where its files lie, what its label ids mean, and where to get it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from calibrant._input.checks import check_choice
from calibrant.data._formats.names import composed, is_data
from calibrant.data._formats.reading import read_labels
from calibrant.data.sets._examples import FileExamples, PictureAndIds, Read
from calibrant.errors import DataError

Pairs = tuple[tuple[str, Any], ...]
"""Keys, and what the reader of a data set is called with: the image file and the label file, as a rule."""


@dataclass(frozen=True)
class DataSet:
    """A data set of images and label maps in files, declared: a table from which :meth:`examples` reads.

    ``images`` and ``labels`` say where files lie, below the folder of the data set: ``*`` stands for any text, in any
    depth of folders, and what it stands for is the key of the image (joined by ``/`` if there are several); ``{}``
    stands for the folder of the split. An image and its labels have the same key.

    :param name: the name of the data set, as its authors write it.
    :param page: its official page, for the message to whoever does not have it.
    :param layout: the folders expected, drawn in three or four lines.
    :param images: where pictures lie, such as ``"leftImg8bit/{}/*_leftImg8bit.png"``.
    :param labels: where label maps lie, such as ``"gtFine/{}/*_gtFine_labelIds.png"``.
    :param class_names: one name a class, in the order of their numbers.
    :param table: the class of every id that the label files hold, or ``IGNORE``; see :func:`same_ids`.
    :param ignore: which pixels count as unlabelled, in words.
    :param splits: by the name of each split, the folders that ``{}`` stands for; empty if there are no splits.
    :param folder_name: what the unpacked folder is called; readers take it or the folder above it.
    :param ids: reads the ids (h, w) of a label file; by default those of a PNG of one channel.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from calibrant.predictions import IGNORE
    >>> fields = DataSet(
    ...     "Fields",
    ...     "the page of the fields",
    ...     "fields/ with train/NAME.jpg and train/NAME_mask.png",
    ...     images="{}/*.jpg",
    ...     labels="{}/*_mask.png",
    ...     class_names=("soil", "crop"),
    ...     table={0: 0, 7: 1, 255: IGNORE},
    ...     ignore="255, unlabelled",
    ...     splits={"train": ("train",)},
    ... )
    >>> with TemporaryDirectory() as name:
    ...     (Path(name) / "train").mkdir()
    ...     Image.new("RGB", (3, 2)).save(Path(name) / "train" / "north.jpg")
    ...     Image.new("L", (3, 2), 7).save(Path(name) / "train" / "north_mask.png")
    ...     examples = fields.examples(name, "train")
    ...     examples.name, examples.keys, examples[0].labels.tolist()
    ('Fields train', ('north',), [[[1, 1, 1], [1, 1, 1]]])
    """

    name: str
    page: str
    layout: str
    _: KW_ONLY
    images: str = ""
    labels: str = ""
    class_names: tuple[str, ...]
    table: Mapping[int, int] = field(default_factory=dict, repr=False)
    ignore: str
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folder_name: str = ""
    ids: Callable[[Path], np.ndarray] = field(default=read_labels, repr=False)

    def examples(self, path: str | PathLike[str], split: str = "") -> FileExamples:
        """Return the images of a split, sorted by key; files are matched now and read when asked for.

        :param path: the folder of the data set, or the folder that holds it.
        :param split: one of ``splits``; empty if there are none.
        :raises DataError: files are missing or misplaced.
        :raises MethodError: no split of that name.
        """
        if self.splits:
            check_choice(split, self.splits, f"split of {self.name}")
        root = self.root(path)
        pairs = [pair for part in self.splits.get(split, ("",)) for pair in self.pairs(root, part)]
        return self.of(tuple(sorted(pairs)), split)

    def of(self, pairs: Pairs, split: str = "", read: Read | None = None) -> FileExamples:
        """Return the examples of these files.

        :param pairs: the key of each image, and what it is read from.
        :param split: what is added to the name of the data set.
        :param read: reads an image and its classes; by default a picture and a file of label ids.
        """
        keys, files = tuple(key for key, _ in pairs), tuple(paths for _, paths in pairs)
        read = PictureAndIds(self.name, self.table, self.ids) if read is None else read
        return FileExamples(
            f"{self.name} {split}".strip(), keys, tuple(self.class_names), self.ignore, files=files, read=read
        )

    def root(self, path: str | PathLike[str]) -> Path:
        """Return the folder of the data set: ``path``, or the folder of the official name in it.

        :param path: the folder of the data set, or the folder that holds it.
        :raises DataError: there is no such folder.
        """
        path = Path(path)
        if not path.is_dir():
            raise self.missing(path, "the folder")
        return path / self.folder_name if self.folder_name and (path / self.folder_name).is_dir() else path

    def pairs(self, root: Path, part: str = "") -> Pairs:
        """Return (key, (image file, label file)) of the files of one folder of a split, sorted.

        :param root: the folder of the data set.
        :param part: the folder that ``{}`` in the patterns stands for.
        :raises DataError: there are none, an image has no labels, or labels have no image.
        """
        pattern = self.labels.replace("{}", part)
        images = self.files(root, self.images.replace("{}", part), "images")
        return self.paired(images, self.files(root, pattern, "labels"), root, pattern)

    def files(self, root: Path, pattern: str, what: str) -> dict[str, Path]:
        """Return the files that a pattern such as ``images/*.jpg`` describes, by key.

        :param root: the folder that the pattern starts from.
        :param pattern: a pattern as ``images`` and ``labels`` of the data set are.
        :param what: what is looked for, for messages.
        :raises DataError: the folder is missing, or has none.
        """
        folder = root / pattern.partition("*")[0].rpartition("/")[0]
        if not folder.is_dir():
            raise self.missing(folder, f"the folder of {what}")
        form = re.compile("(.+)".join(map(re.escape, pattern.split("*"))), re.IGNORECASE)
        paths = [path for path in sorted(folder.rglob("*")) if is_data(path, folder)]
        matches = ((form.fullmatch(composed(path.relative_to(root).as_posix())), path) for path in paths)
        files = {"/".join(match.groups()): path for match, path in matches if match}
        if not files:
            others = [path.relative_to(folder).as_posix() for path in paths if path.is_file()]
            got = f"It has {others[0]}" + (f" and {len(others) - 1} more." if others[1:] else ".") if others else ""
            raise self.missing(folder, f"{what} ({pattern.rpartition('/')[2]})", got)
        return files

    def paired(self, images: Mapping[str, Path], labels: Mapping[str, Path], root: Path, pattern: str) -> Pairs:
        """Return (key, (image file, label file)), sorted.

        :param images: image files by key.
        :param labels: label files by key.
        :param root: the folder that ``pattern`` starts from.
        :param pattern: how label files are called; the message for a missing one says it.
        :raises DataError: an image has no labels, or labels have no image.
        """
        for have, lack, what in ((images, labels, "labels"), (labels, images, "an image")):
            if without := sorted(have.keys() - lack.keys()):
                more = f" (so do {len(without) - 1} more of {len(have)})" if without[1:] else ""
                at = f" at {root / _name(pattern, without[0])}" if what == "labels" else f" for {have[without[0]]}"
                raise DataError(
                    f"image {without[0]!r} of {self.name}: expected {what}{at}; there is none{more}. "
                    f"Copy the missing files, or remove {'the image' if what == 'labels' else 'the labels'}."
                )
        return tuple((key, (images[key], labels[key])) for key in sorted(images))

    def missing(self, path: Path, what: str, hint: str = "") -> DataError:
        """Return the error that says what was expected where, where to get it, and how it is laid out.

        :param path: where something is missing.
        :param what: what is missing.
        :param hint: a sentence about what is there instead.
        """
        drawn = "\n".join(f"    {line.strip()}" for line in self.layout.strip().splitlines())
        return DataError(
            f"{path}: expected {what} of {self.name}; there is none.{' ' + hint if hint else ''} "
            f"Get it from {self.page}, and unpack it to look like\n{drawn}"
        )


def _name(pattern: str, key: str) -> str:
    """Return the name of a file in a pattern, given its key."""
    stars = pattern.count("*")
    for text in key.rsplit("/", stars - 1) if stars else ():
        pattern = pattern.replace("*", text, 1)
    return pattern
