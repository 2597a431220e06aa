"""The page of samplers, drawn from the label maps that ``calibrant sample`` wrote and the store they are of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calibrant._storage.origin import Origin
from calibrant._storage.place import Place
from calibrant.calibrators import Calibrator, calibrated
from calibrant.cli._console import bars, with_progress
from calibrant.cli._provenance import provenance
from calibrant.cli._samples import SAMPLES, origin_of_samples
from calibrant.cli.sample import file_name
from calibrant.errors import DataError, InputError
from calibrant.metrics import AreaSamples, HypothesisDistances, SampleDivergence, SampleFrequencies
from calibrant.report import Drawn, SampledCase, areas_in_words, sampled_case, telling_draws, write_samples_page

MOST_CLASSES_OF_AREAS = 20
"""Of more classes, areas are counted of the first so many only; the page says so."""


def is_samples(url: str) -> bool:
    """Return whether a folder, or an address, holds label maps.

    :param url: the folder.
    """
    return Place(url).has(SAMPLES.record)


def write_page_of_samples(
    output: Path,
    urls: Sequence[str],
    stored: Any,
    *,
    front: tuple[Calibrator, Mapping[str, str]] | None,
    samplers: Sequence[tuple[str, str]],
    title: str,
    num_cases: int,
) -> None:
    """Write the page of what was drawn of the labelled images of a store.

    :param output: where it goes.
    :param urls: folders of label maps, or addresses of them, one a sampler.
    :param stored: the store.
    :param front: the calibrator that the hypotheses were drawn behind, and what it is; None for none.
    :param samplers: the digest of each sampler that is known, and the word for how its draws depend on each other.
    :param title: the headline.
    :param num_cases: how many images are shown.
    :raises InputError: the label maps are of another store, or behind another calibrator.
    :raises DataError: a file is missing or damaged.
    """
    names = {name: Place(url) for name, url in _names(urls).items()}
    origins = {name: origin_of_samples(place) for name, place in names.items()}
    for name, origin in origins.items():
        _check_origin(name, origin, stored.digest, {} if front is None else front[1])
    calibrator = None if front is None else front[0]
    independent = {name: _independent(origin, dict(samplers)) for name, origin in origins.items()}
    size, unit = _pixel_size(stored)
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in names}
    with bars() as progress:
        for prediction in with_progress(stored, progress, "counting hypotheses"):
            if not bool((prediction.labels >= 0).any()):
                continue
            logits = calibrated(prediction, calibrator)
            for name, place in names.items():
                hypotheses, _ = read_maps(place, prediction.key, prediction.labels.shape[1:])
                rows[name].append(_counted(prediction, hypotheses, logits, size, independent[name]))
    drawn = {name: _stacked(each) for name, each in rows.items()}
    first = next(iter(drawn.values()))
    cases = []
    for key, why in telling_draws(first.distances, count=num_cases).items():
        prediction = stored[stored.keys.index(key)]
        for name, place in names.items():
            cases += _case(prediction, place, name, why, drawn[name], stored.class_names, unit)
    about = {f"{what} of {name}": value for name, origin in origins.items() for what, value in origin.items()}
    facts = {
        "images": f"{stored.provenance.data} ({len(first.distances)} with labels)",
        "hypotheses": ", ".join(f"{each.distances.num_samples} of each image by {n}" for n, each in drawn.items()),
        **_left_out(independent, stored.num_classes),
    }
    names_of_classes = stored.class_names or tuple(f"class {i}" for i in range(stored.num_classes))
    write_samples_page(
        output,
        drawn,
        class_names=names_of_classes,
        title=title,
        facts=facts,
        cases=cases,
        unit=unit,
        provenance=provenance(about),
    )


def read_maps(place: Place, key: str, space: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the hypotheses of an image and the entropy of its probabilities.

    :param place: where ``calibrant sample`` wrote them.
    :param key: the name of the image.
    :param space: the size of the image.
    :raises DataError: the file is missing, damaged, or of another image.
    """
    name = f"{file_name(key)}.npz"
    try:
        with np.load(BytesIO(place.read(name))) as file:
            hypotheses, entropy, named = file["hypotheses"], file["entropy"], str(file["key"])
        if named != key or hypotheses.shape[1:] != tuple(space) or entropy.shape != tuple(space):
            raise ValueError(f"it holds maps of {named!r}, {hypotheses.shape}")
    except Exception as error:  # numpy's reader of broken archives raises nearly anything
        raise DataError(f"{place.name(name)}: expected label maps of {key!r}; {error}. {SAMPLES.again}") from error
    return torch.from_numpy(hypotheses.astype(np.int64)), torch.from_numpy(entropy)


