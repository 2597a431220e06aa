"""Engines by the words that open them."""

from calibrant.engines.dask import Dask
from calibrant.engines.engine import Engine
from calibrant.engines.processes import Processes
from calibrant.engines.ray import Ray
from calibrant.errors import InputError

KNOWN = "processes:8, dask, dask:tcp://host:8786, dask:scheduler.json, ray, ray:auto, ray:ray://host:10001"


def open_engine(text: str) -> Engine:
    """Open an engine: an executor to be used as a context manager.

    ``processes:8`` starts eight processes here. ``dask`` starts a cluster of Dask here, one process a core
    (``dask:2``: two), which only this machine can reach; ``dask:tcp://host:8786`` and ``dask:tls://host:8786`` use one
    that is there, as ``dask:scheduler.json`` does, by its scheduler file. ``ray`` starts Ray here, ``ray:auto`` uses
    the one on this machine, ``ray:ray://host:10001`` another.

    :param text: the word.
    :raises InputError: there is no such engine.
    :raises PackageError: its package is not installed.
    :raises EngineError: it cannot be reached, or has no workers.

    >>> with open_engine("processes:2") as engine:
    ...     engine.window
    6
    """
    word, colon, rest = text.partition(":")
    if word == "processes" and (not rest or (rest.isdecimal() and int(rest) > 0)):
        return Processes(int(rest) if rest else None)
    if word in ("dask", "ray") and (rest or not colon):
        return Dask(rest) if word == "dask" else Ray(rest)
    raise InputError(f"expected an engine, such as {KNOWN}; got {text!r}. Choose one of them.")


def is_remote(text: str) -> bool:
    """Tell whether an engine's workers may run on other machines, where a relative path leads elsewhere.

    :param text: the word that opens the engine.

    >>> is_remote("dask:tcp://head:8786"), is_remote("dask:4"), is_remote("ray:auto")
    (True, False, True)
    """
    word, _, place = text.partition(":")
    return word in ("dask", "ray") and bool(place) and not place.isdecimal()
