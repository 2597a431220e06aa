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
from calibrant.data.store._manifest import VERSION, Entry, Settings
from calibrant.data.store._place import Place
from calibrant.errors import LogitsError, StoreError
from calibrant.predictions import StridedPrediction

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
SUFFIX = ".safetensors"
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
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return content, _entry(file, len(content), record, header)


def recognise(place: Place, file: str, size: int, settings: Settings) -> Entry | None:
    """Return the entry of an image file if it is whole and was written with these settings, else None."""
    try:
        length = int.from_bytes(place.read(file, 0, 8), "little")
        if not 0 < length <= size - 8:
            return None
        header = json.loads(place.read(file, 8, 8 + length))
        record = json.loads(header["__metadata__"]["calibrant"])
        end = max(tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")
        if record["settings"] != settings.fingerprint() or record["version"] != VERSION or 8 + length + end != size:
            return None
        return _entry(file, size, record, header)
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def opened(place: Place, entry: Entry) -> Generator[Read]:
    """Open an image file; ``read(name, window=None)`` reads a tensor, of a local file the window alone.

    :raises StoreError: the file is missing, of another size than the manifest says, or damaged.
    """
    name = place.name(entry.file)
    again = "Copy it again, or write the store again with overwrite=True (command line: --overwrite)."
    try:
        size = place.size(entry.file)
    except FileNotFoundError as error:
        raise StoreError(
            f"{name}: expected the file of image {entry.key!r}, as the manifest says; it is missing. {again}"
        ) from error
    if size != entry.bytes:
        raise StoreError(
            f"{name}: expected {entry.bytes} bytes, as the manifest says; got {size}, so the file was cut off "
            f"or replaced. {again}"
        )
    try:
        if place.is_local:
            with safe_open(place.local_path(entry.file), framework="pt") as file:

                def read(tensor: str, window: Sequence[slice] | None = None) -> Tensor:
                    if window is None:
                        return file.get_tensor(tensor)
                    return file.get_slice(tensor)[(slice(None), *window)]

                yield read
        else:
            tensors = load(place.read(entry.file))
            yield lambda tensor, window=None: tensors[tensor][(slice(None), *(window or ()))]
    except (SafetensorError, KeyError, OSError) as error:
        raise StoreError(f"{name}: expected a whole safetensors file that can be read; got {error}. {again}") from error


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
