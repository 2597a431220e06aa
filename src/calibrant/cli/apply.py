"""``calibrant apply``: calibrate a store into another one."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from calibrant.cli._made_from import Overwrite, calibrator_origin, check_outside
from calibrant.cli._own import Kinds, described, open_calibrator


def apply(
    calibrator: Annotated[Path, typer.Argument(help="A calibrator, as calibrant fit made it.")],
    store: Annotated[str, typer.Argument(help="A store of predictions.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Where the calibrated store goes.")],
    dtype: Annotated[str, typer.Option(help="float32 keeps every label; float16 is half the size.")] = "float32",
    kinds: Kinds = None,
    overwrite: Overwrite = False,
) -> None:
    """Write STORE as CALIBRATOR makes it: the calibrator first, then the store.

    Interrupted, the same command goes on. Example: calibrant apply runs/selective runs/test -o runs/test-calibrated
    """
    from calibrant.calibrators import calibrated
    from calibrant.cli._console import bars, console, with_progress
    from calibrant.data import StoredPredictions, write_store
    from calibrant.predictions import Mapped, with_logits

    check_outside(output, store, calibrator)
    loaded, stored = open_calibrator(calibrator, kinds), StoredPredictions(store)
    provenance = replace(stored.provenance, model=f"{stored.provenance.model}, then {described(loaded)}")
    made_from = {"store": stored.digest, **calibrator_origin(calibrator, kinds), "--dtype": dtype}
    with bars() as progress:
        watched = with_progress(stored, progress, "calibrating")
        source = Mapped(watched, lambda prediction: with_logits(prediction, calibrated(prediction, loaded)))
        written = write_store(
            source, output, provenance=provenance, dtype=dtype, made_from=made_from, overwrite=overwrite
        )
    console.print(f"{len(written)} images → {output}", highlight=False)
