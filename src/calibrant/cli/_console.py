"""What commands share: reading stores with a bar, naming methods, saying what was done."""

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
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

from calibrant._files import remove_leftovers, replacing
from calibrant.predictions import Mapped

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


def with_progress(source: Any, progress: Progress, title: str) -> Mapped[Any]:
    """Return a source that moves a bar while it is read, once for each pass over it.

    :param source: predictions or examples.
    :param progress: draws the bar, which is there at once and goes when all images have been read.
    :param title: stands beside the bar.
    """
    return Mapped(source, _MoveBar(progress, title, len(source)))


class _MoveBar:
    """Moves a bar by one for each image that passes, and takes it away after the last."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self.progress, self.title, self.total = progress, title, total
        self.done = 0
        self.task: TaskID | None = progress.add_task(title, total=total)

    def __call__(self, item: Any) -> Any:
        if self.task is None:
            self.task = self.progress.add_task(self.title, total=self.total)
        self.done += 1
        self.progress.update(self.task, completed=self.done)
        if self.done == self.total:
            self.progress.remove_task(self.task)
            self.task, self.done = None, 0
        return item


def write_json(value: Any, path: Path) -> None:
    """Write JSON whole or not at all."""
    import json

    remove_leftovers(path.parent, older_than=3600)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
