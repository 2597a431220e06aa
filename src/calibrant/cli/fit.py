"""``calibrant fit``: make a calibrator from a store."""

from pathlib import Path
from typing import Annotated

import typer


def fit(
    store: Annotated[str, typer.Argument(help="A store of predictions with labels.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the calibrator goes.")],
    method: Annotated[
        str,
        typer.Option(help="The method, such as temperature, or with settings, selective:base=temperature;epochs=5."),
    ],
    base: Annotated[str | None, typer.Option(help="The method that a composed method builds on.")] = None,
    pixels_per_image: Annotated[int, typer.Option(help="Pixels drawn from each image.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the pixels drawn and of training.")] = 0,
) -> None:
    """Fit a calibrator to STORE and save it."""
    from calibrant.calibrators import save
    from calibrant.cli._console import bars, console, with_progress
    from calibrant.cli.methods import fit_method, parse_method
    from calibrant.data import StoredPredictions

    chosen = parse_method(f"{method}{';' if ':' in method else ':'}base={base}" if base else method)
    with bars() as progress:
        predictions = with_progress(StoredPredictions(store), progress, chosen.title)
        calibrator = fit_method(chosen, predictions, pixels_per_image=pixels_per_image, seed=seed)
    save(calibrator, output)
    console.print(f"{calibrator} → {output}", highlight=False)
