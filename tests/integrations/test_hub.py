"""A calibrator as the hub saves and loads it, in a folder; nothing is downloaded."""

import pytest
import torch

pytest.importorskip("huggingface_hub")

from calibrant.calibrators import TemperatureScaling, VectorScaling, load
from calibrant.errors import StoreError
from calibrant.integrations.hub import HubCalibrator


def test_what_is_saved_is_loaded_with_a_card(tmp_path):
    calibrator = VectorScaling(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0]), notes=("a note",))
    HubCalibrator(calibrator).save_pretrained(tmp_path)
    found = HubCalibrator.from_pretrained(tmp_path)
    logits = torch.randn(1, 2, 3, 3)
    assert torch.equal(found(logits), calibrator(logits))
    assert torch.equal(load(tmp_path)(logits), calibrator(logits))
    card = (tmp_path / "README.md").read_text()
    for words in ("library_name: calibrant", "# VectorScaling", "may change the label map", "- a note"):
        assert words in card


def test_a_damaged_one_is_a_sentence(tmp_path):
    HubCalibrator(TemperatureScaling(1.5)).save_pretrained(tmp_path)
    (tmp_path / "calibrator.json").write_text("{")
    with pytest.raises(StoreError, match=r"calibrator\.json"):
        HubCalibrator.from_pretrained(tmp_path)
