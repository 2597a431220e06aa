"""``calibrant export``: predictions back into the files that people work with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli import _options
from calibrant.cli._made_from import Overwrite, calibrator_origin, check_outside, sampler_origin
from calibrant.cli._own import Kinds, open_calibrator
from calibrant.cli._own_samplers import open_sampler
from calibrant.cli._regions import for_each_region, in_region, region_names

KINDS = ("png", "npy", "npz", "zarr", "nifti", "geotiff", "nnunet")
WHAT = ("labels", "confidence", "probabilities", "entropy", "hypotheses")


@for_each_region("store", "calibrator", "sampler", unless=lambda given: given["kind"] == "nnunet")
def export(
    store: Annotated[str, typer.Argument(help="A store of predictions.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder for the files.")],
    kind: Annotated[
        str, _options.one_of(KINDS, "png, npy, npz, zarr, nifti, geotiff, or nnunet (.npz beside .pkl).", "--as")
    ],
    what: Annotated[
        str, typer.Option(help="With commas: labels, confidence, probabilities, entropy (in nats), hypotheses.")
    ] = "labels,confidence",
    calibrator: Annotated[str | None, typer.Option(help="Calibrate first, with what calibrant fit made.")] = None,
    first_label: Annotated[
        int, _options.count("Write class k as label k + this: 1 where 0 stands for unlabelled.", least=0, most=255)
    ] = 0,
    sampler: Annotated[str | None, typer.Option(help="hypotheses: a sampler; independent pixels if not said.")] = None,
    num_samples: Annotated[int, _options.count("hypotheses: label maps an image.", most=100_000)] = 16,
    seed: Annotated[int, _options.seed("hypotheses: the seed of what is drawn.")] = 0,
    beside: Annotated[
        Path | None,
        typer.Option(help="nnunet: the folder of nnU-Net's own results, whose .pkl and .json files are copied."),
    ] = None,
    kinds: Kinds = None,
    overwrite: Overwrite = False,
) -> None:
    """Write maps of every image of STORE into files, on the grid that the image came from.

    Affine and header of NIfTI, and CRS, transform, tiles and nodata of GeoTIFF, are those of the files that the store
    was made from. In png, confidence and entropy have 16 bits: 65535 is 1, and the logarithm of the number of classes.
    Example: calibrant export runs/new --calibrator runs/ts --as png --what labels,confidence -o maps
    """
    from calibrant._storage.files import replacing
    from calibrant._storage.origin import digest_of_files, options_of
    from calibrant.cli._console import bars, console, with_progress
    from calibrant.cli._export_regions import export_regions
    from calibrant.cli._samples import EXPORT, replacing_samples
    from calibrant.data import StoredPredictions
    from calibrant.data.export import write_image
    from calibrant.samplers import IndependentSampler

    names = _named(what, kind)
    if regions := region_names(store):
        check_outside(output, store, calibrator, beside)
        keys = StoredPredictions(in_region(store, regions[0])).keys
        count = export_regions(store, output, calibrator, kinds, _beside(beside, keys, kind), overwrite=overwrite)
        console.print(f"probabilities of {len(regions)} regions of {count} images → {output}", highlight=False)
        return
    stored = StoredPredictions(store)
    front = None if calibrator is None else open_calibrator(calibrator, kinds)
    check_outside(output, store, calibrator, sampler, beside)
    copied, chosen = _beside(beside, stored.keys, kind), None
    made_from = {"store": stored.digest, **calibrator_origin(calibrator, kinds)}
    made_from |= options_of({"as": kind, "what": ",".join(names), "first-label": first_label})
    if "hypotheses" in names:
        made_from |= options_of({"num-samples": num_samples, "seed": seed})
        made_from |= sampler_origin(sampler, kinds)
        chosen = IndependentSampler() if sampler is None else open_sampler(sampler, kinds)
    if copied:
        made_from["files of nnU-Net"] = digest_of_files(copied)
    ties, num_labels = 0, stored.num_classes + first_label
    with replacing_samples(output, made_from, overwrite=overwrite, kind=EXPORT) as new, bars() as progress:
        watched = with_progress(stored, progress, "exporting")
        for prediction, drawn in _images(watched, front, chosen, num_samples, seed):
            maps, near = _maps(prediction.logits, drawn, names, first_label)
            ties += near
            write_image(new, prediction.key, kind, maps, stored.geometry.get(prediction.key), num_labels)
        for file in copied:
            with replacing(new / file.name) as temporary:
                temporary.write_bytes(file.read_bytes())
    if ties:
        console.print(
            f"nearly tied: in {ties} pixels the two largest logits were closer than a margin; probabilities are "
            "written apart, so that the largest is that of the label",
            highlight=False,
        )
    console.print(f"{', '.join(names)} of {len(stored)} images → {output}", highlight=False)


def _named(what: str, kind: str) -> tuple[str, ...]:
    """The maps asked for; nnU-Net's files always hold the same."""
    from calibrant._input.checks import check_choice
    from calibrant.errors import InputError

    if kind == "nnunet":
        return ("labels", "probabilities")
    names = tuple(dict.fromkeys(name.strip() for name in what.split(",") if name.strip()))
    for name in names:
        check_choice(name, WHAT, "map")
    if not names:
        raise InputError(f"expected maps to write, of {', '.join(WHAT)}; got none. Name some: --what labels.")
    return names


