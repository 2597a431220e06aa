"""``calibrant merge``: the whole of parts that ``--part`` made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli._made_from import Overwrite


def merge(
    parts: Annotated[list[str], typer.Argument(help="Folders of parts, or their files; the address of a store.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="measure: a folder for measurement files.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="measure: write every figure with its interval here; - for the standard output.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make the whole of PARTS, the same to the byte as without --part.

    Parts of import, predict, apply and sample lie where the whole will be, and are merged there; those of measure are
    files of rows, from which the table is printed. Example: calibrant merge runs/parts -o runs/measured
    """
    from calibrant.errors import InputError

    files = _files(parts)
    if files and {file.name.partition("-")[0] for file in files} == {"measure"}:
        _merge_measurements(files, output, json, overwrite=overwrite)
        return
    if json is not None or (output is not None and [str(output).rstrip("/")] != [part.rstrip("/") for part in parts]):
        raise InputError(
            f"expected no other place for these parts, which are merged where they lie; got {json or output}. Leave it "
            "out."
        )
    for place in parts:
        if any(Path(place) == file.parent for file in files):
            _merge_samples(Path(place), [file for file in files if file.parent == Path(place)])
        else:
            _merge_store(place)


def _files(parts: Sequence[str]) -> list[Path]:
    """The files of rows among what was given, and in the folders that were given."""
    from calibrant.cli._parts import SUFFIX

    local = [Path(part) for part in parts if "://" not in part]
    return [file for path in local for file in (sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path])]


def _merge_store(place: str) -> None:
    from calibrant.cli._console import console
    from calibrant.data import merge_store_parts

    stored = merge_store_parts(place)
    console.print(f"{len(stored)} images, {stored.num_classes} classes → {place}", highlight=False)


def _merge_measurements(files: Sequence[Path], output: Path | None, json: Path | None, *, overwrite: bool) -> None:
    from types import SimpleNamespace

    from calibrant.cli._console import aside, console, is_standard_output
    from calibrant.cli._parts import all_parts
    from calibrant.cli._study import Study, check_free
    from calibrant.data import Provenance
    from calibrant.evaluation.counting import stacked_parts
    from calibrant.metrics import Measurement

    parts = all_parts(files, Measurement)
    facts = parts[0].facts
    check_free(output, facts["made_from"], overwrite=overwrite)
    tallies = stacked_parts([(part.tallies, part.left_out) for part in parts])
    source = SimpleNamespace(provenance=Provenance(**facts["provenance"]), class_names=facts["class_names"])
    study = Study.of({name: [tally] for name, tally in tallies.items()}, source, facts["how"])
    study.show(aside if is_standard_output(json) else console)
    if output is not None:
        study.save(output, facts["made_from"], overwrite=overwrite)
    if json is not None:
        study.write_json(json)


def _merge_samples(folder: Path, files: Sequence[Path]) -> None:
    from calibrant.cli._console import console
    from calibrant.cli._parts import all_parts
    from calibrant.cli._samples import finish_samples
    from calibrant.cli.sample import tell
    from calibrant.metrics import HypothesisDistances

    parts = all_parts(files, HypothesisDistances)
    digests = {name: digest for part in parts for name, digest in part.own["files"].items()}
    finish_samples(folder, parts[0].facts["made_from"], digests)
    rows: list[Any] = [row for part in parts for row in part.tallies.values()]
    num_samples = parts[0].facts["num_samples"]
    if rows:
        tell(HypothesisDistances.stack(rows), num_samples, console)
    for file in files:
        file.unlink()
    console.print(f"{len(digests)} images, {num_samples} label maps each → {folder}", highlight=False)
