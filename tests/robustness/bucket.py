"""A bucket whose requests can fail: a file system of fsspec that keeps its objects in a folder, and has no folders.

As in object stores a whole object is written or none, and a folder is there where an object's name begins with it.
"""

import os
from pathlib import Path
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from fsspec.exceptions import FSTimeoutError

READS = ("ls", "info", "cat_file")


class ResponseError(Exception):
    """As libraries of the web raise, which know nothing of OSError."""


FAILURES = {
    "reset": lambda path: ConnectionResetError("Connection reset by peer"),
    "timeout": lambda path: FSTimeoutError(),
    "forbidden": lambda path: PermissionError("Forbidden"),
    "response": lambda path: ResponseError("503, message='Slow Down'"),
    "missing": lambda path: FileNotFoundError(path),
    "cut": lambda path: ResponseError("payload is not completed"),
    "lost answer": lambda path: FSTimeoutError(),
}
"""What a request ends with: a read may miss an object, or half of it; a write may be done, and its answer lost."""


class Bucket(AbstractFileSystem):
    """The bucket.

    The variables of the environment ``BUCKET``, ``BUCKET_FAILS_AT`` and ``BUCKET_FAILS_BY`` name the folder, the number
    of the request that fails, from 1, and how.
    """

    protocol = "bucket"
    cachable = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.folder = Path(os.environ["BUCKET"])
        self.log = self.folder.with_suffix(".log")

    def _requested(self, sort: str, path: str) -> tuple[str, str]:
        """Count a request; raise if it is to fail before anything is done, else return how it fails and the name."""
        name = self._strip_protocol(path)
        with self.log.open("a") as log:
            log.write(f"{sort} {name}\n")
        fails = len(self.log.read_text().splitlines()) == int(os.environ.get("BUCKET_FAILS_AT", "0"))
        how = os.environ["BUCKET_FAILS_BY"] if fails else ""
        if how and not (how == "lost answer" and sort not in READS) and not (how == "cut" and sort == "cat_file"):
            raise FAILURES[how](path)
        return how, name

    def _object(self, name: str) -> Path:
        return self.folder / name.replace("/", "%")

    def ls(self, path, detail=True, **_):
        _, name = self._requested("ls", path)
        names = [file.name.replace("%", "/") for file in sorted(self.folder.iterdir())]
        found = [each for each in names if each.rpartition("/")[0] == name]
        if not found:
            raise FileNotFoundError(path)
        return [self._told(each) for each in found] if detail else found

    def info(self, path, **_):
        _, name = self._requested("info", path)
        if self._object(name).is_file():
            return self._told(name)
        if any(file.name.startswith(f"{name}/".replace("/", "%")) for file in self.folder.iterdir()):
            return {"name": name, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def _told(self, name: str) -> dict[str, Any]:
        return {"name": name, "size": self._object(name).stat().st_size, "type": "file"}

    def cat_file(self, path, start=None, end=None, **_):
        how, name = self._requested("cat_file", path)
        content = self._object(name).read_bytes()[start:end]
        return content[: len(content) // 2] if how else content

    def pipe_file(self, path, value, mode="overwrite", **_):
        how, name = self._requested("pipe_file", path)
        self._object(name).write_bytes(value)
        if how:
            raise FAILURES[how](path)

    def rm_file(self, path):
        how, name = self._requested("rm_file", path)
        self._object(name).unlink()
        if how:
            raise FAILURES[how](path)

    def makedirs(self, path, exist_ok=False):
        pass


def open_bucket() -> None:
    """Make the addresses ``bucket://…`` known."""
    fsspec.register_implementation("bucket", Bucket, clobber=True)
