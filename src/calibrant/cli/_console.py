"""What commands share: reading stores with a bar, naming methods, saying what was done."""

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from calibrant._input.visible import visible
from calibrant._storage.files import replacing
from calibrant.predictions import Mapped


class PlainConsole(Console):
    """A console on which words are words: no markup, no emoji codes, and nothing that a terminal would obey.

    What is printed holds names that others chose. Tables are made of :class:`~rich.text.Text` for the same reason.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """Print words as they are, in lines that are not broken, and other things as rich does.

        :param objects: words, tables.
        :param options: those of rich.
        """
        if all(isinstance(each, str) for each in objects):
            options.setdefault("soft_wrap", True)
        shown = [Text(visible(each)) if isinstance(each, str) else each for each in objects]
        super().print(*shown, **options)


console = PlainConsole(width=None if sys.stdout.isatty() else 160)  # tables in a file need no narrow columns
aside = PlainConsole(stderr=True)


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
    shown = Progress(*columns, console=aside, transient=True) if aside.is_terminal else _Lines(console=aside)
    with shown as progress:
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


LINE_EVERY = 60.0
"""Seconds between two lines on how far a command is, where there is no terminal to draw bars on."""


class _Lines(Progress):
    """Says how far a command is now and then, in lines of a log, and draws no bars."""

    def __init__(self, **options: Any) -> None:
        super().__init__(disable=True, **options)
        self._last = monotonic()

    def update(self, task_id: TaskID, *arguments: Any, **options: Any) -> None:
        """Note how far a task is, and print it if the last line is long ago."""
        super().update(task_id, *arguments, **options)
        if monotonic() - self._last >= LINE_EVERY and task_id in self._tasks:
            self._last = monotonic()
            task = self._tasks[task_id]
            words = Text.from_markup(task.description)
            aside.print(f"{words.plain}: {task.completed:.0f} of {task.total or 0:.0f}", highlight=False)


class _OnBar(logging.Handler):
    """Shows steps of a long fit beside the running bar, and warnings on lines of their own."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            note = Text.assemble(("note:", "yellow"), " ", visible(record.getMessage()))
            self.progress.console.print(note, soft_wrap=True)
        elif self.progress.tasks:
            task = self.progress.tasks[-1]
            title = task.fields.get("title", task.description)
            step = escape(visible(record.getMessage()))
            self.progress.update(task.id, description=f"{title} [dim]{step}[/]", title=title)


def with_progress(source: Any, progress: Progress, title: str) -> Mapped[Any]:
    """Return a source that moves a bar while it is read, once for each pass over it.

    :param source: predictions or examples.
    :param progress: draws the bar, which is there at once and goes when all images have been read.
    :param title: stands beside the bar.
    """
    return Mapped(source, MoveBar(progress, title, len(source)))


class MoveBar:
    """Moves a bar by one for each image that passes, and takes it away after the last.

    :param progress: draws the bar.
    :param title: stands beside the bar.
    :param total: how many images there are in one pass.
    """

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self.progress, self.total = progress, total
        self.done = 0
        self.title = escape(visible(title))
        self.task: TaskID | None = progress.add_task(self.title, total=total)

    def __call__(self, item: Any) -> Any:
        self.advance(1)
        return item

    def advance(self, count: int) -> None:
        """Move the bar.

        :param count: by how many images.
        """
        if self.task is None:
            self.task = self.progress.add_task(self.title, total=self.total)
        self.done += count
        self.progress.update(self.task, completed=self.done)
        if self.done >= self.total:
            self.progress.remove_task(self.task)
            self.task, self.done = None, 0

    def in_parts(self, image: Any) -> Any:
        """Move the bar for an image that is read in parts."""
        return self(image)


def is_standard_output(path: Path | None) -> bool:
    """Tell whether ``-`` was given for the path of a file: the standard output, which then holds nothing else.

    :param path: as given.
    """
    return path is not None and str(path) == "-"


def write_json(value: Any, path: Path) -> None:
    """Write JSON: into a file whole or not at all, to the standard output for ``-``, or into a device or pipe.

    :param value: what JSON can hold.
    :param path: a link is followed, and what it leads to is replaced.
    """
    import json

    write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write text: into a file whole or not at all, to the standard output for ``-``, or into a device or pipe.

    :param text: what is written, as UTF-8.
    :param path: a link is followed, and what it leads to is replaced.
    """
    if is_standard_output(path):
        sys.stdout.write(text)
    elif path.is_relative_to("/dev") or (path.exists() and not path.is_file()):  # a device is not to be replaced
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    else:
        with replacing(path.resolve()) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
