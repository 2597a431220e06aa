"""Samplers of one's own, fitted by a function that is named as module:name, and used by its class."""

import numpy as np
import pytest

SAMPLERS = """
import torch
from calibrant.samplers import IndependentSampler, Sampler

class Sharpened(Sampler):
    '''Draws each pixel on its own, from logits times a factor.'''

    def __init__(self, factor):
        super().__init__(notes=("of mine",))
        self.factor = factor

    def sample(self, logits, image=None, *, num_samples, generator):
        return IndependentSampler().sample(logits * self.factor, num_samples=num_samples, generator=generator)

    def arguments(self):
        return {"factor": self.factor}

    @classmethod
    def fit(cls, predictions, calibrator=None, *, num_samples: int = 4, seed: int = 0):
        assert predictions[0].logits.shape[0] == 4
        return cls(float(1000 + num_samples + seed))

def nothing(predictions, calibrator):
    return None

def alone(predictions):
    return Sharpened(1.0)

def needy(predictions, calibrator, steps):
    return Sharpened(1.0)
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    path = tmp_path_factory.mktemp("code") / "samplers_of_mine.py"
    path.write_text(SAMPLERS)
    return path


@pytest.fixture(scope="module")
def sampler(calibrant, store, code, tmp_path_factory):
    path = tmp_path_factory.mktemp("sampler") / "mine"
    command = ["refine", store, "--method", f"{code}:Sharpened.fit", "--trust", "--num-samples", 7, "-o", path]
    status, out, err = calibrant(*command)
    assert status == 0, err
    assert "Sharpened" in out
    assert "  of mine" in out
    assert "to use it: --kinds samplers_of_mine:Sharpened" in out
    status, out, err = calibrant(*command)
    assert status == 0, err
    assert "was there already" in out
    return path


def test_its_label_maps_are_drawn_exported_and_measured(calibrant, store, code, sampler, tmp_path):
    used = ["--sampler", sampler, "--kinds", f"{code}:Sharpened", "--num-samples", 2]
    for command in (
        ["sample", store, *used, "-o", tmp_path / "maps"],
        ["export", store, *used, "--as", "npy", "--what", "labels,hypotheses", "-o", tmp_path / "npy"],
        ["areas", store, *used, "-o", tmp_path / "areas.csv"],
    ):
        status, _, err = calibrant(*command)
        assert status == 0, err
    labels, drawn = (np.load(tmp_path / f"npy/{name}/0.npy") for name in ("labels", "hypotheses"))
    assert np.mean(drawn == labels) > 0.99, "a thousand times the logits leaves little to chance"


def test_without_its_class_it_is_a_sentence(calibrant, store, sampler, tmp_path):
    status, _, err = calibrant("sample", store, "--sampler", sampler, "-o", tmp_path / "maps")
    assert status == 2
    assert "--kinds samplers_of_mine:Sharpened" in err
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("Sharpened.fit", [], "--trust"),
        ("Sharpened", ["--trust"], "Name the fit of a class"),
        ("alone", ["--trust"], "its first two parameters"),
        ("needy", ["--trust"], "with defaults for others; got predictions, calibrator, steps"),
        ("nothing", ["--trust"], "expected a fit that returns a calibrant.samplers.Sampler; it returned NoneType"),
        ("Sharpened.fit", ["--trust", "--steps", 3], "got --steps"),
        ("Sharpened.fit", ["--trust", "--published"], "got it with"),
        ("missing", ["--trust"], "expected 'missing' in the Python module"),
    ],
)
def test_what_is_no_fit_of_a_sampler_is_a_sentence(calibrant, store, code, tmp_path, name, options, words):
    given = ["--method", f"{code}:{name}", *options, "-o", tmp_path / "no"]
    status, _, err = calibrant("refine", store, *given)
    assert status == 2
    assert words in err
    assert not (tmp_path / "no" / "sampler.json").exists()
