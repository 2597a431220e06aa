import re
from dataclasses import replace

import pytest
from measured_scenes import compared

from calibrant.metrics import Interval
from calibrant.report.words import headline

BASE = {"uncalibrated": 3.0, "good": 1.0, "middling": 2.0}


def said(three, ece: dict[str, tuple[float, float, float]], best: str | None, **best_in: str | None):
    """Return the headline with given differences in image-wise ECE, and the best in other scores."""
    measurements, comparison = three
    values = {m: dict(row) for m, row in comparison.values.items()}
    differences = {m: dict(row) for m, row in comparison.differences.items()}
    base = values["uncalibrated"]["ece"].value
    for method, interval in ece.items():
        differences[method]["ece"] = Interval(*interval)
        values[method]["ece"] = Interval(base + interval[0], base + interval[1], base + interval[2])
    best_in = {"nll": None, "brier": None, "ece": best} | best_in
    return headline(
        replace(comparison, values=values, differences=differences, best={**comparison.best, **best_in}), measurements
    )


BETTER, SLIGHT, WORSE, UNCLEAR = (-0.05, -0.06, -0.04), (-0.04, -0.06, -0.02), (0.02, 0.01, 0.03), (-0.01, -0.02, 0.01)


def test_the_best_beyond_chance_is_recommended(three):
    found = said(three, {"good": BETTER, "middling": SLIGHT}, "good")
    assert found.verdict.startswith("Take good:")
    assert "every other one compared" in found.verdict
    assert found.shown == "good"


def test_several_better_and_none_best_is_said_as_such(three):
    found = said(three, {"good": BETTER, "middling": SLIGHT}, None)
    assert found.verdict.startswith("Calibrate: good and middling are each better")
    assert "no calibrator is significantly the best" in found.verdict
    assert "best measured is good" in found.verdict


def test_among_several_better_the_best_in_a_proper_score_is_recommended(three):
    found = said(three, {"good": BETTER, "middling": SLIGHT}, None, brier="middling", nll="middling", auroc="good")
    assert found.verdict.startswith("Calibrate: good and middling are each better")
    assert "In it none is significantly the best: the best measured is good" in found.verdict
    assert "Take middling" in found.verdict
    assert "significantly the best in NLL and Brier" in found.verdict
    assert found.shown == "middling"


def test_the_best_in_a_proper_score_is_not_recommended_if_its_calibration_is_not_shown_to_be_better(three):
    found = said(three, {"good": BETTER, "middling": UNCLEAR}, None, nll="middling")
    assert found.shown == "good"
    assert said(three, {"good": BETTER, "middling": SLIGHT}, None, auroc="middling").shown == "good"


def test_only_one_better(three):
    found = said(three, {"good": BETTER, "middling": UNCLEAR}, None)
    assert found.verdict.startswith("Take good: it is the only one shown to be better")


def test_none_better_recommends_none(three):
    found = said(three, {"good": UNCLEAR, "middling": WORSE}, None)
    assert found.verdict.startswith("No calibrator was shown to be better than the model as it is")
    assert "Worse than the model as it is: middling." in found.verdict
    assert "Take" not in found.verdict
    assert not any("also better" in sentence for sentence in found.sentences)


def test_all_worse_says_leave_it(three):
    found = said(three, {"good": WORSE, "middling": (0.03, 0.02, 0.04)}, "uncalibrated")
    assert found.verdict.startswith("Leave the model as it is: every calibrator compared made its pooled ECE worse")


def test_worse_ones_are_named_beside_the_recommended(three):
    found = said(three, {"good": BETTER, "middling": WORSE}, "good")
    assert found.verdict.endswith("Worse than the model as it is: middling.")


def test_single_method_has_no_verdict_on_calibrators():
    measurements, comparison = compared({"uncalibrated": 3.0})
    found = headline(comparison, measurements)
    assert found.shown is None
    assert "No calibrator was compared" in found.verdict


@pytest.mark.parametrize(("factor", "word"), [(3.0, "too sure"), (0.3, "too timid")])
def test_direction_of_the_model(factor, word):
    measurements, comparison = compared({"uncalibrated": factor})
    assert headline(comparison, measurements).sentences[0].endswith(f"so on the whole it is {word}.")


def test_the_ninety_percent_sentence_is_the_bins_own_numbers(three):
    measurements, comparison = three
    rows = [each.bins.pooled() for each in measurements["uncalibrated"]]
    count = sum(float(row.count[0, 8]) for row in rows)  # (0.8, 0.9] of ten bins
    confidence = sum(float(row.confidence[0, 8]) for row in rows) / count
    right = sum(float(row.correct[0, 8]) for row in rows) / count
    sentence = headline(comparison, measurements).sentences[0]
    numbers = [int(each) for each in re.findall(r"(\d+)\u00a0%", sentence)]
    assert numbers[:2] == [round(100 * confidence), round(100 * right)]


def test_a_calibrator_that_keeps_labels_is_said_to_keep_mean_iou(three):
    measurements, comparison = three
    assert "The segmentation itself keeps its mean IoU." in headline(comparison, measurements).sentences


def test_a_price_is_named(three):
    measurements, comparison = three
    differences = {m: dict(row) for m, row in comparison.differences.items()}
    differences["good"]["auroc"] = Interval(-0.02, -0.03, -0.01)
    differences["good"]["miou"] = Interval(-0.02, -0.03, -0.01)
    found = headline(replace(comparison, differences=differences), measurements)
    assert "At a price: good is worse by AUROC." in found.sentences
    assert "It changes labels: the mean IoU gets worse." in found.sentences
