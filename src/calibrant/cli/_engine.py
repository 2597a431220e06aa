"""Engines on the command line: opened by ``--engine``, with a bar that moves as shards are finished."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from calibrant.engines import Engine

EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        envvar="CALIBRANT_ENGINE",
        help="Who reads the images: processes:8, dask, dask:tcp://host:8786, dask:scheduler.json, ray, ray:auto. "
        "The result is the same to the bit. This process alone if not said.",
    ),
]
"""The option that names an engine."""


@contextmanager
def engine_opened(name: str | None, *places: str | Path | None) -> Generator["Engine | None"]:
    """Open an engine for a block; None opens none.

    :param name: as :func:`calibrant.engines.open_engine` knows it.
    :param places: what is read and written, which workers on other machines must find, too.
    :raises InputError: there is no such engine, or a path means another place on another machine.
    """
    if not name:
        yield None
        return
    from calibrant.engines import is_remote, open_engine
    from calibrant.errors import InputError

    for place in map(str, filter(None, places)):
        if is_remote(name) and "://" not in place and not Path(place).is_absolute():
            raise InputError(
                f"expected whole paths or addresses with --engine {name}, whose workers run elsewhere; got {place}. "
                "Give the path from the root, on a disk that all of them have, or the address of a bucket."
            )
    with open_engine(name) as engine:
        yield engine


def watched(source: Any, progress: "Progress", title: str, engine: "Engine | None") -> Any:
    """Return a source that moves a bar: image by image where it is read here, else by shards that are finished.

    :param source: predictions or examples.
    :param progress: draws the bar.
    :param title: stands beside the bar.
    :param engine: whose workers read the images; None for this process.
    """
    from calibrant.cli._console import MoveBar, with_progress
    from calibrant.predictions import Mapped, Sharded

    if engine is None:
        return with_progress(source, progress, title)
    return Sharded(Mapped(source, _AsItIs()), engine, advance=MoveBar(progress, title, len(source)).advance)


@dataclass(frozen=True)
class _AsItIs:
    """Returns an image as it is; an image at the network's own stride comes upsampled, as behind a bar."""

    def __call__(self, item: Any) -> Any:
        return item

    def in_parts(self, image: Any) -> Any:
        return image
