"""Applying calibrators, and what fits hold in memory: ``python -m benchmarks.apply [--quick]``.

The unit of an application is one ``torch.softmax`` of the same float32 logits, timed before and after it in one
process. A part that a fit left out is put in at random, so that each calibrator costs what it may: the networks of
stacked scaling, a selector. ``--default`` prints the time of a fit of the default to 80 images of 120 x 160, and
``--streamed`` time and peak of fits to 50 and to 500 images of 1 MPx, each in a fresh process.
Peaks are those of fresh processes, each fitting one method to 20 images of 150 classes, 512 x 512, which are
made when asked for (160 MB each; training is cut short, which changes no peak).
"""

import argparse
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch

from benchmarks._interleaved import ratios, shown, timed, verdict
from benchmarks._memory import peak_megabytes
from benchmarks._scenes import MadeScenes
from calibrant.calibrators import EntropyAbove, Fit, SelectiveScaling, StackedScaling, TemperatureScaling
from calibrant.calibrators.stacked import ConfidenceNetwork
from calibrant.calibrators.stacked.context import NAMES
from calibrant.calibrators.stacked.training import Recipe
from calibrant.methods import DEFAULT, parse_method
from calibrant.predictions import Prediction

TEXTS = {
    "temperature": "temperature",
    "temperature, every pixel": "temperature:pixels_per_image=none",
    "vector": "vector",
    "vector, label map kept": "vector-kept",
    "dirichlet": "dirichlet:strength=0.01",
    "dirichlet, label map kept": "dirichlet-kept:strength=0.01",
    "meta-cal": "meta-cal-star",
    "local": "local:num_epochs=1,crops_per_image=1",
    "isotonic": "isotonic",
    "selective": "selective:num_epochs=1",
    "selective, as published": "selective-published:num_epochs=1",
    "stacked": "stacked:num_epochs=2",
}
"""What is fitted, as the command line names it; training is cut short, which changes neither times nor peaks."""
FITS: dict[str, Fit] = {name: parse_method(text).fit for name, text in TEXTS.items()}
TARGETS = {
    "temperature": 1.3,
    "isotonic": 4.0,
    "selective": 3.0,
    "vector, label map kept": 3.0,
    "dirichlet, label map kept": 3.0,
    "local": 5.0,
    "stacked": 12.0,
}
TARGETS_OF_MANY_CLASSES = TARGETS | {"stacked": 5.0}
SECONDS = 20.0
"""Of processor time of a fit of the default to 80 images of 120 x 160, on one thread."""
GIGABYTES = 4.0


def fitted(name: str, scenes: MadeScenes) -> torch.nn.Module:
    """Return a calibrator as it costs most: a fit that fell back to its base has nothing to apply."""
    if name == "selective":
        published = SelectiveScaling.fit_as_published(scenes, pixels_per_image=1000, num_epochs=1)
        learnt = SelectiveScaling.fit(scenes, pixels_per_image=1000, num_epochs=1)
        selector = published.selector if isinstance(learnt.selector, EntropyAbove) else learnt.selector
        return SelectiveScaling(selector, TemperatureScaling(2.0), TemperatureScaling(1.5))
    found = FITS[name](scenes)
    if isinstance(found, StackedScaling) and found.confidence is None:
        found = StackedScaling(**(found.arguments() | {"confidence": _networks(scenes.num_classes)}))
    return found


def _networks(c: int) -> ConfidenceNetwork:
    """Four networks as one, with weights near 0: as sure as the pool is."""
    rng, f, h = torch.Generator().manual_seed(0), len(NAMES) + 2, 4 * Recipe.hidden
    tensors = [torch.randn(shape, generator=rng) for shape in ((h, f), (c, h), (h,), (2, h))]
    return ConfidenceNetwork(torch.zeros(f), torch.ones(f), *tensors[:3], 1e-3 * tensors[3], torch.zeros(2))


def fit_of_the_default() -> None:
    images = list(MadeScenes(80, 11, 120, 160))
    wall, processor = timed(lambda: parse_method(DEFAULT).fit(images))
    print(
        f"fit of the default to 80 images of 11 classes, 120 x 160: {wall:.1f} s, {processor:.1f} s of processor time"
    )
    print(f"    target {SECONDS:g} s of processor time, one thread: {'met' if processor <= SECONDS else 'MISSED'}")


