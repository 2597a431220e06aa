"""Images and label maps of your own: two folders of files with the same names, and lists of names for splits."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from calibrant._encoding.label_coding import UNLABELLED, IgnoreIndex, LabelCoding, label_coding
from calibrant._input.checks import check_choice
from calibrant._shapes import IGNORE, Float, Tensor
from calibrant.data._formats.names import composed, is_data, key_of, split_name
from calibrant.data._formats.palette import Palette, check_palette, classes_in
from calibrant.data._formats.reading import read_labels
from calibrant.data._formats.tiff import TIFF_SUFFIXES
from calibrant.data.folder._survey import labels_line, passed_over_line
from calibrant.data.sets._dataset import DataSet, Pairs
from calibrant.data.sets._examples import FileExamples, classes_of, picture_for, same_ids
from calibrant.data.sets._pictures_alone import IMAGE_SUFFIXES, pictures_alone
from calibrant.errors import DataError, LabelError


def image_folder(
    path: str | os.PathLike[str],
    split: str | None = None,
    *,
    class_names: Sequence[str],
    images: str = "images",
    labels: str | None = "labels",
    ignore_index: IgnoreIndex = "auto",
    first_label: int | None = None,
    divide_by: float | None = None,
    palette: Palette | None = None,
) -> FileExamples:
    """Return the images of a folder: ``images/NAME.jpg`` (or ``.png``, ``.tif``) and ``labels/NAME.png``, any depth.

    Without labels the folder itself may hold the images, and every pixel is unlabelled.

    Labels are class numbers in PNGs of one channel, or colours of a ``palette``. The names of images are their keys. A
    split is a text file of keys, ``splits/SPLIT.txt``, one a line.

    :param path: the folder that holds the folders of images and labels.
    :param split: the name of a list in ``splits``, whose images are returned in its order; None for all images, by key.
    :param class_names: one name a class, in the order of their numbers: label k is the k-th.
    :param images: the name of the folder of images in ``path``.
    :param labels: the name of the folder of labels in ``path``; None if there are none.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled. By default 255, or what the
        labels of the folder show: 255 is the foreground where two classes are 0 and 255 alone.
    :param first_label: the label of class 0, if it is not 0: with 1, label k is class k - 1.
    :param divide_by: what the numbers of TIFFs are divided by; eight bits are divided by 255 if nobody says.
    :param palette: the colour (red, green, blue) of every class by name, if labels are PNGs of colours, in the order of
        ``class_names``; the name ``unlabelled`` is no class. None for numbers.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no split of that name.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as name:
    ...     for folder, mode in (("images", "RGB"), ("labels", "L")):
    ...         (Path(name) / folder).mkdir()
    ...         Image.new(mode, (5, 4)).save(Path(name) / folder / "street.png")
    ...     examples = image_folder(name, class_names=["road", "sky"])
    ...     examples.keys, examples[0].image.shape, examples[0].labels.shape
    (('street',), torch.Size([3, 4, 5]), torch.Size([1, 4, 5]))
    """
    root = Path(path)
    if palette is not None:
        check_palette(palette, "palette")
        if len(classes_in(palette)) != len(class_names):
            raise DataError(
                f"{root}: expected a colour for each of {len(class_names)} classes; the palette has "
                f"{len(classes_in(palette))}. Name the same classes in the same order."
            )
        ignore_index, first_label = None, 0
    data_set = DataSet(
        root.name,
        "wherever your images are",
        f"""{root.name}/
        ├── {images}/NAME.jpg
        ├── {labels}/NAME.png
        └── splits/SPLIT.txt, if there are splits: one NAME a line""",
        labels=f"{labels}/*.png",
        class_names=tuple(class_names),
        ignore={None: "nothing", "auto": f"{UNLABELLED} in the label files"}.get(
            ignore_index, f"{ignore_index} in the label files"
        ),
    )
    root = data_set.root(root)
    if labels is None:
        here = root / images if (root / images).is_dir() else root
        found = _pictures(data_set, here)
        keys = sorted(found) if split is None else _listed(data_set, root, split)
        _check_listed(keys, found, here, split)
        name = f"{root.name} {split or ''}".strip()
        return pictures_alone(name, {key: found[key] for key in keys}, tuple(class_names), divide_by)
    pictures = _pictures(data_set, root / images)
    maps = _tiff_labels(root / labels) or data_set.files(root, data_set.labels, "labels")

    def coded(pairs: Pairs, split: str = "") -> FileExamples:
        used = {*pictures.values(), *maps.values()}
        here = [file for folder in (images, labels) for file in sorted((root / folder).rglob("*")) if file.is_file()]
        others = tuple(file.name for file in here if file not in used)
        files = tuple(label_file for _, (_, label_file) in pairs)
        read = CodedLabels(root.name, len(class_names), ignore_index, first_label, files, others, divide_by, palette)
        return data_set.of(pairs, split, read)

    if split is None:
        return coded(data_set.paired(pictures, maps, root, data_set.labels))
    keys = _listed(data_set, root, split)
    _check_listed(keys, pictures, root / images, split)
    listed = {key: pictures[key] for key in keys}
    data_set.paired(listed, {key: maps[key] for key in keys if key in maps}, root, data_set.labels)
    return coded(tuple((key, (pictures[key], maps[key])) for key in keys), split)


def _tiff_labels(folder: Path) -> dict[str, Path]:
    """Return the label maps of a folder that holds TIFFs and no PNG, by key."""
    there = [file for file in sorted(folder.rglob("*")) if is_data(file, folder)] if folder.is_dir() else []
    if any(split_name(file, (".png",)) for file in there):
        return {}
    parts = {file: split_name(file, TIFF_SUFFIXES) for file in there}
    return {key_of(file, folder, part[1]): file for file, part in parts.items() if part}


def _check_listed(keys: Sequence[str], pictures: Mapping[str, Path], folder: Path, split: str | None) -> None:
    """Raise unless there is a picture of every key."""
    if lost := [key for key in keys if key not in pictures]:
        raise DataError(
            f"{folder / lost[0]}: expected this image ({', '.join(IMAGE_SUFFIXES)}), which "
            f"splits/{split}.txt lists; there is none (nor for {len(lost) - 1} more). "
            "Copy it, or take the line out of the list."
        )


def _pictures(data_set: DataSet, folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder by key."""
    pictures: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if (parts := split_name(file, IMAGE_SUFFIXES)) and is_data(file, folder):
            key = key_of(file, folder, parts[1])
            if key in pictures:
                raise DataError(
                    f"{file}: expected one image of that name; {pictures[key].name} is there too. Remove one."
                )
            pictures[key] = file
    if not pictures:
        raise data_set.missing(folder, f"images ({', '.join(IMAGE_SUFFIXES)})")
    return pictures


