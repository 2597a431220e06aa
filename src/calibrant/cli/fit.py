"""``calibrant fit``: make a calibrator from a store."""

from typing import Annotated

import typer

from calibrant.cli import _options
from calibrant.cli._engine import EngineName
from calibrant.cli._made_from import Overwrite, check_outside, method_origin
from calibrant.cli._own import Trust, described
from calibrant.cli._regions import for_each_region


@for_each_region("store")
def fit(
    store: Annotated[list[str], typer.Argument(help="Stores of predictions with labels, such as one for each fold.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Where the calibrator goes: a path or an fsspec URL.")],
    method: Annotated[
        str,
        typer.Option(
            help="The method, such as temperature; with options, selective:num_epochs=5; or a fit of your own, "
            "module:function or path/to/file.py:Class.fit, with --trust. A wrong name is answered with the right ones."
        ),
    ] = "stacked",
    base: Annotated[
        str | None, typer.Option(help="The method that a composed method builds on, such as vector-kept.")
    ] = None,
    pixels_per_image: Annotated[int, _options.count("Pixels drawn from each image.")] = 10_000,
    groups: Annotated[
        str | None,
        typer.Option(
            help="What tells the groups of images apart (drives, places, patients): a file with a key, a comma and a "
            "group on each line, or a regular expression, whose match in an image's key is its group. Whole groups "
            "are left out where the fit leaves images out."
        ),
    ] = None,
    seed: Annotated[int, _options.seed("The seed of the pixels drawn and of training.")] = 0,
    left_out: Annotated[
        float | None,
        _options.fraction(
            "Fit once more without this part of the images, and print what is gained on them: a fifth if not said, and "
            "if the fit took less than a minute; 0 for not at all."
        ),
    ] = None,
    trust: Trust = False,
    engine: EngineName = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit a calibrator to STORE and save it; one that the same command has made is found again.

    Without --method it is stacked scaling, which needs no choosing.
    Example: calibrant fit runs/val --method selective --base vector-kept -o runs/selective
    """
    from time import monotonic

    from calibrant._storage.origin import canonical, check_same, digest_of_bytes, options_of
    from calibrant.calibrators import own_kinds, save
    from calibrant.calibrators.storage import STORAGE
    from calibrant.cli._console import bars, console
    from calibrant.cli._engine import engine_opened, watched
    from calibrant.cli._gained import PART, QUICK, gained
    from calibrant.cli._groups import groups_of
    from calibrant.cli._stores import open_labelled
    from calibrant.methods import parse_method, with_options

    chosen = parse_method(method, trust_code=trust)
    if base is not None:
        chosen = with_options(chosen, f"base={base}", trust_code=trust)
    stored = open_labelled(store, "fit on")
    check_outside(output, *store)
    options = {"pixels-per-image": pixels_per_image, "seed": seed}
    made_from = {"store": stored.digest, **method_origin(chosen), **options_of(options)}
    of_groups = groups_of(groups, stored.keys, chosen)
    if of_groups:
        made_from["groups"] = digest_of_bytes(canonical(of_groups))
    if STORAGE.holds(output) and not overwrite:
        check_same(output, STORAGE.made_from(output), made_from, "calibrator")
        found = STORAGE.load_known(output)
        line = f"{described(found) if found else 'a calibrator of your own'} → {output}, which was there already"
        console.print(line, highlight=False)
        return
    begun, how = monotonic(), {"pixels_per_image": pixels_per_image, "seed": seed}
    with engine_opened(engine, *store) as workers, bars() as progress:
        calibrator = chosen.fitted(watched(stored, progress, chosen.title, workers), **how, **of_groups)
    save(calibrator, output, made_from=made_from)
    console.print(f"{described(calibrator)} → {output}", highlight=False)
    quick = monotonic() - begun < QUICK
    part = (PART if quick else 0.0) if left_out is None else left_out
    if part:
        with bars() as progress:
            line = gained(chosen, stored, of_groups.get("groups", {}), part, progress, **how)
        console.print(f"  {line}", highlight=False)
    elif left_out is None:
        console.print("  what it gains on images left out was not measured, as it took long: --left-out 0.2")
    for note in calibrator.notes:
        console.print(f"  {note}", highlight=False)
    own = " ".join(f"--kinds {name}" for name in own_kinds(calibrator))
    if own:
        console.print(f"to use it: {own}", highlight=False)
