"""Processes of this machine, by the standard library."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from calibrant.engines.engine import Engine
from calibrant.errors import EngineError


class Processes(Engine):
    """So many processes of this machine; one that is lost ends the run.

    :param count: how many processes; None for one a core.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count or os.cpu_count() or 1
        self.name = f"processes:{self.count}"
        context = multiprocessing.get_context("spawn")  # threads of the parent would not survive a fork
        self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_leave_stopping_to_the_parent)

    @property
    def window(self) -> int:
        """Twice the processes, and two."""
        return 2 * self.count + 2

    def start(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Start a call in one of the processes.

        :param function: a function of a module.
        :param arguments: what the function is called with.
        """
        return self._pool.submit(function, *arguments)

    def share(self, value: Any) -> Any:
        """Return the argument itself: each task gets a copy of it.

        :param value: the argument.
        """
        return value

    def look(self) -> None:
        """Do nothing: the pool itself fails all tasks when a process is lost."""

    def of_loss(self, error: BaseException) -> EngineError | None:
        """Return the sentence for a process that was lost.

        :param error: what a future raised.
        """
        if isinstance(error, BrokenProcessPool):
            return EngineError(
                f"{self.name}: expected all processes to live; one was ended from outside, for want of memory perhaps. "
                "Run the same command again, with fewer processes; --engine dask does lost work again by itself."
            )
        return None

    def close(self) -> None:
        """Cancel what is queued, and end the processes."""
        running = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def _leave_stopping_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
