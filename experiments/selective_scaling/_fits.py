"""One fit of each method for all studies: what was fitted once is kept under ``runs/`` and read again.

A fit is found again by its method, seed and options, by every number that it was fitted to, and by all code that fits
may run: a change to any of them is another fit.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

import calibrant
from calibrant._storage.files import replacing
from calibrant.calibrators import Calibrator, SelectiveScaling, load, save
from calibrant.data import StoredPredictions, open_folder
from calibrant.predictions import Prediction, Predictions, Subset, split
from calibrant.testing import toy_predictions
from experiments._data import add_option, place, use
from experiments._record import RESULTS
from experiments.selective_scaling import _methods
from experiments.selective_scaling._methods import COMBINED, METHODS, OURS

S = TypeVar("S", bound="Study")

QUICK: dict[str, dict[str, Any]] = {
    name: {"num_epochs": 1} for name in METHODS | COMBINED if name.startswith(("local temperature", "selective"))
} | {
    OURS: {"num_epochs": 1},
    "Meta-Cal*, accuracy 0.95": {"accuracy": 0.85},
}
"""Options for synthetic data, in seconds."""

NOT_RUN = ("cli", "data", "report", "samplers")
"""The packages of calibrant whose code no fit runs; a test holds this against what the methods import."""


@dataclass(frozen=True)
class Study:
    """What all studies share; the defaults are what ``experiments/results`` holds.

    :param folder: the folder of logits and labels among the data; empty for synthetic predictions.
    :param images: the folder of images among the data, which local temperature scaling looks at besides.
    :param store: predictions to look at instead, as ``calibrant predict`` and ``import`` store them.
    :param stride: the step between the rows and columns of a store that are looked at.
    :param output: where figures go; empty for ``experiments/results``.
    :param methods: the first is compared with all others.
    :param options: further arguments of a method's fit.
    :param cache: where fits are kept; empty for nowhere.
    """

    folder: str = "camvid_espnet_logits"
    images: str = "camvid/images"
    store: str = ""
    stride: int = 4
    output: str = ""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    methods: tuple[str, ...] = tuple(METHODS)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    num_resamples: int = 1000
    cache: str = "runs/selective_scaling"

    @classmethod
    def smoke(cls: type[S], **changes: Any) -> S:
        """Return what runs in seconds, on synthetic data."""
        few = {"folder": "", "seeds": (0,), "options": QUICK, "num_resamples": 20, "cache": ""}
        return cls(**(few | changes))

    @property
    def results(self) -> Path | None:
        """Where figures go; None for those of synthetic data, which are of no interest."""
        if not (self.folder or self.store):
            return None
        return Path(self.output) if self.output else RESULTS


def asked(config: type[S], doc: str | None) -> S:
    """Return the study that the command line asks for: what is recorded, made data, or the user's own store."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="synthetic data, in seconds")
    parser.add_argument("--store", help="your own predictions instead, as calibrant predict or import stored them")
    parser.add_argument(
        "--stride", type=int, default=4, help="of a store, the step between rows and columns that are taken"
    )
    parser.add_argument("--output", "-o", default="runs/studies", help="where the figures of your store go")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    if given.smoke:
        return config.smoke()
    if given.store:
        return config(folder="", store=given.store, stride=given.stride, output=given.output)
    return config()


@dataclass(frozen=True)
class Fitted:
    """A calibrator with what its fit took and said."""

    calibrator: Calibrator
    seconds: float
    notes: tuple[str, ...]

    @property
    def selector(self) -> dict[str, Any] | None:
        """What is known of the selector, if it has one."""
        quality = self.calibrator.quality if isinstance(self.calibrator, SelectiveScaling) else None
        return None if quality is None else asdict(quality)


def predictions_of(study: Study) -> list[Prediction]:
    """Return the predictions of a study in memory: the store's, the folder's, or synthetic ones if there is neither."""
    if study.store:
        return opened(study.store, study.stride)
    if study.folder:
        return list(open_folder(place(study.folder), images=place(study.images)))
    made = toy_predictions(num_images=8, num_classes=4, size=(3, 4))
    return [replace(p, **{part: _blocks(getattr(p, part)) for part in ("logits", "labels", "image")}) for p in made]


