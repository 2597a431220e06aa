"""Fitted things in a folder: a readable JSON of what their constructors need, and the tensors in a safetensors file.

Loading calls the constructors of the kinds that are known, or that the caller passes, and nothing else: a name in a
file is never imported. A class of the user's own is stored under its ``module:Class``, and passed to be loaded. What a
class must say of itself is in :mod:`calibrant._storage.kinds`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from calibrant._input.checks import check_choice
from calibrant._shapes import Tensor
from calibrant._storage.kinds import Storable, check_definition, check_made_again, definition_of, kind_of, own_names
from calibrant._storage.origin import Origin
from calibrant._storage.place import Place
from calibrant._storage.saved import Saved, read_saved, write_saved
from calibrant.errors import MethodError, StoreError


@dataclass(frozen=True)
class Storage:
    """How one sort of fitted things is stored.

    :param what: names the sort; files are called ``{what}.json`` and ``{what}-DIGEST.safetensors``.
    :param base: the class that a stored thing must be of; its parts may be of any kind.
    :param kinds: classes by the name they are stored under; ``arguments()`` says what their constructors need.
    :param networks: classes whose weights are stored besides, as their ``state_dict()``.
    :param made_by: the command that makes one.
    :param renamed: names of kinds and arguments in files of older versions, and what they are called now; None for an
        argument that is no more. ``kind.argument`` is an argument of that kind alone.
    :param unrecorded: by kind, the definition that a file means where it records none.
    :param own: which of the kinds are classes of the user's own.
    :param mappings: names of arguments that are mappings, which are stored as a list of pairs.
    """

    what: str
    base: type
    kinds: Mapping[str, type]
    networks: Mapping[str, type]
    made_by: str
    renamed: Mapping[str, str | None] = field(default_factory=dict)
    unrecorded: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    mappings: frozenset[str] = frozenset()

    @property
    def json(self) -> str:
        """The name of the readable file."""
        return f"{self.what}.json"

    def save(
        self,
        thing: Any,
        path: str | os.PathLike[str],
        kinds: Mapping[str, type] | None = None,
        made_from: Origin | None = None,
    ) -> None:
        """Write a thing into a folder, which is made if missing; one that is there is replaced in one step.

        :param thing: an instance of ``base``.
        :param path: the folder.
        :param kinds: names for classes of the user's own; one without a name is stored under its ``module:Class``.
        :param made_from: what it was made from, by name; None if nobody says.
        :raises StoreError: the thing, or a part of it, does not say what its constructor needs, or cannot be written,
            or another process is writing there.
        """
        tensors: dict[str, Tensor] = {}
        stored = self._knowing(kinds)._encode(thing, "", tensors)
        write_saved(Place(path), self.what, Saved(stored, save_tensors(tensors), made_from))

    def load(self, path: str | os.PathLike[str], kinds: Mapping[str, type] | None = None) -> Any:
        """Return the thing in a folder.

        :param path: the folder.
        :param kinds: classes of the user's own by the names that they are stored under.
        :raises StoreError: the folder holds none, or it is damaged, or a newer version of calibrant wrote it, or it
            holds a class of the user's own that is not in ``kinds``, or its tensors depend on other constants.
        """
        place, saved = Place(path), self._read(path)
        storage = self._knowing(kinds)
        try:
            missing = sorted({name for name in own_names(saved.stored) if name not in storage.kinds})
            if missing:
                passed = ", ".join(f"{name!r}: {name.rpartition(':')[2]}" for name in missing)
                raise StoreError(
                    f"expected the classes of your own that it was saved with, {' and '.join(missing)}; got "
                    f"{', '.join(kinds or ()) or 'none'}. Pass them: kinds={{{passed}}} "
                    f"(command line: {' '.join(f'--kinds {name}' for name in missing)})."
                )
            thing = storage._decode(saved.stored, load_tensors(saved.data))
        except StoreError as error:
            raise StoreError(f"{place.name(self.json)}: {error}") from error
        except MethodError as error:
            raise StoreError(
                f"{place.name(self.json)}: {error} A newer calibrant may know it; pass a class of your own: kinds=…."
            ) from error
        except RecursionError:
            raise StoreError(
                f"{place.name(self.json)}: expected a {self.what} of a few parts; its parts are nested too deep to be "
                "read. Fit and save it again."
            ) from None
        except (
            SafetensorError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            ArithmeticError,
            RuntimeError,
        ) as error:
            raise StoreError(f"{place.url}: expected a whole {self.what}; {error!r}. Fit and save it again.") from error
        if not isinstance(thing, self.base):
            got = saved.stored["kind"] if isinstance(saved.stored, dict) else type(thing).__name__
            raise StoreError(f"{place.name(self.json)}: expected a {self.what}; got a {got}. Fit and save it again.")
        return thing

    def holds(self, path: str | os.PathLike[str]) -> bool:
        """Return whether there is one in a folder, whole or damaged.

        :param path: the folder.
        """
        return Place(path).has(self.json)

    def made_from(self, path: str | os.PathLike[str]) -> Origin | None:
        """Return what the thing in a folder was made from; None if it does not say.

        :param path: the folder.
        :raises StoreError: it holds none, or a damaged one.
        """
        return self._read(path).made_from

    def digest(self, path: str | os.PathLike[str]) -> str:
        """Return the digest of the thing in a folder: of its JSON and its tensors, not of what it was made from.

        :param path: the folder.
        :raises StoreError: it holds none, or a damaged one.
        """
        return self._read(path).digest

    def _read(self, path: str | os.PathLike[str]) -> Saved:
        return read_saved(Place(path), self.what, self.made_by)

    def load_known(self, path: str | os.PathLike[str]) -> Any | None:
        """Return the thing in a folder, or None if classes of the user's own must be passed to load it.

        :param path: the folder.
        :raises StoreError: it holds none, or a damaged one.
        """
        return None if list(own_names(self._read(path).stored)) else self.load(path)

    def own_kinds(self, thing: Any) -> dict[str, type]:
        """Return the classes of a thing and its parts that are not calibrant's, by the names they are stored under.

        :param thing: an instance of ``base``, or a part of one.
        """
        if isinstance(thing, list | tuple):
            return {name: kind for part in thing for name, kind in self.own_kinds(part).items()}
        if isinstance(thing, Tensor) or not isinstance(thing, Storable):
            return {}
        found = self.own_kinds(list(thing.arguments().values()))
        known = type(thing) in (*self.kinds.values(), *self.networks.values())
        return found if known else {kind_of(type(thing)): type(thing), **found}

    def _knowing(self, kinds: Mapping[str, type] | None) -> "Storage":
        """The storage with further kinds."""
        taken = sorted({*(kinds or ())} & {*self.kinds, *self.networks})
        if taken:
            raise StoreError(f"expected other names than those of calibrant's kinds; got {taken[0]!r}. Choose another.")
        return replace(self, kinds={**self.kinds, **(kinds or {})}, own=frozenset(kinds or ()))

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
        if not isinstance(value, Storable):
            raise StoreError(
                f"expected a {self.what} of: {', '.join(known)}, or of your own with arguments(); got "
                f"{type(value).__name__}. Give it a method arguments() that returns what its constructor needs."
            )
        if kind is None or kind in self.own:
            check_made_again(value)
        kind = kind or kind_of(type(value))
        prefix = f"{name}." if name else ""
        arguments = {key: self._encode(part, prefix + key, tensors) for key, part in value.arguments().items()}
        stored = {"kind": kind, "arguments": arguments}
        if definition := definition_of(type(value)):
            stored["definition"] = definition
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
        check_definition(kind, stored.get("definition", self.unrecorded.get(kind, {})), definition_of(known[kind]))
        renamed = {} if kind in self.own else self.renamed
        arguments = {}
        for key, part in stored["arguments"].items():
            name = renamed.get(f"{kind}.{key}", renamed.get(key, key))
            if name is not None:
                decoded = self._decode(part, tensors)
                arguments[name] = dict(decoded) if name in self.mappings else decoded
        thing = known[kind](**arguments)
        if stored.get("notes"):  # constructors of the user's own need not take them
            thing.notes = tuple(stored["notes"])
        if "weights" in stored:
            assert isinstance(thing, nn.Module)
            thing.load_state_dict({key: self._decode(part, tensors) for key, part in stored["weights"].items()})
        return thing
