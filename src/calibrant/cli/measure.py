"""``calibrant measure``: how far a model's confidence can be trusted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from calibrant.cli import _options
from calibrant.cli._engine import EngineName
from calibrant.cli._made_from import Overwrite, calibrator_origin, check_outside
from calibrant.cli._own import Kinds, open_calibrator


def measure(
    store: Annotated[str, typer.Argument(help="A store of predictions with labels.")],
    calibrator: Annotated[
        list[Path] | None, typer.Option(help="Measure through this calibrator too; may be given several times.")
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
    kinds: Kinds = None,
    engine: EngineName = None,
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
    from calibrant.cli._study import AS_IT_IS, Study, check_free
    from calibrant.data import StoredPredictions
    from calibrant.evaluation import tally_all
    from calibrant.metrics import Measurement

    stored = StoredPredictions(store)
    names = _names(calibrator or ())
    through = {AS_IT_IS: None} | {name: open_calibrator(path, kinds) for name, path in names.items()}
    for place in (output, json):
        check_outside(place, store, *names.values())
    made_from = {"store": stored.digest, **options_of({"num-bins": num_bins, "boundary-width": boundary_width})}
    for name, path in names.items():
        made_from |= {f"{what} {name}": value for what, value in calibrator_origin(path, kinds).items()}
    check_free(output, made_from, overwrite=overwrite)
    count = partial(Measurement.of, num_bins=num_bins, width=boundary_width)
    with engine_opened(engine, store) as workers, bars() as progress:
        found = tally_all(count, watched(stored, progress, "measuring", workers), through)
    study = Study.of(
        {name: [tally] for name, tally in found.items()},
        stored,
        {"confidence bins": f"{num_bins} of equal width, (lo, hi]", "boundary": f"{boundary_width} pixels wide"},
    )
    study.show(aside if is_standard_output(json) else console)
    if output is not None:
        study.save(output, made_from, overwrite=overwrite)
    if json is not None:
        study.write_json(json)


def _names(calibrators: Sequence[Path]) -> dict[str, Path]:
    """Name calibrators by the last parts of their paths, as many as it takes to tell them apart.

    :raises InputError: one was given twice.
    """
    from calibrant.errors import InputError

    parts = [path.absolute().parts for path in calibrators]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len({"uncalibrated", *names}) == len(names) + 1:
            return dict(zip(names, calibrators, strict=True))
    if calibrators:
        raise InputError(
            f"expected every calibrator once; got {', '.join(map(str, calibrators))}. Leave out those named twice."
        )
    return {}
