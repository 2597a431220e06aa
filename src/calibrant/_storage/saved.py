"""The two files of a fitted thing in a folder or bucket: ``{what}.json``, and ``{what}-DIGEST.safetensors``.

A save is one step: tensors are written first, under a name that has their digest; then the JSON takes the place of the
old one; then the old tensors are removed. The JSON holds the digest of the tensors, so that halves of two saves are
never put together, and one of itself. Files of version 1 hold the first alone, and their tensors have no digest in
their name.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calibrant._input.checks import check_version
from calibrant._storage.files import parse_json
from calibrant._storage.origin import Origin, canonical, checked, digest_of_bytes
from calibrant._storage.place import UNREACHED, Place
from calibrant.errors import StoreError

VERSION = 2
"""Of the files that are written, under ``format``; a change that an older reader would get wrong raises it."""


@dataclass(frozen=True)
class Saved:
    """What the two files hold.

    :param stored: the JSON of the thing.
    :param data: its tensors, as safetensors writes them.
    :param made_from: what it was made from; None if nobody said.
    """

    stored: Any
    data: bytes
    made_from: Origin | None

    @property
    def digest(self) -> str:
        """The digest of the thing: of JSON and tensors, not of what it was made from."""
        return digest_of_bytes(canonical(self.stored), self.data)


def write_saved(place: Place, what: str, saved: Saved) -> None:
    """Write the two files into a folder, which is made if missing; those that are there are replaced in one step.

    :raises StoreError: they cannot be written, or another process is writing there.
    """
    record: dict[str, Any] = {"format": VERSION, "tensors": hashlib.sha256(saved.data).hexdigest(), what: saved.stored}
    record |= {} if saved.made_from is None else {"made_from": dict(saved.made_from)}
    text = json.dumps({**record, "digest": _digest(record)}, indent=2)
    name = _file_of_tensors(what, record["tensors"])
    try:
        with place.only_writer():
            place.sweep()
            place.write(name, saved.data)
            place.write(f"{what}.json", (text + "\n").encode())
            for old in place.sizes():
                if old != name and re.fullmatch(rf"{what}(-[0-9a-f]{{16}})?\.safetensors", old):
                    place.remove(old)
    except OSError as error:
        raise StoreError(f"{place.url}: expected to write a {what}; {error}. Choose another folder.") from error


def read_saved(place: Place, what: str, made_by: str) -> Saved:
    """Read the two files, and see that they are as they were written and belong together.

    :raises StoreError: one is missing, damaged, or of a newer version.
    """
    file = place.name(f"{what}.json")
    reading = f"{what}.json"
    try:
        header = parse_json(place.read(reading))
        stored, digest, made_from = _parts(header, what, file)
        reading = _file_of_tensors(what, digest) if header["format"] > 1 else f"{what}.safetensors"
        data = place.read(reading)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"{place.url}: expected a folder with {what}.json and its tensors, {what}-….safetensors; "
            f"{place.name(reading)} is missing. Pass the folder given to save (command line: {made_by} … -o)."
        ) from error
    except OSError as error:
        advice = "Fit and save it again." if place.is_local else UNREACHED
        raise StoreError(f"{place.url}: expected a readable {what}; {error}. {advice}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file}: expected the JSON of a {what}; {error!r}. Save it again.") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise StoreError(
            f"{place.name(reading)}: expected the tensors that {what}.json was written with; got others: the "
            "file is truncated or has changed. Fit and save it again."
        )
    return Saved(stored, data, made_from)


def _parts(header: Mapping[str, Any], what: str, file: str) -> tuple[Any, str, Origin | None]:
    """The thing, the digest of its tensors, and what it was made from.

    :raises StoreError: it has changed since it was written, or is of a newer version.
    :raises KeyError, TypeError, ValueError: it is no such JSON.
    """
    version = header["format"]
    check_version(version, VERSION, file)
    known = {"format", "digest", what} | ({"tensors", "made_from"} if version > 1 else set())
    if unknown := sorted(set(header) - known):
        raise KeyError(f"it says {unknown[0]!r}, which this version does not know")
    if version > 1 and header["digest"] != _digest(header):
        raise StoreError(
            f"{file}: expected the content with the digest that it names; it has changed since it was written. Copy "
            "it again, or fit and save it again."
        )
    digest = header["tensors" if version > 1 else "digest"]
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"there is no digest {digest!r}")
    return header[what], digest, checked(header.get("made_from"))


def _file_of_tensors(what: str, digest: str) -> str:
    return f"{what}-{digest[:16]}.safetensors"


def _digest(header: Mapping[str, Any]) -> str:
    """The SHA-256 of what a JSON says, without its own digest."""
    return hashlib.sha256(canonical({key: value for key, value in header.items() if key != "digest"})).hexdigest()
