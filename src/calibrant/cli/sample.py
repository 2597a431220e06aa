"""``calibrant sample``: draw label maps for the images of a store, and score them where there are labels."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli import _options
from calibrant.cli._engine import EngineName
from calibrant.cli._made_from import Overwrite, calibrator_origin, check_outside, sampler_origin
from calibrant.cli._own import Kinds, open_calibrator
from calibrant.cli._own_samplers import open_sampler
from calibrant.cli._parts import Part, PartOption
from calibrant.cli._regions import for_each_region

MAX_NAME = 160
"""Letters of a file's name; with a digest and a suffix it stays within what file systems take, 255 bytes."""


@for_each_region("store", "calibrator", "sampler")
def sample(
    store: Annotated[str, typer.Argument(help="A store of predictions.")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="A folder, or an fsspec URL of one: one .npz an image.")
    ],
    sampler: Annotated[
        str | None, typer.Option(help="A sampler, as calibrant refine made it; independent pixels if not said.")
    ] = None,
    calibrator: Annotated[str | None, typer.Option(help="The calibrator that the sampler was made behind.")] = None,
    coupled: Annotated[
        bool, typer.Option("--coupled", help="Keep the probabilities of the calibrator exactly, pixel by pixel.")
    ] = False,
    num_samples: Annotated[int, _options.count("Label maps an image.", most=100_000)] = 16,
    classes: Annotated[
        str,
        _options.numbers(
            "Numbers of the classes whose overlap is scored, with commas; all if not said.",
            int,
            least=0,
            most=_options.MAX_WHOLE,
        ),
    ] = "",
    empty: Annotated[
        str, _options.one_of(("one", "nan", "zero"), "The IoU of two empty regions: one, nan or zero.")
    ] = "one",
    seed: Annotated[int, _options.seed("The seed; what is drawn for an image depends on it and its name alone.")] = 0,
    kinds: Kinds = None,
    engine: EngineName = None,
    part: PartOption = None,
    overwrite: Overwrite = False,
) -> None:
    """Write label maps ("hypotheses", samples first) and the entropy of the probabilities ("entropy", in nats).

    Example: calibrant sample runs/test --sampler runs/copula --calibrator runs/ts --num-samples 16 -o runs/maps
    """
    from functools import partial

    import torch

    from calibrant._storage.origin import options_of
    from calibrant.cli._console import bars, console
    from calibrant.cli._engine import engine_opened, watched
    from calibrant.data import StoredPredictions
    from calibrant.evaluation import Draws
    from calibrant.metrics import HypothesisDistances
    from calibrant.predictions import mapped_in_shards
    from calibrant.samplers import Coupled, IndependentSampler, Sampler

    _check_part(part, output)
    stored = StoredPredictions(store)
    front = None if calibrator is None else open_calibrator(calibrator, kinds)
    chosen: Sampler = IndependentSampler() if sampler is None else open_sampler(sampler, kinds)
    if coupled:
        chosen = Coupled(chosen)
    counted = list(_options.numbers_in(classes, int)) or None
    check_outside(output, store, calibrator, sampler)
    made_from = {"store": stored.digest, **calibrator_origin(calibrator, kinds)}
    made_from |= options_of({"num-samples": num_samples, "seed": seed, "coupled": coupled})
    made_from |= sampler_origin(sampler, kinds)
    generator = torch.Generator().manual_seed(seed)
    draws = Draws.of(chosen, front, num_samples, generator)
    count = partial(HypothesisDistances.of, classes=counted, empty=empty, independent=chosen.draws == "independent")
    if (one := Part.parsed(part)) is not None:
        _sample_part(
            one, Path(output), stored, draws, count, {"made_from": made_from, "num_samples": num_samples}, engine
        )
        return
    with (
        engine_opened(engine, store, output) as workers,
        _replacing(output, made_from, overwrite=overwrite) as (place, digests),
        bars() as progress,
    ):
        read = watched(stored, progress, "sampling", workers)
        drawn = [each for shard in mapped_in_shards(_write_each, read, draws, place, count) for each in shard]
        digests.update({each.file: each.digest for each in drawn})
    rows = [each.distances for each in drawn if each.distances is not None]
    if rows:
        tell(HypothesisDistances.stack(rows), num_samples, console)
    console.print(f"{len(stored)} images, {num_samples} label maps each → {output}", highlight=False)


def _check_part(part: str | None, output: str) -> None:
    """Raise if parts are to lie at an address."""
    from calibrant.errors import InputError

    if part is not None and "://" in output:
        raise InputError(
            f"expected a folder that all parts reach, with --part {part}; got the address {output}. Write to a disk "
            "that they share, or use --engine."
        )


