"""``calibrant areas``: areas and volumes of classes in each image, with intervals, as a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli import _options
from calibrant.cli._made_from import check_outside
from calibrant.cli._own import Kinds, described, open_calibrator
from calibrant.cli._own_samplers import open_sampler
from calibrant.cli._regions import for_each_region

COLUMNS = ("image", "class", "name", "unit", "pixel_size", "pixels", "area", "expected", "low", "high")
"""What a row says, before the areas of the annotators: ``annotated_1``, …."""


@for_each_region("store", "calibrator", "sampler", written=(), files=("output", "json"))
def areas(
    store: Annotated[str, typer.Argument(help="A store of predictions, with labels or without.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A file of comma-separated values, a row an image and class; - for the standard output.",
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="The same as JSON; - for the standard output.")] = None,
    calibrator: Annotated[str | None, typer.Option(help="Calibrate first, with what calibrant fit made.")] = None,
    sampler: Annotated[
        Path | None,
        typer.Option(help="What calibrant refine made: intervals are those of label maps that it draws."),
    ] = None,
    coupled: Annotated[
        bool, typer.Option("--coupled", help="SAMPLER: keep the probabilities of the calibrator, pixel by pixel.")
    ] = False,
    num_samples: Annotated[int, _options.count("SAMPLER: label maps an image.", least=2, most=100_000)] = 99,
    level: Annotated[float, _options.fraction("What share of true areas an interval is to hold.", positive=True)] = 0.9,
    classes: Annotated[
        str,
        _options.numbers(
            "Numbers of the classes, with commas; all if not said.", int, least=0, most=_options.MAX_WHOLE
        ),
    ] = "",
    only_labelled: Annotated[
        bool, typer.Option("--only-labelled", help="Count only pixels that all annotators labelled.")
    ] = False,
    seed: Annotated[int, _options.seed("SAMPLER: the seed; what is drawn depends on it and the image's name.")] = 0,
    kinds: Kinds = None,
) -> None:
    """Measure the areas (volumes) of classes in each image of STORE, with intervals.

    In mm² or mm³ of NIfTI and m² of GeoTIFF, else in pixels. Without --sampler intervals are bounds from the
    probabilities alone, which hold however pixels depend on each other, and are wide. With labels it is printed how
    many of their areas lie within. Example: calibrant areas runs/test --calibrator runs/ts --sampler runs/copula -o
    areas.csv
    """
    import torch

    from calibrant.cli._console import aside, bars, console, is_standard_output, with_progress, write_json, write_text
    from calibrant.data import StoredPredictions
    from calibrant.errors import InputError
    from calibrant.evaluation import Areas, Draws
    from calibrant.samplers import Coupled

    if is_standard_output(output) and is_standard_output(json):
        raise InputError("expected one thing on the standard output; got -o - and --json -. Write one into a file.")
    if sampler is None and coupled:
        raise InputError("expected --coupled with --sampler; got it alone. Leave it out, or name a sampler.")
    stored = StoredPredictions(store)
    front = None if calibrator is None else open_calibrator(calibrator, kinds)
    for place in (output, json):
        check_outside(place, store, calibrator, sampler)
    draws = None
    if sampler is not None:
        drawn = open_sampler(sampler, kinds)
        drawn = Coupled(drawn) if coupled else drawn
        draws = Draws.of(drawn, front, num_samples, torch.Generator().manual_seed(seed))
    counted = list(dict.fromkeys(_options.numbers_in(classes, int))) or None
    measured = Areas(draws, front, level, counted, stored.geometry, only_labelled=only_labelled)
    with bars() as progress:
        rows = list(measured.of(with_progress(stored, progress, "measuring")))
    facts = {
        "model": stored.provenance.model,
        "data": stored.provenance.data,
        "calibrator": "none" if front is None else described(front),
        "intervals": _intervals(level, draws),
        "pixels counted": _counted(only_labelled),
    }
    if output is not None:
        write_text(_csv(rows, stored.class_names), output)
    if json is not None:
        write_json({"facts": facts, "areas": [_row(each, stored.class_names) for each in rows]}, json)
    where = aside if is_standard_output(json) or is_standard_output(output) else console
    where.print(_table(rows, stored.class_names, level))
    for line in (facts["intervals"], facts["pixels counted"], *_notes(rows, stored, only_labelled)):
        where.print(line, highlight=False)
    if output is not None:
        where.print(f"{len(rows)} areas of {len({each.key for each in rows})} images → {output}", highlight=False)


def _intervals(level: float, draws: Any) -> str:
    if draws is None:
        return (
            f"intervals: of {level:.0%} or more, from the probabilities alone; they hold however pixels depend on each "
            "other, if the probabilities are calibrated"
        )
    return f"intervals: of {level:.0%}, of {draws.num_samples} label maps an image by {type(draws.sampler).__name__}"


def _counted(only_labelled: bool) -> str:
    which = "pixels that all annotators labelled" if only_labelled else "all pixels"
    return f"counted: {which}, but those whose logits are the same in all classes"


def _row(area: Any, names: Sequence[str]) -> dict[str, Any]:
    """A row as JSON has it."""
    said = (area.key, area.of_class, _name(area.of_class, names), area.unit, area.pixel_size, area.num_pixels)
    numbers = (area.area, area.expected, area.low, area.high)
    return dict(zip(COLUMNS, (*said, *numbers), strict=True)) | {"annotated": list(area.annotated)}


def _name(number: int, names: Sequence[str]) -> str:
    return names[number] if number < len(names) else str(number)


def _csv(rows: Sequence[Any], names: Sequence[str]) -> str:
    """A line an image and class."""
    import csv
    from io import StringIO

    most = max((len(each.annotated) for each in rows), default=0)
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"annotated_{number}" for number in range(1, most + 1))])
    for each in rows:
        said = _row(each, names)
        labelled = said.pop("annotated")
        writer.writerow([*said.values(), *labelled, *[""] * (most - len(labelled))])
    return text.getvalue()


def _table(rows: Sequence[Any], names: Sequence[str], level: float) -> Any:
    """Means over images, a row a class and unit, and how many areas of annotators lie within their intervals."""
    from rich.table import Table
    from rich.text import Text

    from calibrant._input.visible import visible

    table = Table()
    for title in ("class", "unit", "images", "area", "expected", "low", "high", f"within {level:.0%}"):
        table.add_column(title, justify="left" if title in ("class", "unit") else "right")
    for number, unit in dict.fromkeys((each.of_class, each.unit) for each in rows):
        own = [each for each in rows if (each.of_class, each.unit) == (number, unit)]
        means = [sum(getattr(each, what) for each in own) / len(own) for what in ("area", "expected", "low", "high")]
        shown = [visible(_name(number, names)), unit, str(len(own)), *(f"{mean:.6g}" for mean in means), _within(own)]
        table.add_row(*map(Text, shown))
    return table


def _within(rows: Sequence[Any]) -> str:
    """The share of annotators' areas within the intervals; each image counts once."""
    shares = [
        sum(each.low <= area <= each.high for area in each.annotated) / len(each.annotated)
        for each in rows
        if each.annotated
    ]
    return f"{sum(shares) / len(shares):.1%}" if shares else "–"


def _notes(rows: Sequence[Any], stored: Any, only_labelled: bool) -> list[str]:
    """What a reader of the table must know."""
    from calibrant.evaluation.areas import PIXELS

    notes = []
    keys = {each.key for each in rows}
    if len(keys) < len(stored):
        notes.append(f"left out: {len(stored) - len(keys)} of {len(stored)} images, which have no pixel to count")
    if unknown := {each.key for each in rows if each.unit == PIXELS}:
        notes.append(f"in pixels: {len(unknown)} of {len(keys)} images do not say how large a pixel is")
    partly = {each.key for each in rows if not each.annotated}
    if stored.has_labels and partly and not only_labelled:
        notes.append(
            f"not compared with labels: {len(partly)} images, as nobody labelled all of their pixels; --only-labelled "
            "counts those that are"
        )
    return notes
