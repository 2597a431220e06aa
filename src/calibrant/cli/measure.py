"""``calibrant measure``: how far a model's confidence can be trusted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli import _options
from calibrant.cli._engine import EngineName
from calibrant.cli._fail_if import FailIf
from calibrant.cli._made_from import Overwrite, calibrator_origin, check_outside
from calibrant.cli._own import Kinds, Trust, open_calibrator
from calibrant.cli._own_scores import OwnScores, open_scores
from calibrant.cli._parts import Part, PartOption
from calibrant.cli._regions import for_each_region


@for_each_region("store", "calibrator", files=("json",))
def measure(
    store: Annotated[list[str], typer.Argument(help="Stores of predictions with labels, measured as one.")],
    calibrator: Annotated[
        list[str] | None, typer.Option(help="Measure through this calibrator too; may be given several times.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder for measurement files, to redraw reports from.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Write every figure with its interval here; - for the standard output.")
    ] = None,
    num_bins: Annotated[int, _options.count("Confidence bins.", most=_options.MAX_BINS)] = 15,
    boundary_width: Annotated[
        int, _options.count("How far from a change of label the boundary reaches, in pixels.", most=1_000)
    ] = 2,
    score: OwnScores = None,
    trust: Trust = False,
    kinds: Kinds = None,
    engine: EngineName = None,
    part: PartOption = None,
    fail_if: FailIf = None,
    overwrite: Overwrite = False,
) -> None:
    """Print the scores of STORE with their intervals, as it is and through each --calibrator.

    Calibration, likelihood, overlap and ranking; intervals are over images. --json writes every figure.
    Example: calibrant measure runs/test --calibrator runs/selective --calibrator runs/temperature
    """
    from functools import partial

    from calibrant._storage.origin import options_of
    from calibrant.cli._console import aside, bars, console, is_standard_output
    from calibrant.cli._engine import engine_opened, watched
    from calibrant.cli._fail_if import Condition, broken_in, fail_if_broken
    from calibrant.cli._stores import open_labelled
    from calibrant.cli._study import AS_IT_IS, Study, check_free
    from calibrant.errors import InputError
    from calibrant.evaluation import tally_all
    from calibrant.metrics import Measurement

    stored = open_labelled(store, "measure")
    own = open_scores(score, stored.num_classes, trust=trust)
    conditions = [Condition.parsed(each, own) for each in fail_if or ()]
    names = named_calibrators(calibrator or ())
    through = {AS_IT_IS: None} | {name: open_calibrator(path, kinds) for name, path in names.items()}
    for place in (output, json):
        check_outside(place, *store, *names.values())
    made_from = {"store": stored.digest, **options_of({"num-bins": num_bins, "boundary-width": boundary_width})}
    for name, path in names.items():
        made_from |= {f"{what} {name}": value for what, value in calibrator_origin(path, kinds).items()}
    count = partial(Measurement.of, num_bins=num_bins, width=boundary_width)
    how = {"confidence bins": f"{num_bins} of equal width, (lo, hi]", "boundary": f"{boundary_width} pixels wide"}
    if (one := Part.parsed(part)) is not None:
        if own:
            raise InputError("expected no --score with --part, which keeps counts; give it to calibrant report.")
        _measure_part(one, output, stored, through, count, {"made_from": made_from, "how": how}, (engine, *store))
        return
    check_free(output, made_from, overwrite=overwrite)
    with engine_opened(engine, *store) as workers, bars() as progress:
        found = tally_all(count, watched(stored, progress, "measuring", workers), through)
    study = Study.of({name: [tally] for name, tally in found.items()}, stored, how, own)
    study.show(aside if is_standard_output(json) else console)
    if output is not None:
        study.save(output, made_from, overwrite=overwrite)
    if json is not None:
        study.write_json(json)
    fail_if_broken(broken_in(conditions, study.comparison, any_method=True))


def _measure_part(
    part: Part,
    folder: Path | None,
    stored: Any,
    through: Any,
    count: Any,
    facts: dict[str, Any],
    engine: tuple[Any, ...],
) -> None:
    """Write the rows of a part of the images, unless they are there; ``engine`` is followed by what it reads from.

    :raises InputError: there is no folder for them.
    """
    from dataclasses import asdict

    from calibrant.cli._console import bars, console
    from calibrant.cli._engine import engine_opened, watched
    from calibrant.errors import InputError
    from calibrant.evaluation.counting import tally_part
    from calibrant.metrics.part import TallyPart

    if folder is None:
        raise InputError("expected a folder for the part; got none. Name one, the same for all parts: -o runs/parts.")
    about = asdict(stored.provenance)
    facts |= {"class_names": list(stored.class_names)}
    facts["provenance"] = {name: list(v) if isinstance(v, tuple) else v for name, v in about.items()}
    facts["methods"] = list(through)
    file, images = part.file(folder, "measure", facts), part.of(stored)
    if not file.exists():
        with engine_opened(*engine, folder) as workers, bars() as progress:
            tallies, left_out = tally_part(count, watched(images, progress, "measuring", workers), through)
        TallyPart(tallies, left_out, part.number, part.count, facts, {}).save(file)
    console.print(f"{len(images)} images, part {part.number} of {part.count} → {file}", highlight=False)


def named_calibrators(calibrators: Sequence[str]) -> dict[str, str]:
    """Name calibrators by the last parts of their paths, as many as it takes to tell them apart.

    :param calibrators: their folders, or addresses.
    :raises InputError: one was given twice.
    """
    from calibrant.errors import InputError

    parts = [path.split("/") if "://" in path else Path(path).absolute().parts for path in calibrators]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len({"uncalibrated", *names}) == len(names) + 1:
            return dict(zip(names, calibrators, strict=True))
    if calibrators:
        raise InputError(
            f"expected every calibrator once; got {', '.join(map(str, calibrators))}. Leave out those named twice."
        )
    return {}
