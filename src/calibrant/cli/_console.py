"""What commands share: reading stores with a bar, naming methods, saying what was done."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

console = Console()
aside = Console(stderr=True)


@contextmanager
def bars() -> Iterator[Progress]:
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


@dataclass(frozen=True)
class Watched:
    """Predictions that move a bar while they are read."""

    predictions: Any
    progress: Progress
    title: str

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[Any]:
        task = self.progress.add_task(self.title, total=len(self.predictions))
        try:
            for prediction in self.predictions:
                yield prediction
                self.progress.advance(task)
        finally:
            self.progress.remove_task(task)

    def __getitem__(self, i: int, /) -> Any:
        return self.predictions[i]

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images."""
        return tuple(self.predictions.keys)


def write_json(value: Any, path: Path) -> None:
    """Write JSON whole or not at all."""
    import json
    import os

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
    os.replace(temporary, path)
