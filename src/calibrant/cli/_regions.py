"""Overlapping regions on the command line: a folder of stores, one a region, and commands that run for each of them."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import quote

import typer

RECORD = "regions.json"
"""The file in a folder that names its regions, in the order of the channels."""

_FORMAT = "calibrant regions"


def region_names(place: Any) -> tuple[str, ...]:
    """Return the names of the regions of a folder; empty if it is not one of regions.

    :param place: a path, or an address, of which none has regions.
    :raises DataError: the record is damaged.
    """
    from calibrant._storage.files import parse_json, read_file
    from calibrant.errors import DataError

    if place is None or "://" in str(place) or not (path := Path(place) / RECORD).is_file():
        return ()
    try:
        found = parse_json(read_file(path))
        names = found["regions"]
        if found["format"] != _FORMAT or not names or not all(isinstance(name, str) for name in names):
            raise ValueError("it does not name any")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected the names of regions; {error}. Write them again: calibrant import."
        ) from error
    return tuple(names)


def write_region_names(folder: Path, names: Sequence[str]) -> None:
    """Name the regions of a folder, when all are there.

    :param folder: holds a folder for each.
    :param names: in the order of the channels.
    """
    from calibrant._storage.files import replacing

    with replacing(folder / RECORD) as temporary:
        temporary.write_text(json.dumps({"format": _FORMAT, "regions": list(names)}, indent=1) + "\n", "utf-8")


def in_region(place: Any, name: str) -> Any:
    """Return the folder of one region.

    :param place: the folder of all.
    :param name: of the region.
    """
    return type(place)(Path(place) / quote(name, safe=" "))


def for_each_region(
    *read: str,
    written: Sequence[str] = ("output",),
    files: Sequence[str] = (),
    unless: Callable[[Mapping[str, Any]], bool] = lambda given: False,
) -> Callable[..., Any]:
    """Return a decorator of commands, which run for each region if what they read is a folder of regions.

    :param read: parameters that name stores, calibrators or samplers; those that are no folder of regions stay as they
        are.
    :param written: parameters that name folders of results, which then are folders of regions.
    :param files: parameters that name single files, which get the name of the region before their ending.
    :param unless: tells of arguments that the command takes regions itself.
    """

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def run(*arguments: Any, **options: Any) -> None:
            given = inspect.signature(command).bind(*arguments, **options)
            given.apply_defaults()
            names = _names_in(given.arguments, read)
            if not names or unless(given.arguments):
                command(**given.arguments)
                return
            _run_each(command, given.arguments, names, read, written, files)

        return run

    return decorated


def _names_in(given: Mapping[str, Any], read: Sequence[str]) -> tuple[str, ...]:
    """The regions of what is read.

    :raises InputError: two folders have different ones, or a store without regions is among them.
    """
    from calibrant.errors import InputError

    there = {str(each): region_names(each) for name in read for each in _several(given[name])}
    found = {place: names for place, names in there.items() if names}
    if not found:
        return ()
    first, names = next(iter(found.items()))
    unlike = next((place for place, others in found.items() if others != names), None)
    plain = next((str(each) for each in _several(given[read[0]]) if not there[str(each)]), None)
    if unlike or plain:
        raise InputError(
            f"expected the regions {', '.join(names)} of {first} everywhere; got {unlike or plain} with "
            f"{', '.join(there[unlike or plain or '']) or 'none'}. Name folders of the same regions."
        )
    return names


def _several(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _run_each(
    command: Callable[..., Any],
    given: Mapping[str, Any],
    names: Sequence[str],
    read: Sequence[str],
    written: Sequence[str],
    files: Sequence[str],
) -> None:
    """Run a command for each region; where conditions were broken in one, the others are run all the same."""
    from calibrant.cli._console import console, is_standard_output
    from calibrant.errors import InputError

    for name in files:
        if is_standard_output(given[name]):
            raise InputError(
                f"expected a file for --{name}, as {len(names)} regions have one each; got the standard output. Name "
                "one: the name of the region is added to it."
            )
    if given.get("part") is not None:
        raise InputError("expected no --part for a folder of regions; got it. Run the command for the store of each.")
    for name in written:
        if "://" in str(given[name]):
            raise InputError(
                f"expected a folder of this machine for --{name}, as {len(names)} regions have one each in it; got "
                f"{given[name]}. Run the command for the store of each."
            )
    code = 0
    for region in names:
        changed: dict[str, Any] = {}
        for name in read:
            value = given[name]
            own = [in_region(each, region) if region_names(each) else each for each in _several(value)]
            changed[name] = own if isinstance(value, list) else (own[0] if own else None)
        changed |= {name: in_region(given[name], region) for name in written if given[name] is not None}
        for name in files:
            if (path := given[name]) is not None:
                changed[name] = path.with_name(f"{path.stem}-{quote(region, safe=' ')}{path.suffix}")
        console.print(f"region {region}", highlight=False)
        try:
            command(**{**given, **changed})
        except typer.Exit as stopped:
            code = max(code, stopped.exit_code)
    for place in (given[name] for name in written):
        if place is not None and "://" not in str(place):
            write_region_names(Path(place), names)
    if code:
        raise typer.Exit(code)


def parse_regions(text: str) -> dict[str, tuple[int, ...]]:
    """Return the label numbers of regions, by name.

    :param text: such as ``whole=1+2+3,core=2+3,enhancing=3``.
    :raises InputError: it is no such text, or a name is there twice.

    >>> parse_regions("whole=1+2+3, core=2+3")
    {'whole': (1, 2, 3), 'core': (2, 3)}
    """
    from calibrant.errors import InputError

    found: dict[str, tuple[int, ...]] = {}
    for part in text.split(","):
        name, _, numbers = (each.strip() for each in part.partition("="))
        if not name or name in found or not all(n.strip().isdecimal() for n in numbers.split("+")):
            raise InputError(
                "expected regions as names and the labels that they consist of, such as whole=1+2+3,core=2+3; got "
                f"{part.strip()!r} in {text!r}. Name each region once, in the order of the channels."
            )
        found[name] = tuple(int(number) for number in numbers.split("+"))
    return found