@dataclass(frozen=True)
class ShiftedScenes:
    """Any number of images of 11 classes from four made ones, each shifted by its number of rows when it is asked for.

    A fit takes them for images of their own, and they are read in a tenth of the time of making as many.
    """

    num_images: int
    side: int = 1024

    def __len__(self) -> int:
        return self.num_images

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images."""
        return tuple(f"{i:03d}" for i in range(self.num_images))

    @cached_property
    def _made(self) -> list[Prediction]:
        return list(MadeScenes(4, 11, self.side, self.side))

    def __iter__(self) -> Iterator[Prediction]:
        return map(self.__getitem__, range(self.num_images))

    def __getitem__(self, i: int, /) -> Prediction:
        made = self._made[i % len(self._made)]
        return Prediction(self.keys[i], made.logits.roll(i, 1), made.labels.roll(i, 1))


def streamed_fits() -> None:
    print("fit of the default to images of 11 classes, 1024 x 1024: peak in MB, seconds of processor time", flush=True)
    for number in (50, 500):
        command = [sys.executable, "-m", "benchmarks.apply", "--streamed-fit", str(number)]
        peak, seconds = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-2:]
        print(
            f"    {number} images, {number * 11 * 4} MB of logits{'':<20}{float(peak):9.0f}{float(seconds):9.0f}",
            flush=True,
        )


@torch.no_grad()
def applications(names: Sequence[str], c: int, h: int, w: int, runs: int) -> None:
    scenes, z = (
        MadeScenes(6, c, 128, 128),
        MadeScenes(1, c, h, w)[0].logits[None],
    )  # what is fitted on costs no time here
    print(f"apply to {tuple(z.shape)}: softmaxes by the clock and by processor time", flush=True)
    tasks: dict[str, Callable[[], object]] = {}
    for name in names:
        if name not in ("temperature, every pixel", "selective, as published"):
            tasks[name] = partial(fitted(name, scenes), z)
    for name, ratio in ratios(partial(torch.softmax, z, 1), tasks, runs).items():
        parts = ("temperature_network", "confidence", "selector")
        what = next((part for part in parts if getattr(tasks[name].func, part, None)), "")
        print(
            shown(f"{name}{f' (with {what})' if what else ''}", ratio)
            + verdict(ratio[1], (TARGETS if c < 100 else TARGETS_OF_MANY_CLASSES).get(name)),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="19 classes and two fits alone")
    parser.add_argument("--no-memory", action="store_true", help="leave the peaks out")
    parser.add_argument("--peak", metavar="METHOD", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", default=list(FITS), help="these methods alone")
    parser.add_argument("--streamed", action="store_true", help="fits of the default to 50 and 500 large images alone")
    parser.add_argument("--streamed-fit", metavar="IMAGES", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--default", action="store_true", help="the time of a fit of the default alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    if options.peak:
        FITS[options.peak](MadeScenes(20, 150, 512, 512))
        return print(peak_megabytes() / 1024)
    if options.streamed_fit:
        _, seconds = timed(lambda: parse_method(DEFAULT).fit(ShiftedScenes(options.streamed_fit)))
        return print(peak_megabytes(), seconds)
    if options.streamed:
        return streamed_fits()
    if options.default:
        return fit_of_the_default()
    applications(options.only, 19, 512, 512, 2 if options.quick else 5)
    if not options.quick:
        applications(options.only, 150, 512, 512, 3)
    if options.no_memory:
        return None
    print("peak of a fit to 20 images of 150 x 512 x 512 (3.1 GB of logits), in GB")
    for name in ("temperature", "isotonic") if options.quick else FITS:
        command = [sys.executable, "-m", "benchmarks.apply", "--peak", name]
        peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        print(
            f"    {name:<44}{peak:9.2f}   target {GIGABYTES:g}: {'met' if peak <= GIGABYTES else 'MISSED'}", flush=True
        )
    return None


if __name__ == "__main__":
    main()
