"""The type checker of ``make shapes``: beartype, to which an int is a float, as PEP 484 has it."""

from collections.abc import Callable
from typing import Any, Self

from beartype import BeartypeConf, beartype

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that checks its types, but for ``Self``, which beartype knows in classes as a whole alone.

    :param function: as jaxtyping hands it over, one method at a time.
    """
    hints = getattr(function, "__annotations__", {})
    if Self in hints.values():
        function.__annotations__ = {name: Any if hint is Self else hint for name, hint in hints.items()}
    return _checked(function)
