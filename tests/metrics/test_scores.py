"""What tables and sentences say of the library's own scores, and what a score may be."""

import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import torch

from calibrant import metrics
from calibrant.errors import InputError
from calibrant.metrics import SCORES, ConfidenceRanks, Score, mean_confidence

SHOWN = {
    "ece_images": ("ECE, image-wise, % ↓", "image-wise ECE", True),
    "ece_images_null": ("ECE, image-wise, if calibrated, %", "image-wise ECE if calibrated", False),
    "ece": ("ECE, pooled, % ↓", "pooled ECE", True),
    "mce": ("MCE, % ↓", "MCE", False),
    "ace": ("ACE, % ↓", "ACE", False),
    "ece_classwise": ("class-wise ECE, % ↓", "class-wise ECE", True),
    "gap": ("confidence − accuracy, %", "confidence − accuracy", False),
    "nll": ("NLL ↓", "NLL", True),
    "brier": ("Brier ↓", "Brier", True),
    "brier_top": ("top-label Brier ↓", "top-label Brier", False),
    "brier_reliability": ("Brier: reliability ↓", "Brier reliability", False),
    "brier_resolution": ("Brier: resolution ↑", "Brier resolution", False),
    "brier_uncertainty": ("Brier: uncertainty", "Brier uncertainty", False),
    "auroc": ("AUROC ↑", "AUROC", True),
    "aurc": ("AURC, % ↓", "AURC", False),
    "augrc": ("AUGRC, % ↓", "AUGRC", False),
    "ece_boundary": ("ECE, boundary, % ↓", "boundary ECE", False),
    "ece_interior": ("ECE, interior, % ↓", "interior ECE", False),
    "confidence_mistaken": ("confidence when wrong, %", "confidence when wrong", False),
    "confidence_correct": ("confidence when right, %", "confidence when right", False),
    "smooth_ece": ("smooth ECE, % ↓", "smooth ECE", False),
    "corp_miscalibration": ("CORP: miscalibration ↓", "CORP miscalibration", False),
    "corp_discrimination": ("CORP: discrimination ↑", "CORP discrimination", False),
    "entropy": ("entropy", "entropy", False),
    "near_ties": ("nearly tied, %", "share of nearly tied pixels", False),
    "miou": ("mean IoU, % ↑", "mean IoU", True),
    "dice": ("mean Dice, % ↑", "mean Dice", False),
    "accuracy": ("pixel accuracy, % ↑", "pixel accuracy", False),
}
"""By name: the heading of a column, the title within a sentence, and whether it is shown first."""


def test_the_librarys_scores_are_shown_as_they_always_were():
    arrow = {"lower": " ↓", "higher": " ↑", "": ""}
    unit = {"percent": ", %", "": ""}
    shown = {
        name: (f"{score.title}{unit[score.unit]}{arrow[score.better]}", score.in_sentence, score.main)
        for name, score in SCORES.items()
    }
    assert shown == SHOWN


def test_every_score_explains_itself_and_every_null_is_a_score():
    for score in SCORES.values():
        assert score.note.endswith(".")
        assert score.null is None or score.null in SCORES


def test_a_score_is_frozen_and_says_what_is_wrong_with_it():
    score = Score("confidence", mean_confidence, pooled=True)
    assert score.in_sentence == "confidence"
    assert "0x" not in repr(score)
    with pytest.raises(FrozenInstanceError):
        score.unit = "percent"
    with pytest.raises(TypeError):
        Score("confidence", mean_confidence)
    with pytest.raises(InputError, match="expected a title for a score; got an empty one"):
        Score("", mean_confidence, pooled=True)


def test_the_documents_state_the_number_of_fine_bins_there_are():
    ranks = ConfidenceRanks.of(torch.zeros(1, 2, 4), torch.zeros(1, 4, dtype=torch.long))
    concepts = (Path(__file__).parents[2] / "docs" / "concepts.md").read_text("utf-8")
    assert re.findall(r"(\d+)\s+fine\s+bins", concepts) == [str(ranks.count.shape[1])]


def test_the_package_says_a_word_on_everything_it_exports():
    described = set(re.findall(r":(?:class|func|data):`(\w+)`", metrics.__doc__))
    assert described == set(metrics.__all__)