@contextmanager
def _replacing(output: str, made_from: Any, *, overwrite: bool) -> Generator[tuple[Any, dict[str, str]]]:
    """Yield where label maps are written, and a dict for the digests of all of them by their names."""
    from calibrant._storage.place import Place
    from calibrant.cli._samples import replacing_samples
    from calibrant.cli._samples_at import samples_at

    if "://" in output:
        with samples_at(Place(output), made_from, overwrite=overwrite) as digests:
            yield Place(output), digests
    else:
        with replacing_samples(Path(output), made_from, overwrite=overwrite) as new:
            yield Place(new.resolve()), {}


def _sample_part(
    part: Part, folder: Path, stored: Any, draws: Any, count: Any, facts: dict[str, Any], engine: str | None
) -> None:
    """Write what is drawn of a part of the images, and their distances, unless they are there."""
    from calibrant._storage.place import Place
    from calibrant.cli._console import bars, console
    from calibrant.cli._engine import engine_opened, watched
    from calibrant.cli._samples import begin_part
    from calibrant.metrics.part import TallyPart
    from calibrant.predictions import mapped_in_shards

    begin_part(folder, facts["made_from"])
    facts["scored"] = repr(count.keywords)
    file, images = part.file(folder, "sample", facts), part.of(stored)
    if not file.exists():
        with engine_opened(engine, stored.url, folder) as workers, bars() as progress:
            read = watched(images, progress, "sampling", workers)
            place = Place(folder.resolve())
            drawn = [each for shard in mapped_in_shards(_write_each, read, draws, place, count) for each in shard]
        digests = {each.file: each.digest for each in drawn}
        rows = [each.distances for each in drawn if each.distances is not None]
        numbered = {str(number): row for number, row in enumerate(rows)}  # ragged annotators: rows need not stack
        TallyPart(numbered, (), part.number, part.count, facts, {"files": digests}).save(file)
    console.print(f"{len(images)} images, part {part.number} of {part.count} → {file}", highlight=False)


@dataclass(frozen=True)
class _Drawn:
    """What was drawn of an image: its file, the digest of that, and the distances, if there is a label."""

    file: str
    digest: str
    distances: Any


def _write_each(images: Iterable[Any], first: int, draws: Any, place: Any, count: Callable[..., Any]) -> list[_Drawn]:
    """Write what is drawn of some images, each file whole or not at all."""
    from calibrant._storage.origin import digest_of_bytes
    from calibrant.samplers import entropy_map

    found = []
    for prediction, maps in draws.from_each(images):
        name = f"{file_name(prediction.key)}.npz"
        content = _packed(prediction.key, maps, entropy_map(prediction.logits[None])[0])
        place.write(name, content)
        labelled = bool((prediction.labels >= 0).any())
        distances = (
            count(maps[:, None], prediction.labels[None], num_classes=prediction.num_classes) if labelled else None
        )
        found.append(_Drawn(name, digest_of_bytes(content), distances))
    return found


def _packed(key: str, maps: Any, entropy: Any) -> bytes:
    """The arrays of one image as the bytes of a file."""
    from io import BytesIO

    import numpy as np

    small = np.uint8 if int(maps.max()) < 256 else np.int32
    arrays: dict[str, Any] = {
        "hypotheses": maps.numpy().astype(small),
        "entropy": entropy.numpy().astype(np.float32),
        "key": np.array(key),
    }
    content = BytesIO()  # on a full disk numpy 1.26 leaves the archive open, and Python prints a traceback when it goes
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def file_name(key: str) -> str:
    """Return the name of an image's file: its own, quoted as in a URL, or its beginning and a digest where it is long.

    :param key: the name of the image.
    """
    from hashlib import sha256
    from urllib.parse import quote

    name = quote(key, safe=" ", errors="surrogatepass")
    if len(name) <= MAX_NAME:
        return name
    return f"{name[:MAX_NAME]}-{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def tell(distances: Any, num_samples: int, console: Any) -> None:
    """Print the scores, means over images.

    :param distances: of all images with a label.
    :param num_samples: how many label maps were drawn of each.
    :param console: where they are printed.
    """
    from calibrant.metrics import (
        ged_floor,
        generalised_energy_distance,
        hungarian_matched_iou,
        presence_excess,
        sample_diversity,
        shape_excess,
    )

    scores = {
        f"generalised energy distance, {num_samples} samples": generalised_energy_distance(distances),
        "  of a perfect sampler with independent draws": ged_floor(distances, num_samples),
        "  excess (without the diagonal)": generalised_energy_distance(distances, diagonal=False),
        "    from which classes are shown at all": presence_excess(distances),
        "    from their shapes": shape_excess(distances),
        "Hungarian-matched IoU": hungarian_matched_iou(distances),
        "diversity of samples": sample_diversity(distances),
    }
    for name, values in scores.items():
        known = values[values.isfinite()]
        if len(known):
            console.print(f"{name:47} {float(known.mean()):.4f}", highlight=False)
    console.print("one map that never varies can have the best Hungarian-matched IoU of all", highlight=False)
    if not bool(distances.independent.all()):
        console.print("label maps of an image depend on each other: no unbiased excess", highlight=False)
