"""Likelihood on synthetic street scenes whose truth is known, labels kept: ``python -m benchmarks.city [--quick]``.

Twenty images of 19 classes, 256 x 512: 6 % of the pixels unlabelled, logits distorted by class and over-confident by
1.8. Every calibrator is fitted on the first ten (or ``--fitted``) and judged on the last ten, and its labels are
compared with the raw ones. The truth is the limit, and the nearest distribution to it in which the raw winner wins is
the limit where labels are kept. Fiducio's CMSop is the best map that keeps labels in any library we know; it takes a
thousand passes, and gets three images and its default steps.
"""

import argparse
import logging
from typing import Any

import torch

from benchmarks._peers import best_argmax_keeping
from benchmarks._scenes import MadeScenes
from calibrant import IGNORE
from calibrant.calibrators import Fit
from calibrant.calibrators._projections import nearest_with_winner
from calibrant.methods import parse_method
from calibrant.predictions import Subset

TEXTS = {
    "uncalibrated": "uncalibrated",
    "temperature": "temperature",
    "isotonic": "isotonic",
    "vector, labels kept": "vector-kept",
    "dirichlet, labels kept": "dirichlet-kept",
    "selective": "selective:num_epochs=5",
    "stacked": "stacked",
    "vector (changes labels)": "vector",
    "dirichlet (changes labels)": "dirichlet",
}
"""What is fitted, as the command line names it."""
FITS: dict[str, Fit] = {name: parse_method(text).fit for name, text in TEXTS.items()}


class Loss:
    """The mean negative log-likelihood so far, and how many labels differ from the raw ones."""

    def __init__(self) -> None:
        self.total, self.pixels, self.changed = 0.0, 0, 0

    @property
    def mean(self) -> float:
        """The loss of a pixel."""
        return self.total / max(1, self.pixels)

    def add(self, z: torch.Tensor, labels: torch.Tensor, raw: torch.Tensor) -> None:
        """Count the pixels of an image: logits, labels, and the labels that the raw logits give."""
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
    parser.add_argument("--quick", action="store_true", help="without CMSop, judged on four images")
    parser.add_argument("--fitted", type=int, default=10, help="images to fit on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    scenes = MadeScenes(20, 19, 256, 512)
    fitted = Subset(scenes, range(min(10, options.fitted)))
    maps: dict[str, Any] = {}
    for name, fit in FITS.items():
        with torch.enable_grad():
            maps[name] = fit(fitted)
        print(f"fitted {name}: {'; '.join(maps[name].notes)}", flush=True)
    if not options.quick:
        three = [scenes[i] for i in range(3)]
        z, y = torch.stack([p.logits for p in three]), torch.stack([p.labels[0] for p in three])
        with torch.enable_grad():
            maps |= {name: task() for name, task in best_argmax_keeping(z, y).items()}
    losses = {name: Loss() for name in [*maps, "the truth", "the truth, labels kept"]}
    for i in range(10, 14 if options.quick else 20):
        prediction, truth = scenes[i], scenes.truth(i)
        logits, labels = prediction.logits, prediction.labels[0]
        raw = logits.argmax(0)
        for name, scale in maps.items():
            losses[name].add(scale(logits[None])[0], labels, raw)
        losses["the truth"].add(truth, labels, raw)
        kept = nearest_with_winner(logits[None].flatten(2), truth[None].flatten(2))
        losses["the truth, labels kept"].add(kept.view_as(truth), labels, raw)
    print("NLL of images that were not fitted on")
    for name, loss in sorted(losses.items(), key=lambda each: -each[1].mean):
        print(f"    {name:<32}{loss}")


if __name__ == "__main__":
    main()
