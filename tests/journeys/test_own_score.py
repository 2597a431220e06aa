"""Somebody adds a score and a count of their own, and finds them in the table, the JSON file and the page.

Only what the packages export is used.
"""

import io
import json
from dataclasses import dataclass

import pytest
import torch
from rich.console import Console

from calibrant.calibrators import TemperatureScaling
from calibrant.errors import InputError
from calibrant.evaluation import compare, tally_all
from calibrant.metrics import (
    SCORES,
    CalibrationBins,
    Measurement,
    Score,
    Tally,
    expected_calibration_error,
    expected_error_if_calibrated,
    mean_confidence,
    mean_entropy,
    negative_log_likelihood,
)
from calibrant.report import as_json, terminal_table, worst_images, write_page
from calibrant.testing import toy_predictions

CALIBRATORS = {"as it is": None, "cooler": TemperatureScaling(0.5), "true": TemperatureScaling(2.0)}


@dataclass(frozen=True)
class SurePixels(Tally):
    """Pixels that a model is almost certain of, and how many of these it gets wrong."""

    sure: torch.Tensor
    wrong: torch.Tensor
    missing: torch.Tensor  # what their confidences fall short of 1, summed up: the mistakes to expect

    @classmethod
    def of(cls, logits: torch.Tensor, labels: torch.Tensor) -> "SurePixels":
        confidence, predicted = logits.double().softmax(1).max(1, keepdim=True)
        sure = (confidence > 0.95) & (labels >= 0)
        wrong, missing = sure & (predicted != labels), torch.where(sure, 1 - confidence, 0.0)
        return cls(*(each.flatten(1).sum(1) for each in (sure, wrong, missing)))


BROKEN_PROMISES = Score(
    "broken promises",
    lambda pixels: pixels.wrong / pixels.sure,
    pooled=True,
    better="lower",
    unit="percent",
    null=lambda pixels: pixels.missing / pixels.sure,
    note="Share of wrong pixels among those with a confidence above 95 %.",
)
SURE = Score("pixels sure of", lambda pixels: pixels.sure.double(), pooled=False, unit="pixels")


def compared(count, scores):
    tallies = tally_all(count, toy_predictions(num_images=12, size=(24, 24)), CALIBRATORS)
    generator = torch.Generator().manual_seed(0)
    by_method = {name: [rows] for name, rows in tallies.items()}
    return by_method, compare(by_method, generator=generator, scores=scores, num_resamples=200)


def printed(comparison, scores=None):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(terminal_table(comparison, scores))
    return console.export_text()


@pytest.fixture(scope="module")
def sure():
    return compared(SurePixels.of, {"broken": BROKEN_PROMISES, "sure": SURE})


def test_a_score_of_something_already_counted(tmp_path):
    own = {
        "ece_10": Score("my ECE", lambda m: expected_calibration_error(m.bins), pooled=False, better="lower",
                        unit="percent", null=lambda m: expected_error_if_calibrated(m.bins)),
        "nll": Score("log loss", lambda m: negative_log_likelihood(m.likelihood), pooled=True, better="lower",
                     unit="nats", null="entropy"),
        "entropy": SCORES["entropy"],
    }  # fmt: skip
    measurements, comparison = compared(Measurement.of, own)
    text = printed(comparison)
    assert "my ECE, % ↓" in text
    assert "log loss, nats ↓" in text
    library = compare(measurements, generator=torch.Generator().manual_seed(0), num_resamples=200)
    for method, row in comparison.values.items():
        assert row["ece_10"] == library.values[method]["ece_images"]
        assert comparison.null_of(method, "ece_10") == library.values[method]["ece_images_null"]
        assert comparison.null_of(method, "nll") == library.values[method]["entropy"]
    page = write_page(tmp_path / "report.html", comparison, measurements).read_text("utf-8")
    assert "my ECE, %<small>↓ lower is better</small>" in page
    assert "log loss, nats<small>↓ lower is better</small>" in page
    assert page.count("<small>chance ") == 2 * len(CALIBRATORS)
    # By his own ECE the model is told how to be mended; what chance alone would score stands beside it.
    assert "its my ECE of" in page
    assert "would score" in page
    assert worst_images(measurements["as it is"][0], own["ece_10"], count=2)


