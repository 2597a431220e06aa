"""What the results of commands are made from, and where they may go."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from calibrant.methods import Method

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the result of another command that is there.")]
"""The option that lets another result be replaced."""


def method_origin(method: "Method") -> dict[str, str]:
    """Return what a method is: its fit with all options that are set, and the digest of code of the user's own.

    :param method: as it was parsed.
    """
    from calibrant._input.own_code import source_file
    from calibrant._storage.origin import digest_of_code

    own = {fit.__module__: fit for fit in _functions(method.fit) if fit.__module__.partition(".")[0] != "calibrant"}
    files = {name: source_file(fit) for name, fit in own.items()}
    code = {f"code of {name}": digest_of_code(file) for name, file in files.items() if file is not None}
    return {"method": _words(method.fit), **code}


def code_origin(names: Iterable[str]) -> dict[str, str]:
    """Return the digest of code by the names that the user gave it.

    :param names: ``module:name``, ``path/to/file.py:name`` or modules.
    """
    from calibrant._input.own_code import file_of, names_code
    from calibrant._storage.origin import digest_of_code

    files = {name: file_of(name.rpartition(":")[0] if names_code(name) else name) for name in names}
    return {f"code of {name}": digest_of_code(file) for name, file in files.items() if file is not None}


def calibrator_origin(path: str | os.PathLike[str] | None, kinds: Iterable[str] | None) -> dict[str, str]:
    """Return the digest of a stored calibrator, and of the code of its classes of the user's own; empty for None.

    :param path: its folder, or address.
    :param kinds: what ``--kinds`` named.
    """
    from calibrant.calibrators.storage import STORAGE

    return {} if path is None else {"calibrator": STORAGE.digest(path), **code_origin(kinds or ())}


def sampler_origin(path: str | os.PathLike[str] | None, kinds: Iterable[str] | None) -> dict[str, str]:
    """Return the digest of a stored sampler, and of the code of its classes of the user's own; empty for None.

    :param path: its folder, or address.
    :param kinds: what ``--kinds`` named.
    """
    from calibrant.samplers.storage import STORAGE

    return {} if path is None else {"sampler": STORAGE.digest(path), **code_origin(kinds or ())}


def check_outside(output: str | os.PathLike[str] | None, *inputs: str | os.PathLike[str] | None) -> None:
    """Raise if a result would be written into a store or a folder that it is made from.

    :param output: where it is to go; None for nowhere.
    :param inputs: folders or files that are read; None for none.
    :raises InputError: the output is one of the inputs, or lies in one.
    """
    from calibrant.errors import InputError

    if output is None or "://" in str(output):
        return
    place = Path(os.path.realpath(output))
    for each in inputs:
        if each is None or "://" in str(each):
            continue
        source = Path(os.path.realpath(each))
        if place == source or source in place.parents:
            raise InputError(
                f"expected another place for the result than what it is made from; got {output}, in {each}. "
                "Choose a new one."
            )


def _functions(fit: Any) -> Iterator[Callable[..., Any]]:
    """The functions of a fit and of those among its options."""
    if isinstance(fit, partial):
        yield from _functions(fit.func)
        for value in fit.keywords.values():
            yield from _functions(value)
    elif isinstance(fit, tuple):
        for each in fit:
            yield from _functions(each)
    elif callable(fit) and hasattr(fit, "__module__"):
        yield fit


def _words(value: Any) -> str:
    """A fit, or an option of it, in words that are the same in every process."""
    if isinstance(value, partial):
        set_ = ", ".join(f"{name}={_words(each)}" for name, each in sorted(value.keywords.items()))
        return f"{_words(value.func)}({set_})" if set_ else _words(value.func)
    if isinstance(value, tuple):
        return " + ".join(map(_words, value))
    if callable(value) and hasattr(value, "__qualname__"):
        owner = getattr(value, "__self__", None)
        name = value.__qualname__ if owner is None else f"{getattr(owner, '__qualname__', '')}.{value.__name__}"
        return f"{value.__module__}.{name}"
    return repr(value)
