"""Label maps on disk: one ``.npz`` an image, and ``samples.json``, which names them and says what they are from."""

import contextlib
import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from calibrant._storage.files import parse_json, read_file, replacing
from calibrant._storage.origin import ANEW, Origin, canonical, check_same, checked, digest_of_bytes
from calibrant.cli._file_set import alone_in, check_settled, replacing_together
from calibrant.errors import DataError, StoreError

RECORD = "samples.json"
_FORMAT, _VERSION = "calibrant samples", 1


@contextlib.contextmanager
def replacing_samples(folder: Path, made_from: Origin, *, overwrite: bool) -> Generator[Path]:
    """Yield an empty folder for the files of one command; when the block ends, they take the place of those there.

    :param folder: where they go in the end; is made if missing.
    :param made_from: what they are drawn from and how, by name.
    :param overwrite: replace those of another command.
    :raises StoreError: files of another command, or of nobody knows which, are there; another process is writing.
    """
    with alone_in(folder):
        old = _old_files(folder, made_from, overwrite=overwrite)
        with replacing_together(folder, old) as new:
            yield new
            digests = {file.name: digest_of_bytes(file.read_bytes()) for file in sorted(new.iterdir())}
            _write_record(new, made_from, digests)


def begin_part(folder: Path, made_from: Origin) -> None:
    """Make the folder of samples that are drawn in parts.

    :param folder: where all parts go.
    :param made_from: what they are drawn from and how, by name.
    :raises StoreError: samples of another command are there.
    """
    if (folder / RECORD).exists():
        check_same(folder, checked(_read(folder)["made_from"]), made_from, "set of samples")
    folder.mkdir(parents=True, exist_ok=True)


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
        _write_record(folder, made_from, digests)


def _write_record(folder: Path, made_from: Origin, digests: Mapping[str, str]) -> None:
    files = dict(sorted(digests.items()))
    record = {"format": _FORMAT, "version": _VERSION, "made_from": dict(made_from), "files": files}
    text = json.dumps({**record, "digest": digest_of_bytes(canonical(record))}, indent=1)
    with replacing(folder / RECORD) as temporary:
        temporary.write_text(text + "\n")


def verify_samples(folder: Path) -> int:
    """Compare the files of samples with their checksums; return how many there are.

    :param folder: where they are.
    :raises DataError: one is missing or has changed.
    """
    files = _read(folder)["files"]
    for name, digest in files.items():
        try:
            found = digest_of_bytes(read_file(folder / name))
        except OSError as error:
            raise DataError(f"{folder / name}: expected a file of samples; {error}. Draw them again.") from error
        if found != digest:
            raise DataError(f"{folder / name}: expected the samples that were drawn; it has changed. Draw them again.")
    return len(files)


def _old_files(folder: Path, made_from: Origin, *, overwrite: bool) -> set[str]:
    """The files that are replaced.

    :raises StoreError: they are of another command, and are not to be replaced.
    """
    if (folder / RECORD).exists() and not overwrite:
        check_same(folder, checked(_read(folder)["made_from"]), made_from, "set of samples")
    try:
        known = set(_read(folder)["files"])
    except DataError:
        known = set()
    unknown = sorted({file.name for file in folder.glob("*.npz")} - known)
    if unknown and not overwrite:
        raise StoreError(
            f"{folder}: holds files that do not say what they were made from, such as {unknown[0]}, so it is not "
            f"known whether they answer this command. {ANEW}"
        )
    return known | set(unknown)


def _read(folder: Path) -> Mapping[str, Any]:
    """What the record of samples says.

    :raises DataError: it is missing, damaged or of a newer version.
    """
    check_settled(folder)
    path = folder / RECORD
    try:
        found = parse_json(read_file(path))
        record = {name: value for name, value in found.items() if name != "digest"}
        names = found["files"]
        if (
            found["format"] != _FORMAT
            or found["version"] != _VERSION
            or found["digest"] != digest_of_bytes(canonical(record))
        ):
            raise ValueError("it has changed, or a newer calibrant wrote it")
        if any("/" in name or "\\" in name for name in names):
            raise ValueError("a file does not lie in the folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: expected the record of samples; {error}. Draw them again: calibrant sample … --overwrite."
        ) from error
    return found
