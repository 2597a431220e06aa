"""Is a run over 200 images that was interrupted again and again the same to the byte as one that was not?

    python -m experiments.selective_scaling.interrupted_predict [--data FOLDER | --smoke]

A small SegFormer with random weights predicts 200 frames of CamVid, by the command line, in processes of their own.
They are stopped after so many images as a seed draws, by Ctrl-C and by SIGKILL in turn, and started again. Then every
file of the two stores is compared.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from calibrant.data import StreetScenes
from experiments._data import add_option, camvid, place, use
from experiments._record import record

STOPS = (signal.SIGINT, signal.SIGKILL)


@dataclass(frozen=True)
class Config:
    """What is run.

    :param folder: the folder of CamVid among the data; empty for synthetic pictures.
    :param stops: how often the run is interrupted.
    """

    folder: str = "camvid"
    num_images: int = 200
    stops: int = 6
    batch: int = 3
    seed: int = 0

    @classmethod
    def smoke(cls) -> "Config":
        """A minute, on synthetic pictures."""
        return cls("", num_images=10, stops=2, batch=3)


def save_model(folder: Path, num_classes: int) -> None:
    """Save a small SegFormer with random weights."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    torch.manual_seed(0)
    sizes = {"depths": [1] * 4, "hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 1, 2, 2]}
    config = SegformerConfig(**sizes, decoder_hidden_size=32, num_labels=num_classes)
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessor().save_pretrained(folder)


def save_pictures(folder: Path, count: int) -> tuple[str, ...]:
    """Save synthetic street scenes as a folder of pictures and labels; return the names of their classes."""
    from PIL import Image

    scenes = StreetScenes(count, size=(48, 64), seed=0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for scene in scenes:
        picture = (scene.image.movedim(0, 2) * 255).round().byte().numpy()
        Image.fromarray(picture).save(folder / "images" / f"{scene.key}.png")
        labels = torch.where(scene.labels[0] < 0, 255, scene.labels[0]).byte().numpy()
        Image.fromarray(labels).save(folder / "labels" / f"{scene.key}.png")
    return tuple(scenes.class_names)


def run(command: list[str], store: Path, *, stop: signal.Signals | None = None, after: int = 0) -> int:
    """Run the command; stop it once the store has ``after`` images. Return how many it has in the end."""

    def whole() -> int:
        return len([file for file in store.glob("*.safetensors") if not file.name.startswith(".")])

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while stop is not None and process.poll() is None:
        if whole() >= after:
            process.send_signal(stop)
            break
        time.sleep(0.005)
    _, told = process.communicate()
    expected = {None: 0, signal.SIGINT: 130, signal.SIGKILL: -9}[stop]
    if process.returncode != expected:
        raise RuntimeError(f"expected exit code {expected}; got {process.returncode}: {told}")
    return whole()


def main(config: Config) -> dict[str, object]:
    """Run both, print and record what was found, and return it."""
    begun, draw = time.monotonic(), random.Random(config.seed)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if config.folder:
            data = str(place(config.folder))
            num_classes = len(camvid(data, "all").class_names)
            options = ["--dataset", "experiments._data:camvid", "--split", "all", "--trust"]
            options += ["--limit", str(config.num_images)]
        else:
            names = save_pictures(work / "data", config.num_images)
            data, num_classes, options = str(work / "data"), len(names), ["--class-names", ",".join(names)]
        save_model(work / "model", num_classes)
        start = [sys.executable, "-c", "from calibrant.cli import main; main()", "predict", str(work / "model"), data]
        start += [*options, "--batch", str(config.batch)]
        after = sorted(draw.sample(range(1, config.num_images), config.stops))
        stopped = []
        for number, count in enumerate(after):
            stop = STOPS[number % len(STOPS)]
            there = run([*start, "-o", str(work / "cut")], work / "cut", stop=stop, after=count)
            stopped.append({"by": stop.name, "after": there})
            print(f"stopped by {stop.name} with {there} images whole", flush=True)
        run([*start, "-o", str(work / "cut")], work / "cut")
        run([*start, "-o", str(work / "whole")], work / "whole")
        cut, whole = ({f.name: f.read_bytes() for f in (work / part).iterdir()} for part in ("cut", "whole"))
    unlike = sorted(name for name in cut.keys() | whole.keys() if cut.get(name) != whole.get(name))
    megabytes = round(sum(map(len, whole.values())) / 1e6, 1)
    found = {"files": len(whole), "megabytes": megabytes, "stopped": stopped, "unlike": unlike}
    print(f"{len(whole)} files, {megabytes} MB; {len(unlike)} differ{': ' + ', '.join(unlike[:5]) if unlike else ''}")
    if config.folder:
        print(record("interrupted_predict", config, time.monotonic() - begun, found))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="ten synthetic pictures")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    main(Config.smoke() if given.smoke else Config())
