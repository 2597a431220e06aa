"""What a fit has to say: kept in the calibrator's ``notes``, and a warning only in the fit that the user asked for."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger("calibrant")

_is_inner: ContextVar[bool] = ContextVar("_is_inner", default=False)


@contextmanager
def inner_fits() -> Generator[None]:
    """Let fits within not warn: they are parts of another fit, or made for a choice. Their notes are kept.

    >>> with inner_fits():
    ...     warn_and_note("not enough images")
    'not enough images'
    """
    before = _is_inner.set(True)
    try:
        yield
    finally:
        _is_inner.reset(before)


def stopped_short(name: str, evaluations: int, converged: bool) -> tuple[str, ...]:
    """Return the note that a fit ended before its optimum, if so.

    :param name: what was fitted.
    :param evaluations: passes over the pixels that it took.
    :param converged: whether it ended at its optimum.
    """
    if converged:
        return ()
    return (warn_and_note(f"{name} stopped short of its optimum after {evaluations} passes over the pixels."),)


def warn_and_note(text: str) -> str:
    """Return the text, to be kept in ``notes``; warn of it in the log ``calibrant``, unless in an inner fit."""
    if not _is_inner.get():
        log.warning(text)
    return text
