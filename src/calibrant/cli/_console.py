"""What commands share: reading stores with a bar, naming methods, saying what was done."""

import logging
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from calibrant._files import replacing

console = Console(width=None if sys.stdout.isatty() else 160)  # tables in a file need no narrow columns
aside = Console(stderr=True)


@contextmanager
def bars() -> Generator[Progress]:
    """Show progress bars on the error stream; what the library logs meanwhile is shown above them."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=aside, transient=True) as progress:
        handler = _OnBar(progress)
        logger = logging.getLogger("calibrant")
        logger.addHandler(handler)
        level = logger.level
        logger.setLevel(logging.INFO)
        try:
            yield progress
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


class _OnBar(logging.Handler):
    """Shows steps of a long fit beside the running bar, and warnings on lines of their own."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.progress.console.print(f"[yellow]note:[/] {record.getMessage()}", highlight=False)
        elif self.progress.tasks:
            task = self.progress.tasks[-1]
            title = task.fields.get("title", task.description)
            self.progress.update(task.id, description=f"{title} [dim]{record.getMessage()}[/]", title=title)


@dataclass
class WithProgress:
    """Predictions that move a bar while they are read, in order or by number."""

    predictions: Any
    progress: Progress
    title: str
    _task: TaskID | None = None

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[Any]:
        self._done()
        for prediction in self.predictions:
            self._start()
            yield prediction
            self._advance()
        self._done()

    def __getitem__(self, i: int, /) -> Any:
        self._start()
        item = self.predictions[i]
        self._advance()
        return item

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images."""
        return tuple(self.predictions.keys)

    def _start(self) -> None:
        if self._task is None:
            self._task = self.progress.add_task(self.title, total=len(self.predictions))

    def _advance(self) -> None:
        assert self._task is not None
        self.progress.advance(self._task)

    def _done(self) -> None:
        if self._task is not None:
            self.progress.remove_task(self._task)
            self._task = None


def write_json(value: Any, path: Path) -> None:
    """Write JSON whole or not at all."""
    import json

    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
