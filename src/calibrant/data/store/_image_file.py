"""One image of a store: a safetensors file that says in its own header what it holds.

Tensors: ``logits`` (c *t); ``labels`` (a *s) in the smallest integers that hold the classes, the largest number of that
type meaning unlabelled; ``image`` (k *s), uint8 where the numbers are exactly n/255, else as they came. The header
repeats what the manifest says of the image, so that an interrupted write needs no second record to go on from.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from calibrant._shapes import IGNORE, Float, Int, Shaped, Tensor
from calibrant._storage.files import parse_json
from calibrant.data.store._manifest import VERSION, Entry, Settings, check_tensor_names
from calibrant.data.store._place import Place
from calibrant.errors import LogitsError, StoreError
from calibrant.predictions import StridedPrediction

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
SUFFIX = ".safetensors"
AGAIN = "Copy it again, or write the store again with overwrite=True (command line: --overwrite)."
Read = Callable[..., Tensor]
_LABEL_TYPES = (torch.uint8, torch.int16, torch.int32)
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "U8": 1, "I16": 2, "I32": 4}


def encode(item: StridedPrediction, file: str, settings: Settings) -> tuple[bytes, Entry]:
    """Return the content of an image file, which depends on nothing but the image and the settings, and its entry.

    :raises LogitsError: a number is too large for the type it is to be stored in.
    """
    logits = item.logits.detach().cpu()
    if settings.dtype is not None:
        logits = _narrowed(logits, settings.dtype, item.key)
    kind = next(t for t in _LABEL_TYPES if logits.shape[0] <= torch.iinfo(t).max)
    unlabelled = torch.iinfo(kind).max
    labels = item.labels.detach().cpu()
    tensors = {
        "logits": logits.contiguous(),
        "labels": torch.where(labels == IGNORE, unlabelled, labels).to(kind).contiguous(),
    }
    if item.image is not None and settings.with_images:
        tensors["image"] = _as_bytes_if_exact(item.image.detach().cpu().contiguous())
    record = {
        "version": VERSION,
        "key": item.key,
        "sha256": digest(tensors),
        "upsampling": item.upsampling,
        "unlabelled": unlabelled,
        "settings": settings.fingerprint(),
    }
    # One key only: safetensors writes several in any order, and equal images must give equal files.
    content = save(tensors, {"calibrant": json.dumps(record, sort_keys=True)})
    return content, _entry(file, len(content), record, _told(content, len(content))[1])


def recognise(place: Place, file: str, size: int, settings: Settings) -> Entry | None:
    """Return the entry of an image file if it is whole and was written with these settings, else None."""
    try:
        content = place.read(file)
        record, header = _told(content, size)
        if record["settings"] != settings.fingerprint() or record["version"] != VERSION:
            return None
        entry = _entry(file, size, record, header)
        return entry if digest(load(content)) == entry.sha256 else None
    except (ValueError, KeyError, TypeError, SafetensorError):
        return None


@contextmanager
def opened(place: Place, entry: Entry, settings: Settings) -> Generator[Read]:
    """Open an image file; ``read(name, window=None)`` reads a tensor, of a local file the window alone.

    :raises StoreError: the file is missing, of another size than the manifest says, damaged, or of another image.
    """
    name = place.name(entry.file)
    try:
        size = place.size(entry.file)
        if size != entry.bytes:
            raise StoreError(
                f"{name}: expected {entry.bytes} bytes, as the manifest says; got {size}, so the file was cut off "
                f"or replaced. {AGAIN}"
            )
        if place.is_local:
            place.check_regular(entry.file)
            with safe_open(place.local_path(entry.file), framework="pt") as file:
                parts = {each: file.get_slice(each) for each in file.keys()}  # noqa: SIM118 it is no dict
                header = {each: {"dtype": s.get_dtype(), "shape": s.get_shape()} for each, s in parts.items()}
                _check_header(json.loads((file.metadata() or {})["calibrant"]), header, entry, settings, name)

                def read(tensor: str, window: Sequence[slice] | None = None) -> Tensor:
                    if window is None:
                        return file.get_tensor(tensor)
                    return file.get_slice(tensor)[(slice(None), *window)]

                yield read
        else:
            content = place.read(entry.file)
            tensors = load(content)
            _check_header(*_told(content, entry.bytes), entry, settings, name)
            yield lambda tensor, window=None: tensors[tensor][(slice(None), *(window or ()))]
    except FileNotFoundError as error:
        raise StoreError(
            f"{name}: expected the file of image {entry.key!r}, as the manifest says; it is missing. {AGAIN}"
        ) from error
    except (SafetensorError, KeyError, OSError, ValueError, TypeError) as error:
        raise StoreError(f"{name}: expected a whole safetensors file that can be read; got {error}. {AGAIN}") from error


def read_whole(place: Place, entry: Entry, settings: Settings) -> dict[str, Tensor]:
    """Return all tensors of an image, whose content is compared with the checksum.

    :raises StoreError: as :func:`opened`, or the content has changed since it was written.
    """
    with opened(place, entry, settings) as read:
        tensors = {name: read(name) for name in entry.tensors}
    if digest(tensors) != entry.sha256:
        raise StoreError(
            f"{place.name(entry.file)}: expected the content with checksum {entry.sha256[:12]}…; it has changed since "
            f"it was written. {AGAIN}"
        )
    return tensors


def _told(content: bytes, size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a file says of its image, and the header of safetensors.

    :raises ValueError, KeyError, TypeError: it is no whole file of so many bytes.
    """
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= size - 8:
        raise ValueError("the header is cut off")
    header = parse_json(content[8 : 8 + length])
    record = parse_json(header.pop("__metadata__")["calibrant"])
    if 8 + length + max(tensor["data_offsets"][1] for tensor in header.values()) != size:
        raise ValueError("the file is cut off")
    return record, header


