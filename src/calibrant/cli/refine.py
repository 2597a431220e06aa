"""``calibrant refine``: make a sampler of label maps from a store."""

from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli import _options
from calibrant.cli._made_from import Overwrite, calibrator_origin, check_outside, code_origin
from calibrant.cli._own import Kinds, Trust, open_calibrator
from calibrant.cli._own_samplers import named_sampler_fit
from calibrant.cli._regions import for_each_region


@for_each_region("store", "calibrator")
def refine(
    store: Annotated[str, typer.Argument(help="A store of predictions with labels, best of several annotators.")],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="Where the sampler goes, and its checkpoints: a folder; for copula, which has none, also a URL.",
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            help="energy trains a network by the energy score, the best on real disagreement; probabilistic-unet, "
            "hierarchical, phiseg, ssn, supervised-uq train published ones; refinement trains two, against each other; "
            "copula keeps the probabilities; or a fit of your own, module:function or path/to/file.py:Class.fit, with "
            "--trust."
        ),
    ] = "energy",
    calibrator: Annotated[str | None, typer.Option(help="A calibrator, as calibrant fit made it.")] = None,
    classes: Annotated[
        str,
        _options.numbers(
            "energy, copula: numbers of the classes whose overlap counts, with commas; all if not said.",
            int,
            least=0,
            most=_options.MAX_WHOLE,
        ),
    ] = "",
    steps: Annotated[int | None, _options.count("Steps of training, where a network is trained.")] = None,
    num_samples: Annotated[int | None, _options.count("Samples an image while fitting.", least=2, most=100_000)] = None,
    crop: Annotated[int | None, _options.count("Train on windows of so many pixels.", most=100_000)] = None,
    any_orientation: Annotated[
        bool,
        typer.Option(
            "--any-orientation",
            help="Also train on quarter turns of the images, as suits scans, which have no upright.",
        ),
    ] = False,
    inputs: Annotated[
        str,
        typer.Option(
            help="Of methods with one network: what it is given: both (image and probabilities), image, probabilities."
        ),
    ] = "",
    draws: Annotated[
        str,
        _options.one_of(
            ("independent", "spread"), "Of methods with one network: how maps of one image are drawn together."
        ),
    ] = "independent",
    orientations: Annotated[
        str,
        _options.one_of(
            ("one", "left-right", "all"),
            "energy: maps are means over these orientations of the image, all of them with --any-orientation only: "
            "better, and two or eight times the network's time.",
        ),
    ] = "one",
    published: Annotated[
        bool, typer.Option(help="Networks of the papers' sizes (refinement: their rates, too), for a GPU.")
    ] = False,
    device: Annotated[str, _options.device("Where networks are trained: cpu, or cuda.")] = "cpu",
    precision: Annotated[
        str,
        _options.one_of(
            _options.PRECISIONS, "Of a training: such as bf16-mixed; other than 32-true needs calibrant[train]."
        ),
    ] = "32-true",
    seed: Annotated[int, _options.seed("The seed of everything drawn.")] = 0,
    trust: Trust = False,
    kinds: Kinds = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit a sampler of label maps to the predictions of STORE and save it. Interrupted, the same command goes on.

    Example: calibrant refine runs/val --calibrator runs/ts -o runs/energy
    """
    from calibrant._input.own_code import names_code
    from calibrant._storage.origin import options_of
    from calibrant.cli._console import bars, console, with_progress
    from calibrant.data import StoredPredictions
    from calibrant.samplers import CopulaSampler, EnergyScoreSampler, save_sampler
    from calibrant.samplers.storage import LEARNT, STORAGE

    chosen = tuple(_options.numbers_in(classes, int)) or None
    asked = {"classes": chosen, "num_samples": num_samples, "steps": steps, "crop": crop}
    own = named_sampler_fit(method, asked, seed, trust=trust) if names_code(method) else None
    _check_options(method, output, published=published, inputs=inputs, draws=draws)
    _check_orientations(method, orientations, any_orientation=any_orientation)
    _options.check_device(device)
    stored = StoredPredictions(store)
    front = None if calibrator is None else open_calibrator(calibrator, kinds)
    check_outside(output, store, calibrator)
    options = {"method": method, "classes": classes, "steps": steps, "num-samples": num_samples, "crop": crop}
    options |= {"any-orientation": any_orientation, "published": published, "device": device.partition(":")[0]}
    options |= {"precision": precision, "seed": seed}
    options |= {"inputs": inputs, "draws": draws} if method in LEARNT else {}
    options |= {} if orientations == "one" else {"orientations": orientations}
    made_from = {"store": stored.digest, **calibrator_origin(calibrator, kinds), **options_of(options)}
    made_from |= code_origin([method] if own else [])
    if _is_there(output, made_from, overwrite=overwrite):
        console.print(f"a sampler → {output}, which was there already", highlight=False)
        return
    with bars() as progress:
        training: dict[str, Any] = {"seed": seed, "checkpoint_path": Path(output), "made_from": made_from}
        if own is not None:
            sampler = own(with_progress(stored, progress, method), front)
        elif method == "copula":
            watched = with_progress(stored, progress, "copula")
            sampler = CopulaSampler.fit(watched, front, classes=chosen, num_samples=num_samples or 24, seed=seed)
        else:
            dims = stored[0].logits.ndim - 1
            changes = {"augmentation": _augmentation(crop, dims, any_orientation=any_orientation), "num_steps": steps}
            training["devices"] = _devices(device, precision)
            if method in LEARNT:
                fit, recipe = _learnt(LEARNT[method], chosen, num_samples, changes)
                training |= {"inputs": inputs or None, "draws": draws}
                training |= {"make": LEARNT[method].network_class} if published else {}
            else:
                fit, recipe = _refinement(stored[0], num_samples, changes, published=published)
            task = progress.add_task("training", total=recipe.num_steps)
            training["watch"] = lambda done, figures: progress.update(task, completed=done)
            sampler = fit(stored, front, recipe=recipe, **training)
    if isinstance(sampler, EnergyScoreSampler):
        sampler = sampler.in_orientations(orientations)
    save_sampler(sampler, output, made_from=made_from)
    console.print(f"{sampler if method == 'copula' else type(sampler).__name__} → {output}", highlight=False)
    for note in sampler.notes:
        console.print(f"  {note}", highlight=False)
    if names := STORAGE.own_kinds(sampler):
        console.print(f"to use it: {' '.join(f'--kinds {name}' for name in names)}", highlight=False)


def _check_options(method: str, output: str, *, published: bool, inputs: str, draws: str) -> None:
    """Raise unless there is such a method, it has these options, and its checkpoints may lie there."""
    from calibrant._input.checks import check_choice
    from calibrant._input.own_code import names_code
    from calibrant.errors import InputError
    from calibrant.samplers.storage import LEARNT

    if not names_code(method):
        check_choice(method, ("refinement", "copula", *LEARNT), "way to make a sampler")
    if method in ("refinement", *LEARNT) and "://" in output:
        raise InputError(
            f"expected a folder of this machine, where {method} keeps the checkpoints of its training; got {output}. "
            "Train into a folder, and copy it."
        )
    if published and method not in ("refinement", *LEARNT.keys() - {"energy"}):
        raise InputError(
            f"expected --published with a method whose network was published in other sizes; got it with {method}. "
            "Leave it out."
        )
    if method not in LEARNT and (inputs or draws != "independent"):
        raise InputError(
            f"expected --inputs and --draws with --method {' or '.join(LEARNT)}; got them with {method}. Leave them."
        )


def _check_orientations(method: str, orientations: str, *, any_orientation: bool) -> None:
    """Raise unless the method can look at an image in these orientations, and is trained on them."""
    from calibrant.errors import InputError

    if orientations != "one" and method != "energy":
        raise InputError(f"expected --orientations with --method energy; got it with {method}. Leave it out.")
    if orientations == "all" and not any_orientation:
        raise InputError(
            "expected --any-orientation with --orientations all: a network that is to look at turned images must be "
            "trained on them; got none. Give both, or --orientations left-right."
        )


def _is_there(output: str, made_from: dict[str, str], *, overwrite: bool) -> bool:
    """Return whether this very sampler is there already; what is left of another is removed if it may be."""
    from calibrant._storage.origin import check_same
    from calibrant.samplers.storage import STORAGE
    from calibrant.training.checkpoint import remove_checkpoint

    if overwrite:
        done = STORAGE.holds(output) and _made_from(output) == made_from
        if "://" not in output:  # where no training has checkpoints
            remove_checkpoint(Path(output), {} if done else made_from)
        return False
    if not STORAGE.holds(output):
        return False
    check_same(output, STORAGE.made_from(output), made_from, "sampler")
    STORAGE.load_known(output)  # damage is said now
    return True


def _made_from(output: str) -> Any:
    """What the sampler that is to be replaced was made from; None if it does not say or is damaged."""
    from calibrant.errors import StoreError
    from calibrant.samplers.storage import STORAGE

    try:
        return STORAGE.made_from(output)
    except StoreError:
        return None


def _augmentation(crop: int | None, dims: int, *, any_orientation: bool) -> Any:
    """What is drawn anew each time an image is used."""
    from calibrant.training import Augmentation

    window = None if crop is None else (crop,) * dims
    return Augmentation.of_scans(crop=window) if any_orientation else Augmentation.of_scenes(crop=window)


def _devices(device: str, precision: str) -> Any:
    """Where a training runs."""
    from calibrant.training import SingleDevice, open_fabric

    return SingleDevice(device) if precision == "32-true" else open_fabric(accelerator=device, precision=precision)


def _learnt(
    kind: Any, classes: tuple[int, ...] | None, num_samples: int | None, changes: dict[str, Any]
) -> tuple[Any, Any]:
    """The fit of a sampler with one network, and its recipe."""
    from dataclasses import fields, replace
    from functools import partial

    from calibrant.errors import InputError

    loss = kind.loss()
    asked = {"classes": classes, "num_samples": num_samples}
    asked = {name: value for name, value in asked.items() if value is not None}
    unknown = set(asked) - {field.name for field in fields(loss)}
    if unknown:
        raise InputError(
            f"expected options that {kind.__name__} is trained with; got --{min(unknown).replace('_', '-')}, which its "
            "loss has no use for. Leave it out."
        )
    loss = replace(loss, **asked)
    recipe = replace(kind.recipe, **{name: value for name, value in changes.items() if value is not None})
    return partial(kind.fit, loss=loss), recipe


def _refinement(first: Any, num_samples: int | None, changes: dict[str, Any], *, published: bool) -> tuple[Any, Any]:
    """The fit of the refinement sampler, and its recipe."""
    from dataclasses import replace
    from functools import partial

    from calibrant.networks import Discriminator, RefinementUNet
    from calibrant.samplers import RefinementRecipe, RefinementSampler

    changes = {name: value for name, value in {**changes, "num_samples": num_samples}.items() if value is not None}
    recipe = replace(RefinementRecipe() if published else RefinementRecipe.small(), **changes)
    channels, num_classes, dims = _sizes(first)
    networks: dict[str, Any] = {}
    if published:
        networks["network"] = RefinementUNet(channels, num_classes, dims=dims)
        networks["discriminator"] = Discriminator(channels, dims=dims)
    return partial(RefinementSampler.fit, **networks), recipe


def _sizes(first: Any) -> tuple[int, int, int]:
    """Return channels (image and classes), classes, and dimensions."""
    num_classes, dims = first.num_classes, first.logits.ndim - 1
    return num_classes + (0 if first.image is None else len(first.image)), num_classes, dims
