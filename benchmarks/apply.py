"""Applying calibrators, and what fits hold in memory: ``python -m benchmarks.apply [--quick]``.

The unit of an application is one ``torch.softmax`` of the same float32 logits, timed before and after it in one
process. Peaks are those of fresh processes, each fitting one method to 20 images of 150 classes, 512 x 512, which are
made when asked for (160 MB each; training is cut short, which changes no peak).
"""

import argparse
import logging
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import torch

from benchmarks._interleaved import ratios, shown, verdict
from benchmarks._memory import peak_megabytes
from benchmarks._scenes import MadeScenes
from calibrant.calibrators import EntropyAbove, Fit, SelectiveScaling, TemperatureScaling
from calibrant.methods import parse_method

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
TARGETS = {"temperature": 1.3, "isotonic": 4.0, "selective": 4.0, "stacked": 12.0}
GIGABYTES = 4.0


def fitted(name: str, scenes: MadeScenes) -> torch.nn.Module:
    """Return a calibrator as it costs most: a fit that fell back to its base has nothing to apply."""
    if name == "selective":
        published = SelectiveScaling.fit_as_published(scenes, pixels_per_image=1000, num_epochs=1)
        learnt = SelectiveScaling.fit(scenes, pixels_per_image=1000, num_epochs=1)
        selector = published.selector if isinstance(learnt.selector, EntropyAbove) else learnt.selector
        return SelectiveScaling(selector, TemperatureScaling(2.0), TemperatureScaling(1.5))
    return FITS[name](scenes)


@torch.no_grad()
def applications(c: int, h: int, w: int, runs: int) -> None:
    scenes, z = (
        MadeScenes(6, c, 128, 128),
        MadeScenes(1, c, h, w)[0].logits[None],
    )  # what is fitted on costs no time here
    print(f"apply to {tuple(z.shape)}: softmaxes by the clock and by processor time", flush=True)
    tasks: dict[str, Callable[[], object]] = {}
    for name in FITS:
        if name not in ("temperature, every pixel", "selective, as published"):
            tasks[name] = partial(fitted(name, scenes), z)
    for name, ratio in ratios(partial(torch.softmax, z, 1), tasks, runs).items():
        parts = ("temperature_network", "confidence", "selector")
        what = next((part for part in parts if getattr(tasks[name].func, part, None)), "")
        print(
            shown(f"{name}{f' (with {what})' if what else ''}", ratio) + verdict(ratio[1], TARGETS.get(name)),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="19 classes and two fits alone")
    parser.add_argument("--no-memory", action="store_true", help="leave the peaks out")
    parser.add_argument("--peak", metavar="METHOD", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    if options.peak:
        FITS[options.peak](MadeScenes(20, 150, 512, 512))
        return print(peak_megabytes() / 1024)
    applications(19, 512, 512, 2 if options.quick else 5)
    if not options.quick:
        applications(150, 512, 512, 3)
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
