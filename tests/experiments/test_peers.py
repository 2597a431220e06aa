"""The benchmark beside other libraries: all fits see the same labels, and what it counts is what changed."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import _peers, peers

from calibrant import IGNORE
from calibrant.predictions import with_logits
from calibrant.testing import toy_predictions


@pytest.mark.slow
def test_smoke(capsys):
    table = peers.main(peers.Config.smoke())
    assert set(peers.Config.smoke().ours) < set(table)
    assert float(table["temperature"]["labels changed"]) == 0
    out = capsys.readouterr().out
    assert all(library in out for library in _peers.COMPARED)


def test_so_many_labels_of_an_image_are_kept_as_they_were():
    images = toy_predictions(size=(6, 8), num_images=3)
    found, again = (peers.sampled(images, 10, 0) for _ in range(2))
    for raw, kept, same in zip(images, found, again, strict=True):
        there = kept.labels != IGNORE
        assert int(there.sum()) == 10
        assert torch.equal(kept.labels[there], raw.labels[there])
        assert torch.equal(kept.labels, same.labels)
        assert kept.logits is raw.logits


def test_labels_changed_are_a_share_of_the_labelled_pixels():
    (image,) = toy_predictions(num_images=1, size=(4, 4), void=0.25)
    moved = image.logits.clone()
    moved[:, 0] = moved[:, 0].roll(1, 0)
    labelled = image.labels[0] != IGNORE
    assert peers._changed([image], [image]) == 0
    assert peers._changed([image], [with_logits(image, moved)]) == pytest.approx(
        float(labelled[0].sum() / labelled.sum())
    )


def test_libraries_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr(_peers.importlib.util, "find_spec", lambda name: None)
    assert {peers.versions()[library] for library in _peers.COMPARED} == {"not installed"}
    assert not _peers.compared_peers(torch.zeros(1, 2, 3), torch.zeros(1, 3, dtype=torch.long))


@pytest.mark.slow
@pytest.mark.parametrize("library", _peers.COMPARED)
def test_a_fit_of_another_library_finds_the_temperature(library):
    if not importlib.util.find_spec(library):
        pytest.skip(f"{library} is not installed")
    images = toy_predictions(size=(40, 40), num_images=1, overconfidence=2.0, void=0.0)
    z, y = images[0].logits.flatten(1)[None], images[0].labels[0].flatten()[None]
    for name, fit in _peers.compared_peers(z, y).items():
        if name.startswith(library):
            scaled = fit()(z)
            assert scaled.shape == z.shape
            losses = [float(torch.nn.functional.cross_entropy(each.float(), y)) for each in (scaled, z / 2, z)]
            assert losses[0] < losses[2], name
            assert losses[0] < losses[1] + 0.02, name
