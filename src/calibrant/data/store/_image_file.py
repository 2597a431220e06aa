"""One image of a store: a safetensors file that says in its own header what it holds.

Tensors: ``logits`` (c *t); ``labels`` (a *s) in the smallest integers that hold the classes, the largest number of that
type meaning unlabelled; ``image`` (k *s), uint8 where the numbers are exactly n/255, else as they came. The header
repeats what the manifest says of the image, so that an interrupted write needs no second record to go on from.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from io import SEEK_END, BufferedIOBase, BytesIO
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from calibrant._shapes import IGNORE, Float, Int, Shaped, Tensor
from calibrant._storage.place import UNREACHED, Place
from calibrant.data.store._content import (
    NAMES,
    TYPES,
    digest,
    digest_of_file,
    digest_of_header,
    metadata_of,
    read_header,
    read_tensors,
)
from calibrant.data.store._entry import Entry, check_tensor_names, checksum_in
from calibrant.data.store._manifest import VERSION, Settings
from calibrant.errors import LogitsError, StoreError
from calibrant.predictions import StridedPrediction

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
SUFFIX = ".safetensors"
AGAIN = "Copy it again, or write the store again with overwrite=True (command line: --overwrite)."
Read = Callable[..., Tensor]
_LABEL_TYPES = (torch.uint8, torch.int16, torch.int32)


def encode(item: StridedPrediction, file: str, settings: Settings) -> tuple[bytes, Entry]:
    """Return the content of an image file, which depends on nothing but the image and the settings, and its entry.

    :raises LogitsError: a number is too large for the type it is to be stored in.
    """
    logits = item.logits.detach().cpu()
    if settings.dtype is not None:
        logits = narrowed(logits, settings.dtype, item.key)
    num_classes = len(logits)
    tensors = {
        "logits": logits.contiguous(),
        "labels": coded_labels(item.labels.detach().cpu(), num_classes).contiguous(),
    }
    if item.image is not None and settings.with_images:
        image = item.image.detach().cpu().contiguous()
        exact = exact_bytes(image)
        tensors["image"] = image if exact is None else exact
    unlabelled = torch.iinfo(label_type(num_classes)).max
    record = record_of(item.key, digest(tensors), item.upsampling, unlabelled, settings)
    shapes = {name: {"dtype": NAMES[each.dtype], "shape": list(each.shape)} for name, each in tensors.items()}
    content = save(tensors, metadata_of(record, shapes))
    _, header, _ = read_header(BytesIO(content), len(content))
    return content, entry_of(file, len(content), record, header)


def record_of(
    key: str, checksum: str, upsampling: Mapping[str, Any], unlabelled: int, settings: Settings
) -> dict[str, Any]:
    """Return what a file says of its image."""
    return {
        "version": VERSION,
        "key": key,
        "checksum": checksum,
        "upsampling": upsampling,
        "unlabelled": unlabelled,
        "settings": settings.fingerprint(),
    }


def recognise(place: Place, file: str, size: int, settings: Settings) -> Entry | None:
    """Return the entry of an image file if it is whole and was written with these settings, else None."""
    try:
        with place.open(file) as content:
            record, header, start = read_header(content, size)
            if record["settings"] != settings.fingerprint() or record["version"] != VERSION:
                return None
            if record["digest"] != digest_of_header(record, header):
                return None
            entry = entry_of(file, size, record, header)
            return entry if digest_of_file(content, header, start, entry.kind) == entry.checksum else None
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def opened(place: Place, entry: Entry, settings: Settings) -> Generator[Read]:
    """Open an image file; ``read(name, window=None)`` reads a tensor, of a local file the window alone.

    :raises StoreError: the file is missing, of another size than the manifest says, damaged, or of another image.
    """
    with failing(place, entry), place.open(entry.file) as content:
        check_size(content, entry, place.name(entry.file))
        record, header, _ = read_header(content, entry.bytes)
        check_header(record, header, entry, settings, place.name(entry.file))
        if place.is_local:
            with safe_open(place.local_path(entry.file), framework="pt") as file:
                yield lambda tensor, window=(): file.get_slice(tensor)[(slice(None), *window)]
        else:
            content.seek(0)
            tensors = load(content.read())
            yield lambda tensor, window=(): tensors[tensor][(slice(None), *window)]


@contextmanager
def failing(place: Place, entry: Entry) -> Generator[None]:
    """Say of an image file that cannot be read what is wrong with it.

    :raises StoreError: the file is missing or damaged.
    """
    name = place.name(entry.file)
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(
            f"{name}: expected the file of image {entry.key!r}, as the manifest says; it is missing. {AGAIN}"
        ) from error
    except OSError as error:
        advice = AGAIN if place.is_local else UNREACHED
        raise StoreError(f"{name}: expected a file that can be read; got {error}. {advice}") from error
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise StoreError(f"{name}: expected a whole safetensors file that can be read; got {error}. {AGAIN}") from error


def check_size(file: BufferedIOBase, entry: Entry, name: str) -> None:
    """Raise unless a file has as many bytes as the manifest says; the file is asked, and not its folder or bucket."""
    size = file.seek(0, SEEK_END)
    if size != entry.bytes:
        raise StoreError(
            f"{name}: expected {entry.bytes} bytes, as the manifest says; got {size}, so the file was cut off or "
            f"replaced. {AGAIN}"
        )


def read_whole(place: Place, entry: Entry, settings: Settings) -> dict[str, Tensor]:
    """Return all tensors of an image, whose content is compared with the checksum.

    :raises StoreError: as :func:`opened`, or the content has changed since it was written.
    """
    with failing(place, entry), place.open(entry.file) as file:
        check_size(file, entry, place.name(entry.file))
        record, header, start = read_header(file, entry.bytes)
        check_header(record, header, entry, settings, place.name(entry.file))
        tensors, found = read_tensors(file, header, start, entry.kind)
    check_digest(found, place, entry)
    return tensors


def check_digest(found: str, place: Place, entry: Entry) -> None:
    """Raise unless the content of a file has the checksum that the manifest says.

    :raises StoreError: it has another.
    """
    if found != entry.checksum:
        raise StoreError(
            f"{place.name(entry.file)}: expected the content with checksum {entry.checksum[:19]}…; it has changed "
            f"since it was written. {AGAIN}"
        )


def check_header(
    record: Mapping[str, Any], header: Mapping[str, Any], entry: Entry, settings: Settings, name: str
) -> None:
    """Raise unless a file says of its image what the manifest says of it."""
    tensors = {each: {"dtype": part["dtype"], "shape": part["shape"]} for each, part in header.items()}
    pairs = {
        "key": (record["key"], entry.key),
        "checksum": (checksum_in(record), entry.checksum),
        "upsampling": (record["upsampling"], entry.upsampling),
        "unlabelled": (record["unlabelled"], entry.unlabelled),
        "settings": (record["settings"], settings.fingerprint()),
        "tensors": (tensors, entry.tensors),
    }
    for what, (here, expected) in pairs.items():
        if here != expected:
            raise StoreError(
                f"{name}: expected the {what} of image {entry.key!r} as the manifest has it, {expected}; the file says "
                f"{here}. It was exchanged or damaged. {AGAIN}"
            )


def decode_labels(labels: Shaped[Tensor, "a *s"], entry: Entry) -> Int[Tensor, "a *s"]:
    """Return labels as the library has them: int64, ``IGNORE`` where unlabelled."""
    labels = labels.long()
    return torch.where(labels == entry.unlabelled, IGNORE, labels)


def decode_image(image: Shaped[Tensor, "k *s"]) -> Float[Tensor, "k *s"]:
    """Return an image as floating-point numbers, exactly as it was handed in."""
    return image.float() / 255 if image.dtype == torch.uint8 else image


def entry_of(file: str, size: int, record: Mapping[str, Any], header: Mapping[str, Any]) -> Entry:
    check_tensor_names(header)
    tensors = {
        name: {"dtype": header[name]["dtype"], "shape": header[name]["shape"]}
        for name in ("logits", "labels", "image")
        if name in header
    }
    for name, tensor in tensors.items():
        begin, end = header[name]["data_offsets"]
        if end - begin != TYPES[tensor["dtype"]].itemsize * int(np.prod(tensor["shape"], dtype=np.int64)):
            raise ValueError(name)
    upsampling = dict(sorted(record["upsampling"].items()))  # as the header has it: a manifest is the same from either
    return Entry(record["key"], file, size, checksum_in(record), upsampling, record["unlabelled"], tensors)


def label_type(num_classes: int) -> torch.dtype:
    """Return the smallest integers that hold the classes, and one number more for unlabelled."""
    return next(t for t in _LABEL_TYPES if num_classes <= torch.iinfo(t).max)


def coded_labels(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels as they are stored."""
    kind = label_type(num_classes)
    return torch.where(labels == IGNORE, torch.iinfo(kind).max, labels).to(kind)


def narrowed(logits: Tensor, dtype: str, key: str) -> Tensor:
    """Return logits in another type.

    :raises LogitsError: a number is too large for it.
    """
    narrow = logits.to(DTYPES[dtype])
    if narrow.isinf().any():
        raise LogitsError(
            f"image {key!r}: expected logits within ±{torch.finfo(DTYPES[dtype]).max:.5g} to store them as {dtype}; "
            f"got {float(logits.abs().max()):.5g}. Store them as bfloat16 or float32."
        )
    return narrow


def exact_bytes(image: Tensor) -> Tensor | None:
    """Return the bytes n of an image whose numbers are exactly n/255; None of any other."""
    if image.dtype != torch.float32:
        return None
    small = (image * 255).round().clamp(0, 255).to(torch.uint8)
    return small if torch.equal(small.float() / 255, image) else None
