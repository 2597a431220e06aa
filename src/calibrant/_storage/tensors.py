"""Safetensors files written tensor by tensor: the bytes of ``safetensors.torch.save``, which holds a copy of all."""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch

from calibrant._shapes import Tensor

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
