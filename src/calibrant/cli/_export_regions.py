"""Overlapping regions into the one file a case that nnU-Net's ensembling reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibrant.cli._regions import in_region, region_names


def export_regions(
    store: str, output: Path, calibrator: str | None, kinds: Any, copied: Sequence[Path], *, overwrite: bool
) -> int:
    """Write the probabilities of all regions, (regions, z, y, x), and nnU-Net's label map; return how many cases.

    :param store: the folder of stores.
    :param output: where the files go.
    :param calibrator: one for all regions, or a folder of one for each; None for none.
    :param kinds: classes of the user's own that calibrators need.
    :param copied: files of nnU-Net that are written beside.
    :param overwrite: replace files of another command.
    :raises DataError: nnU-Net's files do not say how regions become labels, or stores hold other cases.
    """
    from calibrant._storage.files import replacing
    from calibrant._storage.origin import digest_of_files
    from calibrant.cli._console import bars, with_progress
    from calibrant.cli._made_from import calibrator_origin
    from calibrant.cli._own import open_calibrator
    from calibrant.cli._samples import EXPORT, replacing_samples
    from calibrant.data import StoredPredictions
    from calibrant.data.export import write_image
    from calibrant.errors import DataError

    names = region_names(store)
    stores = [StoredPredictions(in_region(store, name)) for name in names]
    places = [calibrator and (in_region(calibrator, n) if region_names(calibrator) else calibrator) for n in names]
    fronts = [None if place is None else open_calibrator(place, kinds) for place in places]
    order = _order(copied, len(names))
    unlike = next((each.url for each in stores if each.keys != stores[0].keys), None)
    if unlike:
        raise DataError(f"{unlike}: expected the cases of {stores[0].url}; got others. Import the regions again.")
    made_from = {"as": "nnunet", "files of nnU-Net": digest_of_files(copied)}
    for name, stored, place in zip(names, stores, places, strict=True):
        made_from |= {f"{what} of {name}": value for what, value in calibrator_origin(place, kinds).items()}
        made_from[f"store of {name}"] = stored.digest
    with replacing_samples(output, made_from, overwrite=overwrite, kind=EXPORT) as new, bars() as progress:
        for number, first in enumerate(with_progress(stores[0], progress, "exporting")):
            cases = [first, *(each[number] for each in stores[1:])]
            maps = _maps(cases, fronts, order)
            write_image(new, first.key, "nnunet", maps, stores[0].geometry.get(first.key), max(order) + 1)
        for file in copied:
            with replacing(new / file.name) as temporary:
                temporary.write_bytes(file.read_bytes())
    return len(stores[0])


def _maps(cases: Sequence[Any], fronts: Sequence[Any], order: Sequence[int]) -> dict[str, Any]:
    """The probability of each region, and the label of the last region that is more probable than not."""
    import numpy as np

    from calibrant.calibrators import calibrated
    from calibrant.data.export import maps_of
    from calibrant.data.export.maps import label_type

    logits = [calibrated(case, front).float() for case, front in zip(cases, fronts, strict=True)]
    probs = np.stack([maps_of(each, ["probabilities"])["probabilities"][1] for each in logits])
    labels = np.zeros(probs.shape[1:], label_type(max(order) + 1))
    for label, inside in zip(order, probs > 0.5, strict=True):
        labels[inside] = label
    return {"probabilities": probs, "labels": labels}


def _order(copied: Sequence[Path], count: int) -> list[int]:
    """The label that each region writes, in this order, as nnU-Net's ``dataset.json`` says."""
    from calibrant._storage.files import parse_json, read_file
    from calibrant.errors import DataError

    file = next((each for each in copied if each.name == "dataset.json"), None)
    try:
        found = None if file is None else parse_json(read_file(file)).get("regions_class_order")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: expected JSON, as nnU-Net writes it; {error}. Copy the file again.") from error
    if not isinstance(found, list) or len(found) != count or not all(isinstance(k, int) and k > 0 for k in found):
        raise DataError(
            f"{file or 'dataset.json'}: expected the labels that {count} regions write, regions_class_order, beside "
            f"the .pkl files; got {found}. Name the folder that holds them: --beside."
        )
    return found
