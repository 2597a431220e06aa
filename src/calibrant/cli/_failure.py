"""What the command line says when a command cannot go on, and the log of what nobody expected."""

import contextlib
import os
import platform
import re
import secrets
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from calibrant import __version__
from calibrant._input.visible import visible

USAGE, UNEXPECTED = 2, 70
"""Exit codes: what a user can mend, and what calibrant should not have run into (EX_SOFTWARE of sysexits.h)."""

RESUMABLE = ("import", "predict", "apply", "refine")
"""Commands that go on where they were stopped if they are given again."""

PACKAGES = ("torch", "numpy", "scipy", "safetensors", "pillow", "typer", "click", "rich")
"""Packages whose versions a log names."""

_NO_MEMORY = re.compile(r"can't allocate memory|out of memory|Cannot allocate|array is too big", re.IGNORECASE)


def stop(message: str, code: int) -> None:
    """Print a message on the error stream and end the process.

    :param message: what a terminal would obey in it is made visible.
    :param code: the exit code.
    """
    typer.echo(visible(message), err=True)
    sys.exit(code)


def is_lack_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, as Python, numpy or torch say it.

    :param error: any error.
    """
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error))))


def of_memory(error: BaseException) -> str:
    """Return the sentence for memory that ran out.

    :param error: what says so.
    """
    return f"error: expected enough memory; it ran out ({_first_line(error)}). Use smaller images or a larger machine."


def of_model(error: BaseException) -> str | None:
    """Return the sentence for what a model raised, which knows the images that it was given; None for other errors.

    :param error: any error.
    """
    notes = getattr(error, "__notes__", ())
    if not notes:
        return None
    from calibrant.models._answer import RAISED

    note = next((each for each in notes if RAISED in each), None)
    if note is None:
        return None
    name, _, images = note.partition(f": {RAISED} ")
    return (
        f"error: {name}: expected a model that takes images {images}; it raised {type(error).__name__}: "
        f"{_first_line(error)}. Check how many channels it takes, and which sizes; --debug shows where."
    )


def of_system(error: OSError) -> str:
    """Return the sentence for a refusal of the system, which names the file.

    :param error: the refusal.
    """
    named = error.filename if error.filename is not None else "a file"
    advice = "Check the path and the disk space."
    if "://" in str(named):
        advice = "Check the connection and the permissions there, then run the same command again."
    return f"error: {error.strerror or error}: {named}. {advice}"


def logged(error: BaseException, arguments: Sequence[str]) -> str:
    """Write the log of an error that nobody expected, and return the sentence that tells of it.

    :param error: the error.
    :param arguments: of the command line.
    """
    what = f"unexpected error: {type(error).__name__}: {_first_line(error)}."
    seen = "CALIBRANT_DEBUG=1 shows the traceback."
    try:
        path = Path(tempfile.gettempdir()) / f"calibrant-{secrets.token_hex(8)}.log"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # new, no link, and the user's alone
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_log(error, arguments))
    except OSError as refused:
        return f"{what} No log could be written ({refused}); {seen}"
    return (
        f"{what} This is a fault of calibrant, or of code of your own that it ran. What is needed to find it is in "
        f"{path}; {seen}"
    )


def interrupted(arguments: Sequence[str], command: str | None) -> str:
    """Return the message for a user who stops a command: what is kept, and whether it can go on.

    :param arguments: of the command line.
    :param command: the name of the command that ran.
    """
    # The copula sampler is fitted in one go, and keeps nothing on the way.
    if command == "compare" and any(each.partition("=")[0] == "--fits" for each in arguments):
        return "stopped: the calibrators that were fitted are kept; run the same command again to go on."
    if command in RESUMABLE and not (command == "refine" and {"copula", "--method=copula"} & set(arguments)):
        return "stopped: what was finished is kept; run the same command again to go on."
    return "stopped: nothing is kept of what was not finished; the same command begins anew."


def with_owners(message: str, command: str | None, group: Any) -> str:
    """Return a message in which every option that the command lacks is said to be of those that have it.

    :param message: what is reported; checks that several commands share name options of some of them.
    :param command: the name of the command that ran.
    :param group: all commands, as typer makes them.
    """

    def owned(match: re.Match[str]) -> str:
        option = match[0]
        owners = [name for name, each in group.commands.items() if option in _options_of(each)]
        return f"{option} of calibrant {' or '.join(owners)}" if owners and command not in owners else option

    return re.sub(r"(?<![\w-])--[a-z][a-z-]+", owned, message)


def _options_of(command: Any) -> set[str]:
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts)}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no words"])[0].rstrip(".")


def _log(error: BaseException, arguments: Sequence[str]) -> str:
    lines = [f"command line: {[Path(sys.argv[0]).name, *arguments]!r}", f"folder: {_here()}"]
    lines += [f"calibrant {__version__}, Python {platform.python_version()}, {platform.platform()}"]
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            lines.append(f"{name} {version(name)}")
    return "\n".join([*lines, "", *traceback.format_exception(error)])


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError as error:
        return str(error)