def _listed(data_set: DataSet, root: Path, split: str) -> list[str]:
    """Return the keys that a split lists."""
    lists = {file.stem: file for file in sorted((root / "splits").glob("*.txt"))}
    if not lists:
        raise data_set.missing(root / "splits", f"lists of names (*.txt), one of them {split}.txt,")
    check_choice(split, lists, f"split of {data_set.name}")
    keys = [composed(line.strip()) for line in lists[split].read_text().splitlines() if line.strip()]
    if len(set(keys)) < len(keys):
        twice = next(key for number, key in enumerate(keys) if key in keys[:number])
        raise DataError(f"{lists[split]}: expected every image once; got {twice!r} twice. Take one line out.")
    return keys


@dataclass(frozen=True)
class CodedLabels:
    """Reads a picture and a PNG of labels, whose coding is told from all label files when the first is read.

    :param name: of the folder.
    :param num_classes: how many classes were named.
    :param ignore_index: the label of unlabelled pixels, None, or auto.
    :param first_label: the label of class 0, if it was said.
    :param label_files: all of them.
    :param others: names of files that were passed over.
    :param divide_by: what the numbers of TIFFs are divided by.
    :param palette: the colour of every class; None for numbers.
    """

    name: str
    num_classes: int
    ignore_index: IgnoreIndex
    first_label: int | None
    label_files: tuple[Path, ...]
    others: tuple[str, ...]
    divide_by: float | None = None
    palette: Palette | None = None

    def __call__(self, files: tuple[Path, Path]) -> tuple[Float[Tensor, "3 h w"], np.ndarray]:
        """Return the image and its classes."""
        picture, label_file = files
        labels = classes_of(read_labels(label_file, self.palette), self.table, label_file, self.name)
        return picture_for(picture, labels.shape, self.divide_by), labels

    @cached_property
    def values(self) -> Counter[int]:
        """How many pixels of all label files have each number."""
        values = Counter[int]()
        for file in self.label_files:
            found, many = np.unique(read_labels(file, self.palette), return_counts=True)
            values.update(dict(zip(found.tolist(), many.tolist(), strict=True)))
        return values

    @cached_property
    def coding(self) -> LabelCoding:
        """What the numbers stand for.

        :raises LabelError: two readings are possible.
        """
        try:
            return label_coding(
                self.values,
                self.num_classes,
                ignore_index=self.ignore_index,
                first_label=self.first_label,
                files=len(self.label_files),
            )
        except LabelError as error:
            raise LabelError(f"{self.label_files[0].parent}: {error}") from error

    @property
    def table(self) -> Mapping[int, int]:
        """The class of every number that may be there, or ``IGNORE``."""
        usual = UNLABELLED if self.ignore_index == "auto" and self.num_classes <= UNLABELLED else None
        return {**same_ids(self.num_classes, usual), IGNORE: IGNORE, **self.coding.table}

    @property
    def taken_for(self) -> tuple[str, ...]:
        """What the label files were taken for, a line each."""
        lines = (labels_line(self.values, 0, self.coding, self.num_classes), *self.coding.notes)
        return lines + passed_over_line(self.others)
