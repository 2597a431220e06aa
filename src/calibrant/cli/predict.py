"""``calibrant predict``: run a black box over images and store its logits."""

from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli import _options
from calibrant.cli._engine import EngineName
from calibrant.cli._parts import PartOption
from calibrant.cli._views import Views
from calibrant.cli._written import written


def predict(
    model: Annotated[
        str, typer.Argument(help="A Hugging Face folder or name, .onnx, .pt, .pt2, a MONAI bundle, or module:function.")
    ],
    data: Annotated[Path, typer.Argument(help="The folder of the data set.")],
    store: Annotated[str, typer.Option("--output", "-o", help="Where the store goes: a path or an fsspec URL.")],
    dataset: Annotated[
        str,
        typer.Option(help="folder (images/, labels/, splits/), huggingface, ade20k, camvid, …, or module:function."),
    ] = "folder",
    split: Annotated[str | None, typer.Option(help="Which split of the data set, such as val.")] = None,
    class_names: Annotated[
        str, typer.Option(help="folder, huggingface: names with commas between, or a text file with one a line.")
    ] = "",
    ignore_index: Annotated[
        int | None, _options.label("folder, huggingface: the label of unlabelled pixels, 255 if not said; -1: none.")
    ] = None,
    first_label: Annotated[
        int | None, _options.count("folder: the label of class 0: with 1, label k is class k - 1.", least=0)
    ] = None,
    image_folder: Annotated[
        str | None, typer.Option("--images", help="folder: the folder of images in DATA, such as img_dir/val.")
    ] = None,
    label_folder: Annotated[
        str | None,
        typer.Option("--labels", help="folder: the folder of labels in DATA, such as ann_dir/val; none: no labels."),
    ] = None,
    divide_by: Annotated[
        float | None,
        _options.number(
            "folder: what numbers of TIFFs are divided by; 255 of eight bits if not said.", least=1e-9, most=1e9
        ),
    ] = None,
    palette: Annotated[
        Path | None,
        typer.Option(
            help="folder: labels are colours: a text file of name,red,green,blue a line, unlabelled for no class."
        ),
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(help="What the model answers with: logits, probabilities, percent, bytes, sigmoid."),
    ] = None,
    limit: Annotated[int | None, _options.count("Only the first so many images.")] = None,
    resolution: Annotated[
        str, typer.Option(help="Store logits as the network answers, or upsampled to the labels: network, label.")
    ] = "network",
    crop: Annotated[
        str | None,
        _options.numbers("Slide windows of this size: 512, or 512,1024 (rows, columns).", int, least=1, most=100_000),
    ] = (None),
    overlap: Annotated[float, _options.fraction("The share of a window that the next repeats.")] = 1 / 3,
    scales: Annotated[
        str,
        _options.numbers(
            "Test at several sizes, such as 0.5,0.75,1,1.25,1.5,1.75.", float, least=0.01, most=_options.MAX_SCALE
        ),
    ] = "1",
    flip: Annotated[bool, typer.Option("--flip", help="Test mirrored, left to right, too.")] = False,
    shorter_side: Annotated[int | None, _options.count("Resize images to this before all else.", most=100_000)] = None,
    normalise: Annotated[
        str | None, typer.Option(help="none, imagenet, or means/deviations; a Hugging Face model says it itself.")
    ] = None,
    device: Annotated[str, _options.device("cpu, cuda, cuda:1.")] = "cpu",
    precision: Annotated[str, _options.one_of(_options.PRECISIONS[:3], "32-true, bf16-mixed or 16-mixed.")] = "32-true",
    batch: Annotated[int, _options.count("So many images at once, if they are of one size.", most=100_000)] = 1,
    dtype: Annotated[
        str | None, typer.Option(help="Store logits as float16, bfloat16 or float32; as they come if not said.")
    ] = None,
    images: Annotated[
        bool,
        typer.Option(
            "--keep-images/--no-images", help="Keep the images in the store, for reports and image-wise methods."
        ),
    ] = True,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let code run that comes with the model, or is named by module:function.")
    ] = False,
    engine: EngineName = None,
    part: PartOption = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a store of other images.")] = False,
) -> None:
    """Run MODEL over DATA and store its logits, before any softmax.

    DATA without labels, or pictures alone, will do: calibrators are applied to such a store, and its maps exported.
    Interrupted, the same command goes on, and the store is the same to the byte.
    Example: calibrant predict runs/segformer data/street -o runs/val
    """
    from calibrant._storage.origin import options_of
    from calibrant.cli._console import aside, console
    from calibrant.cli._recipe import Recipe
    from calibrant.data import Provenance
    from calibrant.data._formats.palette import read_palette
    from calibrant.data.geometry import places_in

    _options.check_device(device)
    views = Views.parsed(crop=crop, overlap=overlap, scales=scales, flip=flip, shorter_side=shorter_side)
    recipe = Recipe(
        model,
        data,
        dataset,
        split,
        class_names,
        ignore_index,
        first_label,
        image_folder,
        label_folder,
        divide_by,
        palette,
        scores,
        limit,
        resolution,
        views,
        normalise,
        device,
        precision,
        batch,
        trust,
    )
    opened, examples = recipe.opened()
    if note := _check_classes(model, opened, examples):
        aside.print(f"note: {note}", highlight=False)
    source = recipe.answers(opened, examples)
    source.prove_steady()
    places, remarks = places_in(examples)
    provenance = Provenance(
        model=opened.description + ("" if precision == "32-true" else f", {precision}"),
        data=getattr(examples, "name", "") or str(data),
        resolution=views.described(opened.answers, resolution),
        class_names=examples.class_names,
        ignore=getattr(examples, "ignore", "") or _ignored(ignore_index),
        taken_for=(*_taken_for(scores, examples), *remarks),
    )
    options: dict = {"dataset": dataset, "split": split, "ignore-index": ignore_index, "first-label": first_label}
    options |= {"scores": scores, "resolution": resolution, "crop": crop, "overlap": overlap, "scales": scales}
    options |= {"flip": flip, "shorter-side": shorter_side, "normalise": normalise, "precision": precision}
    options |= {"images": image_folder, "labels": label_folder, "divide-by": divide_by}
    if palette is not None:
        options["palette"] = dict(read_palette(palette))
    options |= {"batch": batch, "device": device.partition(":")[0]}
    made_from = options_of(options) | _contents(model, opened.run, dataset, examples, data, store)
    for line in provenance.taken_for:
        console.print(line, highlight=False, markup=False)
    how: dict = {
        "geometry": places,
        "dtype": dtype,
        "with_images": images,
        "made_from": made_from,
        "overwrite": overwrite,
    }
    summary = _write(source, store, recipe, part, engine, provenance=provenance, **how)
    console.print(summary, highlight=False)