def _images(source: Any, front: Any, sampler: Any, num_samples: int, seed: int) -> Iterator[Any]:
    """Yield every prediction, calibrated, with label maps drawn for it if there is a sampler."""
    import torch

    from calibrant.calibrators import calibrated
    from calibrant.evaluation import draw_hypotheses
    from calibrant.predictions import with_logits

    if sampler is not None:
        generator = torch.Generator().manual_seed(seed)
        yield from draw_hypotheses(sampler, source, front, num_samples=num_samples, generator=generator)
        return
    for prediction in source:
        yield with_logits(prediction, calibrated(prediction, front)), None


def _maps(logits: Any, drawn: Any, names: tuple[str, ...], first_label: int) -> tuple[dict[str, Any], int]:
    """The maps of one image, and in how many pixels the two largest logits were nearly tied."""
    from calibrant.data.export import maps_of
    from calibrant.data.export.maps import label_type
    from calibrant.predictions import nearly_tied

    maps = maps_of(logits.float(), [name for name in names if name != "hypotheses"])
    kind = label_type(len(logits) + first_label)
    if drawn is not None:
        maps["hypotheses"] = drawn.numpy()
    for name in {"labels", "hypotheses"} & maps.keys():
        maps[name] = maps[name].astype(kind) + kind(first_label)
    return maps, int(nearly_tied(logits[None]).sum())


def _beside(folder: Path | None, keys: tuple[str, ...], kind: str) -> list[Path]:
    """The files of nnU-Net that its own ensembling reads beside probabilities.

    :raises InputError: the folder is not named, or named for another format.
    :raises DataError: a file is missing.
    """
    from calibrant.errors import DataError, InputError

    if kind != "nnunet":
        if folder is not None:
            raise InputError(f"expected --beside for --as nnunet alone; got it for {kind}. Leave it out.")
        return []
    if folder is None:
        raise InputError(
            "expected the folder of nnU-Net's own results, whose .pkl files its ensembling reads; got none. Name it: "
            "--beside nnUNet_results/…"
        )
    folders = [folder, *sorted(folder.glob("fold_*/validation"))]
    found = {key: next((p for f in folders if (p := f / f"{key}.pkl").is_file()), None) for key in keys}
    missing = [key for key, file in found.items() if file is None]
    if missing:
        raise DataError(
            f"{folder / missing[0]}.pkl: expected the file that nnU-Net writes beside its probabilities "
            f"(--save_probabilities); there is none (nor of {len(missing) - 1} more). Name the folder that holds them."
        )
    about = [folder / name for name in ("dataset.json", "plans.json", "predict_from_raw_data_args.json")]
    return [*filter(None, found.values()), *(file for file in about if file.is_file())]
