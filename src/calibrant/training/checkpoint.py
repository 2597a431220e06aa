"""The state of a training in one file: whole or not there, and of that training or refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from calibrant._storage.files import replacing
from calibrant.errors import StoreError

NAME = "checkpoint.pt"
MISSING = "nothing"


@runtime_checkable
class Stateful(Protocol):
    """What torch keeps in a ``state_dict()``: networks and optimisers."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take a state back.

        :param state_dict: what ``state_dict()`` returned.
        """
        ...


def states_of(parts: Mapping[str, Stateful]) -> dict[str, Any]:
    """Return the states of parts by name.

    :param parts: networks and optimisers, by the names that their states get.
    """
    return {name: part.state_dict() for name, part in parts.items()}


def restore_states(parts: Mapping[str, Stateful], states: Mapping[str, Any]) -> None:
    """Give parts their states back.

    :param parts: networks and optimisers, by name.
    :param states: as :func:`states_of` returned them.
    """
    for name, part in parts.items():
        part.load_state_dict(states[name])


def write_checkpoint(folder: Path, state: dict[str, Any], identity: Mapping[str, object]) -> None:
    """Write a state, whole or not at all.

    :param folder: is made if missing; its checkpoint is replaced.
    :param state: tensors, numbers, words, and lists and dicts of them.
    :param identity: what training this is; everything that must be the same for going on with it, by name.
    :raises StoreError: it cannot be written.
    """
    try:
        with replacing(folder / NAME) as temporary, temporary.open("wb") as file:
            torch.save(_with_one_of_each({**state, "identity": _as_words(identity)}, {}), file)
    except (OSError, RuntimeError) as error:  # torch turns errors of the disk into RuntimeError
        raise StoreError(f"{folder}: expected to write a checkpoint; {error}. Make room, or choose another.") from error


def _with_one_of_each(state: Any, words: dict[str, str]) -> Any:
    """A state whose equal words are one object, and whose dicts and lists are each their own.

    Pickle writes an object that it has written before as a reference to it. So the bytes of equal states are equal,
    of a training that went on from a checkpoint and of one that nobody stopped.
    """
    if isinstance(state, str):
        return words.setdefault(state, state)
    if isinstance(state, dict):
        return {_with_one_of_each(key, words): _with_one_of_each(value, words) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_with_one_of_each(each, words) for each in state)
    return state


def read_checkpoint(folder: Path, identity: Mapping[str, object]) -> dict[str, Any] | None:
    """Return the state in a folder, or None if it has none; no code is loaded.

    :param folder: where :func:`write_checkpoint` wrote it.
    :param identity: what training this is, as :func:`write_checkpoint` was given it; another is refused.
    :raises StoreError: the file is damaged, of version 0.1.0, or of another training; naming what differs.
    """
    state = _state_in(folder)
    if state is None:
        return None
    path, there = folder / NAME, dict(state.get("identity", {}))
    again = "Train into another folder, or remove the file to begin anew."
    if not there:
        raise StoreError(
            f"{path}: expected a checkpoint that says what training it is of, setting by setting; this one does not, "
            f"as those of calibrant 0.1.0. {again}"
        )
    here = _as_words(identity)
    names = [name for name in {**here, **there} if here.get(name, MISSING) != there.get(name, MISSING)]
    if names:
        differences = "; ".join(
            f"{name} is {there.get(name, MISSING)} there and {here.get(name, MISSING)} now" for name in names
        )
        raise StoreError(
            f"{path}: expected the checkpoint of this training; got one of another: {differences}. {again}"
        )
    return state


def remove_checkpoint(folder: Path, identity: Mapping[str, object]) -> None:
    """Remove the checkpoint in a folder unless it is of a certain training.

    :param folder: where :func:`write_checkpoint` wrote it; nothing happens if there is none.
    :param identity: some of what says what training that is; a checkpoint that has all of it stays.
    """
    try:
        there = dict((_state_in(folder) or {}).get("identity", {}))
    except StoreError:
        there = {}
    if not identity or not _as_words(identity).items() <= there.items():
        (folder / NAME).unlink(missing_ok=True)


def _state_in(folder: Path) -> dict[str, Any] | None:
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        dict(state.get("identity", {}))
    except Exception as error:
        raise StoreError(
            f"{path}: expected the checkpoint of a training; {error!r}. Remove the file to begin anew."
        ) from error
    return state


def _as_words(identity: Mapping[str, object]) -> dict[str, str]:
    return {name: repr(value) for name, value in identity.items()}
