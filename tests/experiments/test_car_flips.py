"""The flips experiment: a perfect sampler is on the floor, one that never flips is not, and all of it runs."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.car import flips, flips_learnt, flips_unseen
from experiments.car._flips_data import SOURCES, Scenes, TrueFlips
from experiments.car._flips_scores import Counted, calibration

from calibrant.data import ClassFlips


@pytest.fixture(scope="module")
def config():
    return flips.Config.smoke()


def test_a_perfect_sampler_sits_on_the_floor(config):
    predictions = config.predictions("labels", "test")
    counted = Counted.of(config.scenes.flips, TrueFlips(config.scenes.flips), predictions, num_samples=16)
    figures = counted.figures(config.scenes.flips.probabilities)
    assert figures["GED, unbiased"] == pytest.approx(0, abs=0.06)
    assert figures["GED"] == pytest.approx(figures["floor"], abs=0.06)
    assert figures["mean offset"] < 0.1


def test_one_that_never_flips_is_off_by_the_probabilities(config):
    never = ClassFlips({k: (new, 0.0) for k, (new, _) in config.scenes.flips.flips.items()}, num_classes=12)
    predictions = config.predictions("labels", "test")
    counted = Counted.of(config.scenes.flips, TrueFlips(never), predictions, num_samples=16)
    figures = counted.figures(config.scenes.flips.probabilities)
    assert figures["worst offset"] == pytest.approx(max(config.scenes.flips.probabilities), abs=1e-4)
    assert figures["GED"] > 5 * figures["floor"]
    assert figures["diversity"] == 0


def test_the_truth_is_a_calibrated_source(config):
    """The probabilities of the true distribution, put through F's figures, have no offset and no calibration error."""
    flipped = config.predictions("truth", "test", 16)
    found = calibration(config.scenes.flips, config.predictions("truth", "test"), flipped, None)
    assert found["anywhere"]["worst offset"] < 1e-4
    assert found["ECE"] < 0.03  # sixteen drawn label maps an image stand for the law


def test_sources_leave_labels_alone_and_void_pixels_filled():
    scenes = Scenes(folder="", num_draws=3, box_steps=1, box_width=2)
    clean = scenes.examples("train")
    for source in SOURCES:
        said = scenes.predictions(source, "train", None, num_draws=3)
        assert all(torch.equal(scenes.flips.undone(p.labels[2]), e.labels[0]) for p, e in zip(said, clean, strict=True))
        assert all(p.logits.shape[0] == scenes.flips.num_classes and p.logits.isfinite().all() for p in said)
    for prediction, example in zip(scenes.predictions("labels", "test", None), scenes.examples("test"), strict=True):
        known = example.labels[0] >= 0
        assert torch.equal(prediction.logits.argmax(0)[known], example.labels[0][known])


def test_true_flips_of_each_image_are_its_own(config):
    logits = torch.zeros(2, config.scenes.flips.num_classes, 1, 2)
    logits[:, 1] = 9  # a class that flips, everywhere
    drawn = TrueFlips(config.scenes.flips).sample(logits, num_samples=200, generator=torch.Generator().manual_seed(0))
    assert bool((drawn[..., 0] == drawn[..., 1]).all())  # a whole class at once
    turned = (drawn[:, :, 0, 0] == 9).double()
    assert turned.mean(0) == pytest.approx([8 / 17] * 2, abs=0.1)
    assert not torch.equal(turned[:, 0], turned[:, 1])


@pytest.mark.slow
def test_smoke(capsys):
    results = flips.main(flips.Config.smoke())
    assert set(SOURCES) < set(results)
    assert "cGAN + cross-entropy" in results["trained"]
    assert results["truth"]["CAR"]["GED"] > 0
    assert "paper" in capsys.readouterr().out


@pytest.mark.slow
def test_f_learns_from_images_that_the_black_box_has_seen_or_not(config, capsys):
    found = flips_unseen.main(config)
    assert [row["images"] for row in found.values()] == [8] * 5
    assert found["val images"]["the black box on them"] != found["train images"]["the black box on them"]
    assert "F learns from" in capsys.readouterr().out


def test_no_black_box_answers_for_a_drive_that_it_was_trained_on(config, monkeypatch):
    drives = [replace(e, key=f"{'ab'[i % 2]}_{i}") for i, e in enumerate(config.scenes.examples("train"))]
    trained, answered = [], []

    def box_of(self, examples, path):
        trained.append({e.key[0] for e in examples})
        return len(trained) - 1

    def answers_of(self, box, examples, *, num_draws):
        answered.extend(e.key for e in examples)
        assert not {e.key[0] for e in examples} & trained[box]
        return list(examples)

    monkeypatch.setattr(Scenes, "examples", lambda self, split: drives)
    monkeypatch.setattr(Scenes, "box_of", box_of)
    monkeypatch.setattr(Scenes, "answers_of", answers_of)
    assert len(flips_unseen.without_their_drives(config)) == len(drives)
    assert sorted(answered) == sorted(e.key for e in drives)
    assert trained == [{"b"}, {"a"}]


def test_the_published_sizes():
    config = flips.Config.published()
    assert config.recipe.num_samples == 7
    assert config.recipe.batch_size == 16
    assert config.reads == "labels"


@pytest.mark.slow
def test_learnt_samplers_are_trained_and_scored_once(tmp_path):
    config = flips_learnt.Config.smoke(str(tmp_path))
    assert flips_learnt.main(config, train=False) == {}
    found = flips_learnt.main(config)
    assert set(found) == {"labels", "trained"}
    coupled = {f"{name}, coupled to its calibrated mean" for name in config.samplers}
    assert set(found["labels"]) == {*config.samplers, *coupled}
    assert set(found["trained"]) == set(config.samplers)
    assert flips_learnt.main(config, train=False) == found
