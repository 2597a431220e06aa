"""Small made folders of scores and labels, for tests of readers, and what must come out of them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image


def made(shape=(12, 15), classes=3, seed=0, present=None):
    """Return logits (c, *s) and labels (*s) that hold every class but those beyond ``present``."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, present or classes, shape).astype(np.uint8)
    labels.flat[: present or classes] = range(present or classes)
    logits = rng.normal(size=(classes, *shape)) + 2 * (np.arange(classes).reshape(-1, *[1] * len(shape)) == labels)
    return logits.astype(np.float32), labels


def softmax(logits):
    """Return probabilities over the first axis."""
    return torch.as_tensor(np.asarray(logits)).double().softmax(0).numpy()


def folder_of(path: Path, *, scores=None, labels=None, names=("a", "b")) -> Path:
    """Write ``logits/NAME`` and ``labels/NAME`` with functions of a path without ending and the number of the image."""
    for part, write in (("logits", scores), ("labels", labels)):
        (path / part).mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names):
            write(path / part / name, number)
    return path


def npy(arrays):
    """Return a writer of .npy files from a function of the number of the image."""
    return lambda path, number: np.save(f"{path}.npy", arrays(number))


def png(maps):
    """Return a writer of 8-bit PNGs from a function of the number of the image."""
    return lambda path, number: Image.fromarray(np.asarray(maps(number)).astype(np.uint8)).save(f"{path}.png")


def logits_of(number, **options):
    """Return the logits of an image."""
    return made(seed=number, **options)[0]


def labels_of(number, **options):
    """Return the labels of an image."""
    return made(seed=number, **options)[1]


def check_read(predictions, *, unlabelled=None, logits=logits_of, labels=labels_of, close=False):
    """Hold predictions against the arrays that were written."""
    assert len(predictions) > 0
    for number, found in enumerate(predictions):
        expected = torch.as_tensor(np.asarray(labels(number)).astype(np.int64))
        if unlabelled is not None:
            expected = torch.where(torch.as_tensor(unlabelled(number)), -100, expected)
        assert torch.equal(found.labels, expected[None])
        scores = torch.as_tensor(np.asarray(logits(number)))
        kept = (found.labels[0] != -100).expand_as(scores)
        if close:
            torch.testing.assert_close(
                found.logits.softmax(0)[kept].double(), scores.double().softmax(0)[kept], atol=4e-3, rtol=0
            )
        else:
            assert torch.equal(found.logits[kept], scores[kept])
