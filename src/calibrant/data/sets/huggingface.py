"""Data sets of the Hugging Face package ``datasets``, offline: rows in memory, or a folder that it saved."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from calibrant._input.checks import needs
from calibrant._shapes import IGNORE, Float, Tensor
from calibrant.data.sets._examples import FileExamples, classes_of, same_ids
from calibrant.errors import DataError, LabelError


@runtime_checkable
class Rows(Protocol):
    """Rows with columns by name: a ``datasets.Dataset``, or a list of dictionaries."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, i: int, /) -> Mapping[str, Any]:
        """Return a row."""
        ...


@dataclass(frozen=True)
class _DecodeRow:
    """Decodes an image and its labels, given a row's number and its key."""

    rows: Rows
    image: str
    labels: str
    table: Mapping[int, int]

    def __call__(self, row: tuple[int, str]) -> tuple[Float[Tensor, "3 h w"], np.ndarray]:
        number, key = row
        columns = self.rows[number]
        ids = np.asarray(columns[self.labels])
        picture = columns[self.image]
        image = np.asarray(picture.convert("RGB") if hasattr(picture, "convert") else picture)
        if image.ndim != 3 or image.shape[2] != 3 or ids.shape != image.shape[:2]:
            raise LabelError(
                f"image {key!r}: expected a picture (h, w, 3) and label numbers (h, w); got {image.shape} in "
                f"{self.image!r} and {ids.shape} in {self.labels!r}. Name the columns: image=…, labels=…; turn colours "
                "into class numbers first."
            )
        scale = 255 if image.dtype == np.uint8 else 1
        classes = classes_of(ids.astype(np.int64), self.table, Path(key), f"column {self.labels!r}")
        return torch.from_numpy(image.copy()).movedim(2, 0).float() / scale, classes


def huggingface_examples(
    dataset: Rows | str | os.PathLike[str],
    *,
    class_names: Sequence[str],
    split: str | None = None,
    image: str = "image",
    labels: str = "annotation",
    key: str | None = None,
    ignore_index: int | None = 255,
    reduce_zero_label: bool = False,
) -> FileExamples:
    """Return rows as images and labels; nothing is ever downloaded.

    :param dataset: a ``datasets.Dataset``, a list of dictionaries, or a folder written by ``save_to_disk``.
    :param class_names: one name a class, in the order of their numbers.
    :param split: which part of a saved folder that holds several.
    :param image: the name of the column of images.
    :param labels: the name of the column of label maps, numbers and not colours.
    :param key: the name of a column of names; by default rows are numbered 00000, 00001, …
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
    :param reduce_zero_label: 0 is unlabelled, and label k is class k - 1, as in ADE20K.
    :raises DataError: the folder, the part or a column is missing, or the package ``datasets`` is not installed.

    >>> rows = [{"image": np.zeros((2, 3, 3), np.uint8), "annotation": np.ones((2, 3), np.uint8)}]
    >>> examples = huggingface_examples(rows, class_names=["road", "sky"])
    >>> examples.keys, examples[0].labels.tolist()
    (('00000',), [[[1, 1, 1], [1, 1, 1]]])
    """
    rows = _saved(Path(dataset), split) if isinstance(dataset, str | os.PathLike) else dataset
    names = getattr(rows, "column_names", None) or (list(rows[0]) if len(rows) else [])
    for column in (image, labels, *([] if key is None else [key])):
        if column not in names:
            raise DataError(
                f"expected the column {column!r}; got {', '.join(names) or 'no rows'}. "
                "Name the columns: image=…, labels=…, key=…"
            )
    table = same_ids(len(class_names), ignore_index)
    if reduce_zero_label:
        table |= {0: IGNORE} | {k + 1: k for k in range(len(class_names))}
    keys = [f"{i:05d}" for i in range(len(rows))] if key is None else [str(k) for k in _column(rows, key)]
    if len(set(keys)) < len(keys):
        raise DataError(f"expected names that differ in the column {key!r}; got {len(set(keys))} of {len(keys)} rows.")
    unlabelled = [number for number, k in table.items() if k == IGNORE]
    return FileExamples(
        "" if rows is dataset else " ".join(filter(None, (str(dataset), split))),
        tuple(keys),
        tuple(class_names),
        f"{', '.join(map(str, sorted(unlabelled)))} in the labels" if unlabelled else "nothing",
        files=tuple(enumerate(keys)),
        read=_DecodeRow(rows, image, labels, table),
    )


def _column(rows: Any, name: str) -> Sequence[Any]:
    return rows[name] if hasattr(rows, "column_names") else [row[name] for row in rows]


def _saved(path: Path, split: str | None) -> Rows:
    datasets = needs("datasets", "reads such folders", name=str(path))
    if not path.is_dir():
        raise DataError(
            f"{path}: expected a folder written by datasets' save_to_disk; there is none. Nothing is downloaded: "
            "load the data set yourself and pass it, or save it there first."
        )
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # readers of broken folders raise nearly anything
        raise DataError(
            f"{path}: expected a folder written by datasets' save_to_disk; cannot read it ({error})."
        ) from error
    if not isinstance(loaded, dict):
        return loaded
    if split not in loaded:
        raise DataError(f"{path}: expected one of the parts {', '.join(loaded)}; got {split!r}. Name it: split=…")
    return loaded[split]
