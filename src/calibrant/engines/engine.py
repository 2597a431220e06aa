"""What an engine is: an executor that says how much to keep in flight, and whose errors are sentences."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any

from calibrant.engines.worker import run, versions
from calibrant.errors import EngineError, PackageError


def package(name: str, extra: str) -> Any:
    """Return a package that an extra of calibrant brings.

    :param name: of the module.
    :param extra: the extra.
    :raises PackageError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise PackageError(
            f"expected the packages of the engine {extra}; {error}. Install them: pip install 'calibrant[{extra}]'."
        ) from error


LOOKS = 2.0
"""Seconds between looks at the workers while a result is waited for."""


class Engine(ABC):
    """An executor over the workers of an engine; leaving its block cancels what is queued.

    A subclass says how a task is started, and what its errors mean.
    """

    name: str
    """How messages call it."""

    @property
    @abstractmethod
    def window(self) -> int:
        """How many tasks to have in flight: twice as many as run at a time, and two."""

    @abstractmethod
    def start(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Start a call on a worker, and return its future.

        :param function: a function of a module.
        :param arguments: what the function is called with.
        """

    @abstractmethod
    def close(self) -> None:
        """Cancel what is queued, and let go of the workers that were started here."""

    @abstractmethod
    def share(self, value: Any) -> Any:
        """Return what takes the place of an argument that many tasks get: itself, where there is nothing better.

        :param value: the argument.
        """

    @abstractmethod
    def of_loss(self, error: BaseException) -> EngineError | None:
        """Return the sentence for workers, or an engine, that were lost; None for an error of a task.

        :param error: what a future raised.
        """

    @abstractmethod
    def look(self) -> None:
        """See whether there are workers still; called now and then while a result is waited for.

        :raises EngineError: there have been none for too long.
        """

    def meaning(self, error: BaseException) -> EngineError | None:
        """Return what an error of the engine itself means; None for one of a task.

        :param error: what a future raised.
        """
        if isinstance(error, ImportError) and getattr(error, "name", None):
            return EngineError(
                f"{self.name}: expected calibrant, and code of your own that it runs, on every worker; {error}. "
                "Install the same packages there."
            )
        return self.of_loss(error)

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Answer":
        """Run a function on a worker, and return the future of its result.

        :param fn: a function of a module.
        :param args: what the function is called with; all of it is pickled.
        """
        return Answer(self, self.start(run, versions(), fn, *args))

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Answer:
    """The future of a task, whose errors are those of the task, or say in a sentence what became of the engine.

    :param engine: what runs the task.
    :param future: the engine's own future.
    """

    def __init__(self, engine: Engine, future: Any) -> None:
        self._engine, self._future = engine, future

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result and return it.

        :param timeout: in seconds; None waits for ever.
        """
        try:
            return self._watched() if timeout is None else self._future.result(timeout)
        except BaseException as error:
            meaning = self._engine.meaning(error)
            if meaning is None:
                raise
            raise meaning from error

    def _watched(self) -> Any:
        while True:
            try:
                return self._future.result(LOOKS)
            except TimeoutError:
                if self._future.done():  # it is the task's own
                    raise
            self._engine.look()

    def cancel(self) -> bool:
        """Give up a task that has not begun."""
        return bool(self._future.cancel())
