"""Reading and writing files: whole or not at all, by one writer at a time."""

import contextlib
import errno
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has none; there nobody is kept from writing beside another
    fcntl = None

_PREFIX = ".calibrant-"
_LONG = 3600
"""Seconds after which a temporary file counts as left behind where there are no locks."""

_WRITE_FAILED = re.compile(r"\(os error (?P<number>\d+)\)|enforce fail at inline_container|file write failed")
"""What safetensors and torch say, in errors of their own, where the disk is full."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, sweep: bool = True) -> Generator[Path]:
    """Yield the path of an empty temporary file; what was written to it is found under ``path`` afterwards.

    The temporary file lies in the same folder, which is made if missing, and ends like ``path``, for writers that tell
    the format from it. Its name cannot be guessed, and it is made new, so that no link is followed. When the block
    ends, the content is brought to the disk and the file renamed in one step: at no time, not even after a power
    cut, does ``path`` hold half of it. It may be read by all and written by its owner, less what the umask forbids.
    When the block raises, the temporary file is removed and ``path`` is as it was. When the process is killed, the
    next write into the folder removes it.

    :param path: the file to write; one that is there is replaced.
    :param sweep: remove what killed writes have left in the folder first; False for many files in one folder.
    :raises OSError: the folder cannot be made or written to, or the disk is full.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(f"{folder}/new/figures.json") as temporary:
    ...         _ = temporary.write_text("{}")
    ...     [file.name for file in Path(folder, "new").iterdir()]
    ['figures.json']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if sweep:
        remove_leftovers(path.parent)
    with _temporary_beside(path) as temporary:
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                unnamed = error.filename is None or str(error.filename) == str(temporary)
                if error.errno is not None and unnamed:  # without a number the message is all there is
                    error.filename = os.fspath(path)  # the name that the user knows
                raise
            if isinstance(error, Exception) and (found := _WRITE_FAILED.search(str(error))):
                number = int(found["number"] or errno.ENOSPC)
                raise OSError(number, os.strerror(number), os.fspath(path)) from error
            raise
    fsync_folder(path.parent)


@contextlib.contextmanager
def _temporary_beside(path: Path) -> Generator[Path]:
    """Make an empty file of an unknown name beside another, and hold its lock, which tells that it is written."""
    while True:
        temporary = path.with_name(f"{_PREFIX}{secrets.token_hex(8)}{path.suffix}")
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        if fcntl is None:  # Windows renames no open file
            os.close(handle)
            yield temporary
            return
        try:
            if _lock(handle) is not False and temporary.exists():
                yield temporary
                return
        finally:
            os.close(handle)  # else one who removes leftovers was quicker than the lock


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files of writes into a folder that were killed; what cannot be removed stays.

    A file that is being written is locked by its writer, however that ends. Where the system or the file system has no
    locks, a file counts as left behind when it has not been changed for an hour.

    :param folder: nothing happens if there is none.
    """
    for path in Path(folder).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            free = None
            if fcntl is not None:  # Windows removes no open file
                handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                stack.callback(os.close, handle)
                free = _lock(handle)
            if free or (free is None and time.time() - path.stat().st_mtime > _LONG):
                path.unlink(missing_ok=True)


def _lock(handle: int) -> bool | None:
    """Take the lock of an open file or folder; False if somebody else holds it, None if there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


@contextlib.contextmanager
def only_writer(folder: str | os.PathLike[str]) -> Generator[None]:
    """Be the only one who writes into a folder, which is made if missing, until the block ends.

    If it was made and the block raises with nothing in it, it is removed again. The system holds the lock, on the
    folder itself: it ends with the process, however that ends, and leaves nothing.
    Where the system or the file system has no locks, nobody is kept out.

    :param folder: the folder.
    :raises BlockingIOError: another process, or another part of this one, is writing there.
    :raises OSError: the folder cannot be made or opened.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name, only_writer(name):
    ...     with only_writer(name):
    ...         pass
    Traceback (most recent call last):
    BlockingIOError: ...
    """
    place = Path(folder)
    made = [each for each in (place, *place.parents) if not each.exists()]
    place.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(place):
            yield
    except BaseException:
        with contextlib.suppress(OSError):  # those that are not empty stay
            for each in made:
                each.rmdir()
        raise


@contextlib.contextmanager
def _locked(folder: Path) -> Generator[None]:
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        if _lock(handle) is False:
            raise BlockingIOError(errno.EAGAIN, "another process is writing there", os.fspath(folder))
        yield
    finally:
        os.close(handle)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a regular file; a pipe or a device is refused, which would be waited for for ever.

    :param path: the file.
    :raises OSError: it is missing, cannot be read, or is no regular file.
    """
    check_regular(path)
    return Path(path).read_bytes()


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raise unless a path leads to a regular file.

    :param path: the file.
    :raises OSError: it is missing, or a folder, a pipe, a device.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text says.

    :param text: in UTF-8, if it is bytes.
    :raises ValueError: it is no JSON, says a name of an object twice, or is nested too deeply to be read.

    >>> parse_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: 'a' is there twice
    """
    try:
        return json.loads(text, object_pairs_hook=_once_each)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def fsync_folder(folder: Path) -> None:
    """Bring a renaming to the disk. Windows opens no folder, and some file systems cannot do it for folders."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
