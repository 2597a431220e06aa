"""An image file read and written in parts: nothing but a run of pixels is in memory at a time.

The file is the one that :mod:`calibrant.data.store._image_file` writes, byte for byte. Reading begins with a pass over
all of it, which compares its content with the checksum; writing ends with one, which makes the checksum.
"""

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from io import BufferedIOBase
from typing import Any

import numpy as np
import torch

from calibrant._encoding.value_domain import LOOKED_AT
from calibrant._input.checks import check_are_logits, check_finite, check_labels
from calibrant._shapes import Float, Int, Tensor
from calibrant._storage.place import Place
from calibrant.data.store._content import TYPES, digest_of_file, fill, read_header, written_header
from calibrant.data.store._entry import Entry
from calibrant.data.store._image_file import (
    AGAIN,
    DTYPES,
    check_digest,
    check_header,
    check_size,
    coded_labels,
    decode_image,
    decode_labels,
    entry_of,
    exact_bytes,
    failing,
    label_type,
    narrowed,
    record_of,
)
from calibrant.data.store._manifest import Settings
from calibrant.errors import StoreError
from calibrant.predictions import Prediction, PredictionInParts


def open_in_parts(place: Place, entry: Entry, settings: Settings) -> "StoredInParts":
    """Open an image file whose content has been compared with its checksum.

    :raises StoreError: the file is missing, of another size than the manifest says, damaged, or of another image.
    """
    with failing(place, entry), contextlib.ExitStack() as stack:
        file = stack.enter_context(place.open(entry.file))
        check_size(file, entry, place.name(entry.file))
        record, header, start = read_header(file, entry.bytes)
        check_header(record, header, entry, settings, place.name(entry.file))
        check_digest(digest_of_file(file, header, start, entry.kind), place, entry)
        stack.pop_all()
        return StoredInParts(file, entry, header, start)


class StoredInParts(PredictionInParts):
    """An image of a store, whose file stays open.

    :param file: the file.
    :param entry: what the manifest says of it.
    :param header: the header of safetensors.
    :param start: where the content begins, in bytes.
    """

    def __init__(self, file: BufferedIOBase, entry: Entry, header: Mapping[str, Any], start: int) -> None:
        c, *space = header["logits"]["shape"]
        super().__init__(entry.key, c, tuple(space))
        self._file, self._entry, self._header, self._start = file, entry, header, start
        weakref.finalize(self, file.close)

    def logits(self, start: int, stop: int) -> Float[Tensor, "c p"]:
        """Read the logits of a run of pixels.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """
        return self._read("logits", start, stop)

    def labels(self, start: int, stop: int) -> Int[Tensor, "a p"]:
        """Read the labels of a run of pixels, ``IGNORE`` where unlabelled.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """
        return decode_labels(self._read("labels", start, stop), self._entry)

    def image(self, start: int, stop: int) -> Float[Tensor, "k p"] | None:
        """Read the image itself in a run of pixels; None if it was not kept.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """
        return decode_image(self._read("image", start, stop)) if "image" in self._header else None

    def whole(self) -> Prediction:
        """Read all of it."""
        logits, labels = self.logits(0, self.num_pixels), self.labels(0, self.num_pixels)
        image = self.image(0, self.num_pixels)
        return Prediction(
            self.key,
            logits.reshape(-1, *self.space),
            labels.reshape(-1, *self.space),
            None if image is None else image.reshape(-1, *self.space),
        )

    def _read(self, name: str, start: int, stop: int) -> Tensor:
        tensor = self._header[name]
        channels = tensor["shape"][0]
        found = torch.empty(channels, stop - start, dtype=TYPES[tensor["dtype"]])
        begin = self._start + tensor["data_offsets"][0]
        for channel, row in enumerate(_bytes_of(found)):
            self._file.seek(begin + (channel * self.num_pixels + start) * found.element_size())
            try:
                fill(self._file, memoryview(row))
            except (OSError, ValueError) as error:
                raise StoreError(f"image {self.key!r}: expected its file to stay as it is; {error}. {AGAIN}") from error
        return found


def write_in_parts(place: Place, file: str, image: PredictionInParts, settings: Settings) -> Entry:
    """Write an image that is in parts to a local file, and return its entry.

    :raises LogitsError, LabelError: a number cannot be stored.
    :raises OSError: the disk is full, or may not be written to; nothing is left behind.
    """
    first = image.logits(*next(image.runs()))  # whose numbers are asked for once
    kinds = _kinds(image, first, settings)
    record = record_of(
        image.key, f"blake3:{'0' * 64}", {"mode": "none"}, torch.iinfo(label_type(image.num_classes)).max, settings
    )
    head, header = written_header(record, kinds, image.space)
    with place.rewriting(file) as out:
        out.write(head)
        out.truncate(len(head) + max(each["data_offsets"][1] for each in header.values()))
        for start, name, part in _parts(image, first, kinds, settings):
            begin = len(head) + header[name]["data_offsets"][0]
            for channel, row in enumerate(_bytes_of(part)):
                out.seek(begin + (channel * image.num_pixels + start) * part.element_size())
                out.write(memoryview(row))
        out.flush()
        record["checksum"] = digest_of_file(out, header, len(head))
        out.seek(0)
        out.write(written_header(record, kinds, image.space)[0])
        size = out.seek(0, 2)
    return entry_of(file, size, record, header)


def _kinds(image: PredictionInParts, logits: Tensor, settings: Settings) -> dict[str, tuple[int, torch.dtype]]:
    """The tensors of a file, each with its channels and its type."""
    start, stop = next(image.runs())
    labels, picture = image.labels(start, stop), image.image(start, stop)
    dtype = logits.dtype if settings.dtype is None else DTYPES[settings.dtype]
    kinds = {"logits": (len(logits), dtype), "labels": (len(labels), label_type(image.num_classes))}
    if picture is not None and settings.with_images:
        pictures = (image.image(*run) for run in image.runs())
        exact = all(exact_bytes(each) is not None for each in pictures if each is not None)
        kinds["image"] = len(picture), torch.uint8 if exact else picture.dtype
    return kinds


def _parts(
    image: PredictionInParts, first: Tensor, kinds: Mapping[str, tuple[int, torch.dtype]], settings: Settings
) -> Iterator[tuple[int, str, Tensor]]:
    """What is written, run by run, having looked at every number in it: first pixel, name of the tensor, numbers."""
    name = f"image {image.key!r}"
    every, sample = max(1, image.num_pixels // LOOKED_AT) | 1, []
    for start, stop in image.runs():
        logits, labels = image.logits(start, stop) if start else first, image.labels(start, stop)
        check_finite(logits, name)
        check_labels(labels, image.num_classes, name)
        sample.append(logits[:, -start % every :: every].clone())
        yield start, "logits", logits if settings.dtype is None else narrowed(logits, settings.dtype, image.key)
        yield start, "labels", coded_labels(labels, image.num_classes)
        if "image" in kinds:
            picture = image.image(start, stop)
            assert picture is not None
            small = exact_bytes(picture) if kinds["image"][1] == torch.uint8 else None
            yield start, "image", picture if small is None else small
    check_are_logits(torch.cat(sample, 1), name)


def _bytes_of(tensor: Tensor) -> np.ndarray:
    """The bytes of each channel, (c, bytes), in the memory of the tensor."""
    return tensor.contiguous().view(torch.uint8).numpy()
