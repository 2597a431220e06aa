"""``calibrant refine``: make a sampler of label maps from a store."""

from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli import _options
from calibrant.cli._made_from import Overwrite, calibrator_origin, check_outside
from calibrant.cli._own import Kinds, open_calibrator


def refine(
    store: Annotated[str, typer.Argument(help="A store of predictions with labels, best of several annotators.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the sampler goes, and its checkpoints.")],
    method: Annotated[str, typer.Option(help="refinement trains networks; copula keeps the probabilities.")] = (
        "refinement"
    ),
    calibrator: Annotated[Path | None, typer.Option(help="A calibrator, as calibrant fit made it.")] = None,
    classes: Annotated[
        str,
        _options.numbers(
            "copula: numbers of the classes whose overlap counts, with commas; all if not said.",
            int,
            least=0,
            most=_options.MAX_WHOLE,
        ),
    ] = "",
    steps: Annotated[int | None, _options.count("refinement: steps of training.")] = None,
    num_samples: Annotated[int | None, _options.count("Samples an image while fitting.", least=2, most=100_000)] = None,
    crop: Annotated[int | None, _options.count("refinement: train on windows of so many pixels.", most=100_000)] = None,
    any_orientation: Annotated[
        bool,
        typer.Option(
            "--any-orientation",
            help="refinement: also train on quarter turns of the images, as suits scans, which have no upright.",
        ),
    ] = False,
    published: Annotated[bool, typer.Option(help="refinement: the paper's sizes and rates, for a GPU.")] = False,
    device: Annotated[str, _options.device("refinement: cpu, or cuda.")] = "cpu",
    precision: Annotated[
        str,
        _options.one_of(
            _options.PRECISIONS, "refinement: such as bf16-mixed; other than 32-true needs calibrant[train]."
        ),
    ] = "32-true",
    seed: Annotated[int, _options.seed("The seed of everything drawn.")] = 0,
    kinds: Kinds = None,
    overwrite: Overwrite = False,
) -> None:
    """Fit a sampler of label maps to the predictions of STORE and save it. Interrupted, the same command goes on."""
    from dataclasses import replace

    from calibrant._input.checks import check_choice
    from calibrant._storage.origin import check_same, options_of
    from calibrant.cli._console import bars, console, with_progress
    from calibrant.data import StoredPredictions
    from calibrant.networks import Discriminator, RefinementUNet
    from calibrant.samplers import CopulaSampler, RefinementRecipe, RefinementSampler, save_sampler
    from calibrant.samplers.storage import STORAGE
    from calibrant.training import Augmentation, SingleDevice, open_fabric
    from calibrant.training.checkpoint import remove_checkpoint

    check_choice(method, ("refinement", "copula"), "way to make a sampler")
    _options.check_device(device)
    stored = StoredPredictions(store)
    front = None if calibrator is None else open_calibrator(calibrator, kinds)
    check_outside(output, store, calibrator)
    options = {"method": method, "classes": classes, "steps": steps, "num-samples": num_samples, "crop": crop}
    options |= {"any-orientation": any_orientation, "published": published, "device": device.partition(":")[0]}
    options |= {"precision": precision, "seed": seed}
    made_from = {"store": stored.digest, **calibrator_origin(calibrator, kinds), **options_of(options)}
    if STORAGE.holds(output) and not overwrite:
        check_same(output, STORAGE.made_from(output), made_from, "sampler")
        STORAGE.load(output)  # damage is said now
        console.print(f"a sampler → {output}, which was there already", highlight=False)
        return
    if overwrite:
        done = STORAGE.holds(output) and _made_from(output) == made_from
        remove_checkpoint(output, {} if done else made_from)
    with bars() as progress:
        if method == "copula":
            chosen = list(_options.numbers_in(classes, int)) or None
            watched = with_progress(stored, progress, "copula")
            sampler = CopulaSampler.fit(watched, front, classes=chosen, num_samples=num_samples or 24, seed=seed)
        else:
            channels, num_classes, dims = _sizes(stored[0])
            window = None if crop is None else (crop,) * dims
            augmentation = (
                Augmentation.of_scans(crop=window) if any_orientation else Augmentation.of_scenes(crop=window)
            )
            recipe = replace(RefinementRecipe() if published else RefinementRecipe.small(), augmentation=augmentation)
            recipe = replace(recipe, num_steps=steps or recipe.num_steps, num_samples=num_samples or recipe.num_samples)
            plain = precision == "32-true"
            task = progress.add_task("training", total=recipe.num_steps)
            sampler = RefinementSampler.fit(
                stored,
                front,
                recipe=recipe,
                network=RefinementUNet(channels, num_classes, dims=dims) if published else None,
                discriminator=Discriminator(channels, dims=dims) if published else None,
                seed=seed,
                checkpoint_path=output,
                made_from=made_from,
                devices=SingleDevice(device) if plain else open_fabric(accelerator=device, precision=precision),
                watch=lambda done, figures: progress.update(task, completed=done),
            )
    save_sampler(sampler, output, made_from=made_from)
    console.print(f"{sampler if method == 'copula' else 'RefinementSampler'} → {output}", highlight=False)


def _made_from(output: Path) -> Any:
    """What the sampler that is to be replaced was made from; None if it does not say or is damaged."""
    from calibrant.errors import StoreError
    from calibrant.samplers.storage import STORAGE

    try:
        return STORAGE.made_from(output)
    except StoreError:
        return None


def _sizes(first: Any) -> tuple[int, int, int]:
    """Return channels (image and classes), classes, and dimensions."""
    num_classes, dims = first.num_classes, first.logits.ndim - 1
    return num_classes + (0 if first.image is None else len(first.image)), num_classes, dims
