"""``calibrant apply``: calibrate a store into another one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer


def apply(
    calibrator: Annotated[Path, typer.Argument(help="A calibrator, as calibrant fit made it.")],
    store: Annotated[str, typer.Argument(help="A store of predictions.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Where the calibrated store goes.")],
    dtype: Annotated[str, typer.Option(help="float32 keeps every label; float16 is half the size.")] = "float32",
) -> None:
    """Write STORE as CALIBRATOR makes it.

    Interrupted, the same command goes on.
    """
    from calibrant.calibrators import load
    from calibrant.cli._console import WithProgress, bars, console
    from calibrant.data import StoredPredictions, write_store
    from calibrant.errors import InputError

    if Path(store).resolve() == Path(output).resolve():
        raise InputError(f"expected another place for the calibrated store; got {output} for both. Choose a new one.")
    loaded, stored = load(calibrator), StoredPredictions(store)
    provenance = replace(stored.provenance, model=f"{stored.provenance.model}, then {loaded}")
    with bars() as progress:
        source = _Calibrated(WithProgress(stored, progress, "calibrating"), loaded)
        written = write_store(source, output, provenance=provenance, dtype=dtype)
    console.print(f"{len(written)} images → {output}", highlight=False)


@dataclass(frozen=True)
class _Calibrated:
    predictions: Any
    calibrator: Any

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[Any]:
        return (self._of(prediction) for prediction in self.predictions)

    def __getitem__(self, i: int, /) -> Any:
        return self._of(self.predictions[i])

    @property
    def keys(self) -> tuple[str, ...]:
        return self.predictions.keys

    def _of(self, prediction: Any) -> Any:
        from calibrant.evaluation import calibrated
        from calibrant.predictions import with_logits

        return with_logits(prediction, calibrated(prediction, self.calibrator))
