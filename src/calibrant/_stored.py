"""Fitted things in a folder: a readable JSON of what their constructors need, and the tensors in a safetensors file.

Loading calls the constructors of the kinds that are known and nothing else: no code is ever loaded. The JSON holds the
digest of the tensors, so that halves of two saves are never put together.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from calibrant._check import check_choice, check_version
from calibrant._files import replacing
from calibrant._shapes import Tensor
from calibrant.errors import MethodError, StoreError

VERSION = 1
"""Of the files that are written, under ``format``; a change that an older reader would get wrong raises it."""


@dataclass(frozen=True)
class Storage:
    """How one sort of fitted things is stored.

    :param what: names the sort; files are called ``{what}.json`` and ``{what}.safetensors``.
    :param base: the class that a stored thing must be of; its parts may be of any kind.
    :param kinds: classes by the name they are stored under; ``arguments()`` says what their constructors need.
    :param networks: classes whose weights are stored besides, as their ``state_dict()``.
    :param made_by: the command that makes one.
    :param renamed: names of kinds and arguments in files of older versions, and what they are called now; None for an
        argument that is no more. ``kind.argument`` is an argument of that kind alone.
    :param mappings: names of arguments that are mappings, which are stored as a list of pairs.
    """

    what: str
    base: type
    kinds: Mapping[str, type]
    networks: Mapping[str, type]
    made_by: str
    renamed: Mapping[str, str | None] = field(default_factory=dict)
    mappings: frozenset[str] = frozenset()

    @property
    def json(self) -> str:
        """The name of the readable file."""
        return f"{self.what}.json"

    @property
    def tensors(self) -> str:
        """The name of the file of tensors."""
        return f"{self.what}.safetensors"

    def save(self, thing: Any, path: str | os.PathLike[str]) -> None:
        """Write a thing into a folder, which is made if missing; one that is there is replaced.

        :raises StoreError: the thing, or a part of it, is of no known kind, or cannot be written.
        """
        folder, tensors = Path(path), {}
        stored = self._encode(thing, "", tensors)
        data = save_tensors(tensors)
        text = json.dumps({"format": VERSION, "digest": hashlib.sha256(data).hexdigest(), self.what: stored}, indent=2)
        try:
            with replacing(folder / self.tensors) as temporary:
                temporary.write_bytes(data)
            with replacing(folder / self.json) as temporary:
                temporary.write_bytes((text + "\n").encode())
        except OSError as error:
            raise StoreError(f"{folder}: expected to write a {self.what}; {error}. Choose another folder.") from error

    def load(self, path: str | os.PathLike[str]) -> Any:
        """Return the thing in a folder.

        :raises StoreError: the folder holds none, or it is damaged, or a newer version of calibrant wrote it.
        """
        folder = Path(path)
        try:
            text, data = (folder / self.json).read_text(encoding="utf-8"), (folder / self.tensors).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreError(
                f"{folder}: expected a folder with {self.json} and {self.tensors}; {error.filename} is missing. "
                f"Pass the folder given to save (command line: {self.made_by} … -o)."
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{folder}: expected a readable {self.what}; {error}. Fit and save it again.") from error
        try:
            header = json.loads(text)
            version, digest, stored = header["format"], header["digest"], header[self.what]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{folder / self.json}: expected the JSON of a {self.what}; {error!r}. Save it again."
            ) from error
        check_version(version, VERSION, str(folder / self.json))
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(
                f"{folder / self.tensors}: expected the tensors that {self.json} was written with; got others: the "
                "file is truncated or a save was interrupted. Fit and save it again."
            )
        try:
            thing = self._decode(stored, load_tensors(data))
        except MethodError as error:
            raise StoreError(f"{folder / self.json}: {error} A newer calibrant may know it.") from error
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise StoreError(f"{folder}: expected a whole {self.what}; {error!r}. Fit and save it again.") from error
        if not isinstance(thing, self.base):
            raise StoreError(
                f"{folder / self.json}: expected a {self.what}; got a {stored.get('kind')}. Fit and save it again."
            )
        return thing

    def _encode(self, value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
        if isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().contiguous().clone()  # two parts may share one
            return {"tensor": name}
        if isinstance(value, Mapping):  # as pairs: the keys of a JSON object would be words
            return [[key, self._encode(part, f"{name}.{key}", tensors)] for key, part in value.items()]
        if isinstance(value, list | tuple):
            return [self._encode(part, f"{name}.{number}", tensors) for number, part in enumerate(value)]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        known = {**self.kinds, **self.networks}
        kind = next((kind for kind, each in known.items() if type(value) is each), None)
        if kind is None:
            raise StoreError(
                f"expected a {self.what} of: {', '.join(known)}; got {type(value).__name__}. It has no kind."
            )
        prefix = f"{name}." if name else ""
        arguments = {key: self._encode(part, prefix + key, tensors) for key, part in value.arguments().items()}
        stored = {"kind": kind, "arguments": arguments}
        if kind in self.networks:
            weights = value.state_dict()
            stored["weights"] = {key: self._encode(part, prefix + key, tensors) for key, part in weights.items()}
        return stored | {"notes": list(value.notes)} if isinstance(value, self.base) else stored

    def _decode(self, stored: Any, tensors: dict[str, Tensor]) -> Any:
        if isinstance(stored, list):
            return [self._decode(part, tensors) for part in stored]
        if not isinstance(stored, dict):
            return stored
        if "tensor" in stored:
            return tensors[stored["tensor"]]
        known = {**self.kinds, **self.networks}
        kind = self.renamed.get(stored["kind"]) or stored["kind"]
        check_choice(kind, known, f"kind of {self.what}")
        arguments = {}
        for key, part in stored["arguments"].items():
            name = self.renamed.get(f"{kind}.{key}", self.renamed.get(key, key))
            if name is not None:
                decoded = self._decode(part, tensors)
                arguments[name] = dict(decoded) if name in self.mappings else decoded
        if "notes" in stored:
            arguments["notes"] = tuple(stored["notes"])
        thing = known[kind](**arguments)
        if "weights" in stored:
            assert isinstance(thing, nn.Module)
            thing.load_state_dict({key: self._decode(part, tensors) for key, part in stored["weights"].items()})
        return thing
