"""``calibrant import``: logits or probabilities that someone else stored, into a store."""

from pathlib import Path
from typing import Annotated

import typer

from calibrant.cli import _options
from calibrant.cli._engine import EngineName
from calibrant.cli._parts import PartOption
from calibrant.cli._written import written


def import_(
    folder: Annotated[Path, typer.Argument(help="The folder of scores, or the one that holds logits/ and labels/.")],
    store: Annotated[str, typer.Option("--output", "-o", help="Where the store goes: a path or an fsspec URL.")],
    labels: Annotated[Path | None, typer.Option(help="The folder of labels, if it is not labels/ in FOLDER.")] = None,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="There are no labels: to apply a calibrator, and to export.")
    ] = False,
    images: Annotated[Path | None, typer.Option(help="The folder of pictures, for the report.")] = None,
    scores: Annotated[
        str | None,
        typer.Option(help="What the numbers are: logits, probabilities, percent, bytes (0..255), sigmoid."),
    ] = None,
    probabilities: Annotated[
        bool | None, typer.Option(help="Short for --scores probabilities, after the softmax; or for --scores logits.")
    ] = None,
    class_axis: Annotated[
        int | None,
        typer.Option(
            min=-8, max=7, help="Which axis of the files holds the classes; 0 if not said, and -1, the last, of NIfTI."
        ),
    ] = None,
    label_axis: Annotated[
        str | None, typer.Option(help="What an axis of labels beside those of space holds: annotators, classes.")
    ] = None,
    array_order: Annotated[
        str | None, typer.Option(help="The order of the axes of arrays beside NIfTI: zyx or xyz.")
    ] = None,
    same_grid: Annotated[bool, typer.Option("--same-grid", help="Do not look at the affines of NIfTI files.")] = False,
    array: Annotated[str | None, typer.Option(help="The name of the scores in files of several arrays.")] = None,
    label_array: Annotated[str | None, typer.Option(help="The name of the labels in files of several arrays.")] = None,
    ignore_index: Annotated[
        int | None,
        _options.label("The label of unlabelled pixels; 255, or what the labels show, if not said; -1: -1, or none."),
    ] = None,
    first_label: Annotated[
        int | None, _options.count("The label of class 0: with 1, label k is class k - 1.", least=0)
    ] = None,
    class_names: Annotated[
        str, typer.Option(help="Names with commas between, or a text file with one name a line.")
    ] = "",
    model: Annotated[str, typer.Option(help="What made the predictions; shown in reports.")] = "",
    data: Annotated[str, typer.Option(help="What the images are; shown in reports.")] = "",
    dtype: Annotated[
        str | None, typer.Option(help="Store logits as float16, bfloat16 or float32; as they are if not said.")
    ] = None,
    upsample: Annotated[
        bool, typer.Option(help="Logits are smaller than the labels, and are to be upsampled linearly.")
    ] = False,
    engine: EngineName = None,
    part: PartOption = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a store of other images.")] = False,
) -> None:
    """Bring logits or probabilities into a store.

    Knows folders of .npy, .npz and .safetensors with PNG labels, nnU-Net's .npz with NIfTI or PNG labels, NIfTI
    probability maps, and TIFF. Interrupted, the same command goes on.
    """
    from calibrant._storage.origin import digest_of_bytes, digest_of_files, files_in, options_of
    from calibrant.cli._console import bars, console
    from calibrant.cli._engine import engine_opened, watched
    from calibrant.data import Provenance, open_folder

    predictions = open_folder(
        folder,
        labels=labels,
        has_labels=not no_labels,
        images=images,
        ignore_index="auto" if ignore_index is None else ignore_index,
        first_label=first_label,
        scores=scores,
        probabilities=probabilities,
        class_axis=class_axis,
        label_axis=label_axis,
        array_order=array_order,
        same_grid=same_grid,
        array=array,
        label_array=label_array,
        class_names=names_in(class_names),
        upsample=upsample,
    )
    taken = predictions.survey
    taken.check_alive(str(folder))
    places, remarks = predictions.places
    provenance = Provenance(
        model=model or str(folder),
        data=data or str(folder),
        resolution="the labels' size" + (", logits upsampled linearly" if upsample else ""),
        class_names=names_in(class_names),
        ignore=taken.coding.ignore,
        taken_for=(*taken.lines, *remarks),
    )
    options = {"class-axis": class_axis, "label-axis": label_axis, "array-order": array_order, "same-grid": same_grid}
    options |= {"array": array, "label-array": label_array, "upsample": upsample, "no-labels": no_labels}
    made_from = options_of(options) | {
        "scores": taken.scores,
        "coding of labels": digest_of_bytes(repr(taken.coding).encode()),
        "input files": digest_of_bytes(taken.fingerprint.encode(), digest_of_files(files_in(predictions)).encode()),
    }
    for line in provenance.taken_for:
        console.print(line, highlight=False, markup=False)
    with engine_opened(engine, folder, labels, images, store) as workers, bars() as progress:
        summary = written(
            watched(predictions, progress, "reading", workers),
            store,
            part,
            provenance=provenance,
            dtype=dtype,
            made_from=made_from,
            geometry=places,
            overwrite=overwrite,
        )
    console.print(summary, highlight=False)


def names_in(text: str) -> tuple[str, ...]:
    """Return names with commas between, or those in the file of that name, one a line."""
    path = Path(text) if text else None
    if path is not None and len(text) < 4096 and path.is_file():
        try:
            return tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
        except UnicodeDecodeError as error:
            from calibrant.errors import InputError

            raise InputError(
                f"{path}: expected the names of classes as text in UTF-8, one a line; got bytes that are not "
                f"({error.reason} at byte {error.start}). Save it as UTF-8."
            ) from error
    return tuple(name.strip() for name in text.split(",") if name.strip())
