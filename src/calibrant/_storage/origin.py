"""What a result was made from, so that an old one is never taken for the answer to a changed question.

A command records, beside what it writes, a flat mapping from names to values: options in words, and the digests of
files, code and stored things (``made_from``). Run again, it compares the mapping there with that of its own question:
alike, the result that is there is the answer; unlike, one sentence says what differs.
"""

import ast
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from calibrant.errors import StoreError

Origin = Mapping[str, str]
"""Names of options, files, code and stored things, and their values or digests."""

ANEW = "Pass --overwrite to replace it, or write to another place (-o)."
NOTHING = "not set"
_DIGEST = "sha256:"


def digest_of_bytes(*parts: bytes) -> str:
    """Return the digest of bytes, in the form that :func:`differences` knows as a digest.

    >>> digest_of_bytes(b"a") == digest_of_bytes(b"a") != digest_of_bytes(b"b")
    True
    """
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return _DIGEST + total.hexdigest()


def canonical(value: Any) -> bytes:
    """Return what JSON can hold as bytes that do not depend on the order of keys.

    >>> canonical({"b": 1, "a": [2]})
    b'{"a":[2],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def digest_of_files(paths: Iterable[Path]) -> str:
    """Return the digest of the paths, sizes and times of change of files, which are not read.

    :param paths: the files; one that is missing counts as such.
    """
    return digest_of_bytes(*(part for path in paths for part in _stat(path)))


def digest_of_contents(paths: Iterable[Path]) -> str:
    """Return the digest of the names and the contents of files.

    :param paths: the files, all readable.
    """
    return digest_of_bytes(*(part for path in paths for part in (path.name.encode(), _sha256(path))))


def digest_of_code(file: Path) -> str:
    """Return the digest of a Python file and of those beside or below it that it imports, directly or not.

    :param file: the file of the module.

    >>> digest_of_code(Path(__file__)).startswith("sha256:")
    True
    """
    found: dict[Path, bytes] = {}
    waiting = [file.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = path.read_bytes()
            waiting.extend(_imported(found[path], path.parent))
    return digest_of_bytes(*(part for path in sorted(found) for part in (path.name.encode(), found[path])))


def options_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the options of a command that are set, in words.

    :param options: by name, without dashes; None, False and an empty text count as not set.

    >>> options_of({"flip": True, "crop": None, "seed": 0})
    {'--flip': 'True', '--seed': '0'}
    """
    return {f"--{name}": str(v) for name, v in options.items() if v is not None and v is not False and v != ""}


def files_in(value: Any) -> list[Path]:
    """Return the files that a source names, in order: paths in sequences, mappings and dataclasses, however deep.

    :param value: a source such as ``FolderPredictions``, ``FileExamples``, or one of them mapped.
    """
    if isinstance(value, Path):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    elif is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in fields(value)]
    return [file for part in value for file in files_in(part)] if isinstance(value, list | tuple) else []


def files_below(folder: Path, keep: Callable[[Path], bool] = lambda _: True) -> list[Path]:
    """Return all files in and below a folder, or the file itself, sorted.

    :param folder: what is looked through; hidden files and folders are passed over.
    :param keep: tells of a path whether it counts.
    """
    if not folder.is_dir():
        return [folder]
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and keep(Path(where, name))]
        found += [Path(where, name) for name in names if not name.startswith(".") and keep(Path(where, name))]
    return sorted(found)


def differences(there: Origin, now: Origin) -> str:
    """Return in words where two origins differ; empty if nowhere.

    :param there: what a result was made from.
    :param now: what it would be made from now.

    >>> differences({"seed": "0", "store": "sha256:1"}, {"seed": "1", "store": "sha256:2"})
    'seed is 0 there and 1 now; not the same store'
    """
    parts = []
    for name in {**there, **now}:
        one, other = there.get(name, NOTHING), now.get(name, NOTHING)
        if one != other and one.startswith(_DIGEST) and other.startswith(_DIGEST):
            parts.append(f"not the same {name}")
        elif one != other:
            parts.append(f"{name} is {_short(one)} there and {_short(other)} now")
    return "; ".join(parts)


def check_same(where: object, there: Origin | None, now: Origin, what: str = "result") -> None:
    """Raise unless what is there is the answer to the question that is asked now.

    :param where: names it.
    :param there: what it was made from; None if it does not say.
    :param now: what it would be made from now.
    :param what: the sort of thing.
    :raises StoreError: naming what differs.
    """
    if there is None:
        raise StoreError(
            f"{where}: holds a {what} that does not say what it was made from, so nobody knows whether it answers "
            f"this command. {ANEW}"
        )
    unlike = differences(there, now)
    if unlike:
        raise StoreError(f"{where}: holds the {what} of another command: {unlike}. {ANEW}")


def checked(found: Any) -> dict[str, str] | None:
    """Return an origin as a file has it, or None for none.

    :raises ValueError: it is no mapping from words to words.
    """
    if found is None:
        return None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("made_from is no mapping from names to words")
    return found


def _stat(path: Path) -> tuple[bytes, ...]:
    try:
        about = path.stat()
    except OSError:
        return os.path.abspath(path).encode(errors="surrogateescape"), b"missing"
    return (
        os.path.abspath(path).encode(errors="surrogateescape"),
        f"{about.st_size} {about.st_mtime_ns}".encode(),
    )


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _imported(source: bytes, folder: Path) -> list[Path]:
    """The files beside or below a module that it imports."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    names: list[tuple[Path, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(folder, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = folder if node.level < 2 else folder.parents[node.level - 2]
            names += [(base, node.module or "")]
            names += [(base, f"{node.module}.{alias.name}" if node.module else alias.name) for alias in node.names]
    parts = [base.joinpath(*name.split(".")) for base, name in names if name]
    files = (each for part in parts for each in (part.with_suffix(".py"), part / "__init__.py"))
    return [file.resolve() for file in files if file.is_file()]


def _short(value: str) -> str:
    if value.startswith(_DIGEST):
        return "given"
    return value if len(value) <= 80 else f"{value[:77]}…"
