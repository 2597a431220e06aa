"""The state of a training in one file: whole or not there, and of that training or refused."""

from pathlib import Path
from typing import Any

import torch

from calibrant._files import replacing
from calibrant.errors import StoreError

NAME = "checkpoint.pt"


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write a state, whole or not at all.

    :raises StoreError: it cannot be written.
    """
    try:
        with replacing(folder / NAME) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
    except OSError as error:
        raise StoreError(f"{folder}: expected to write a checkpoint; {error}. Make room, or choose another.") from error


def read_checkpoint(folder: Path, of: str) -> dict[str, Any] | None:
    """Return the state in a folder, or None if it has none; no code is loaded.

    :param of: what the training is: a state of another is refused.
    :raises StoreError: the file is damaged, or of another training.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["of"]
    except Exception as error:
        raise StoreError(
            f"{path}: expected the checkpoint of a training; {error!r}. Remove the file to begin anew."
        ) from error
    if found != of:
        raise StoreError(
            f"{path}: expected the checkpoint of this training ({of}); got one of another ({found}). "
            "Train into another folder, or remove the file to begin anew."
        )
    return state
