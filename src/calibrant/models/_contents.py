"""Which files a model is made of, and what is in them: so that a change of any of them is seen."""

import os
import re
from pathlib import Path

import torch
from torch import nn

from calibrant._input.own_code import file_of, names_code
from calibrant._storage.origin import digest_of_bytes, digest_of_code, digest_of_contents, files_below

_FOLDERS_OF_NO_MODEL = ("__pycache__", "eval", "runs")


def contents_of(spec: str | os.PathLike[str], run: nn.Module) -> dict[str, str]:
    """Return the digests of what a model is made of: its files, its code, and the weights that it has when opened.

    :param spec: the path or name that it was opened by. Of a name on the hub, the weights alone are looked at.
    :param run: the model, opened.
    """
    path, found = Path(spec), {"weights of the model": _weights(run)}
    if names_code(str(spec)) and not path.exists():
        file = file_of(str(spec).rpartition(":")[0])
        return found if file is None else {**found, "code of the model": digest_of_code(file)}
    if path.is_dir():
        files = files_below(path, lambda each: each.name not in _FOLDERS_OF_NO_MODEL)
        return {**found, "files of the model": digest_of_contents(files)}
    if path.is_file():
        beside = external_data(path) if path.suffix == ".onnx" else []
        return {**found, "files of the model": digest_of_contents([path, *beside])}
    return found


def external_data(path: Path) -> list[Path]:
    """Return the files beside an ONNX file that hold tensors of it: entries ``location`` of its ``external_data``.

    :param path: the ONNX file, a protobuf, in which such an entry is field 1, ``location``, and field 2, the path.
    """
    names = set()
    content = path.read_bytes()
    for match in re.finditer(rb"\x0a\x08location\x12", content):
        length, place, shift = 0, match.end(), 0
        while place < len(content):  # a varint: seven bits a byte, the lowest first
            length |= (content[place] & 127) << shift
            shift, place = shift + 7, place + 1
            if content[place - 1] < 128 or shift > 28:
                break
        names.add(content[place : place + length].decode(errors="replace"))
    files = (path.parent / name for name in sorted(names) if "\0" not in name)
    return [file for file in files if file.is_file()]


def _weights(run: nn.Module) -> str:
    parts = []
    for name, tensor in sorted(run.state_dict().items()):
        if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and not tensor.is_quantized:
            plain = tensor.detach().cpu().contiguous().flatten()
            parts += [f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), plain.view(torch.uint8).numpy().data]
    return digest_of_bytes(*parts)
