"""``calibrant compare``: fit several methods, judge them on other images, write the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli import _options
from calibrant.cli._engine import EngineName
from calibrant.cli._fail_if import FailIf
from calibrant.cli._made_from import Overwrite, check_outside, method_origin
from calibrant.cli._own import Trust
from calibrant.cli._own_scores import OwnScores, open_scores
from calibrant.cli._regions import for_each_region


@for_each_region("store", "test", written=("tallies", "fits"), files=("output", "json"))
def compare(
    store: Annotated[str, typer.Argument(help="The store to fit on; without TEST, one part of it is for testing.")],
    test: Annotated[list[str] | None, typer.Argument(help="Stores to test on, of other images.")] = None,
    methods: Annotated[
        str,
        typer.Option(
            help="Names with commas between, all, or published; with options, selective:base=vector-kept,num_epochs=5; "
            "fits of your own, module:function, with --trust. The model as it is is always compared. A wrong name is "
            "answered with the right ones."
        ),
    ] = "all",
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the report goes.")] = Path("report.html"),
    json: Annotated[
        Path | None, typer.Option(help="Write every figure with its interval here; - for the standard output.")
    ] = None,
    tallies: Annotated[
        Path | None, typer.Option(help="A folder for measurement files, to redraw reports from.")
    ] = None,
    num_seeds: Annotated[
        int,
        _options.count("How many times to fit, with seeds 0, 1, …: other splits, pixels and trainings.", most=10_000),
    ] = 3,
    fraction: Annotated[
        float, _options.fraction("Fraction of the images to fit on, without TEST.", positive=True)
    ] = 0.5,
    pixels_per_image: Annotated[int, _options.count("Pixels drawn from each image to fit.")] = 10_000,
    num_bins: Annotated[int, _options.count("Confidence bins.", most=_options.MAX_BINS)] = 15,
    boundary_width: Annotated[
        int, _options.count("How far from a change of label the boundary reaches, in pixels.", most=1_000)
    ] = 2,
    num_cases: Annotated[int, _options.count("How many images the report shows.", least=0)] = 6,
    fits: Annotated[
        Path | None,
        typer.Option(
            help="A folder that keeps each calibrator; interrupted, the same command goes on with those there."
        ),
    ] = None,
    score: OwnScores = None,
    trust: Trust = False,
    engine: EngineName = None,
    fail_if: FailIf = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit methods, judge them on other images, report.

    Fits on one part of STORE and tests on the other, or on each TEST. The report opens by double click; with several
    stores to test on, each gets its own. Example: calibrant compare runs/val runs/test --methods all -o report.html
    """

    from calibrant._storage.origin import options_of
    from calibrant.cli._engine import engine_opened
    from calibrant.cli._fail_if import Condition, broken_in, fail_if_broken
    from calibrant.cli._kept_fits import KeptFits
    from calibrant.cli._run import Plan, run_study
    from calibrant.cli._stores import open_labelled
    from calibrant.cli._study import check_free
    from calibrant.methods import METHODS, parse_methods

    urls = test or []
    names = [""] if len(urls) < 2 else _names(urls)
    counts = {"pixels_per_image": pixels_per_image, "num_bins": num_bins, "num_cases": num_cases}
    tested: list[Any] = [open_labelled([url], "test on") for url in urls]
    plain = METHODS["uncalibrated"]
    stored, chosen = open_labelled([store], "fit on"), {plain.title: plain} | parse_methods(methods, trust_code=trust)
    own = open_scores(score, stored.num_classes, trust=trust)
    conditions = [Condition.parsed(each, own) for each in fail_if or ()]
    how: dict[str, Any] = {"fraction": fraction, "boundary_width": boundary_width, **counts}
    plan = Plan(seeds=range(num_seeds), own_scores=own, **how)
    for place in (output, json, tallies, fits):
        check_outside(place, store, *urls)
    of_methods = {title: method_origin(each) for title, each in chosen.items()}
    options = {"num-seeds": num_seeds, "fraction": fraction, "pixels-per-image": pixels_per_image, "num-bins": num_bins}
    made_from = {"store": stored.digest, **options_of(options | {"boundary-width": boundary_width})}
    made_from |= {f"{what} {title}": v for title, each in of_methods.items() for what, v in each.items()}
    origins = [{**made_from, **({"tested on": each.digest} if each else {})} for each in tested or [None]]
    for name, origin in zip(names, origins, strict=True):
        check_free(tallies and tallies / _beside(output, name).stem, origin, overwrite=overwrite)
    common = {"store": stored.digest, **options_of({"pixels-per-image": pixels_per_image})}
    kept = None if fits is None else KeptFits(fits, common, of_methods, overwrite=overwrite)
    with engine_opened(engine, store, *urls) as workers:
        found = run_study(stored, tested, chosen, plan, workers, kept)
    studies = [study.changed(made_from=origin) for study, origin in zip(found, origins, strict=True)]
    _tell(dict(zip(names, studies, strict=True)), output, json, tallies, overwrite=overwrite)
    fail_if_broken([line for study in studies for line in broken_in(conditions, study.comparison, any_method=False)])


def _tell(studies: dict[str, Any], output: Path, json: Path | None, tallies: Path | None, *, overwrite: bool) -> None:
    """Print the tables of studies, and write their pages, figures and tallies.

    :param studies: by the name of what they were tested on; empty if there is one.
    :param output: the page, beside which those of several lie.
    :param json: where figures go; None for nowhere.
    :param tallies: the folder where what was counted goes; None for nowhere.
    :param overwrite: replace tallies of something else.
    """
    from calibrant.cli import _console
    from calibrant.report import shift_table

    to_standard_output = json is not None and _console.is_standard_output(json)
    console = _console.aside if to_standard_output else _console.console
    places = {name: study.comparison for name, study in studies.items()} if len(studies) > 1 else None
    pages = {name: _beside(output, name).name for name in studies}
    for name, study in studies.items():
        page = _beside(output, name)
        console.print(f"tested on {study.facts['tested on']}", highlight=False)
        study.show(console)
        if tallies is not None:
            study.save(tallies / page.stem, study.made_from, overwrite=overwrite)
        if json is not None and not to_standard_output:
            study.write_json(_beside(json, name))
        study.write_page(page, places=places, pages=pages)
        console.print(f"report: {page}", highlight=False, soft_wrap=True)
    if places:
        console.print(shift_table(places))
    if json is not None and to_standard_output:
        as_json = {name: study.as_json() for name, study in studies.items()}
        _console.write_json(as_json if places else next(iter(as_json.values())), json)


def _names(urls: Sequence[str]) -> list[str]:
    """The last parts of the stores' addresses, with numbers where they are alike."""
    last = [url.rstrip("/").rsplit("/", 1)[-1] for url in urls]
    return [name if last.count(name) == 1 else f"{name}-{number}" for number, name in enumerate(last, 1)]


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}{path.suffix}") if name else path
