"""A folder on disk or at a URL, in which a file is there whole or not at all."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Generator
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from calibrant._storage.files import check_regular, only_writer, remove_leftovers, replacing
from calibrant.errors import StoreError

UNREACHED = "Check the connection and the permissions there, then run the same command again."


class Place:
    """A flat folder: local paths, ``file://``, ``memory://``, and whatever else fsspec can reach.

    :raises StoreError: nothing installed can reach such an address.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.url = os.fspath(url)
        try:
            self._fs, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"{self.url}: expected a folder or an address that fsspec can reach; {error}. "
                "Check the part before '://', or install the package for it."
            ) from error
        self._root = root.rstrip("/") if len(root) > 1 else root
        self.is_local = isinstance(self._fs, LocalFileSystem)
        protocols = self._fs.protocol
        self._is_web = not {"http", "https"}.isdisjoint([protocols] if isinstance(protocols, str) else protocols)

    def is_same_as(self, other: "Place") -> bool:
        """Tell whether two addresses lead to one folder."""
        return type(self._fs) is type(other._fs) and self._root == other._root

    def name(self, file: str) -> str:
        """Return the full name of a file, for messages."""
        return f"{self.url.rstrip('/')}/{file}"

    def local_path(self, file: str) -> Path:
        """Return the path of a file in a local folder."""
        return Path(self._root) / file

    def is_folder(self) -> bool:
        """Tell whether there is such a folder (or, in a bucket, anything below the address).

        :raises OSError: a server gave no answer.
        """
        return self._kind(self._root) == "directory"

    def is_file(self) -> bool:
        """Tell whether a file stands where a folder is expected.

        Over HTTP whatever answers is a file, folders among them, so that this says nothing there.

        :raises OSError: a server gave no answer.
        """
        return not self._is_web and self._kind(self._root) == "file"

    def has(self, file: str) -> bool:
        """Tell whether there is a file of this name.

        :raises OSError: a server gave no answer.
        """
        return self._kind(self._path(file)) is not None

    def _kind(self, path: str) -> str | None:
        """What lies at a path: a file, a directory or another thing; None for nothing."""
        try:
            return self._asked(path, lambda: self._fs.info(path))["type"]
        except FileNotFoundError:
            return None
        except OSError:
            if self.is_local:  # nothing that could be looked at
                return None
            raise

    def sizes(self) -> dict[str, int]:
        """Return the names of the visible files and their sizes in bytes; nothing if there is no folder."""
        self._fs.invalidate_cache()
        try:
            found = self._asked(self._root, lambda: self._fs.ls(self._root, detail=True))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            advice = "Check the file permissions." if self.is_local else UNREACHED
            raise StoreError(f"{self.url}: expected a folder that can be listed; got {error}. {advice}") from error
        files = ((item["name"].rstrip("/").rsplit("/", 1)[-1], item) for item in found)
        return {name: item["size"] or 0 for name, item in files if not name.startswith(".")}

    def size(self, file: str) -> int:
        """Return the size of one file in bytes.

        :raises FileNotFoundError: there is none.
        :raises OSError: a server gave no answer.
        """
        path = self._path(file)
        return self._asked(path, lambda: self._fs.info(path))["size"]

    def read(self, file: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return the bytes of a file, or some of them.

        :raises OSError: it is missing, or cannot be read, or is a pipe or a device.
        """
        self.check_regular(file)
        path = self._path(file)
        return self._asked(path, lambda: self._fs.cat_file(path, start=start, end=end))

    def _asked(self, path: str, request: Callable[[], Any]) -> Any:
        """Return the answer to a request. Whatever fails between here and a server is an OSError, as on a disk.

        :raises FileNotFoundError: there is no such file.
        :raises OSError: another answer came, or none; it names the address.
        """
        if self.is_local:
            return request()
        try:
            return request()
        except Exception as error:
            cause = error.__cause__ if isinstance(error, FileNotFoundError) else None
            missing = cause is None or isinstance(cause, KeyError) or getattr(cause, "status", 0) == 404
            if isinstance(error, FileNotFoundError) and missing:
                raise
            words = f"{type(cause or error).__name__}: {cause or error}".rstrip(": ")
            raise OSError(errno.EIO, words, self._fs.unstrip_protocol(path)) from error

    def open(self, file: str) -> BufferedIOBase:
        """Open a file to read parts of it; one in a bucket is read whole first.

        :raises OSError: it is missing, or cannot be read, or is a pipe or a device.
        """
        if not self.is_local:
            return BytesIO(self.read(file))
        self.check_regular(file)
        return self.local_path(file).open("rb")

    def check_regular(self, file: str) -> None:
        """Raise unless a local file is one that can be read from beginning to end.

        :raises OSError: it is missing, or a folder, a pipe, a device.
        """
        if self.is_local:
            check_regular(self.local_path(file))

    @contextlib.contextmanager
    def only_writer(self) -> Generator[None]:
        """Keep others from writing here until the block ends; in a bucket nobody is kept out.

        :raises StoreError: another process is writing here.
        """
        with contextlib.ExitStack() as stack:
            if self.is_local and not self.is_file():
                try:
                    stack.enter_context(only_writer(self._root))
                except BlockingIOError as error:
                    raise StoreError(
                        f"{self.url}: expected to be the only one who writes here; another process is writing. Wait "
                        "until it has ended, or write to another folder."
                    ) from error
                except OSError:  # the first file that cannot be written is named by its error
                    pass
            yield

    def write(self, file: str, content: bytes) -> None:
        """Write a file whole or not at all: on a disk by renaming, in a bucket by a single request.

        :raises OSError: the disk is full, or may not be written to; nothing is left behind.
        """
        if self.is_local:
            with replacing(self.local_path(file), sweep=False) as temporary:
                temporary.write_bytes(content)
        else:
            self._asked(self._root, lambda: self._fs.makedirs(self._root, exist_ok=True))
            path = self._path(file)
            self._asked(path, lambda: self._fs.pipe_file(path, content))

    @contextlib.contextmanager
    def rewriting(self, file: str) -> Generator[BufferedIOBase]:
        """Yield an empty file of a local folder to write to and read from, which is there under its name at the end.

        :raises OSError: the disk is full, or may not be written to; nothing is left behind.
        """
        with replacing(self.local_path(file), sweep=False) as temporary, temporary.open("rb+") as out:
            yield out

    def remove(self, file: str) -> None:
        """Remove a file; nothing happens if there is none."""
        with contextlib.suppress(FileNotFoundError):
            path = self._path(file)
            self._asked(path, lambda: self._fs.rm_file(path))

    def sweep(self, pattern: str | None = None) -> None:
        """Remove the temporary files of a write that was killed; only who alone writes here may do so.

        :param pattern: of the names of further files that are nobody's.
        """
        if self.is_local:
            remove_leftovers(self._root)
            for path in Path(self._root).glob(pattern) if pattern else ():
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def _path(self, file: str) -> str:
        return f"{self._root.rstrip('/')}/{file}"


@contextlib.contextmanager
def sent_to(address: str | os.PathLike[str]) -> Generator[Path]:
    """Yield the path of a file to write: that which is asked for, or one that is sent to an address in the end.

    :param address: a path, or the address of a file in a folder or bucket; what is there is replaced.
    :raises StoreError: nothing installed can reach such an address, or it names no file.
    :raises OSError: it could not be sent.

    >>> with sent_to("memory://bucket/page.html") as path:
    ...     _ = path.write_text("<html>")
    >>> Place("memory://bucket").read("page.html")
    b'<html>'
    """
    if "://" not in str(address):
        yield Path(address)
        return
    folder, _, name = str(address).rpartition("/")
    if not name or folder.endswith("/"):
        raise StoreError(f"{address}: expected the address of a file, such as {address}/report.html; it names none.")
    place = Place(folder)
    with tempfile.TemporaryDirectory() as here:
        yield Path(here) / name
        place.write(name, (Path(here) / name).read_bytes())
