"""The bytes of a safetensors file: its header, and its tensors, read once and hashed while they are in the cache.

Checksums are BLAKE3's, which takes two fifths of the time of SHA-256; files of versions 1 and 2 have those of SHA-256.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from io import BufferedIOBase
from typing import Any

import torch
from blake3 import blake3

from calibrant._shapes import Tensor
from calibrant._storage.files import parse_json
from calibrant._storage.origin import canonical

BUFFER = 2**18
"""Bytes read at a time: they stay in a processor's cache until they are hashed."""

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I16": torch.int16,
    "U8": torch.uint8,
}
"""By the names of safetensors, in the order in which it puts tensors into a file; those of one type by name."""
NAMES = {dtype: name for name, dtype in TYPES.items()}


KINDS: dict[str, Callable[[], Any]] = {"blake3": blake3, "sha256": hashlib.sha256}
"""What makes checksums, by name; the first of them is what is written."""


def digest(tensors: Mapping[str, Tensor], kind: str = "blake3") -> str:
    """Return the checksum of the tensors' bytes, in the order of their names: what made it, and its hexadecimal digits.

    :param tensors: of one image.
    :param kind: what makes it.
    """
    total = KINDS[kind]()
    for name in sorted(tensors):
        total.update(memoryview(tensors[name].contiguous().flatten().view(torch.uint8).numpy()))
    return f"{kind}:{total.hexdigest()}"


def written_header(
    record: Mapping[str, Any], kinds: Mapping[str, tuple[int, torch.dtype]], space: tuple[int, ...]
) -> tuple[bytes, dict[str, Any]]:
    """Return the beginning of a file as safetensors writes it, and the part of it that says where tensors lie.

    :param record: what the file says of its image.
    :param kinds: the tensors, each with its channels and its type.
    :param space: of all of them.
    """
    order = [*TYPES.values()]
    at, header = 0, {}
    for name, (channels, dtype) in sorted(kinds.items(), key=lambda kind: (order.index(kind[1][1]), kind[0])):
        end = at + channels * math.prod(space) * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": [channels, *space], "data_offsets": [at, end]}
        at = end
    said = {"__metadata__": metadata_of(record, header), **header}
    text = json.dumps(said, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, header


def metadata_of(record: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return what a file says of its image, with a digest of it, as safetensors keeps it.

    One key only: safetensors writes several in any order, and equal images must give equal files.

    :param record: what the file says, all but the digest.
    :param tensors: the type and the shape of each.
    """
    said = {**record, "digest": digest_of_header(record, tensors)}
    return {"calibrant": json.dumps(said, sort_keys=True)}


def digest_of_header(record: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the digest of all that a file says of its image: without it, a damaged key would name another image."""
    shapes = {name: [each["dtype"], each["shape"]] for name, each in tensors.items()}
    said = {name: value for name, value in record.items() if name != "digest"}
    return f"blake3:{blake3(canonical([said, shapes])).hexdigest()}"


def read_header(file: BufferedIOBase, size: int) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return what a file says of its image, the header of safetensors, and where the content begins.

    :raises ValueError, KeyError, TypeError: it is no whole file of so many bytes.
    """
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 0 < length <= size - 8:
        raise ValueError("the header is cut off")
    header = parse_json(file.read(length))
    record = parse_json(header.pop("__metadata__")["calibrant"])
    at = 0
    for begin, end in sorted(tuple(tensor["data_offsets"]) for tensor in header.values()):
        if begin != at or end < begin:
            raise ValueError("its tensors do not lie one after another")
        at = end
    if 8 + length + at != size:
        raise ValueError("the file is cut off")
    return record, header, 8 + length


def digest_of_file(file: BufferedIOBase, header: Mapping[str, Any], start: int, kind: str = "blake3") -> str:
    """Return the checksum of the tensors of a file, as :func:`digest` does.

    :raises ValueError: the file ends before they do.
    """
    total, buffer = KINDS[kind](), memoryview(bytearray(BUFFER))
    for name in sorted(header):
        begin, end = header[name]["data_offsets"]
        file.seek(start + begin)
        for at in range(begin, end, BUFFER):
            part = buffer[: min(BUFFER, end - at)]
            fill(file, part)
            total.update(part)
    return f"{kind}:{total.hexdigest()}"


def read_tensors(
    file: BufferedIOBase, header: Mapping[str, Any], start: int, kind: str
) -> tuple[dict[str, Tensor], str]:
    """Return all tensors of a file, and their checksum as :func:`digest` makes it.

    :raises ValueError, KeyError, TypeError, RuntimeError: the file ends before they do, or they are no tensors.
    """
    total, tensors = KINDS[kind](), {}
    for name in sorted(header):
        dtype, shape = TYPES[header[name]["dtype"]], header[name]["shape"]
        begin, end = header[name]["data_offsets"]
        if end - begin != dtype.itemsize * math.prod(shape):
            raise ValueError(f"the tensor {name!r} is of another size")
        tensors[name] = torch.empty(shape, dtype=dtype)
        into = memoryview(tensors[name].flatten().view(torch.uint8).numpy())
        file.seek(start + begin)
        for at in range(0, len(into), BUFFER):
            part = into[at : at + BUFFER]
            fill(file, part)
            total.update(part)
    return tensors, f"{kind}:{total.hexdigest()}"


def fill(file: BufferedIOBase, part: memoryview) -> None:
    """Read as many bytes as there is room for.

    :raises ValueError: the file ends before.
    """
    if file.readinto(part) != len(part):
        raise ValueError("the file is cut off")
