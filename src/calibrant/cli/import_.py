"""``calibrant import``: logits or probabilities that someone else stored, into a store."""

from pathlib import Path
from typing import Annotated

import typer


def import_(
    folder: Annotated[Path, typer.Argument(help="The folder of scores, or the one that holds logits/ and labels/.")],
    store: Annotated[str, typer.Option("--output", "-o", help="Where the store goes: a path or an fsspec URL.")],
    labels: Annotated[Path | None, typer.Option(help="The folder of labels, if it is not labels/ in FOLDER.")] = None,
    images: Annotated[Path | None, typer.Option(help="The folder of pictures, for the report.")] = None,
    probabilities: Annotated[
        bool | None, typer.Option(help="The numbers are probabilities after the softmax, or are not.")
    ] = None,
    class_axis: Annotated[
        int, typer.Option(help="Which axis of the arrays holds the classes: 0, or -1 for the last.")
    ] = 0,
    ignore_index: Annotated[int, typer.Option(help="The label of unlabelled pixels; -1 if there are none.")] = 255,
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
    overwrite: Annotated[bool, typer.Option(help="Replace a store of other images.")] = False,
) -> None:
    """Bring logits or probabilities into a store.

    Knows folders of .npy, .npz and .safetensors with PNG labels, nnU-Net's .npz with NIfTI or PNG labels, NIfTI
    probability maps, and TIFF. Interrupted, the same command goes on.
    """
    from calibrant.cli._console import bars, console, with_progress
    from calibrant.data import Provenance, open_folder, write_store

    predictions = open_folder(
        folder,
        labels=labels,
        images=images,
        ignore_index=None if ignore_index < 0 else ignore_index,
        probabilities=probabilities,
        class_axis=class_axis,
        class_names=names_in(class_names),
        upsample=upsample,
    )
    provenance = Provenance(
        model=model or str(folder),
        data=data or str(folder),
        resolution="the labels' size" + (", logits upsampled linearly" if upsample else ""),
        class_names=names_in(class_names),
        ignore="none" if ignore_index < 0 else f"label {ignore_index} counts nowhere",
    )
    with bars() as progress:
        stored = write_store(
            with_progress(predictions, progress, "reading"),
            store,
            provenance=provenance,
            dtype=dtype,
            overwrite=overwrite,
        )
    console.print(f"{len(stored)} images, {stored.num_classes} classes → {store}", highlight=False)


def names_in(text: str) -> tuple[str, ...]:
    """Return names with commas between, or those in the file of that name, one a line."""
    path = Path(text) if text else None
    if path is not None and path.is_file():
        return tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    return tuple(name.strip() for name in text.split(",") if name.strip())
