"""Writing a file whole or not at all."""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Generator
from pathlib import Path

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
            if error.filename is None or str(error.filename) == str(temporary):  # the name that the user knows
                error.filename = os.fspath(path)
            raise
        if isinstance(error, Exception) and (found := _WRITE_FAILED.search(str(error))):
            number = int(found["number"] or errno.ENOSPC)
            raise OSError(number, os.strerror(number), os.fspath(path)) from error
        raise
    _fsync_folder(path.parent)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary files of writes into a folder that were killed; nobody may be writing there meanwhile.

    :param folder: nothing happens if there is none.
    """
    for pattern in (f"{_PREFIX}*", ".*.tmp"):  # the second as version 0.1.0 named them
        for path in Path(folder).glob(pattern):
            path.unlink(missing_ok=True)


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
