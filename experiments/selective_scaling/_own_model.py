"""A small model of our own for the shift table: logits of one third party exist for one data set alone.

A U-Net on CamVid's frames by day at a third of their size, trained in minutes and kept under ``runs/``.
"""

import hashlib
import inspect
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.nn.functional import interpolate

import calibrant.networks.unet
import calibrant.training.black_box
from calibrant.models import ModelPredictions
from calibrant.networks import SmallUNet
from calibrant.predictions import Example, Examples, Prediction
from calibrant.training import train_segmenter
from experiments._data import camvid, kitti, place


@dataclass(frozen=True)
class Recipe:
    """How the model is trained.

    :param scale: of the published frames, 360 x 480.
    """

    split: str = "lighting_day_train"
    scale: float = 1 / 3
    width: int = 16
    depth: int = 4
    num_steps: int = 700
    batch_size: int = 8
    learning_rate: float = 3e-3
    seed: int = 0


def reduced(example: Example, scale: float) -> Example:
    """Return the example at another size: images filtered, labels by the nearest pixel."""
    size = [round(scale * side) for side in example.image.shape[1:]]
    image = interpolate(example.image[None].float(), size, mode="bilinear", antialias=True)[0].clamp(0, 1)
    labels = interpolate(example.labels[None].float(), size, mode="nearest-exact")[0].long()
    return replace(example, image=image, labels=labels)


def frames(recipe: Recipe, split: str) -> list[Example]:
    """Return the frames of a split of CamVid, in memory."""
    return [reduced(example, recipe.scale) for example in _each(camvid(place("camvid"), split))]


def kitti_frames(recipe: Recipe, every: int) -> list[Example]:
    """Return one of ``every`` frames of KITTI with CamVid's classes, things as large as in CamVid.

    The frames are kept at half of their size.
    """
    source = kitti(place("kitti_semantic"), "camvid11")
    return [reduced(source[i], 2 * recipe.scale) for i in range(0, len(source), every)]


def trained(recipe: Recipe, cache: Path) -> SmallUNet:
    """Return the model, from the cache if it has been trained before by the same code."""
    network = SmallUNet(
        3,
        11,
        width=recipe.width,
        depth=recipe.depth,
        stride=2,
        generator=torch.Generator().manual_seed(recipe.seed),
    )
    code = inspect.getsource(calibrant.training.black_box) + inspect.getsource(calibrant.networks.unet)
    name = hashlib.sha256((json.dumps(asdict(recipe)) + code).encode()).hexdigest()[:16]
    kept = cache / f"unet-{name}.pt"
    if kept.exists():
        network.load_state_dict(torch.load(kept, weights_only=True))
        return network.eval()

    def watch(done: int, figures: Mapping[str, float]) -> None:
        if done % 50 == 0:
            print(f"training a U-Net: step {done} of {recipe.num_steps}, {figures}", flush=True)

    train_segmenter(
        network,
        frames(recipe, recipe.split),
        num_steps=recipe.num_steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        seed=recipe.seed,
        watch=watch,
    )
    cache.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), kept.with_suffix(".tmp"))
    os.replace(kept.with_suffix(".tmp"), kept)
    return network


def predicted(network: SmallUNet, examples: Examples) -> list[Prediction]:
    """Return what the model says, in float16, as stored logits usually are."""
    return [replace(p, logits=p.logits.half()) for p in ModelPredictions(network, examples, batch_size=8)]


def _each(examples: Examples) -> Iterable[Example]:
    return (examples[i] for i in range(len(examples)))
