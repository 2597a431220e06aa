"""Reading a store: its manifest when it is opened, its images one at a time when they are asked for."""

import copy
import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from calibrant._encoding.label_coding import NO_LABELS
from calibrant._shapes import Int, Tensor
from calibrant._storage.origin import Origin
from calibrant._storage.place import Place
from calibrant.data.geometry import Geometry
from calibrant.data.store._entry import Entry
from calibrant.data.store._image_file import SUFFIX, decode_image, decode_labels, opened, read_whole
from calibrant.data.store._in_runs import open_in_parts
from calibrant.data.store._manifest import MANIFEST, PARTIAL, Manifest, read_json
from calibrant.data.store._settings import Provenance
from calibrant.errors import ShapeError, StoreError
from calibrant.predictions import (
    Prediction,
    PredictionInParts,
    StridedPrediction,
    WholeInParts,
    read_ahead,
)
from calibrant.predictions.parts import runs_of

AHEAD = 2**26
"""Bytes of an image up to which the next one is read, and its content checked, while one is in use."""


class StoredPredictions:
    """The predictions of a finished store. Opening reads the manifest alone; images are read when asked for.

    :param url: a path, or an address that fsspec can reach.
    :raises StoreError: there is no finished store, or it was written by a newer version.

    >>> import torch
    >>> from calibrant.data import Provenance, write_store
    >>> made = Prediction("a", torch.randn(3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.long))
    >>> stored = write_store([made], "memory://doctest/reading", provenance=Provenance(model="by hand"))
    >>> len(stored), stored.keys, stored.num_classes, stored.provenance.model
    (1, ('a',), 3, 'by hand')
    >>> torch.equal(stored[0].logits, made.logits)
    True
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self._place = Place(url)
        _check_finished(self._place)
        self._manifest = Manifest.read(self._place)

    def __repr__(self) -> str:
        return f"StoredPredictions({self.url!r}): {len(self)} images, {self.num_classes} classes"

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._place.url

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images, in order; known without reading any."""
        return self._manifest.keys()

    @property
    def provenance(self) -> Provenance:
        """Which model, data, resolution, class names and rule for unlabelled pixels."""
        return self._manifest.settings.provenance

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class; empty if nobody said."""
        return tuple(self.provenance.class_names)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self._manifest.num_classes

    @property
    def made_from(self) -> Origin | None:
        """What the predictions were made from, by name, as :func:`write_store` was given it; None if it was not."""
        return self._manifest.settings.made_from

    @property
    def geometry(self) -> Mapping[str, Geometry]:
        """Where the pixels of images lie, by key; images of which nobody said so are not in it."""
        return self._manifest.settings.geometry

    @property
    def has_labels(self) -> bool:
        """Whether there are labels at all; if not, every pixel is unlabelled."""
        return self.provenance.ignore != NO_LABELS

    @property
    def digest(self) -> str:
        """The digest of all that is read from the store: every number, every key, and the words about them."""
        return self._manifest.digest()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._manifest.entries)

    def __iter__(self) -> Iterator[Prediction]:
        """Read the images in order: small ones one ahead of the one handed out, large ones when asked for."""
        if all(entry.bytes <= AHEAD for entry in self._manifest.entries):
            return read_ahead(self.__getitem__, range(len(self)))
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int, /) -> Prediction:
        """Read one image: logits as stored, or upsampled to the labels in float32.

        :raises StoreError: the file is missing, damaged, or has changed since it was written.
        :raises IndexError: there are not so many images.
        """
        return self.strided(i).upsampled()

    def in_parts(self, index: int) -> PredictionInParts:
        """Open one image to read it run by run, its content compared with the checksum before.

        What is small, and logits at a smaller stride, is read whole.

        :param index: the number of the image.
        :raises StoreError: the file is missing, damaged, or has changed since it was written.
        """
        entry = self._entry(index)
        runs = runs_of(math.prod(entry.tensors["labels"]["shape"][1:]), entry.num_classes)
        if entry.upsampling["mode"] != "none" or len([*runs]) < 2:
            return WholeInParts(self[index])
        return open_in_parts(self._place, entry, self._manifest.settings)

    def strided(self, index: int) -> StridedPrediction:
        """Read one image as it is stored, the logits at the network's own stride.

        :param index: the number of the image.
        """
        entry = self._entry(index)
        tensors = read_whole(self._place, entry, self._manifest.settings)
        image = decode_image(tensors["image"]) if "image" in tensors else None
        labels = decode_labels(tensors["labels"], entry)
        corners = bool(entry.upsampling.get("align_corners", False))
        return StridedPrediction(entry.key, tensors["logits"], labels, image, align_corners=corners)

    def labels(self, index: int) -> Int[Tensor, "a *s"]:
        """Read the labels of one image alone.

        :param index: the number of the image.
        """
        entry = self._entry(index)
        with opened(self._place, entry, self._manifest.settings) as read:
            return decode_labels(read("labels"), entry)

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the space of one image, ``*s``, without reading it.

        :param index: the number of the image.
        """
        return tuple(self._entry(index).tensors["labels"]["shape"][1:])

    def crop(self, index: int, window: Sequence[slice]) -> Prediction:
        """Read a window of one image, one slice for each axis of space, in steps of one.

        Of a local file only the window is read. Logits at a smaller stride are read whole (they are small) and
        upsampled before the window is cut, so that a window always equals the same part of the whole.

        :param index: the number of the image.
        :param window: one slice for each axis of space.
        :raises ShapeError: not one slice for each axis.

        >>> import torch
        >>> from calibrant.data import write_store
        >>> made = Prediction("a", torch.randn(3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.long))
        >>> stored = write_store([made], "memory://doctest/crop")
        >>> torch.equal(stored.crop(0, (slice(1, 3), slice(None))).logits, made.logits[:, 1:3])
        True
        """
        entry, space = self._entry(index), self.shape(index)
        if len(window) != len(space) or any(s.step not in (None, 1) for s in window):
            raise ShapeError(
                f"image {entry.key!r}: expected one slice for each of the axes {space}, in steps of one; got {window}. "
                "Leave an axis whole with slice(None)."
            )
        bounds = [s.indices(size) for s, size in zip(window, space, strict=True)]
        cut = tuple(slice(begin, max(begin, end)) for begin, end, _ in bounds)
        if entry.upsampling["mode"] != "none":
            whole = self[index]
            image = None if whole.image is None else whole.image[(slice(None), *cut)]
            return Prediction(entry.key, whole.logits[(slice(None), *cut)], whole.labels[(slice(None), *cut)], image)
        with opened(self._place, entry, self._manifest.settings) as read:
            image = decode_image(read("image", cut)) if "image" in entry.tensors else None
            return Prediction(entry.key, read("logits", cut), decode_labels(read("labels", cut), entry), image)

    def part(self, numbers: Sequence[int]) -> "StoredPredictions":
        """Return some of the images, without the rest of the manifest: what is sent to who reads them.

        :param numbers: the numbers of the wanted images, in the order in which they are to be read.

        >>> import torch
        >>> from calibrant.data import write_store
        >>> made = [Prediction(key, torch.randn(3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.long)) for key in "abc"]
        >>> write_store(made, "memory://doctest/part").part([2, 0]).keys
        ('c', 'a')
        """
        some = copy.copy(self)
        some._manifest = replace(self._manifest, entries=tuple(self._entry(i) for i in numbers), content=None)
        return some

    def verify(self) -> None:
        """Read every file and compare its content with the checksum in the manifest.

        Reading an image whole does so, too; reading a part of one compares sizes and headers only.

        :raises StoreError: naming the first file that differs.
        """
        for entry in self._manifest.entries:
            read_whole(self._place, entry, self._manifest.settings)
        if self.digest != replace(self._manifest, content=None).digest():
            raise StoreError(f"{self.url}: expected a manifest whose parts are those of its digest. Write it again.")

    def _entry(self, i: int) -> Entry:
        number = operator.index(i)
        if not -len(self) <= number < len(self):
            raise IndexError(f"image {number} of {len(self)} in {self.url}")
        return self._manifest.entries[number]


def _check_finished(place: Place) -> None:
    """Raise unless there is a manifest, saying what is there instead."""
    if place.is_file():
        raise StoreError(f"{place.url}: expected the folder of a store; got a file. Give the folder that it lies in.")
    if place.has(MANIFEST):  # listing a folder of a million files takes minutes, and a server may not list any
        return
    files = place.sizes()
    if PARTIAL in files:
        expected = read_json(place, PARTIAL).get("expected")
        whole = sum(file.endswith(SUFFIX) for file in files)
        raise StoreError(
            f"{place.url}: expected a finished store; writing it was interrupted after {whole} "
            f"of {expected or 'an unknown number of'} images. Run the command that wrote it again: it resumes."
        )
    if not place.is_folder():
        raise StoreError(f"{place.url}: expected a store of predictions; there is no such folder. Check the path.")
    raise StoreError(
        f"{place.url}: expected a store of predictions, a folder with {MANIFEST}; there is none. Make a store "
        "with calibrant.data.write_store, or read a folder of arrays with calibrant.data.open_folder "
        "(command line: calibrant import)."
    )
