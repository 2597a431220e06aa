"""Small folders, stores, calibrators and samplers, made in a moment, and the bytes of what a command wrote."""

import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

KEYS = tuple("abcd")
MODEL = """
import torch
from net import SCALE

def build():
    model = torch.nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        model.weight.copy_(torch.arange(9.0).reshape(3, 3, 1, 1) * SCALE)
        model.bias.zero_()
    return model
"""
FIT = """
from calibrant.calibrators import TemperatureScaling

def fit(predictions):
    return TemperatureScaling({temperature})
"""


def arrays(path: Path, *, seed: int = 0, size: tuple[int, int] = (6, 5)) -> Path:
    """Write a folder of logits, labels, and pictures, four images of three classes."""
    rng = np.random.default_rng(seed)
    for name in ("logits", "labels", "images"):
        (path / name).mkdir(parents=True)
    for key in KEYS:
        logits = 3 * rng.normal(size=(3, *size)).astype(np.float32)
        labels = np.where(rng.random(size) < 0.6, logits.argmax(0), rng.integers(0, 3, size))
        np.save(path / "logits" / f"{key}.npy", logits)
        Image.fromarray(labels.astype(np.uint8)).save(path / "labels" / f"{key}.png")
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path / "images" / f"{key}.png")
    return path


def contents(path: Path) -> dict[str, bytes]:
    """Return all files at or below a path by name."""
    if path.is_file():
        return {path.name: timeless(path)}
    return {str(file.relative_to(path)): timeless(file) for file in sorted(path.rglob("*")) if file.is_file()}


def timeless(file: Path) -> bytes:
    """Return the content of a file; of a report, without the command and the time at which it was drawn."""
    content = file.read_bytes()
    if file.suffix != ".html":
        return content
    return re.sub(rb"<dt>command</dt>.*?<dt>versions</dt>", b"", content, flags=re.S)


def copied(source: Path, target: Path) -> Path:
    """Return a fresh copy of a folder."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))