def _taken_for(scores: str | None, examples: Any) -> tuple[str, ...]:
    """Return what is assumed of the model's scores and of the labels, in sentences."""
    of_labels = getattr(getattr(examples, "read", None), "taken_for", ())
    return (f"scores: {scores or 'logits, as the values show'}, of the model", *of_labels)


def _contents(model: str, run: Any, dataset: str, examples: Any, data: Path, store: str) -> dict[str, str]:
    """Return the digests of what is read: the model, the code of a data set of the user's own, images and labels."""
    from calibrant._input.own_code import names_code
    from calibrant._storage.origin import digest_of_files, files_below, files_in
    from calibrant.cli._made_from import code_origin
    from calibrant.models._contents import contents_of

    files = files_in(examples) or files_below(data, lambda path: path.resolve() != Path(store).resolve())
    return {
        **contents_of(model, run),
        **code_origin([dataset] if names_code(dataset) else []),
        "images and labels": digest_of_files(files),
    }


def _write(
    source: Any, store: str, recipe: Any, part: str | None, engine: str | None, *, provenance: Any, **how: Any
) -> str:
    """Write what a model answers for each image, beside a bar.

    :param source: the ``BlockPredictions`` of the model.
    :param store: where to.
    :param recipe: opens the model elsewhere.
    :param part: which part of the images; None for all.
    :param engine: whose workers run the model; None for this process.
    :param provenance: its class names are those that the answers must have.
    :param how: other arguments of ``write_store``.
    """
    from calibrant.cli._console import MoveBar, bars
    from calibrant.cli._engine import engine_opened
    from calibrant.cli._recipe import Answers
    from calibrant.predictions import Mapped, Sharded

    with engine_opened(engine, recipe.data, store) as workers, bars() as progress:
        total, names = len(source), provenance.class_names
        if workers is not None:
            answers = Answers(recipe, range(total), source.keys, len(names))
            advance, size = MoveBar(progress, "predicting", total).advance, recipe.shard_size(total)
            spread = Sharded(answers, workers, shard_size=size, advance=advance)
            return written(spread, store, part, provenance=provenance, **how)
        task = progress.add_task("predicting", total=total)

        def answer(number: int) -> Any:
            strided = source.strided(number)
            if names and strided.logits.shape[0] != len(names):
                raise _unlike(recipe.model, strided.logits.shape[0], (), names)
            progress.update(task, completed=number + 1)
            return strided

        watched = Mapped(range(total), answer, names=source.keys)
        return written(watched, store, part, provenance=provenance, **how)


def _check_classes(model: str, opened: Any, examples: Any) -> str:
    """Raise if the model cannot have these classes; return what is odd about their names."""
    theirs, ours = tuple(opened.class_names), tuple(examples.class_names)
    if opened.num_classes not in (None, len(ours)):
        raise _unlike(model, opened.num_classes, theirs, ours)
    a, b = ([name.casefold().strip() for name in names] for names in (theirs, ours))
    if not a or a == b:
        return ""
    place = next(k for k, (one, other) in enumerate(zip(a, b, strict=True)) if one != other)
    difference = f"class {place} is {theirs[place]!r} to the model and {ours[place]!r} in the data"
    if sorted(a) == sorted(b):
        from calibrant.errors import InputError

        raise InputError(
            f"{model}: expected classes in the order of the data; got another order: {difference}. Put the model's "
            "outputs, or the label ids, in the other's order."
        )
    return f"{difference}; going on, as there are {len(ours)} of both."


def _unlike(model: str, count: int, theirs: tuple[str, ...], ours: tuple[str, ...]) -> Exception:
    from calibrant.errors import InputError

    def shown(names: tuple[str, ...]) -> str:
        return f" ({', '.join(names[:4])}{', …' if names[4:] else ''})" if names else ""

    return InputError(
        f"{model}: expected a model with the {len(ours)} classes of the data{shown(ours)}; it has "
        f"{count}{shown(theirs)}. Choose the data set that it was trained for, or name the classes: --class-names."
    )


def _ignored(ignore_index: int | None) -> str:
    return "nothing" if ignore_index == -1 else f"{255 if ignore_index is None else ignore_index} in the labels"
