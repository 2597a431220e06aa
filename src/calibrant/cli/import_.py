"""``calibrant import``: logits or probabilities that someone else stored, into a store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

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
    palette: Annotated[
        Path | None,
        typer.Option(help="Labels are colours: a text file of name,red,green,blue a line, unlabelled for no class."),
    ] = None,
    regions: Annotated[
        str | None,
        typer.Option(
            help="Classes overlap: regions in the order of the channels and the labels that they consist of, "
            "whole=1+2+3,core=2+3; each gets a store in the folder STORE. nnU-Net's dataset.json says them itself."
        ),
    ] = None,
    engine: EngineName = None,
    part: PartOption = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a store of other images.")] = False,
) -> None:
    """Bring logits or probabilities into a store.

    Knows folders of .npy, .npz and .safetensors with PNG labels, nnU-Net's results as they lie (all folds, out of
    fold) or its .npz with NIfTI or PNG labels, NIfTI probability maps, and TIFF. Interrupted, the same command goes on.
    Example: calibrant import nnUNet_results/Dataset001_Liver/nnUNetTrainer__nnUNetPlans__3d_fullres -o runs/val
    """
    from calibrant.cli._console import console
    from calibrant.cli._regions import in_region, parse_regions, write_region_names
    from calibrant.data import regions_in
    from calibrant.data._formats.palette import read_palette
    from calibrant.errors import InputError

    reading = {
        "labels": labels,
        "has_labels": not no_labels,
        "images": images,
        "ignore_index": "auto" if ignore_index is None else ignore_index,
        "first_label": first_label,
        "scores": scores,
        "probabilities": probabilities,
        "class_axis": class_axis,
        "label_axis": label_axis,
        "array_order": array_order,
        "same_grid": same_grid,
        "array": array,
        "label_array": label_array,
        "class_names": names_in(class_names),
        "upsample": upsample,
        "palette": None if palette is None else read_palette(palette),
    }
    writing = {"model": model, "data": data, "dtype": dtype, "engine": engine, "part": part, "overwrite": overwrite}
    known = regions_in(folder, None if regions is None else parse_regions(regions), ignore_index=ignore_index)
    if not known:
        _import(folder, store, reading, **writing)
        return
    if "://" in store or part is not None or class_names or first_label is not None:
        raise InputError(
            "expected a folder on this machine for overlapping regions, without --part, --class-names and "
            "--first-label; got one of these. Leave it out."
        )
    for region in known:
        console.print(f"region {region.name}, of the labels {', '.join(map(str, region.labels))}", highlight=False)
        _import(folder, in_region(store, region.name), {**reading, "region": region}, **writing)
    write_region_names(Path(store), [region.name for region in known])


def _import(
    folder: Path,
    store: str,
    reading: Mapping[str, Any],
    *,
    model: str,
    data: str,
    dtype: str | None,
    engine: str | None,
    part: str | None,
    overwrite: bool,
) -> None:
    """Write one store, of a folder that is read as was said."""
    from calibrant._storage.origin import digest_of_bytes, digest_of_files, files_in, options_of
    from calibrant.cli._console import bars, console
    from calibrant.cli._engine import engine_opened, watched
    from calibrant.data import Provenance, open_folder

    predictions = open_folder(folder, **reading)
    taken = predictions.survey
    taken.check_alive(str(folder))
    places, remarks = predictions.places
    upsample, region = reading["upsample"], reading.get("region")
    provenance = Provenance(
        model=model or str(folder),
        data=data or str(folder),
        resolution="the labels' size" + (", logits upsampled linearly" if upsample else ""),
        class_names=predictions.class_names,
        ignore=taken.coding.ignore,
        taken_for=(*taken.lines, *remarks),
    )
    options = {name.replace("_", "-"): reading[name] for name in ("class_axis", "label_axis", "array_order")}
    options |= {name.replace("_", "-"): reading[name] for name in ("same_grid", "array", "label_array", "upsample")}
    made_from = options_of(options | {"no-labels": not reading["has_labels"]}) | {
        "scores": taken.scores,
        "coding of labels": digest_of_bytes(repr(taken.coding).encode()),
        "input files": digest_of_bytes(taken.fingerprint.encode(), digest_of_files(files_in(predictions)).encode()),
    }
    if reading["palette"] is not None:
        made_from["palette"] = repr(dict(reading["palette"]))
    if region is not None:
        made_from["region"] = repr(region)
    for line in provenance.taken_for:
        console.print(line, highlight=False, markup=False)
    with engine_opened(engine, folder, reading["labels"], reading["images"], store) as workers, bars() as progress:
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
