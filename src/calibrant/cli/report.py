"""``calibrant report``: draw a report again from measurement files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calibrant.cli import _options
from calibrant.cli._made_from import calibrator_origin, check_outside
from calibrant.cli._own import Kinds, Trust, open_calibrator
from calibrant.cli._own_samplers import open_sampler
from calibrant.cli._own_scores import OwnScores, open_scores

if TYPE_CHECKING:
    from calibrant.cli._study import Study


def report(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Measurement files, or folders of them; or folders of label maps, or addresses, with --store."
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="Where the report goes: a path, or an fsspec URL.")
    ] = "report.html",
    title: Annotated[str | None, typer.Option(help="The headline of the page.")] = None,
    store: Annotated[
        list[str] | None,
        typer.Option(help="The store that was measured, to show images of; may be given several times."),
    ] = None,
    calibrator: Annotated[
        list[str] | None,
        typer.Option(
            help="With --store: a calibrator that was measured, to show what it makes of the images; or the one that "
            "label maps were drawn behind."
        ),
    ] = None,
    sampler: Annotated[
        list[str] | None,
        typer.Option(help="With label maps: a sampler that drew them, which says how its draws depend on each other."),
    ] = None,
    num_cases: Annotated[int, _options.count("With --store: how many images the report shows.", least=0)] = 6,
    beside: Annotated[
        list[Path] | None,
        typer.Option(help="Measurements of the same methods in another place, set beside these in one table."),
    ] = None,
    score: OwnScores = None,
    trust: Trust = False,
    kinds: Kinds = None,
) -> None:
    """Write a report from measurements: the whole page, with the images that lie beside them or are in --store.

    Measurements of compare and demo have their images beside them; those of measure need the store.
    Example: calibrant report runs/measured --store runs/test --calibrator runs/ts -o report.html

    Of label maps (calibrant sample) it is the page of the sampler, or of several.
    Example: calibrant report runs/samples --store runs/test -o samples.html
    """
    from calibrant._storage.place import sent_to
    from calibrant.cli._console import console
    from calibrant.cli._samples_page import is_samples
    from calibrant.cli._study import Study
    from calibrant.errors import InputError

    check_outside(output, *(file for file in files if Path(file).is_file()), *(store or ()), *(calibrator or ()))
    if calibrator and not store:
        raise InputError("expected the store whose images the calibrator is to be shown on; got none. Add --store.")
    if any(map(is_samples, files)):
        headline = title or "What was drawn"
        with sent_to(output) as page:
            _report_samples(files, page, headline, store or (), calibrator or (), sampler or (), kinds, num_cases)
        console.print(f"report: {output}", highlight=False, soft_wrap=True)
        return
    if sampler:
        raise InputError("expected label maps with --sampler; got measurements. Leave it out.")
    if any("://" in file for file in files):
        raise InputError(f"expected measurements on this machine; got {', '.join(files)}. Copy them to a folder first.")
    study = Study.load([*map(Path, files)])
    num_classes = next(iter(study.measurements.values()))[0].classes.labelled.shape[1]
    study = study.changed(own_scores=open_scores(score, num_classes, trust=trust))
    if store:
        study = study.changed(cases=_cases_of(study, store, calibrator or (), kinds, num_cases))
    study.show()
    with sent_to(output) as page:
        study.write_page(page, title=title or "Calibration report", places=_places(study, Path(files[0]), beside or ()))
    console.print(f"report: {output}", highlight=False, soft_wrap=True)


def _places(study: "Study", first: Path, beside: Sequence[Path]) -> dict[str, Any] | None:
    """The comparisons of the same methods in all places, by the names of folders; None for one place alone.

    :raises InputError: other methods were measured there.
    """
    from calibrant.cli._study import Study
    from calibrant.errors import InputError

    if not beside:
        return None
    names = ["/".join(path.resolve().parts[-2:]) for path in (first, *beside)]
    short = [name.split("/")[-1] for name in names]
    names = short if len(set(short)) == len(short) else names
    others = (Study.load([path]).changed(own_scores=study.own_scores) for path in beside)
    studies = [study, *others]
    for name, other in zip(names, studies, strict=True):
        if other.comparison.methods != study.comparison.methods or len(set(names)) < len(names):
            raise InputError(
                f"expected other places with the methods {', '.join(study.comparison.methods)}; got {name} with "
                f"{', '.join(other.comparison.methods)}. Name each folder once."
            )
    return {name: each.comparison for name, each in zip(names, studies, strict=True)}


def _report_samples(
    folders: Sequence[str],
    output: Path,
    title: str,
    urls: Sequence[str],
    calibrators: Sequence[str],
    samplers: Sequence[str],
    kinds: Sequence[str] | None,
    num_cases: int,
) -> None:
    """Write the page of label maps.

    :raises InputError: something else is among them, or the store is missing.
    """
    from calibrant.cli._samples_page import is_samples, write_page_of_samples
    from calibrant.cli._stores import open_labelled
    from calibrant.errors import InputError
    from calibrant.samplers.storage import STORAGE

    if not all(map(is_samples, folders)):
        raise InputError("expected label maps alone, or measurements alone; got both. Write a page of each.")
    if not urls or len(calibrators) > 1:
        raise InputError(
            f"expected the store that label maps were drawn of, and one calibrator at most; got {len(urls)} and "
            f"{len(calibrators)}. Give --store."
        )
    front = None
    for path in calibrators:
        front = (open_calibrator(path, kinds), calibrator_origin(path, kinds))
    known = [(STORAGE.digest(path), open_sampler(path, kinds).draws) for path in samplers]
    stored = open_labelled(urls, "compare label maps with")
    write_page_of_samples(output, folders, stored, front=front, samplers=known, title=title, num_cases=num_cases)


def _cases_of(
    study: "Study", urls: Sequence[str], paths: Sequence[str], kinds: Sequence[str] | None, count: int
) -> tuple[Any, ...]:
    """The images of the store that was measured.

    :raises InputError: another store or calibrator was measured.
    """
    from calibrant.cli._cases import cases_in
    from calibrant.cli._stores import open_labelled
    from calibrant.cli._study import AS_IT_IS
    from calibrant.cli.measure import named_calibrators
    from calibrant.errors import InputError

    stored = open_labelled(urls, "show images of")
    _check_measured("store", study.made_from.get("tested on", study.made_from.get("store")), stored.digest)
    names = named_calibrators(paths)
    for name, path in names.items():
        if name not in study.measurements:
            raise InputError(
                f"expected a calibrator that was measured, of: {', '.join(study.measurements)}; got {name}. Measure "
                "through it first: calibrant measure STORE --calibrator …"
            )
        measured: Mapping[str, str] = {
            what: study.made_from[f"{what} {name}"]
            for what in calibrator_origin(path, kinds)
            if f"{what} {name}" in study.made_from
        }
        for what, digest in calibrator_origin(path, kinds).items():
            _check_measured(f"{what} {name}", measured.get(what), digest)
    first = next(iter(study.measurements))
    if first != AS_IT_IS and first not in names:
        raise InputError(
            f"expected the calibrator {first}, which others are compared with; got none. Add --calibrator."
        )
    through = {name: open_calibrator(path, kinds) for name, path in names.items()}
    shown = {name: through.get(name) for name in study.measurements if name in through or name == AS_IT_IS}
    return tuple(cases_in(stored, shown, study, count))


def _check_measured(what: str, measured: str | None, there: str) -> None:
    """Raise unless a thing is that which was measured.

    :raises InputError: it is another, or the measurement does not say which it was.
    """
    from calibrant.errors import InputError

    if measured != there:
        said = "another was measured" if measured else "the measurement does not say which was measured"
        raise InputError(
            f"expected the {what} that was measured; {said}. Name the right one, or measure this one again."
        )
