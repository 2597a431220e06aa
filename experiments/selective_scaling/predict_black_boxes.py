"""Run ``calibrant predict`` for each model of ``train_black_boxes`` on all that it is fitted to and tested on.

    python -m experiments.selective_scaling.predict_black_boxes [--data FOLDER] [MODEL …]

The stores are what ``tables`` and ``factors`` read if no others are named. Each line that is printed is the command as
it would be typed; what is there already is not run again.
"""

import argparse
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from experiments._data import add_option, place, use

MODELS = Path("runs/black_boxes")
STORES = MODELS / "stores"

Options = tuple[str, ...]
"""The folder of the data set, how it is read, and how its images are shown to the model."""


def of(folder: str, reader: str, side: int, split: str, *views: str) -> Options:
    """Return the options for a part of a data set, with images of this shorter side."""
    how = ("--dataset", f"experiments._data:{reader}", "--split", split, "--trust")
    return (folder, *how, "--shorter-side", str(side), *views)


def camvid(split: str, *views: str) -> Options:
    """Return the options for a list of frames of CamVid."""
    return of("camvid", "camvid", 180, split, *views)


DAY = {
    "fit": camvid("lighting_day_val"),
    "day": camvid("lighting_day_test"),
    "dusk": camvid("lighting_dusk_test"),
    "kitti": of("kitti_semantic", "kitti", 180, "camvid11"),
}
SLIM = ("--dtype", "float16", "--no-images")
VIEWS = {
    "day-windows-64": camvid("lighting_day_test", "--crop", "64", *SLIM),
    "day-windows-128": camvid("lighting_day_test", "--crop", "128", *SLIM),
    "day-scales": camvid("lighting_day_test", "--scales", "0.5,0.75,1,1.25,1.5,1.75", *SLIM),
}
PARTS: Mapping[str, Mapping[str, Options]] = {
    "day-quarter": DAY,
    "day-half": DAY | VIEWS,
    "day-upernet": DAY,
    "time-half": {
        "fit": camvid("temporal_first_half_holdout"),
        "later": camvid("temporal_second_half_test"),
    },
    "davis": {
        "fit": of("davis2016_val", "davis", 120, "temporal_first_half_holdout"),
        "later": of("davis2016_val", "davis", 120, "temporal_second_half_test"),
    },
    "aerial": {
        "fit-val": of("dubai_aerial", "aerial", 192, "spatial_source_val"),
        "fit-test": of("dubai_aerial", "aerial", 192, "spatial_source_test"),
        "elsewhere": of("dubai_aerial", "aerial", 192, "spatial_target_test"),
    },
}
"""By model, the parts that it is fitted to and tested on; named like its folder and its stores."""


def store_of(model: str, part: str) -> str:
    """Return where a model's predictions of a part are."""
    return str(STORES / model / part)


def commands(model: str) -> Iterable[list[str]]:
    """Yield the arguments of ``calibrant`` for all parts of a model."""
    for part, (folder, *options) in PARTS[model].items():
        data = str(place(folder))
        yield ["predict", str(MODELS / model), data, *options, "--batch", "4", "-o", store_of(model, part)]


def main(models: Iterable[str]) -> None:
    """Run the commands of these models."""
    from calibrant.cli import app

    for model in models:
        for command in commands(model):
            print(shlex.join(["calibrant", *command]), flush=True)
            app(command, standalone_mode=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(PARTS)}; all that are trained if none")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    main(given.models or [model for model in PARTS if (MODELS / model / "config.json").exists()])
