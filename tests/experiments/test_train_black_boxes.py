"""Trained in seconds, saved, and opened again; stopped and gone on with, it ends with the same weights."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")
sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.selective_scaling import train_black_boxes as black_boxes

from calibrant.models import open_model

IMAGES = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def answer(folder):
    with torch.no_grad():
        return open_model(folder).run.eval()(IMAGES)


@pytest.mark.parametrize("family", ["segformer-tiny", "upernet-tiny"])
def test_what_was_trained_is_what_is_opened(family, tmp_path):
    config = black_boxes.Config.smoke(family)
    network = black_boxes.main(replace(config, steps=2), tmp_path)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = network((IMAGES - mean) / std).logits
    torch.testing.assert_close(answer(tmp_path), expected, rtol=1e-4, atol=1e-5)
    assert open_model(tmp_path).class_names[0] == "road"


def test_stopped_and_gone_on_with_it_ends_with_the_same_weights(tmp_path, monkeypatch):
    config = black_boxes.Config.smoke()
    whole = black_boxes.main(config, tmp_path / "whole")
    step = black_boxes.Segmentation.step

    def stopping(self, number):
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(black_boxes.Segmentation, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        black_boxes.main(config, tmp_path / "cut")
    monkeypatch.undo()
    cut = black_boxes.main(config, tmp_path / "cut")
    assert (tmp_path / "cut" / "model.safetensors").exists()
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        assert torch.equal(one, other)


def test_it_learns(capsys):
    torch.manual_seed(0)
    config = replace(black_boxes.Config.smoke(), steps=30, warm_up=3)
    examples, names = black_boxes.examples_of(config)
    batches = black_boxes.Batches(
        black_boxes.Reduced(examples, config.size), 4, black_boxes.Augmentation.of_scenes(crop=config.crop), 0
    )
    network = black_boxes.FAMILIES["segformer-tiny"]({"num_labels": len(names)}).train()
    trainee = black_boxes.Segmentation(
        network, batches, config, black_boxes.SingleDevice(), lambda images: images * 4 - 2
    )
    losses = [float(trainee.step(number)["loss"]) for number in range(30)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_published_sizes():
    labels = {"num_labels": 150}
    with torch.device("meta"):
        network = black_boxes.FAMILIES["segformer-b0"](labels)
    # 3,752,694 with 150 classes: what the published B0 for ADE20K has.
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_752_694
    assert network.config.num_attention_heads == [1, 2, 5, 8]