def _check_header(
    record: Mapping[str, Any], header: Mapping[str, Any], entry: Entry, settings: Settings, name: str
) -> None:
    """Raise unless a file says of its image what the manifest says of it."""
    tensors = {each: {"dtype": part["dtype"], "shape": part["shape"]} for each, part in header.items()}
    pairs = {
        "key": (record["key"], entry.key),
        "sha256": (record["sha256"], entry.sha256),
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


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the tensors' bytes, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(memoryview(tensors[name].contiguous().flatten().view(torch.uint8).numpy()))
    return total.hexdigest()


def _entry(file: str, size: int, record: Mapping[str, Any], header: Mapping[str, Any]) -> Entry:
    check_tensor_names(header)
    tensors = {
        name: {"dtype": header[name]["dtype"], "shape": header[name]["shape"]}
        for name in ("logits", "labels", "image")
        if name in header
    }
    for name, tensor in tensors.items():
        begin, end = header[name]["data_offsets"]
        if end - begin != _BYTES[tensor["dtype"]] * int(np.prod(tensor["shape"], dtype=np.int64)):
            raise ValueError(name)
    upsampling = dict(sorted(record["upsampling"].items()))  # as the header has it: a manifest is the same from either
    return Entry(record["key"], file, size, record["sha256"], upsampling, record["unlabelled"], tensors)


def _narrowed(logits: Tensor, dtype: str, key: str) -> Tensor:
    narrow = logits.to(DTYPES[dtype])
    if narrow.isinf().any():
        raise LogitsError(
            f"image {key!r}: expected logits within ±{torch.finfo(DTYPES[dtype]).max:.5g} to store them as {dtype}; "
            f"got {float(logits.abs().max()):.5g}. Store them as bfloat16 or float32."
        )
    return narrow


def _as_bytes_if_exact(image: Tensor) -> Tensor:
    if image.dtype != torch.float32:
        return image
    small = (image * 255).round().clamp(0, 255).to(torch.uint8)
    return small if torch.equal(small.float() / 255, image) else image
