"""``calibrant compare``: fit several methods, judge them on other images, write the report."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    store: Annotated[str, typer.Argument(help="The store to fit on; without TEST, one part of it is for testing.")],
    test: Annotated[list[str] | None, typer.Argument(help="Stores to test on, of other images.")] = None,
    methods: Annotated[
        str, typer.Option(help="Names with commas between, or all. A wrong name is answered with the right ones.")
    ] = "all",
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the report goes.")] = Path("report.html"),
    json: Annotated[Path | None, typer.Option(help="Write every figure with its interval here.")] = None,
    tallies: Annotated[
        Path | None, typer.Option(help="A folder for measurement files, to redraw reports from.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many times: other splits, pixels and trainings.")] = 3,
    share: Annotated[float, typer.Option(help="Share of the images to fit on, without TEST.")] = 0.5,
    pixels_per_image: Annotated[int, typer.Option(min=1, help="Pixels drawn from each image to fit.")] = 10_000,
    num_bins: Annotated[int, typer.Option(min=1, help="Confidence bins.")] = 15,
    boundary_width: Annotated[
        int, typer.Option(min=1, help="How far from a change of label the boundary reaches.")
    ] = 2,
) -> None:
    """Fit methods, judge them on other images, report.

    Fits on one part of STORE and tests on the other, or on TEST. The report opens by double click.
    """
    from calibrant.cli._console import console
    from calibrant.cli._study import run_study
    from calibrant.cli.methods import parse_methods
    from calibrant.data import StoredPredictions

    chosen = parse_methods(methods)
    fitted = StoredPredictions(store)
    for number, tested in enumerate([StoredPredictions(url) for url in test or ()] or [None]):
        page = output if not number else output.with_stem(f"{output.stem}-{number + 1}")
        study = run_study(
            fitted,
            tested,
            chosen,
            seeds=range(seeds),
            share=share,
            pixels_per_image=pixels_per_image,
            num_bins=num_bins,
            boundary_width=boundary_width,
        )
        study.show()
        if tallies is not None:
            study.save(tallies / page.stem)
        if json is not None:
            study.write_json(json if not number else json.with_stem(f"{json.stem}-{number + 1}"))
        study.write_page(page)
        console.print(f"report: {page}", highlight=False, soft_wrap=True)
