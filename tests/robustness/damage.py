"""Damage of many sorts to files, from a generator: bytes, whole files, and the fields of JSON and of headers."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WORDS = ("", "a", "../x", "0", "é", "a" * 300, "\0")
NUMBERS = (0, 1, -1, 2, 255, 2**31, 2**63, 1e30, 0.5)
KINDS: tuple[Any, ...] = (None, True, [], {}, [[]], {"kind": "identity"})


def damage(folder: Path, draw: random.Random) -> str:
    """Damage one file of a folder; return in words how."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    file = draw.choice(files)
    sorts: list[Callable[[Path, random.Random], str]] = [_bit, _bit, _zeros, _cut, _longer, _swap, _gone, _inside]
    if file.suffix == ".json":
        sorts += [_field] * 8
    how = draw.choice(sorts)
    return f"{how.__name__[1:]} of {file.name}: {how(file, draw)}"


def _bit(file: Path, draw: random.Random) -> str:
    content = bytearray(file.read_bytes())
    if not content:
        return "empty"
    place = draw.randrange(len(content))
    content[place] ^= 1 << draw.randrange(8)
    file.write_bytes(content)
    return f"at {place}"


def _zeros(file: Path, draw: random.Random) -> str:
    content = bytearray(file.read_bytes())
    place = draw.randrange(max(1, len(content)))
    content[place : place + 16] = bytes(len(content[place : place + 16]))
    file.write_bytes(content)
    return f"at {place}"


def _cut(file: Path, draw: random.Random) -> str:
    content = file.read_bytes()
    end = draw.randrange(max(1, len(content)))
    file.write_bytes(content[:end])
    return f"after {end}"


def _longer(file: Path, draw: random.Random) -> str:
    file.write_bytes(file.read_bytes() + draw.randbytes(draw.randrange(1, 9)))
    return ""


def _swap(file: Path, draw: random.Random) -> str:
    """Exchange a file with another of its kind, or copy it over that."""
    others = [other for other in sorted(file.parent.glob(f"*{file.suffix}")) if other != file]
    if not others:
        return "alone"
    other = draw.choice(others)
    if draw.random() < 0.5:
        shutil.copyfile(file, other)
        return f"copied over {other.name}"
    aside = file.with_name("aside")
    file.rename(aside)
    other.rename(file)
    aside.rename(other)
    return f"exchanged with {other.name}"


def _gone(file: Path, draw: random.Random) -> str:
    file.unlink()
    return ""


def _inside(file: Path, draw: random.Random) -> str:
    """Exchange two parts of a file."""
    content = bytearray(file.read_bytes())
    size = min(8, len(content) // 2)
    one, other = (
        draw.randrange(len(content) // 2 - size + 1),
        draw.randrange(len(content) // 2, len(content) - size + 1),
    )
    content[one : one + size], content[other : other + size] = content[other : other + size], content[one : one + size]
    file.write_bytes(content)
    return f"{size} at {one} and {other}"


def _field(file: Path, draw: random.Random) -> str:
    """Change, add, remove or double one value of a JSON file."""
    found = json.loads(file.read_text())
    where, name = draw.choice(list(_places(found)))
    sort = draw.choice(("word", "number", "kind", "remove", "add", "double", "near", "deep"))
    old = where[name]
    if sort == "word":
        where[name] = draw.choice(WORDS)
    elif sort == "number":
        where[name] = draw.choice(NUMBERS)
    elif sort == "kind":
        where[name] = draw.choice(KINDS)
    elif sort == "remove":
        del where[name]
    elif sort == "add" and isinstance(where, dict):
        where["more"] = 1
    elif sort == "double" and isinstance(where, list):
        where.insert(int(name), old)
    elif sort == "near" and isinstance(old, int | float) and not isinstance(old, bool):
        where[name] = old + draw.choice((1, -1, 0.1))
    text = json.dumps(found)
    if sort == "deep":
        depth = 100_000
        text = text.replace(json.dumps(old), "[" * depth + "]" * depth, 1)
    elif sort == "double" and isinstance(where, dict) and isinstance(name, str):
        text = text.replace(f"{json.dumps(name)}:", f"{json.dumps(name)}: 1, {json.dumps(name)}:", 1)
    file.write_text(text)
    return f"{sort} {name!r}, was {str(old)[:30]}"


def _places(found: Any) -> Iterator[tuple[Any, Any]]:
    for name, value in list(found.items()) if isinstance(found, dict) else list(enumerate(found)):
        yield found, name
        if isinstance(value, dict | list):
            yield from _places(value)
