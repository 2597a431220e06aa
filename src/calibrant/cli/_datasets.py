"""Names of data sets on the command line, and how each is read from a path."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibrant import data
from calibrant._input.checks import check_choice
from calibrant._input.own_code import import_named, must_trust, names_code
from calibrant.data._formats.palette import classes_in, read_palette
from calibrant.data.sets._pictures_alone import check_no_other_labels, is_picture
from calibrant.errors import DataError, InputError
from calibrant.predictions import Examples, Mapped
from calibrant.predictions.sources import class_names_of

OWN = ("folder", "huggingface")
"""Images of the user's own, whose classes the model or the user names."""

KINDS = (*OWN, *data.DATA_SETS)


def open_examples(
    kind: str,
    path: Path,
    *,
    split: str | None,
    class_names: Sequence[str],
    ignore_index: int | None,
    first_label: int | None = None,
    images: str | None = None,
    labels: str | None = None,
    divide_by: float | None = None,
    palette: Path | None = None,
    trust_code: bool = False,
) -> Any:
    """Return the images and labels of a data set.

    :param kind: one of ``KINDS``, or ``module:function``, code of the user's own that returns examples.
    :param path: what is read; code of the user's own is called with it.
    :param split: which split; None for the usual one. Code of the user's own is called with it if it is named.
    :param class_names: one name a class of ``folder`` and ``huggingface``; the others have their own.
    :param ignore_index: the label of unlabelled pixels of these two; None for 255, and -1 for none.
    :param first_label: the label of class 0 of ``folder``; None if nobody said.
    :param images: the name of the folder of images of ``folder``; None for the usual one.
    :param labels: the name of the folder of labels of ``folder``, or none; None for the usual one if it is there.
    :param divide_by: what the numbers of TIFFs of ``folder`` are divided by; None if nobody said.
    :param palette: a file of the colour of every class of ``folder``; None for numbers.
    :param trust_code: code of the user's own may run.
    :raises InputError: an option that this data set has no use for, or a missing one.
    :raises DataError: files are missing or misplaced.
    """
    of_folders = {"first-label": first_label, "images": images, "labels": labels, "divide-by": divide_by}
    of_folders["palette"] = palette
    for option, value in of_folders.items():
        if value is not None and kind != "folder":
            raise InputError(f"expected no --{option} but for --dataset folder; got {value} for {kind}. Leave it out.")
    if names_code(kind):
        return _own(kind, path, split, class_names, ignore_index, trust_code)
    check_choice(kind, KINDS, "data set")
    if kind in data.DATA_SETS:
        return _published(kind, path, split, ignore_index)
    if kind == "folder" and not _has_labels(path, images, labels):
        return data.image_folder(
            path, split, class_names=class_names, images=images or "images", labels=None, divide_by=divide_by
        )
    colours = None if palette is None else read_palette(palette)
    class_names = class_names or (() if colours is None else classes_in(colours))
    if not class_names:
        raise InputError(
            f"{path}: expected the names of its classes, which the model does not say; got none. Name them in the "
            "order of their numbers: --class-names road,sky, or a text file with one name a line."
        )
    unlabelled = {None: 255, -1: None}.get(ignore_index, ignore_index)
    if kind == "huggingface":
        return data.huggingface_examples(path, class_names=class_names, split=split, ignore_index=unlabelled)
    said = "auto" if ignore_index is None else unlabelled
    return data.image_folder(
        path,
        split,
        class_names=class_names,
        images=images or "images",
        labels=labels or "labels",
        ignore_index=said,
        first_label=first_label,
        divide_by=divide_by,
        palette=colours,
    )


def _has_labels(path: Path, images: str | None, labels: str | None) -> bool:
    """Tell whether a folder has labels: as was said, or as it shows.

    :raises DataError: another folder than the usual one may hold them.
    """
    if labels is not None or not path.is_dir() or (path / "labels").is_dir():
        return labels != "none"
    check_no_other_labels(path, path / (images or "images"))
    # A folder of neither images nor labels is not one of pictures alone: the error says how folders are laid out.
    return not ((path / (images or "images")).is_dir() or any(map(is_picture, path.iterdir())))


def _published(kind: str, path: Path, split: str | None, ignore_index: int | None) -> Any:
    if ignore_index is not None:
        raise InputError(
            f"expected no --ignore-index: {kind} has a rule of its own for unlabelled pixels; got {ignore_index}. "
            "Leave it out, or read the files as they are: --dataset folder."
        )
    entry = data.DATA_SETS[kind]
    if entry.split is None:
        if split is not None:
            raise InputError(f"expected no --split, as {kind} has none; got {split!r}. Leave it out.")
        return entry.read(path)
    return entry.read(path, split or entry.split)


def _own(
    name: str, path: Path, split: str | None, class_names: Sequence[str], ignore_index: int | None, trust_code: bool
) -> Any:
    if ignore_index is not None:
        raise InputError(
            f"expected no --ignore-index: {name} has a rule of its own for unlabelled pixels; got {ignore_index}. "
            "Leave it out."
        )
    if not trust_code:
        raise must_trust(name, "a data set of your own is read by a function of yours")
    read = import_named(name)
    if not callable(read):
        raise DataError(f"{name}: expected a function of a path that returns examples; got {type(read).__name__}.")
    # Errors of the user's own code reach the user as they are, with their traceback.
    examples = read(path) if split is None else read(path, split)
    if not isinstance(examples, Examples):
        raise DataError(
            f"{name}: expected examples, with a length and read by number, such as a list of Example or what "
            f"DataSet.examples returns; got {type(examples).__name__}."
        )
    names = class_names_of(examples) or tuple(class_names)
    if not names:
        raise InputError(
            f"{name}: expected the names of its classes, class_names of what it returns; got none. Give it some, or "
            "name them in the order of their numbers: --class-names road,sky."
        )
    return examples if class_names_of(examples) else Mapped(examples, _itself, class_names=names)


def _itself(example: Any) -> Any:
    return example
