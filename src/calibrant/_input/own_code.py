"""Python code that the user names: ``module:name`` or ``path/to/file.py:name``, imported only when named.

A name in a file that calibrant reads is never imported. On the command line, and in functions that take ``trust_code``,
code runs only where the user allows it, since a name may have been copied from somewhere.
"""

import importlib
import importlib.util
import inspect
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from calibrant.errors import DataError, InputError

PATTERN = r"[\w./\\-]+:[A-Za-z_][\w.]*"
"""What names an object in code: a module, or a path of a Python file, a colon, and a dotted name."""


def names_code(text: str) -> bool:
    """Return whether a text has the form of a name in code.

    >>> names_code("mine:Shift.fit"), names_code("path/to/mine.py:Shift.fit"), names_code("vector:strength=0.1")
    (True, True, False)
    """
    return re.fullmatch(PATTERN, text) is not None


def import_named(name: str) -> Any:
    """Return the object of a name, running the code of its module.

    Modules are looked for in the working directory, too, as ``python -m`` does.

    :param name: ``module:name`` or ``path/to/file.py:name``, where the name may be dotted (``Class.method``).
    :raises DataError: there is no such module, or nothing of that name in it.

    >>> import_named("math:pi")
    3.141592653589793
    """
    where, _, attribute = name.rpartition(":")
    try:
        found: Any = import_module(where)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, OSError) as error:
        raise DataError(
            f"{name}: expected {attribute!r} in the Python module {where!r}; {error}. Run the command from the folder "
            "that holds the module, or write the path of its file: path/to/file.py:function."
        ) from error
    return found


def import_module(where: str) -> ModuleType:
    """Return a module by its dotted name or by the path of its file, running its code.

    :raises ImportError, OSError: there is none.
    """
    if where.endswith(".py"):
        return _module_of_file(Path(where))
    sys.path.insert(0, os.getcwd())  # as python -m does; a script that was installed does not
    try:
        return importlib.import_module(where)
    finally:
        sys.path.remove(os.getcwd())


def file_of(where: str) -> Path | None:
    """Return the file of a module that was imported by :func:`import_module`; None if it has none.

    :param where: its dotted name, or the path of its file.
    """
    if where.endswith(".py"):
        return Path(where)
    return source_file(sys.modules.get(where))


def source_file(thing: Any) -> Path | None:
    """Return the Python file that a module, class or function is from; None if it is from none.

    :param thing: the module, class or function.
    """
    try:
        return Path(inspect.getsourcefile(thing) or "") if thing is not None else None
    except (TypeError, OSError):
        return None


def must_trust(what: str, because: str) -> InputError:
    """Return the error for code that the user has not allowed to run.

    :param what: the model, the fit or the file that comes with code.
    :param because: what the code is, as a main clause.
    """
    return InputError(
        f"{what}: expected permission to run code that is not calibrant's; {because}. If you trust where it comes "
        "from, pass trust_code=True (command line: --trust)."
    )


def _module_of_file(path: Path) -> ModuleType:
    """The module of a file; one that is imported already is not run again."""
    name, file = path.stem, str(path.resolve())
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == file:
        return known
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or found.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    module = importlib.util.module_from_spec(found)
    if known is None:
        sys.modules[name] = module  # dataclasses look their module up
    try:
        found.loader.exec_module(module)
    except BaseException:
        if known is None:
            del sys.modules[name]
        raise
    return module
