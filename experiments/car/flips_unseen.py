"""Does it matter that F learns from images that its black box was trained on? On classes that flip, of CamVid.

    python -m experiments.car.flips_unseen [--smoke]

Behind the trained black box of ``experiments.car.flips`` F learns three times: from all images that the black box was
trained on, as published; from as many of these as there are val images; and from the val images, which the black box
has not seen. Each F, and the copula behind it, is scored on the same test images. Trainings are kept under ``runs/``.
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
    """Return what F learns from: predictions of the trained black box, with flipped labels."""
    seen, unseen = (config.predictions("trained", split, config.scenes.num_draws) for split in ("train", "val"))
    evenly = torch.linspace(0, len(seen) - 1, min(len(seen), len(unseen))).round().long()
    return {"train images": seen, "as many train images": [seen[i] for i in evenly], "val images": unseen}


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
    print(f"{'F learns from':24}{'images':>8}{'right':>8}{'offset':>8}{'worst':>8}{'ECE':>8}{'GED':>8}")
    for name, row in results.items():
        told = f"{name:24}{row['images']:8d}{row['the black box on them']['pixel accuracy']:8.3f}"
        if "F" in row:
            offsets = row["F"]["where the black box is right"]
            told += f"{offsets['mean offset']:8.3f}{offsets['worst offset']:8.3f}{row['F']['ECE']:8.4f}"
            told += f"{row['copula']['GED']:8.4f}"
        print(told)
    print(
        "right: share of these images' pixels that the black box has right; offset: of flips where it is right on the"
    )
    print("test images, mean and worst over classes; GED: at 16 samples of the copula, one field an image")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="synthetic street scenes, in seconds")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    main(Config.smoke() if given.smoke else Config())
