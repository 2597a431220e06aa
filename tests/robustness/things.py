"""What lies in a folder that commands have written to: stores, calibrators, samplers, sets of files, single files."""

import json
from pathlib import Path

from worlds import timeless

from calibrant.calibrators.storage import STORAGE as CALIBRATORS
from calibrant.cli._file_set import check_settled
from calibrant.data import StoredPredictions
from calibrant.errors import CalibrantError, DataError
from calibrant.samplers.storage import STORAGE as SAMPLERS

UNSETTLED = "new files that are whole, and have not all taken the place of the old ones"


def things(folder: Path) -> dict[str, str]:
    """Return by name what can be read in and below a folder, and the digest or the content of it."""
    found: dict[str, str] = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and not _is_hidden(file, folder)):
        where = str(file.parent.relative_to(folder))
        if file.name == "manifest.json":
            found[f"store {where}"] = _store(file.parent)
        elif file.name in ("calibrator.json", "sampler.json"):
            found[f"{file.stem} {where}"] = _saved(file)
        elif (exported := _export_of(file, folder)) is not None:
            found[f"files in {exported.relative_to(folder)}"] = _set(exported)
        elif file.suffix in (".measurement", ".npz") or file.name == "samples.json":
            found[f"files in {where}"] = _set(file.parent)
        elif file.suffix not in (".safetensors", ".pt") and file.name != "manifest.partial.json":
            found[str(file.relative_to(folder))] = timeless(file).hex()
    return found


def _export_of(file: Path, folder: Path) -> Path | None:
    """The folder of exported maps that a file is one of, which has a record, or is about to get one."""
    above = [parent for parent in file.parents if parent == folder or folder in parent.parents]
    return next((p for p in above if (p / "export.json").exists() or (p / ".calibrant-new/export.json").exists()), None)


def hidden(folder: Path) -> list[str]:
    """Return the hidden files and folders in and below a folder."""
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if _is_hidden(file, folder))


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _store(folder: Path) -> str:
    try:
        stored = StoredPredictions(folder)
        stored.verify()
    except CalibrantError as error:
        return f"lost: {error}"
    return stored.digest


def _saved(file: Path) -> str:
    storage = {"calibrator.json": CALIBRATORS, "sampler.json": SAMPLERS}[file.name]
    try:
        return storage.digest(file.parent)
    except CalibrantError as error:
        return f"lost: {error}"


def _set(folder: Path) -> str:
    try:
        check_settled(folder)
    except DataError:
        return UNSETTLED
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not _is_hidden(file, folder)]
    return json.dumps({str(file.relative_to(folder)): file.read_bytes().hex() for file in files})
