"""A small folder of arrays, and what commands make of it: read by tests, never written."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Eight images of an over-confident model, 4 classes, with void pixels."""
    path = tmp_path_factory.mktemp("arrays")
    rng = np.random.default_rng(0)
    for name in ("logits", "labels", "images"):
        (path / name).mkdir()
    for number in range(8):
        smooth = np.kron(rng.normal(size=(4, 5, 6)), np.ones((4, 4)))
        logits = 2 * (smooth + 0.3 * rng.normal(size=smooth.shape))
        probs = np.exp(logits) / np.exp(logits).sum(0)
        labels = (probs.cumsum(0) < rng.random(probs.shape[1:])).sum(0).clip(max=3)
        labels[:2] = 255
        np.save(path / "logits" / f"{number}.npy", (3 * logits).astype(np.float16))
        Image.fromarray(labels.astype(np.uint8)).save(path / "labels" / f"{number}.png")
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path / "images" / f"{number}.png")
    return path


@pytest.fixture(scope="session")
def store(calibrant, folder, tmp_path_factory):
    """The arrays as a store, which tests read and never write."""
    path = tmp_path_factory.mktemp("stored") / "store"
    code, out, err = calibrant("import", folder, "-o", path, "--class-names", "sky,road,tree,car")
    assert (code, err) == (0, "")
    assert "8 images, 4 classes" in out
    return path


@pytest.fixture(scope="session")
def temperature(calibrant, store, tmp_path_factory):
    """A calibrator fitted to the store."""
    path = tmp_path_factory.mktemp("fitted") / "ts"
    code, out, err = calibrant("fit", store, "--method", "temperature", "-o", path)
    assert (code, err) == (0, "")
    assert "TemperatureScaling(temperature=" in out
    return path
