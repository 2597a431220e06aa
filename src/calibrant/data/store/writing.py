"""Predictions on disk or in a bucket, read one image at a time.

A store is a folder: one safetensors file an image, and ``manifest.json``, which says what the predictions are and lists
the images. Logits may be stored at the network's own stride; reading upsamples them to the labels. Why this form and
not zarr or HDF5: an image is written three times faster than by any of them, image sizes may differ, nothing is
pickled, and an interrupted write is resumed file by file.

Only one program may write to a store at a time, which a lock sees to on a disk; any number may read.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from calibrant._input.checks import check_choice
from calibrant._storage.origin import Origin
from calibrant._storage.place import Place
from calibrant.data.geometry import Geometry
from calibrant.data.store._all_images import write
from calibrant.data.store._image_file import DTYPES
from calibrant.data.store._parts import merge_parts, write_part
from calibrant.data.store._settings import Provenance, Settings
from calibrant.data.store.stored import StoredPredictions
from calibrant.errors import StoreError
from calibrant.predictions import Executor, Prediction, Sharded, StridedPrediction


def write_store(
    predictions: Iterable[Prediction | StridedPrediction],
    url: str | os.PathLike[str],
    *,
    provenance: Provenance | None = None,
    dtype: str | None = None,
    with_images: bool = True,
    made_from: Origin | None = None,
    geometry: Mapping[str, Geometry] | None = None,
    overwrite: bool = False,
    executor: Executor | None = None,
) -> "StoredPredictions":
    """Write predictions, one image at a time, and return them as stored.

    An interrupted write leaves whole images only, and the same call goes on with it: a source that has ``keys`` (a
    sequence of names, as ``StoredPredictions`` and ``FolderPredictions`` have) is asked for the missing images alone;
    any other is read from its start, and what is there already must have the same numbers. A call for a finished store
    with the same images and settings does nothing. An overwritten store stays as it is, and readable, until the new one
    is whole; an interrupted ``overwrite=True`` is resumed without it.

    :param predictions: any source, or iterable; ``StridedPrediction`` stores logits at the network's own stride.
    :param url: a path, or an address that fsspec can reach.
    :param provenance: which model, data, resolution, class names and rule for unlabelled pixels; recorded in the store.
    :param dtype: float16, bfloat16 or float32 for the logits; None stores them as they come. Narrowing may make
        logits of a pixel equal that were not.
    :param with_images: keep the images too, where the source has them.
    :param made_from: options and digests, by name, of all that the predictions are made from; a store that was made
        from something else, or that does not say from what, is refused. None says nothing: then keys, dtype and
        provenance alone tell whether a store that is there is the one asked for.
    :param geometry: where the pixels of images lie, by key; kept for those who write the results into files again.
    :param overwrite: write anew, and replace a store that is there.
    :param executor: whose workers read and write the images, in shards; the files are the same to the byte. The
        predictions are pickled, and the address must lead to the same place from all workers. None writes here.
    :raises StoreError: other files, settings or images are there; the disk is full; two images have one key; another
        process is writing there.
    :raises ShapeError, LogitsError, LabelError: an image cannot be used.
    :raises MethodError: there is no such dtype.

    >>> import torch
    >>> made = Prediction("a", torch.randn(3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.long))
    >>> write_store([made], "memory://doctest/writing", dtype="float16")
    StoredPredictions('memory://doctest/writing'): 1 images, 3 classes
    """
    if dtype is not None:
        check_choice(dtype, DTYPES, "dtype")
    place = Place(url)
    if overwrite and isinstance(predictions, StoredPredictions) and place.is_same_as(Place(predictions.url)):
        raise StoreError(f"{place.url}: expected another folder than the one read from, which overwriting would empty.")
    settings = Settings(dtype, with_images, provenance or Provenance(), made_from, geometry or {})
    source = predictions if executor is None else Sharded(predictions, executor)
    with place.only_writer():
        write(source, place, settings, overwrite=overwrite)
    return StoredPredictions(url)


def write_store_part(
    predictions: Any,
    url: str | os.PathLike[str],
    part: tuple[int, int],
    *,
    provenance: Provenance | None = None,
    dtype: str | None = None,
    with_images: bool = True,
    made_from: Origin | None = None,
    geometry: Mapping[str, Geometry] | None = None,
    executor: Executor | None = None,
) -> int:
    """Write one part of a store, a run of its images; :func:`merge_store_parts` makes the store of all parts.

    Any number of processes may write parts at a time, on any machines that reach the address. A part that is there is
    not written again, and one that was interrupted goes on.

    :param predictions: a source that names its images in ``keys``; only those of the part are read.
    :param url: a path, or an address that fsspec can reach: the same for all parts.
    :param part: its number, from 1, and how many there are.
    :param provenance: which model, data, resolution, class names and rule for unlabelled pixels.
    :param dtype: float16, bfloat16 or float32 for the logits; None stores them as they come.
    :param with_images: keep the images too, where the source has them.
    :param made_from: options and digests, by name, of all that the predictions are made from; None says nothing.
    :param geometry: where the pixels of images lie, by key, of all images of the whole.
    :param executor: whose workers read and write the images, in shards; None writes here.
    :returns: how many images the part has.
    :raises StoreError: another store, or parts of another, are there; the disk is full; two images have one key.
    :raises ShapeError, LogitsError, LabelError: an image cannot be used.

    >>> import torch
    >>> made = [Prediction(key, torch.randn(3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.long)) for key in "abc"]
    >>> source = write_store(made, "memory://doctest/whole")
    >>> [write_store_part(source, "memory://doctest/parts", (number, 2)) for number in (2, 1)]
    [2, 1]
    >>> merge_store_parts("memory://doctest/parts").digest == source.digest
    True
    """
    if dtype is not None:
        check_choice(dtype, DTYPES, "dtype")
    source = predictions if executor is None else Sharded(predictions, executor)
    place, settings = Place(url), Settings(dtype, with_images, provenance or Provenance(), made_from, geometry or {})
    try:
        return write_part(source, place, settings, *part)
    except OSError as error:
        raise StoreError(
            f"{place.url}: could not write part {part[0]} of {part[1]} ({error.strerror or error}). Make room or check "
            "the file permissions, then run the same command again: it resumes."
        ) from error


def merge_store_parts(url: str | os.PathLike[str]) -> "StoredPredictions":
    """Make a store of its parts and return it: the same to the byte as one that was written whole.

    :param url: where the parts were written.
    :raises StoreError: parts are missing, or of different runs, or another process is writing there.
    """
    place = Place(url)
    with place.only_writer():
        merge_parts(place)
    return StoredPredictions(url)
