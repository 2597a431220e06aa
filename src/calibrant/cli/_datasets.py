"""Names of data sets on the command line, and how each is read from a path."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from calibrant import data
from calibrant._check import check_choice
from calibrant.errors import InputError


@dataclass(frozen=True)
class Kind:
    """How a data set is read.

    :param read: ``read(path)``, or ``read(path, split)`` if there are splits.
    :param split: the split that is read if none is named; None if there are no splits.
    """

    read: Callable[..., Any]
    split: str | None = None


def _layers(path: Path, split: str) -> Any:
    try:
        layers = [int(number) for number in split.split(",")]
    except ValueError as error:
        raise InputError(f"expected --split of BraTS to be layers such as 75 or 75,100; got {split!r}.") from error
    return data.brats(path, layers=layers)


def _both_or_one(read: Callable[..., Any], path: Path, split: str) -> Any:
    return read(path, None if split == "all" else split)


PUBLISHED: Mapping[str, Kind] = {
    "ade20k": Kind(data.ade20k, "val"),
    "aerial": Kind(data.aerial, "all"),
    "bdd100k": Kind(data.bdd100k, "val"),
    "brats": Kind(_layers, "75"),
    "camvid": Kind(data.camvid, "test"),
    "cityscapes": Kind(data.cityscapes, "val"),
    "coco-stuff": Kind(data.coco_stuff, "val"),
    "davis": Kind(data.davis, "val"),
    "kitti": Kind(data.kitti),
    "kitti-camvid11": Kind(partial(data.kitti, classes="camvid11")),
    "lidc": Kind(data.lidc_folder),
    "lidc-contours": Kind(partial(_both_or_one, data.lidc_contours), "all"),
    "lidc-crops": Kind(partial(_both_or_one, data.lidc_crops), "all"),
    "spacenet7": Kind(data.spacenet7),
    "spacenet7-buildings": Kind(partial(data.spacenet7, without_background=True)),
    "synthia": Kind(data.synthia),
}
"""Data sets with classes and a rule for unlabelled pixels of their own."""

OWN = ("folder", "huggingface")
"""Anybody's images, whose classes the model or the user names."""

KINDS = (*OWN, *PUBLISHED)


def open_examples(
    kind: str, path: Path, *, split: str | None, class_names: Sequence[str], ignore_index: int | None
) -> Any:
    """Return the images and labels of a data set.

    :param split: None for the usual one.
    :param class_names: of ``folder`` and ``huggingface``; the others have their own.
    :param ignore_index: of these two; None for 255, and -1 for none.
    :raises InputError: an option that this data set has no use for, or a missing one.
    :raises DataError: files are missing or misplaced.
    """
    check_choice(kind, KINDS, "data set")
    if kind in PUBLISHED:
        return _published(kind, path, split, ignore_index)
    if not class_names:
        raise InputError(
            f"{path}: expected the names of its classes, which the model does not say; got none. Name them in the "
            "order of their numbers: --class-names road,sky, or a text file with one name a line."
        )
    unlabelled = {None: 255, -1: None}.get(ignore_index, ignore_index)
    if kind == "huggingface":
        return data.huggingface_examples(path, class_names=class_names, split=split, ignore_index=unlabelled)
    if split is not None:
        raise InputError(f"{path}: expected no split, as a folder has none; got --split {split}. Leave it out.")
    return data.image_folder(path, class_names=class_names, ignore_index=unlabelled)


def _published(kind: str, path: Path, split: str | None, ignore_index: int | None) -> Any:
    if ignore_index is not None:
        raise InputError(
            f"expected no --ignore-index: {kind} has a rule of its own for unlabelled pixels; got {ignore_index}. "
            "Leave it out, or read the files as they are: --dataset folder."
        )
    entry = PUBLISHED[kind]
    if entry.split is None:
        if split is not None:
            raise InputError(f"expected no --split, as {kind} has none; got {split!r}. Leave it out.")
        return entry.read(path)
    return entry.read(path, split or entry.split)