def test_a_count_of_ones_own_is_right(sure):
    tallies, comparison = sure
    (rows,) = tallies["as it is"]
    assert rows.keys == tuple(sorted(f"toy{i}" for i in range(12)))
    wrong = sum(
        int(((p.logits.softmax(0).amax(0) > 0.95) & (p.logits.argmax(0) != p.labels[0]) & (p.labels[0] >= 0)).sum())
        for p in toy_predictions(num_images=12, size=(24, 24))
    )
    assert int(rows.wrong.sum()) == wrong > 0
    broken = comparison.values["as it is"]["broken"]
    assert broken.value == pytest.approx(wrong / int(rows.sure.sum()))
    assert broken.low < broken.value < broken.high
    # Where the temperature is the true one, promises are broken as often as they say.
    assert comparison.null_of("true", "broken").value == pytest.approx(
        comparison.values["true"]["broken"].value, abs=0.02
    )
    assert comparison.leaders["broken"] == "true"


def test_it_stands_in_the_terminal_table(sure):
    text = printed(sure[1])
    assert "broken promises, % ↓" in text
    assert "pixels sure of, pixels" in text
    null = sure[1].null_of("as it is", "broken")
    assert f"chance {100 * null.value:.1f}" in text
    assert sure[1].best["broken"] == "true"
    assert text.count("★ ") == 2  # in the cell, and in the caption


def test_it_stands_in_the_json_file(sure):
    written = json.loads(json.dumps(as_json(sure[1]), allow_nan=False))
    assert written["scores"]["broken"]["title"] == "broken promises"
    assert written["scores"]["broken"]["unit"] == "percent"
    assert written["scores"]["broken"]["better"] == "lower"
    null = written["scores"]["broken"]["null"]
    assert written["values"]["true"][null]["value"] == sure[1].null_of("true", "broken").value
    assert written["values"]["true"]["broken"]["value"] == sure[1].values["true"]["broken"].value


def test_it_stands_on_the_page(sure, tmp_path):
    _, comparison = sure
    page = write_page(tmp_path / "own.html", comparison, title="Sure pixels").read_text("utf-8")
    assert "broken promises, %<small>↓ lower is better</small>" in page
    assert "broken promises, points" in page  # the table of changes
    assert "pixels sure of, pixels" in page
    assert BROKEN_PROMISES.note in page
    assert "Take true: its broken promises of" in page
    assert page.count("<small>chance ") == len(CALIBRATORS)
    assert "Reliability:" not in page  # nothing that these counts do not hold is drawn


def test_help_is_short_and_mistakes_are_told():
    assert "lambda" not in str(compare.__kwdefaults__)
    with pytest.raises(TypeError, match="positional"):
        Score("a", mean_entropy, True)
    with pytest.raises(InputError, match="expected a title"):
        Score("", mean_entropy, pooled=True)
    with pytest.raises(InputError, match=r"better side.*smaller"):
        Score("a", mean_entropy, pooled=True, better="smaller")
    with pytest.raises(InputError, match=r"the null of 'a' to be a function or the name of a score: a; got 'b'"):
        compared(CalibrationBins.of, {"a": Score("a", mean_confidence, pooled=True, null="b")})
    own = Score("a", mean_confidence, pooled=True, null=mean_confidence)
    with pytest.raises(InputError, match="expected no score 'a_null' beside the null of 'a'"):
        compared(CalibrationBins.of, dict.fromkeys(("a", "a_null"), own))
    comparison = compared(CalibrationBins.of, {"a": Score("a", mean_confidence, pooled=True)})[1]
    with pytest.raises(InputError, match="expected a score that was compared of: a; got 'ece'"):
        printed(comparison, ["ece"])
