"""Likelihood on made streets whose truth is known, labels kept: ``python -m benchmarks.city [--quick]``.

Twenty images of 19 classes, 256 x 512: 6 % of the pixels unlabelled, logits distorted by class and over-confident by
1.8. Every calibrator is fitted on the first ten and judged on the others, and its labels are compared with the raw
ones. The truth is the limit; vector scaling, which changes labels, shows what keeping them costs. Fiducio's CMSop is
the best map that keeps labels in any library we know; like its documentation, we give it the default 200 steps, on
three images (more would not fit into memory).
"""

import argparse
import logging
import math
from collections.abc import Callable
from functools import partial

import torch

from benchmarks._peers import best_argmax_keeping
from benchmarks._scenes import MadeScenes
from calibrant.calibrators import (
    Calibrator,
    CorrectnessScaling,
    DirichletScaling,
    Fit,
    Identity,
    IsotonicScaling,
    SelectiveScaling,
    TemperatureScaling,
    VectorScaling,
)
from calibrant.predictions import IGNORE, Subset

KEPT = {"keep_argmax": True}
VECTOR, DIRICHLET = partial(VectorScaling.fit, **KEPT), partial(DirichletScaling.fit, **KEPT)
FITS: dict[str, Fit] = {
    "uncalibrated": Identity.fit,
    "temperature": TemperatureScaling.fit,
    "isotonic": IsotonicScaling.fit,
    "vector, labels kept": VECTOR,
    "dirichlet, labels kept": DIRICHLET,
    "selective": partial(SelectiveScaling.fit, epochs=5),
    "correctness": CorrectnessScaling.fit,
    "correctness over vector": partial(CorrectnessScaling.fit, base=VECTOR),
    "correctness over dirichlet": partial(CorrectnessScaling.fit, base=DIRICHLET),
    "vector (changes labels)": VectorScaling.fit,
    "dirichlet (changes labels)": DirichletScaling.fit,
}


class Loss:
    """The mean negative log-likelihood so far, and how many labels differ from the raw ones."""

    def __init__(self) -> None:
        self.total, self.pixels, self.changed = 0.0, 0, 0

    def add(self, z: torch.Tensor, labels: torch.Tensor, raw: torch.Tensor) -> None:
        valid = labels != IGNORE
        off = z.double().logsumexp(0) - z.double().gather(0, labels.clamp_min(0)[None])[0]
        self.total += float(off[valid].sum())
        self.pixels += int(valid.sum())
        self.changed += int((z.argmax(0) != raw)[valid].sum())

    def __str__(self) -> str:
        return (
            f"{self.total / max(1, self.pixels):.4f}   {self.changed / max(1, self.pixels):.2%} of the labels changed"
        )


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images, without CMSop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    half = 5 if options.quick else 10
    scenes = MadeScenes(2 * half, 19, 256, 512)
    fitted = Subset(scenes, range(half))
    maps: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
    for name, fit in FITS.items():
        with torch.enable_grad():
            calibrator: Calibrator = fit(fitted)
        maps[name] = calibrator
        print(f"fitted {name}: {'; '.join(calibrator.notes) or calibrator}", flush=True)
    if not options.quick:
        three = [scenes[i] for i in range(3)]
        z, y = torch.stack([p.logits for p in three]), torch.stack([p.labels[0] for p in three])
        with torch.enable_grad():
            maps |= {name: task() for name, task in best_argmax_keeping(z, y).items()}
    losses = {name: Loss() for name in [*maps, "the truth"]}
    for i in range(half, 2 * half):
        prediction, raw = scenes[i], scenes[i].logits.argmax(0)
        for name, scale in maps.items():
            losses[name].add(scale(prediction.logits[None])[0], prediction.labels[0], raw)
        losses["the truth"].add(scenes.truth(i), prediction.labels[0], raw)
    print(f"NLL of {half} images that were not fitted on")
    for name, loss in sorted(losses.items(), key=lambda each: -each[1].total if each[1].total < math.inf else 0):
        print(f"    {name:<32}{loss}")


if __name__ == "__main__":
    main()
