"""Every function, class and method that a user can name: what the tests of docstrings and of arguments walk."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import calibrant

MODULES = [f"calibrant.{name}" for name in calibrant.__all__ if name != "IGNORE"]


@dataclass(frozen=True)
class Public:
    """A public callable: where it is found, what it takes (without self), and its docstring."""

    address: str
    parameters: tuple[inspect.Parameter, ...]
    doc: str

    @property
    def named(self) -> list[inspect.Parameter]:
        """The parameters, without ``*args`` and ``**kwargs``."""
        return [p for p in self.parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def public_callables() -> Iterator[Public]:
    """Yield each once, by the package it is exported from; methods at the class that defines them."""
    seen: set[object] = set()
    for module in map(import_module, MODULES):
        for name in module.__all__:
            value = getattr(module, name)
            if not callable(value) or not _is_ours(value) or value in seen:
                continue
            seen.add(value)
            address = f"{module.__name__}.{name}"
            if inspect.isclass(value):
                yield from _class(address, value)
            else:
                yield _public(address, value)


def _is_ours(value: object) -> bool:
    return (getattr(value, "__module__", None) or "").startswith("calibrant") and hasattr(value, "__qualname__")


def _class(address: str, cls: type) -> Iterator[Public]:
    if not issubclass(cls, BaseException) and not getattr(cls, "_is_protocol", False):
        yield Public(address, tuple(inspect.signature(cls).parameters.values()), inspect.getdoc(cls) or "")
    for name, value in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(value, classmethod | staticmethod):
            yield _public(f"{address}.{name}", getattr(cls, name), cls)
        elif inspect.isfunction(value):
            yield _public(f"{address}.{name}", value, cls, own=1)


def _public(address: str, function: Callable[..., Any], cls: type | None = None, own: int = 0) -> Public:
    parameters = tuple(inspect.signature(function).parameters.values())[own:]
    doc = inspect.getdoc(function) or ""
    for base in cls.__mro__[1:] if cls else ():  # what a method of the base says of a parameter need not be said again
        if _is_ours(base) and (inherited := vars(base).get(function.__name__)):
            doc += "\n" + "\n".join(line for line in (inspect.getdoc(inherited) or "").splitlines() if ":param" in line)
    return Public(address, parameters, doc)


def check_against(faults: set[str], allowed: Path) -> None:
    """Raise unless the faults are those of a list that may only shrink."""
    known = set(allowed.read_text("utf-8").splitlines())
    new, mended = sorted(faults - known), sorted(known - faults)
    assert not new, f"{len(new)} faults that are not in {allowed.name}:\n" + "\n".join(new)
    assert not mended, (
        f"{len(mended)} lines of {allowed.name} are no longer needed; take them out "
        f"(python tests/shrink_lists.py does):\n" + "\n".join(mended)
    )
