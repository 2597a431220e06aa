"""Which fits are the same bits over numbers of threads and orders of the images, and how far apart the others are.

``python -m benchmarks.determinism`` fits every method of ``calibrant.methods`` to the images in order on one thread,
again, on two threads, and to the images in reverse order; and compares what the calibrators make of other images. A
method (``calibrant fit``, ``calibrant compare``, ``Method.fitted``) reads the images by key; the last column is of
the fit itself (``TemperatureScaling.fit``), which reads them as they come. Networks are trained for few epochs.
``--data`` adds ESPNet's logits of CamVid, from the folder that CALIBRANT_DATA names.
"""

import argparse
import itertools
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from calibrant.calibrators import Calibrator, calibrated
from calibrant.data import StreetScenes, open_folder
from calibrant.methods import METHODS, parse_method
from calibrant.predictions import Prediction, from_probabilities

SHORT = {
    "temperature-published": "num_epochs=3",
    "vector-published": "num_epochs=3",
    "dirichlet-published": "num_epochs=2",
    "local": "num_epochs=1",
    "local-published": "num_epochs=1",
    "selective": "num_epochs=3",
    "selective-published": "num_epochs=3",
    "stacked": "num_epochs=1",
    "network": "num_steps=5,batch_size=2",
}
"""Options of the methods that train networks, so that each takes seconds."""
GIVEN: dict[str, Any] = {"pixels_per_image": 2_000, "seed": 0}


def streets(count: int, *, seed: int) -> list[Prediction]:
    """Return street scenes with logits that are too sure, and noise that makes some of them wrong."""
    scenes = StreetScenes(count, size=(48, 80), seed=seed)
    made = []
    for i in range(count):
        draw = torch.Generator().manual_seed(1000 * seed + i)
        logits = from_probabilities(scenes.probabilities(i).float())
        logits = 1.8 * (logits.clamp_min(-12) + torch.randn(logits.shape, generator=draw))
        made.append(Prediction(scenes[i].key, logits, scenes[i].labels, scenes[i].image))
    return made


def fitted(name: str, images: Sequence[Prediction], threads: int) -> Calibrator:
    """Fit a method on a number of threads."""
    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parse_method(_text(name)).fitted(images, **GIVEN)


def fitted_as_they_come(name: str, images: Sequence[Prediction]) -> Calibrator:
    """Call the fit of a method itself, on one thread."""
    torch.set_num_threads(1)
    method = parse_method(_text(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method.fit(images, **{key: value for key, value in GIVEN.items() if key in method.parameters})


def _text(name: str) -> str:
    return f"{name}:{SHORT[name]}" if name in SHORT else name


def probabilities(calibrator: Calibrator, images: Sequence[Prediction]) -> list[torch.Tensor]:
    """Return what a calibrator makes of images, on one thread."""
    torch.set_num_threads(1)
    return [calibrated(image, calibrator).double().softmax(0) for image in images]


def apart(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> str:
    """Return how far probabilities are apart, in words."""
    if all(map(torch.equal, one, other)):
        return "same bits"
    return f"{max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True)):.0e}"


def row(name: str, train: Sequence[Prediction], test: Sequence[Prediction]) -> list[str]:
    """Fit a method six times, and compare."""
    begun = time.process_time()
    first, again, threads, order = (
        probabilities(fitted(name, images, count), test)
        for images, count in ((train, 1), (train, 1), (train, 2), (train[::-1], 1))
    )
    found = [apart(first, each) for each in (again, threads, order)]
    found.append(apart(*(probabilities(fitted_as_they_come(name, images), test) for images in (train, train[::-1]))))
    return [name, *found, f"{time.process_time() - begun:.0f}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=",".join(METHODS), help="names with commas between; all by default")
    parser.add_argument("--data", action="store_true", help="ESPNet's logits of CamVid, too")
    given = parser.parse_args()
    sets: dict[str, tuple[Sequence[Any], Sequence[Any]]] = {"streets": (streets(6, seed=0), streets(3, seed=1))}
    if given.data:
        stored = open_folder(Path(os.environ["CALIBRANT_DATA"]) / "camvid_espnet_logits")
        sets["CamVid, ESPNet"] = [stored[i] for i in range(0, 48, 8)], [stored[i] for i in range(50, 80, 10)]
    print("largest difference of a probability on other images\n")
    print("| data | method | again | two threads | images in reverse | the fit itself, in reverse | s |")
    print("|---|---|---|---|---|---|---|")
    for (data, (train, test)), name in itertools.product(sets.items(), given.methods.split(",")):
        print(f"| {data} | {' | '.join(row(name, train, test))} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
