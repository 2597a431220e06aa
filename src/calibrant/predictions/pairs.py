"""Data sets and loaders of pairs, such as PyTorch users have them, as sources of examples and predictions."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from calibrant._encoding.label_coding import UNLABELLED
from calibrant._input.checks import shape_of
from calibrant._shapes import IGNORE, Tensor
from calibrant.errors import InputError, LabelError, ShapeError
from calibrant.predictions.arrays import from_arrays, prediction_from
from calibrant.predictions.prediction import Example, Prediction
from calibrant.predictions.sources import Predictions, known_keys

PredictionsLike = Predictions | DataLoader[Any] | Dataset[Any] | Tensor | Sequence[Any]
"""What fits take: a source of predictions, or what :func:`predictions_of` makes one of."""

Read = TypeVar("Read", Example, Prediction)

FIRST = ("image", "images", "pixel_values", "img", "logits")
"""Names, in items that are mappings, of what a pair begins with."""
SECOND = ("label", "labels", "mask", "masks", "seg", "target")
"""Names, in items that are mappings, of its labels."""


@dataclass(frozen=True)
class Pairs(Generic[Read]):
    """A data set of pairs as a source: images with labels, or logits with labels.

    Of a loader its data set is read, item by item and in order: batches, shuffling and workers play no part.

    :param items: read by number; an item is a pair, a mapping with names such as image and mask, or an ``Example`` or
        ``Prediction`` already.
    :param make: what becomes of the name of an image, what a pair begins with, its labels, and ``ignore_index``.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
    :param collate: what a loader makes of a list of items; None without one.

    >>> pairs = Pairs([(torch.zeros(3, 4, 4), torch.zeros(4, 4, dtype=torch.long))], as_example)
    >>> pairs.keys, pairs[0].labels.shape
    (('0000',), torch.Size([1, 4, 4]))
    """

    items: Any
    make: Callable[[str, Any, Any, int | None], Read]
    ignore_index: int | None = UNLABELLED
    collate: Any = None

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The names of the images: those of the data set, if it has any, or their numbers."""
        return known_keys(self.items) or tuple(f"{number:04d}" for number in range(len(self.items)))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.items)

    def __iter__(self) -> Iterator[Read]:
        """Read the images in order."""
        return (self[number] for number in range(len(self)))

    def __getitem__(self, i: int, /) -> Read:
        """Read one image.

        :raises ShapeError, LabelError, LogitsError: naming the image.
        """
        number = range(len(self))[i]
        item = self.items[number]
        if isinstance(item, Example | Prediction):
            return item
        key = self.keys[number]
        if self.collate is not None:
            item = _first_of(self.collate([item]), key)
        return self.make(key, *_pair(item, key), self.ignore_index)


def as_prediction(key: str, logits: Any, labels: Any, ignore_index: int | None) -> Prediction:
    """Return a pair of logits and labels as a checked prediction.

    :param key: names the image.
    :param logits: (c, *s); one channel is a sigmoid head's.
    :param labels: (*s), or (a, *s) with several annotators.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
    """
    return prediction_from(key, logits, labels, ignore_index=ignore_index)


def as_example(key: str, image: Any, labels: Any, ignore_index: int | None) -> Example:
    """Return a pair of an image and its labels as an example.

    :param key: names the image.
    :param image: (k, *s), as the model takes it.
    :param labels: (*s), or (a, *s) with several annotators.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
    :raises ShapeError, LabelError: they do not belong together.
    """
    picture, maps = torch.as_tensor(image), torch.as_tensor(labels)
    if not picture.is_floating_point():
        raise ShapeError(
            f"image {key!r}: expected an image as real numbers, as the model takes it; got {picture.dtype}. Convert it "
            "in the data set: image.float() / 255."
        )
    if maps.is_floating_point():
        raise LabelError(f"image {key!r}: expected integer labels; got {maps.dtype}. Convert them: labels.long().")
    maps = maps.long() if maps.ndim == picture.ndim else maps.long()[None]
    if maps.shape[1:] != picture.shape[1:]:
        raise ShapeError(
            f"image {key!r}: expected an image (channels, *space) and labels (*space) of one size; got "
            f"{shape_of(picture)} and {shape_of(torch.as_tensor(labels))}. Resize the labels, nearest neighbour."
        )
    return Example(key, picture, maps if ignore_index is None else maps.masked_fill(maps == ignore_index, IGNORE))


