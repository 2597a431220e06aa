"""``calibrant report``: draw a report again from measurement files."""

from pathlib import Path
from typing import Annotated

import typer

from calibrant.cli._made_from import check_outside


def report(
    files: Annotated[list[Path], typer.Argument(help="Measurement files, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the report goes.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="The headline of the page.")] = "Calibration report",
) -> None:
    """Write a report from measurements, without their predictions."""
    from calibrant.cli._console import console
    from calibrant.cli._study import Study

    check_outside(output, *(file for file in files if file.is_file()))
    study = Study.load(files)
    study.show()
    study.write_page(output, title=title)
    console.print(f"report: {output}", highlight=False, soft_wrap=True)