def opened(stores: str, stride: int, every: int = 1) -> list[Prediction]:
    """Return stored predictions in memory.

    :param stores: one, or several with commas between.
    :param stride: the step between rows and columns that are taken of logits at the labels' size.
    :param every: the step between images that are taken.
    """
    sources = [StoredPredictions(url) for url in stores.split(",")]
    return [thinned(source[i], stride) for source in sources for i in range(0, len(source), every)]


def halves(predictions: Sequence[Prediction], seed: int, share: float = 0.5) -> tuple[Predictions, Predictions]:
    """Return images to fit on, a share of all, and the half of the images to test on, which the share does not change.

    Of the other half as many are drawn as are asked for.
    """
    half, test = split(predictions, 0.5, seed=seed)
    order = torch.randperm(len(half), generator=torch.Generator().manual_seed(seed)).tolist()
    return Subset(half, sorted(order[: round(share * len(predictions))])), test


def fit(study: Study, name: str, images: Predictions, seed: int) -> Fitted:
    """Return a fitted method of the table, from the cache if it has been fitted before."""
    method = (METHODS | COMBINED)[name]
    options = study.options.get(name, {})
    kept = Path(study.cache) / digest_of(name, seed, options, images) if study.cache else None
    if kept is not None and kept.with_suffix(".json").exists():
        about = json.loads(kept.with_suffix(".json").read_text())
        return Fitted(load(kept), about["seconds"], tuple(about["notes"]))
    start = time.process_time()
    seeded = {"seed": seed} if "seed" in method.parameters else {}
    calibrator = method.fit(images, **seeded, **options)
    found = Fitted(calibrator, time.process_time() - start, calibrator.notes)
    if kept is None:
        return found
    kept.parent.mkdir(parents=True, exist_ok=True)
    save(calibrator, kept)
    about = {"method": name, "seed": seed, "seconds": found.seconds, "notes": found.notes}
    with replacing(kept.with_suffix(".json"), sweep=False) as temporary:
        temporary.write_text(json.dumps(about))
    return found


def fit_all(study: Study, images: Predictions, seed: int, names: Iterable[str] = ()) -> dict[str, Fitted]:
    """Return all methods of a study, ours first."""
    chosen = tuple(names) or study.methods
    return {name: fit(study, name, images, seed) for name in (OURS, *(n for n in chosen if n != OURS))}


def thinned(prediction: Prediction, stride: int) -> Prediction:
    """Return one of so many rows and columns of a prediction."""
    at = (..., *[slice(None, None, stride)] * (prediction.logits.ndim - 1))
    image = None if prediction.image is None else prediction.image[at].clone()
    return replace(prediction, logits=prediction.logits[at].clone(), labels=prediction.labels[at].clone(), image=image)


def _blocks(tensor: Tensor, side: int = 8) -> Tensor:
    """Every pixel as a square, so that there is an interior."""
    return tensor.repeat_interleave(side, 1).repeat_interleave(side, 2)


def digest_of(name: str, seed: int, options: Mapping[str, Any], images: Iterable[Prediction]) -> str:
    """Return what stands for all that a result depends on: the code of fits, a name, a seed, options and images."""
    digest = hashlib.sha256(_code() + json.dumps([name, seed, dict(options)]).encode())
    for prediction in images:
        digest.update(prediction.key.encode())
        for tensor in (prediction.logits, prediction.labels, prediction.image):
            if tensor is not None:
                digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


@cache
def _code() -> bytes:
    """The digest of all code that a fit may run, whichever method it is: none is ever read that other code made."""
    root = Path(calibrant.__file__).parent
    files = [file for file in root.rglob("*.py") if file.relative_to(root).parts[0] not in NOT_RUN]
    digest = hashlib.sha256()
    for file in [Path(_methods.__file__), *sorted(files)]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.digest()
