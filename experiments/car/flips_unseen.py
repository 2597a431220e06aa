"""Does it matter that F learns from images that its black box was trained on? On classes that flip, of CamVid.

    python -m experiments.car.flips_unseen [--smoke]

Behind the trained black box of ``experiments.car.flips`` F learns four times: from all images that the black box was
trained on, as published; from the same images, but with what black boxes say of them that were trained without the
drive that an image is from; from the val images, which the black box has not seen, though more than half of what it was
trained on are of the same drive; and from as many images that it has seen. Each F, and the copula behind it, is scored
on the same test images, behind the same black box. Trainings are kept under ``runs/``.
"""

import argparse
import logging
import time
from typing import Any

import torch

from calibrant.predictions import Prediction
from calibrant.samplers import CopulaSampler
from experiments._data import add_option, use
from experiments._record import record
from experiments.car._flips_scores import calibration, overlap
from experiments.car.flips import Config, figures_of


def learnt_from(config: Config) -> dict[str, list[Prediction]]:
    """Return what F learns from: predictions of trained black boxes, with flipped labels."""
    seen, unseen = (config.predictions("trained", split, config.scenes.num_draws) for split in ("train", "val"))
    evenly = torch.linspace(0, len(seen) - 1, min(len(seen), len(unseen))).round().long()
    return {
        "train images": seen,
        "train images, drives left out": without_their_drives(config),
        "as many train as val images": [seen[i] for i in evenly],
        "val images": unseen,
    }


def without_their_drives(config: Config) -> list[Prediction]:
    """Return what black boxes say of the train images that were trained without the drive of the image."""
    examples, found = config.scenes.examples("train"), []
    for drive in sorted({_drive(each.key) for each in examples}):
        folder = config.folder(f"without {drive}")
        box = config.scenes.box_of(
            [each for each in examples if _drive(each.key) != drive],
            None if folder is None else folder / "black_box.pt",
        )
        of_drive = [each for each in examples if _drive(each.key) == drive]
        found += config.scenes.answers_of(box, of_drive, num_draws=config.scenes.num_draws)
    return found


def _drive(key: str) -> str:
    """The first part of the name of a frame of CamVid."""
    return key.partition("_")[0]


def main(config: Config) -> dict[str, Any]:
    """Train what is missing, score, print and record; return the figures."""
    begun = time.monotonic()
    test = config.predictions("trained", "test")
    flipped = config.predictions("trained", "test", config.scenes.num_draws)
    results: dict[str, Any] = {}
    for name, predictions in learnt_from(config).items():
        head = config.calibrator_of(predictions, "F", name)
        results[name] = {
            "images": len(predictions),
            "the black box on them": overlap([_clean(config, each) for each in predictions]),
            "F": calibration(config.scenes.flips, test, flipped, head),
            "copula": figures_of(config, CopulaSampler(image=1.0), test, head),
        }
    results["test images"] = {"images": len(test), "the black box on them": overlap(test)}
    show(results)
    if config.runs:
        print(record("flips_unseen", config, time.monotonic() - begun, results))
    return results


def _clean(config: Config, prediction: Prediction) -> Prediction:
    """The prediction with the label map before any flips."""
    labels = config.scenes.flips.undone(prediction.labels[:1])
    return Prediction(prediction.key, prediction.logits, labels, prediction.image)


def show(results: dict[str, Any]) -> None:
    """Print what F is off by, and the copula behind it."""
    print(f"{'F learns from':32}{'images':>8}{'right':>8}{'offset':>8}{'worst':>8}{'ECE':>8}{'GED':>8}")
    for name, row in results.items():
        told = f"{name:32}{row['images']:8d}{row['the black box on them']['pixel accuracy']:8.3f}"
        if "F" in row:
            offsets = row["F"]["where the black box is right"]
            told += f"{offsets['mean offset']:8.3f}{offsets['worst offset']:8.3f}{row['F']['ECE']:8.4f}"
            told += f"{row['copula']['GED']:8.4f}"
        print(told)
    print("right: share of the pixels of these images that the black box has right; offset: of flips where it is right")
    print("on the test images, mean and worst over classes; GED: at 16 samples of the copula, one field an image")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="synthetic street scenes, in seconds")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    main(Config.smoke() if given.smoke else Config())
