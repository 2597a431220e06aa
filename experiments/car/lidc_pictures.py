"""Pictures of what was drawn: a row an image, with the annotators' masks beside the samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from calibrant.evaluation import draw_hypotheses
from calibrant.predictions import Prediction
from calibrant.samplers import Sampler
from experiments.car.lidc_config import LONGER
from experiments.car.lidc_scores import masks

SIDE, GAP, HEAD = 64, 4, 16
NUM_IMAGES, NUM_SAMPLES = 8, 4
SHOWN = (f"CAR{LONGER}", "copula, one level", f"cGAN + cross-entropy{LONGER}", "cGAN, lambda 0", "independent pixels")


def draw_pictures(
    path: Path,
    test: Sequence[Prediction],
    samplers: Mapping[str, Sampler],
    *,
    seed: int,
    shown: Sequence[str] = SHOWN,
) -> None:
    """Write a PNG: image, annotators' masks, F's probability if there is an F, and samples of each sampler.

    Images are drawn at random among those with at least 40 pixels of nodule (smaller ones show nothing at this size).
    """
    large = [each for each in test if int(masks(each).amax(0).sum()) >= 40]
    order = torch.randperm(len(large), generator=torch.Generator().manual_seed(seed))[:NUM_IMAGES].tolist()
    chosen = [large[i] for i in order]
    columns: list[tuple[str, list[list[np.ndarray]]]] = [
        ("image", [[_tile(each.image[0] / each.image.max())] for each in chosen if each.image is not None]),
        ("four annotators", [[_tile(mask) for mask in masks(each)] for each in chosen]),
    ]
    if any(each.logits.any() for each in chosen):
        columns.append(("F", [[_tile(each.logits.softmax(0)[1])] for each in chosen]))
    for name in shown:
        if name in samplers:
            generator = torch.Generator().manual_seed(seed)
            drawn = draw_hypotheses(samplers[name], chosen, num_samples=NUM_SAMPLES, generator=generator)
            columns.append((name, [[_tile(one) for one in maps] for _, maps in drawn]))
    widths = [len(tiles[0]) * (SIDE + 1) + GAP for _, tiles in columns]
    sheet = Image.new("L", (sum(widths) + GAP, HEAD + len(chosen) * (SIDE + GAP)), 255)
    pen, left = ImageDraw.Draw(sheet), GAP
    for (name, tiles), width in zip(columns, widths, strict=True):
        pen.text((left, 2), name, fill=0)
        for row, each in enumerate(tiles):
            for number, tile in enumerate(each):
                sheet.paste(Image.fromarray(tile), (left + number * (SIDE + 1), HEAD + row * (SIDE + GAP)))
        left += width
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    sheet.save(temporary, format="PNG", optimize=True)
    temporary.replace(path)


def _tile(values: torch.Tensor) -> np.ndarray:
    grey = (values.float().clamp(0, 1) * 255).round().byte().numpy()
    return np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.NEAREST))
