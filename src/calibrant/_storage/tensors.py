"""Safetensors files written tensor by tensor: the bytes of ``safetensors.torch.save``, which holds a copy of all."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open

from calibrant._input.checks import check_version
from calibrant._shapes import Tensor
from calibrant._storage.files import check_regular, parse_json, replacing
from calibrant._storage.origin import canonical

STEP = 2**26
"""Bytes that are copied at a time."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file.

    :param path: the file; one that is there is overwritten.
    :param tensors: by name.
    :param metadata: words by name; one alone, as safetensors itself writes several in any order.
    :raises OSError: the disk is full, or may not be written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(Path(folder, "a"), {"x": torch.ones(2)}, {"about": "ones"})
    ...     safetensors.torch.load_file(Path(folder, "a"))
    {'x': tensor([1., 1.])}
    """
    header, names = _header(tensors, metadata)
    with path.open("wb") as file:
        file.write(header)
        for name in names:
            flat = tensors[name].contiguous().flatten().view(torch.uint8).numpy()
            for begin in range(0, len(flat), STEP):
                file.write(memoryview(flat[begin : begin + STEP]))


def _header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """The first bytes of a file, and the names of the tensors in the order in which they follow.

    The library itself writes the order and the kinds, of one number of each tensor; places are computed from these.
    """
    small = safetensors.torch.save({name: torch.zeros(1, dtype=tensor.dtype) for name, tensor in tensors.items()})
    known = json.loads(small[8 : 8 + int.from_bytes(small[:8], "little")])
    names = sorted(known, key=lambda name: known[name]["data_offsets"])
    found: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        begin, end = end, end + tensors[name].numel() * tensors[name].element_size()
        found[name] = {
            "dtype": known[name]["dtype"],
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, names


def read_tensors(path: str | Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the words and the tensors of a safetensors file.

    :param path: a file on this machine.
    :raises OSError, SafetensorError: it is not there, no regular file, or none of tensors.
    """
    check_regular(path)
    with safe_open(path, "pt") as file:
        return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 it is no dict


def write_described(path: str | Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and what is known of them to one file, with a digest of all, whole or not at all.

    :param path: the file; one that is there is replaced.
    :param tensors: by name.
    :param about: what JSON can hold, format and version among it.
    :raises OSError: the disk is full, or may not be written to.
    """
    described = dict(about) | {"digest": digest_of(about, tensors)}
    with replacing(path) as temporary:
        write_tensors(temporary, tensors, {"about": json.dumps(described)})


def read_described(path: str | Path, kind: str, version: int, of: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a file says and its tensors.

    :param path: a file that :func:`write_described` wrote.
    :param kind: the format that it must say.
    :param version: the newest version that can be read.
    :param of: what it holds, in words.
    :raises OSError, SafetensorError: it cannot be read.
    :raises ValueError: it is of something else, or has changed since it was written.
    :raises DataError: it was written by a newer version.
    """
    metadata, tensors = read_tensors(path)
    about = parse_json(metadata.get("about", "{}"))
    if about.get("format") != kind:
        raise ValueError(f"it says nothing of {of}")
    check_version(about["version"], version, str(path))
    if about["digest"] != digest_of(about, tensors):
        raise ValueError("it has changed since it was written")
    return about, tensors


def digest_of(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of what a file says and of all its tensors: their names, types, shapes and bytes.

    :param about: what it says; an entry ``digest`` does not count.
    :param tensors: by name.
    """
    total = hashlib.sha256(canonical({key: value for key, value in about.items() if key != "digest"}))
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(canonical([name, str(tensor.dtype), list(tensor.shape)]))
        total.update(memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy()))
    return total.hexdigest()
