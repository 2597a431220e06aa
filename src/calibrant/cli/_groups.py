"""Groups of images on the command line: from their keys, or from a file."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calibrant.methods import Method


def groups_of(text: str | None, keys: Sequence[str], method: "Method") -> dict[str, Any]:
    """Return the keyword of a fit that says the group of each image; empty if none were named.

    :param text: a file with a key and a group on each line, or a regular expression whose match is the group: its
        first group in parentheses, if it has one.
    :param keys: the names of the images.
    :param method: must be one that leaves whole groups out.
    :raises InputError: the method does not, there is no such file or expression, or an image has no group.
    """
    from calibrant.errors import InputError

    if text is None:
        return {}
    if "groups" not in method.parameters:
        raise InputError(
            f"expected --groups with a method that leaves groups out, such as stacked; got it with {method.title}. "
            "Leave it out."
        )
    found = _from_file(Path(text)) if Path(text).is_file() else _from_keys(text, keys)
    missing = [key for key in keys if key not in found]
    if missing:
        raise InputError(
            f"expected --groups to name a group for every image; {missing[0]!r} has none ({len(missing)} of "
            f"{len(keys)}). Add it to the file, or widen the expression."
        )
    return {"groups": {key: found[key] for key in keys}}


def _from_file(path: Path) -> dict[str, str]:
    from calibrant.errors import InputError

    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.reader(stream) if row]
    wrong = next((number for number, row in enumerate(rows, 1) if len(row) != 2), None)
    if wrong is not None:
        raise InputError(
            f"{path}: expected a key, a comma and a group on each line; got {','.join(rows[wrong - 1])!r} on line "
            f"{wrong}. Write one pair a line."
        )
    return {key: group.strip() for key, group in rows}


def _from_keys(pattern: str, keys: Sequence[str]) -> dict[str, str]:
    from calibrant.errors import InputError

    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"expected --groups to be a file that is there, or a regular expression; got {pattern!r}: {error}."
        ) from error
    matches = {key: compiled.search(key) for key in keys}
    return {key: match[1 if compiled.groups else 0] for key, match in matches.items() if match}
