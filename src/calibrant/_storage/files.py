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

_WRITE_FAILED = re.compile(r"\(os error (?P<number>\d+)\)|enforce fail at inline_container|file write failed")
"""What safetensors and torch say, in errors of their own, where the disk is full."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Generator[Path]:
    """Yield the path of an empty temporary file; what was written to it is found under ``path`` afterwards.

    The temporary file lies in the same folder, which is made if missing, and ends like ``path``, for writers that tell
    the format from it. Its name cannot be guessed, and it is made new, so that no link is followed. When the block
    ends, the content is brought to the disk and the file renamed in one step: at no time, not even after a power
    cut, does ``path`` hold half of it. It may be read by all and written by its owner, less what the umask forbids.
    When the block raises, the temporary file is removed and ``path`` is as it was.

    :param path: the file to write; one that is there is replaced.
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
    temporary = path.with_name(f"{_PREFIX}{secrets.token_hex(8)}{path.suffix}")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
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
    _fsync_folder(path.parent)


def remove_leftovers(folder: str | os.PathLike[str], *, older_than: float = 0) -> None:
    """Remove the temporary files of writes into a folder that were killed; what cannot be removed stays.

    :param folder: nothing happens if there is none.
    :param older_than: how many seconds ago they must have been changed last; 0 where nobody else may be writing.
    """
    latest = time.time() - older_than
    for pattern in (f"{_PREFIX}*", ".*.tmp"):  # the second as version 0.1.0 named them
        for path in Path(folder).glob(pattern):
            with contextlib.suppress(OSError):
                if not older_than or path.stat().st_mtime < latest:
                    path.unlink(missing_ok=True)


@contextlib.contextmanager
def only_writer(folder: str | os.PathLike[str]) -> Generator[None]:
    """Be the only one who writes into a folder, which is made if missing, until the block ends.

    The system holds the lock, on the folder itself: it ends with the process, however that ends, and leaves nothing.
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
    Path(folder).mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(errno.EAGAIN, "another process is writing there", os.fspath(folder)) from error
        except OSError:  # a file system without locks
            pass
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


def _fsync_folder(folder: Path) -> None:
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