def _names(urls: Sequence[str]) -> dict[str, str]:
    parts = [url.rstrip("/").split("/") if "://" in url else Path(url).resolve().parts for url in urls]
    names = [each[-1] for each in parts]
    if len(set(names)) < len(names):
        names = ["/".join(each[-2:]) for each in parts]
    if len(set(names)) < len(names):
        raise InputError(f"expected folders of different names; got {', '.join(names)}. Leave out those named twice.")
    return dict(zip(names, urls, strict=True))


def _check_origin(name: str, origin: Origin, store: str, front: Mapping[str, str]) -> None:
    """Raise unless label maps are of a store, and were drawn behind a calibrator."""
    if origin.get("store") != store:
        raise InputError(f"expected the store that {name} was drawn of; got another. Name it: --store.")
    if origin.get("calibrator") != front.get("calibrator"):
        got = "another" if front else "none"
        wanted = "the calibrator" if "calibrator" in origin else "no calibrator, as"
        raise InputError(f"expected {wanted} that {name} was drawn behind; got {got}. Give it: --calibrator.")


def _independent(origin: Origin, samplers: Mapping[str, str]) -> bool:
    """Whether hypotheses are known to be independent: those of single pixels are; of others the sampler says it."""
    if origin.get("--coupled"):
        return False
    return "sampler" not in origin or samplers.get(origin["sampler"]) == "independent"


def _pixel_size(stored: Any) -> tuple[dict[str, float], str]:
    """The area or volume of a pixel of each image, and the unit; 1 and pixels unless all images have it."""
    found = {key: each.pixel_size for key, each in stored.geometry.items()}
    known = {key: size for key, size in found.items() if size is not None}
    units = {unit for _, unit in known.values()}
    if len(known) < len(stored) or len(units) != 1:
        return {}, "pixels"
    return {key: size for key, (size, _) in known.items()}, units.pop()


def _counted(
    prediction: Any, hypotheses: torch.Tensor, logits: torch.Tensor, size: Mapping[str, float], independent: bool
) -> tuple[Any, ...]:
    """The rows of one image: distances, frequencies, divergence, and areas by class."""
    maps, labels, count = hypotheses[:, None], prediction.labels[None], prediction.num_classes
    areas = {
        number: AreaSamples.of(
            maps, labels, num_classes=count, of_class=number, pixel_size=size.get(prediction.key, 1.0)
        )
        for number in range(min(count, MOST_CLASSES_OF_AREAS))
    }
    rows: list[Any] = [
        HypothesisDistances.of(maps, labels, num_classes=count, independent=independent),
        SampleFrequencies.of(maps, labels, num_classes=count),
        SampleDivergence.of(maps, logits[None]),
        areas,
    ]
    keys = (prediction.key,)
    named = [replace(each, keys=keys) for each in rows[:3]]
    return (*named, {number: replace(each, keys=keys) for number, each in areas.items()})


def _stacked(rows: Sequence[tuple[Any, ...]]) -> Drawn:
    if not rows:
        raise InputError("expected labelled pixels in at least one image; got none. Hypotheses are scored by labels.")
    distances, frequencies, divergence, areas = zip(*rows, strict=True)
    return Drawn(
        HypothesisDistances.stack(distances),
        SampleFrequencies.stack(frequencies),
        SampleDivergence.stack(divergence),
        {number: AreaSamples.stack([each[number] for each in areas]) for number in areas[0]},
    )


def _case(
    prediction: Any, place: Place, name: str, why: str, drawn: Drawn, class_names: Sequence[str], unit: str
) -> list[SampledCase]:
    hypotheses, entropy = read_maps(place, prediction.key, prediction.labels.shape[1:])
    names = class_names or [f"class {i}" for i in range(prediction.num_classes)]
    words = areas_in_words(drawn.areas, drawn.distances.keys.index(prediction.key), names, unit)
    case = sampled_case(prediction, hypotheses, entropy, sampler=name, why=why, areas=words)
    return [] if case is None else [case]


def _left_out(independent: Mapping[str, bool], num_classes: int) -> dict[str, str]:
    """What is not on the page, and why."""
    said = {}
    unknown = [name for name, each in independent.items() if not each]
    if unknown:
        said["no excess"] = (
            f"the draws of {', '.join(unknown)} are not known to be independent of each other: give the sampler "
            "(--sampler), which says so"
        )
    if num_classes > MOST_CLASSES_OF_AREAS:
        said["areas"] = f"of the first {MOST_CLASSES_OF_AREAS} of {num_classes} classes"
    return said