def predictions_of(
    source: PredictionsLike, labels: Any = None, *, ignore_index: int | None = UNLABELLED
) -> Predictions:
    """Return a source of predictions: of arrays, of a loader or data set of logits and labels, or the source itself.

    :param source: predictions; logits (n, c, *s), or one (c, *s) an image in a list, with ``labels``; or a loader, data
        set or list of pairs of logits and labels.
    :param labels: (n, *s) or (n, a, *s), or one an image, beside logits; None otherwise.
    :param ignore_index: the label of unlabelled pixels in arrays and pairs; None if every pixel is labelled.
    :raises InputError: logits came without labels, or the source cannot be read by number.
    :raises ShapeError, LabelError, LogitsError: naming the image.

    >>> logits, maps = torch.randn(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long)
    >>> [p.key for p in predictions_of(logits, maps)]
    ['0000', '0001']
    >>> loader = DataLoader(torch.utils.data.TensorDataset(logits, maps), batch_size=2)
    >>> predictions_of(loader)[1].logits.shape
    torch.Size([3, 4, 4])
    """
    if labels is not None:
        return from_arrays(source, labels, ignore_index=ignore_index)
    if isinstance(source, Tensor) or hasattr(source, "__array__"):
        raise InputError(
            f"expected predictions, or logits and labels; got logits {shape_of(torch.as_tensor(source))} alone. Pass "
            "the labels after them: fit(logits, labels)."
        )
    return _pairs(source, as_prediction, ignore_index)


def examples_of(source: Any, *, ignore_index: int | None = UNLABELLED) -> Any:
    """Return a source of examples: of a loader or data set of images and labels, or the source itself.

    :param source: examples, or a loader, data set or list of pairs of images and labels.
    :param ignore_index: the label of unlabelled pixels in pairs; None if every pixel is labelled.
    :raises InputError: the source cannot be read by number.
    """
    return _pairs(source, as_example, ignore_index)


def _pairs(source: Any, make: Callable[..., Any], ignore_index: int | None) -> Any:
    if isinstance(source, str | os.PathLike):
        raise InputError(
            f"expected images or predictions themselves; got the name {os.fspath(source)!r}. Open a store: "
            "calibrant.data.StoredPredictions(name)."
        )
    loader = isinstance(source, DataLoader)
    items = source.dataset if loader else source
    listed = isinstance(items, list | tuple) and len(items) > 0 and isinstance(items[0], tuple | list | Mapping)
    if not (loader or listed or isinstance(items, Dataset)):
        return source
    if isinstance(items, IterableDataset) or not (hasattr(items, "__len__") and hasattr(items, "__getitem__")):
        raise InputError(
            f"expected a data set that is read by number, more than once; got {type(items).__name__}. Read it into a "
            "list: list(dataset)."
        )
    plain = not loader or source.collate_fn is torch.utils.data.default_collate
    return Pairs(items, make, ignore_index, None if plain else source.collate_fn)


def _pair(item: Any, key: str) -> tuple[Any, Any]:
    """An image, or logits, and its labels."""
    if isinstance(item, Mapping):
        first, labels = (next((item[name] for name in names if name in item), None) for names in (FIRST, SECOND))
        if first is None or labels is None:
            raise InputError(
                f"image {key!r}: expected names such as {FIRST[0]} and {SECOND[2]} in a mapping; got "
                f"{', '.join(map(str, item))}. Map it to a pair (image, labels)."
            )
        return first, labels
    if isinstance(item, Sequence) and len(item) >= 2:
        return item[0], item[1]
    raise InputError(
        f"image {key!r}: expected a pair (image, labels), or a mapping; got {type(item).__name__}. Map it to a pair."
    )


def _first_of(batch: Any, key: str) -> Any:
    """The first item of a batch of one."""
    if isinstance(batch, Mapping):
        return {name: value[0] for name, value in batch.items()}
    if isinstance(batch, Sequence) and len(batch) >= 2:
        return tuple(value[0] for value in batch)
    raise InputError(f"image {key!r}: expected a loader of pairs or mappings; got {type(batch).__name__}.")
