"""``calibrant verify``: whether stored things are as they were written."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from calibrant._input.visible import visible

THINGS = ("calibrator", "sampler")
"""What has a JSON of its name."""


def verify(
    places: Annotated[
        list[str],
        typer.Argument(
            help="Stores, folders of calibrators, samplers, samples, exports or measurements, measurement files."
        ),
    ],
) -> None:
    """Read everything, and compare it with the checksums that were written with it.

    One line for every place; the exit code is 2 if one is damaged. Example: calibrant verify runs/val runs/ts
    """
    from calibrant.errors import CalibrantError

    damaged = 0
    for place in places:
        try:
            typer.echo(visible(f"whole: {place}, {_verified(place)}"))
        except CalibrantError as error:
            damaged += 1
            typer.echo(visible(f"error: {error}"), err=True)
    if damaged:
        raise typer.Exit(2)


def _verified(place: str) -> str:
    """Return what a place holds, having read it all.

    :raises CalibrantError: it is damaged, or holds nothing that is known.
    """
    from calibrant._storage.place import Place
    from calibrant.cli._regions import in_region, region_names
    from calibrant.cli._samples import EXPORT, SAMPLES, verify_samples
    from calibrant.cli._study import IMAGES, SUFFIX
    from calibrant.metrics import load_measurement
    from calibrant.report import load_cases

    kinds: dict[str, Callable[[], str]] = {
        **{f"{what}.json": partial(_thing, place, what) for what in THINGS},
        SAMPLES.record: lambda: f"samples of {verify_samples(Place(place))} images",
        EXPORT.record: lambda: f"{verify_samples(Place(place), EXPORT)} exported files",
    }
    if "://" in place:
        return " and ".join(check() for name, check in kinds.items() if Place(place).has(name)) or _store(place)
    path = Path(place)
    if names := region_names(place):
        return f"{len(names)} regions: " + "; ".join(f"{n}, {_verified(str(in_region(path, n)))}" for n in names)
    if path.is_file() and path.name == IMAGES:
        return f"{len(load_cases(path))} images of a report"
    if path.is_file():
        return f"a measurement of {len(load_measurement(path)[0])} images"
    files = sorted(path.glob(f"*{SUFFIX}"))
    kinds[IMAGES] = lambda: f"{len(load_cases(path / IMAGES))} images of a report"
    found = [check() for name, check in kinds.items() if (path / name).exists()]
    found += [f"{len(files)} measurements, {sum(len(load_measurement(file)[0]) for file in files)} rows"] * bool(files)
    return " and ".join(found) if found else _store(place)


def _store(place: str) -> str:
    from calibrant.data import StoredPredictions

    stored = StoredPredictions(place)
    stored.verify()
    return f"a store of {len(stored)} images, {stored.num_classes} classes"


def _thing(place: str, what: str) -> str:
    from calibrant import calibrators, samplers

    {"calibrator": calibrators.storage.STORAGE, "sampler": samplers.storage.STORAGE}[what].load_known(place)
    return f"a {what}"
