"""``calibrant apply``: calibrate a store into another one."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from calibrant.cli import _options
from calibrant.cli._engine import EngineName
from calibrant.cli._made_from import Overwrite, calibrator_origin, check_outside
from calibrant.cli._own import Kinds, described, drawn_back, open_calibrator
from calibrant.cli._parts import PartOption
from calibrant.cli._regions import for_each_region
from calibrant.cli._written import written


@for_each_region("store", "calibrator")
def apply(
    calibrator: Annotated[str, typer.Argument(help="A calibrator, as calibrant fit made it.")],
    store: Annotated[str, typer.Argument(help="A store of predictions.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Where the calibrated store goes.")],
    dtype: Annotated[str, typer.Option(help="float32, or float16, which is half the size.")] = "float32",
    margin: Annotated[
        float | None,
        _options.number(
            "How far the largest logit lies above the next at least, in nats, so that no later rounding changes a "
            "label; 2**-7 if not said, which float16 keeps.",
            least=0,
            most=10,
        ),
    ] = None,
    kinds: Kinds = None,
    engine: EngineName = None,
    part: PartOption = None,
    overwrite: Overwrite = False,
) -> None:
    """Write STORE as CALIBRATOR makes it: the calibrator first, then the store.

    Interrupted, the same command goes on. Example: calibrant apply runs/selective runs/test -o runs/test-calibrated
    """
    from calibrant.cli._console import bars, console
    from calibrant.cli._engine import engine_opened, watched
    from calibrant.cli._kept_apart import KeptApart
    from calibrant.data import StoredPredictions
    from calibrant.predictions import MARGIN, Mapped

    least = MARGIN if margin is None else margin
    check_outside(output, store, calibrator)
    loaded, stored = open_calibrator(calibrator, kinds), StoredPredictions(store)
    provenance = replace(stored.provenance, model=f"{stored.provenance.model}, then {described(loaded)}")
    made_from = {"store": stored.digest, **calibrator_origin(calibrator, kinds), "--dtype": dtype}
    made_from["--margin"] = str(least)
    ties = KeptApart(least)
    with engine_opened(engine, store, output) as workers, bars() as progress:
        source = Mapped(watched(stored, progress, "calibrating", workers), _Calibrated(loaded, ties))
        summary = written(
            source,
            output,
            part,
            provenance=provenance,
            dtype=dtype,
            made_from=made_from,
            geometry=stored.geometry,
            overwrite=overwrite,
        )
    uncounted = [f"the largest logit of each pixel is {least:g} or more above the next; workers do not count where not"]
    for line in ties.in_words() if engine is None else uncounted:
        console.print(line, highlight=False)
    if line := drawn_back(loaded, stored) if part is None else "":
        console.print(line, highlight=False)
    console.print(summary, highlight=False)


@dataclass(frozen=True)
class _Calibrated:
    """Sends the logits of a prediction through a calibrator, and keeps the largest apart from the next."""

    calibrator: Any
    apart: Any

    def __call__(self, prediction: Any) -> Any:
        from calibrant.calibrators import calibrated
        from calibrant.predictions import with_logits

        return with_logits(prediction, self.apart(calibrated(prediction, self.calibrator)))

    def in_parts(self, image: Any) -> Any:
        from calibrant.calibrators import CalibratedInParts
        from calibrant.predictions import ChangedInParts

        return ChangedInParts(CalibratedInParts(image, self.calibrator), self.apart)
