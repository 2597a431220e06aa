"""Several files of one command in one folder, which take the place of those of another together.

New files are written into a hidden folder beside the old ones. When all are whole, a list of them is written there;
from then on the new ones count, and whoever writes next, if this process is killed, ends the replacing first.
"""

import contextlib
import json
import shutil
from collections.abc import Collection, Generator
from pathlib import Path

from calibrant._storage.files import fsync_folder, only_writer, parse_json, read_file, remove_leftovers, replacing
from calibrant.errors import DataError, StoreError

_NEW = ".calibrant-new"
_LIST = "files.json"


@contextlib.contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Be the only one who writes into a folder until the block ends, and end what killed writers have left first.

    :param folder: is made if missing.
    :raises StoreError: another process is writing there.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(only_writer(folder))
        except BlockingIOError as error:
            raise StoreError(
                f"{folder}: expected to be the only one who writes here; another process is writing. Wait until it "
                "has ended, or write to another folder."
            ) from error
        if _is_unsettled(folder):
            _take_over(folder)
        shutil.rmtree(folder / _NEW, ignore_errors=True)
        remove_leftovers(folder)
        yield


@contextlib.contextmanager
def replacing_together(folder: Path, old: Collection[str]) -> Generator[Path]:
    """Yield an empty folder for new files; when the block ends, they take the place of old ones.

    When the block raises, nothing has changed. Only within :func:`alone_in`.

    :param folder: where they go in the end.
    :param old: names of files there; those that no new file replaces are removed.
    :raises OSError: the disk is full, or may not be written to.
    """
    new = folder / _NEW
    new.mkdir()
    try:
        yield new
        names = files_in_folder(new)
        with replacing(new / _LIST) as temporary:
            temporary.write_text(json.dumps({"files": names, "old": sorted(set(old) - set(names))}))
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    _take_over(folder)


def files_in_folder(folder: Path) -> list[str]:
    """Return the names of all files in a folder and in the folders within, from there, sorted.

    :param folder: where they are.
    """
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def check_settled(folder: Path) -> None:
    """Raise if a folder holds files of two commands, because one that was replacing them was killed.

    :param folder: where the files are.
    :raises DataError: it does.
    """
    if _is_unsettled(folder):
        raise DataError(
            f"{folder}: expected the files of one command; writing them was interrupted when all were whole, and "
            "before all had taken the place of the old ones. Run the command that wrote them again."
        )


def settle(folder: Path) -> None:
    """End a replacing that was killed when the new files were whole; else do nothing.

    :param folder: where the files are; nothing happens if there is none.
    :raises StoreError: another process is writing there.
    """
    if _is_unsettled(folder):
        with alone_in(folder):
            pass


def _is_unsettled(folder: Path) -> bool:
    return (folder / _NEW / _LIST).exists()


def _take_over(folder: Path) -> None:
    """Let the listed files take the place of the old ones; may be begun anew at any point."""
    new = folder / _NEW
    listed = parse_json(read_file(new / _LIST))
    for name in listed["files"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # it has its place already
            (new / name).replace(folder / name)
    for name in listed["old"]:
        (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # folders that still hold something stay
            for within in list(Path(name).parents)[:-1]:
                (folder / within).rmdir()
    for place in {folder, *((folder / name).parent for name in listed["files"])}:
        fsync_folder(place)
    (new / _LIST).unlink()
    shutil.rmtree(new)
