"""Parameters that are paths of this machine: an address given for one is refused.

Python makes the path ``s3:/bucket/x`` of ``s3://bucket/x``, which is a folder ``s3:`` here: a result would be written
there, and nobody would find it. Parameters that may be addresses are words.
"""

import inspect
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

_ADDRESS = re.compile(r"([a-z][a-z0-9+.:-]+):/(?!/)", re.IGNORECASE)
"""What is left of an address in a path; one letter would be a drive of Windows."""


def on_this_machine(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command that refuses addresses for its paths.

    :param command: whose parameters that are paths lead to this machine.

    >>> from pathlib import Path
    >>> on_this_machine(lambda output: None)(Path("s3://bucket/measured"))
    Traceback (most recent call last):
    calibrant.errors.InputError: --output: expected a path of this machine; got the address s3://bucket/measured. ...
    """

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        for name, value in inspect.signature(command).bind(*arguments, **options).arguments.items():
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, Path) and (found := _ADDRESS.match(path.as_posix())):
                    _refuse(command, name, f"{found[1]}://{path.as_posix()[found.end() :]}")
        return command(*arguments, **options)

    return run


def _refuse(command: Callable[..., Any], name: str, address: str) -> None:
    from calibrant.errors import InputError

    annotation = str(inspect.signature(command).parameters[name].annotation)
    called = name.upper() if "ArgumentInfo" in annotation else f"--{name.replace('_', '-')}"
    raise InputError(
        f"{called}: expected a path of this machine; got the address {address}. Copy what is there to a disk, or what "
        "is written from one, or mount it."
    )
