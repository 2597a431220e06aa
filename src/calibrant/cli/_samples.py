"""Folders of files that one command wrote, and the record in each, which names them and says what they are from.

Label maps are one ``.npz`` an image beside ``samples.json``; exported maps are any files beside ``export.json``.
"""

import contextlib
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrant._storage.files import parse_json, remove_leftovers, replacing
from calibrant._storage.origin import ANEW, Origin, canonical, check_same, checked, digest_of_bytes
from calibrant._storage.place import Place
from calibrant.cli._file_set import alone_in, check_settled, files_in_folder, replacing_together
from calibrant.errors import DataError, StoreError

_VERSION = 1


@dataclass(frozen=True)
class Kind:
    """What sort of files a folder holds.

    :param record: the name of the record.
    :param format: what the record says that it is.
    :param what: what the files are, in words.
    :param again: how to write them again.
    :param known: which files belong to it even if the record is lost.
    """

    record: str
    format: str
    what: str
    again: str
    known: str


SAMPLES = Kind(
    "samples.json", "calibrant samples", "set of samples", "Draw them again: calibrant sample … --overwrite.", "*.npz"
)
EXPORT = Kind(
    "export.json",
    "calibrant export",
    "set of exported files",
    "Write them again: calibrant export … --overwrite.",
    "**/*",
)


@contextlib.contextmanager
def replacing_samples(folder: Path, made_from: Origin, *, overwrite: bool, kind: Kind = SAMPLES) -> Generator[Path]:
    """Yield an empty folder for the files of one command; when the block ends, they take the place of those there.

    :param folder: where they go in the end; is made if missing.
    :param made_from: what they are drawn from and how, by name.
    :param overwrite: replace those of another command.
    :param kind: what sort of files they are.
    :raises StoreError: files of another command, or of nobody knows which, are there; another process is writing.
    """
    with alone_in(folder):
        old = _old_files(folder, made_from, kind, overwrite=overwrite)
        with replacing_together(folder, old) as new:
            yield new
            digests = {name: digest_of_bytes((new / name).read_bytes()) for name in files_in_folder(new)}
            _write_record(new, made_from, digests, kind)


def begin_part(folder: Path, made_from: Origin) -> None:
    """Make the folder of samples that are drawn in parts.

    :param folder: where all parts go.
    :param made_from: what they are drawn from and how, by name.
    :raises StoreError: samples of another command are there.
    """
    if (folder / SAMPLES.record).exists():
        check_same(folder, checked(_read(Place(folder), SAMPLES)["made_from"]), made_from, SAMPLES.what)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)


def finish_samples(folder: Path, made_from: Origin, digests: Mapping[str, str]) -> None:
    """Write the record of samples that were drawn in parts.

    :param folder: where they are.
    :param made_from: what they are drawn from and how, by name.
    :param digests: by the names of all files.
    :raises DataError: a file is missing, or there are others.
    """
    with alone_in(folder):
        there = {file.name for file in folder.glob("*.npz")}
        unlike = sorted(there ^ set(digests))
        if unlike:
            what = "is missing" if unlike[0] in digests else "is of none of the parts"
            raise DataError(
                f"{folder}: expected the files of all parts, and no others; {unlike[0]} {what}. Draw that part again, "
                "or remove what does not belong there."
            )
        _write_record(folder, made_from, digests, SAMPLES)


def _write_record(folder: Path, made_from: Origin, digests: Mapping[str, str], kind: Kind) -> None:
    with replacing(folder / kind.record) as temporary:
        temporary.write_text(record_text(made_from, digests, kind))


def record_text(made_from: Origin, digests: Mapping[str, str], kind: Kind) -> str:
    """Return what the record of files says.

    :param made_from: what they are made from and how, by name.
    :param digests: by the names of all files.
    :param kind: what sort of files they are.
    """
    files = dict(sorted(digests.items()))
    record = {"format": kind.format, "version": _VERSION, "made_from": dict(made_from), "files": files}
    return json.dumps({**record, "digest": digest_of_bytes(canonical(record))}, indent=1) + "\n"


def origin_of_samples(place: Place) -> dict[str, str]:
    """Return what the label maps in a place were drawn from and how, by name.

    :param place: where they are.
    :raises DataError: the record of them is missing or damaged.
    """
    return checked(_read(place, SAMPLES)["made_from"]) or {}


def verify_samples(place: Place, kind: Kind = SAMPLES) -> int:
    """Compare the files of a command with their checksums; return how many there are.

    :param place: where they are.
    :param kind: what sort of files they are.
    :raises DataError: one is missing or has changed.
    """
    files = _read(place, kind)["files"]
    for name, digest in files.items():
        try:
            found = digest_of_bytes(place.read(name))
        except OSError as error:
            raise DataError(f"{place.name(name)}: expected a file of a {kind.what}; {error}. {kind.again}") from error
        if found != digest:
            raise DataError(f"{place.name(name)}: expected the file that was written; it has changed. {kind.again}")
    return len(files)


def _old_files(folder: Path, made_from: Origin, kind: Kind, *, overwrite: bool) -> set[str]:
    """The files that are replaced.

    :raises StoreError: they are of another command, and are not to be replaced.
    """
    if (folder / kind.record).exists() and not overwrite:
        check_same(folder, checked(_read(Place(folder), kind)["made_from"]), made_from, kind.what)
    try:
        known = set(_read(Place(folder), kind)["files"])
    except DataError:
        known = set()
    there = {file.relative_to(folder) for file in folder.glob(kind.known) if file.is_file()}
    names = {path.as_posix() for path in there if not any(part.startswith(".") for part in path.parts)}
    unknown = sorted(names - known - {kind.record})
    if unknown and not overwrite:
        raise StoreError(
            f"{folder}: holds files that do not say what they were made from, such as {unknown[0]}, so it is not "
            f"known whether they answer this command. {ANEW}"
        )
    return known if kind is EXPORT else known | set(unknown)  # other files beside maps are not ours to remove


def _read(place: Place, kind: Kind) -> Mapping[str, Any]:
    """What the record of samples says.

    :raises DataError: it is missing, damaged or of a newer version.
    """
    if place.is_local:
        check_settled(place.local_path(""))
    path = place.name(kind.record)
    try:
        content = place.read(kind.record)
    except OSError as error:
        raise DataError(f"{path}: expected the record of a {kind.what}; {error}. {kind.again}") from error
    return record_of(path, content, kind)


def record_of(path: str, content: bytes, kind: Kind) -> Mapping[str, Any]:
    """Return what the record of files says.

    :param path: where it lies, for messages.
    :param content: the bytes of it.
    :param kind: what sort of files they are.
    :raises DataError: it is damaged or of a newer version.
    """
    try:
        found = parse_json(content)
        record = {name: value for name, value in found.items() if name != "digest"}
        names = found["files"]
        if (
            found["format"] != kind.format
            or found["version"] != _VERSION
            or found["digest"] != digest_of_bytes(canonical(record))
        ):
            raise ValueError("it has changed, or a newer calibrant wrote it")
        if any("\\" in name or name.startswith("/") or ".." in name.split("/") for name in names):
            raise ValueError("a file does not lie in the folder")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected the record of a {kind.what}; {error}. {kind.again}") from error
    return found
