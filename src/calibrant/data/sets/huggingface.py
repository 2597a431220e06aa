"""Data sets of the Hugging Face package ``datasets``, offline: rows in memory, or a folder that it saved."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from calibrant._check import needs
from calibrant._shapes import IGNORE
from calibrant.data.sets._dataset import classes_of, same_ids
from calibrant.errors import DataError, LabelError
from calibrant.predictions import Example


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
class HuggingFaceExamples:
    """The rows of a data set as images and label maps; see :func:`huggingface_examples`.

    :param keys: the numbers of the rows, or what the column ``key`` holds.
    :param table: the class of each label id, or ``IGNORE``.
    """

    rows: Rows
    keys: tuple[str, ...]
    class_names: tuple[str, ...]
    _: KW_ONLY
    image: str
    labels: str
    table: Mapping[int, int]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.keys)

    def __iter__(self) -> Iterator[Example]:
        """Decode the images in order."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int, /) -> Example:
        """Decode one image and its labels.

        :raises LabelError: labels are colours, of another size than the image, or not in the table.
        """
        key = self.keys[i]
        row = self.rows[i % len(self) if -len(self) <= i < 0 else i]
        ids = np.asarray(row[self.labels])
        picture = row[self.image]
        image = np.asarray(picture.convert("RGB") if hasattr(picture, "convert") else picture)
        if image.ndim != 3 or image.shape[2] != 3 or ids.shape != image.shape[:2]:
            raise LabelError(
                f"image {key!r}: expected a picture (h, w, 3) and label numbers (h, w); got {image.shape} in "
                f"{self.image!r} and {ids.shape} in {self.labels!r}. Name the columns: image=…, labels=…; turn colours "
                "into class numbers first."
            )
        scale = 255 if image.dtype == np.uint8 else 1
        classes = classes_of(ids.astype(np.int64), self.table, Path(key), f"column {self.labels!r}")
        picture = torch.from_numpy(image.copy()).movedim(2, 0).float() / scale
        return Example(key, picture, torch.from_numpy(classes)[None])


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
) -> HuggingFaceExamples:
    """Return rows as images and labels; nothing is ever downloaded.

    :param dataset: a ``datasets.Dataset``, a list of dictionaries, or a folder written by ``save_to_disk``.
    :param class_names: in the order of their numbers.
    :param split: which part of a saved folder that holds several.
    :param image: the column of images; ``labels``: that of label maps, numbers and not colours.
    :param key: a column of names; by default rows are numbered 00000, 00001, …
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
    return HuggingFaceExamples(rows, tuple(keys), tuple(class_names), image=image, labels=labels, table=table)


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
