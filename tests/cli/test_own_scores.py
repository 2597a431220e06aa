"""Scores of one's own, named on the command line as module:name."""

import json

import pytest

SCORES = """
import torch
from calibrant.metrics import Score, expected_calibration_error

ROAD = Score("share of road", lambda m: m.classes.predicted[:, 1] / m.classes.predicted.sum(1), pooled=True,
             better="lower", unit="percent", note="Share of pixels called road.")
ECE = Score("my ECE", lambda m: expected_calibration_error(m.bins), pooled=True, unit="percent")
MANY = Score("of class nine", lambda m: m.classes.predicted[:, 9], pooled=True)
ONE = Score("a number", lambda m: 0.5, pooled=True)
miou = Score("a name that is taken", lambda m: m.bins.count.sum(-1), pooled=True)

def function(measurement):
    return measurement.bins.count.sum(-1)
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    path = tmp_path_factory.mktemp("code") / "scores_of_mine.py"
    path.write_text(SCORES)
    return path


@pytest.fixture(scope="module")
def measured(calibrant, store, temperature, code, tmp_path_factory):
    """What measure answered: its exit code, its words, and a folder with its files."""
    folder = tmp_path_factory.mktemp("measured")
    given = ["--score", f"{code}:ROAD", "--score", f"{code}:ECE", "--trust", "--json", folder / "f.json"]
    given += ["--calibrator", temperature, "-o", folder / "m", "--fail-if", "ROAD>0.0001"]
    return *calibrant("measure", store, *given), folder


def test_a_score_stands_in_table_json_and_conditions(measured):
    status, out, err, folder = measured
    assert status == 1, err
    assert "ROAD is 0." in err
    assert "share of road" in out
    found = json.loads((folder / "f.json").read_text())
    assert found["values"]["ts"]["ECE"] == found["values"]["ts"]["ece"]
    assert found["scores"]["ROAD"]["title"] == "share of road"


@pytest.mark.slow
def test_a_score_stands_on_a_page_drawn_again(calibrant, measured, code, tmp_path):
    given = ["--score", f"{code}:ROAD", "--trust", "-o", tmp_path / "r.html"]
    status, _, err = calibrant("report", measured[-1] / "m", *given)
    assert status == 0, err
    assert "Share of pixels called road." in (tmp_path / "r.html").read_text("utf-8")


@pytest.mark.slow
def test_compare_takes_a_score(calibrant, store, code, tmp_path):
    given = ["--methods", "temperature", "--num-seeds", 1, "--num-cases", 0, "--score", f"{code}:ROAD"]
    places = ["-o", tmp_path / "r.html", "--json", tmp_path / "f.json"]
    status, out, err = calibrant("compare", store, *given, "--trust", *places, "--fail-if", "ROAD>0.9")
    assert status == 0, err
    assert "share of road" in out
    assert "ROAD" in json.loads((tmp_path / "f.json").read_text())["values"]["temperature scaling"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ROAD", "--trust"),
        ("function", 'Wrap a function: function = Score("title"'),
        ("miou", "a name that no other score has; got miou"),
        ("MANY", "of 2 rows it gave IndexError"),
        ("ONE", "of 2 rows it gave 0.5"),
        ("NONE", "expected 'NONE' in the Python module"),
    ],
)
def test_what_is_no_score_is_a_sentence_before_anything_is_measured(calibrant, store, code, tmp_path, name, words):
    trust = [] if name == "ROAD" else ["--trust"]
    given = ["--score", f"{code}:{name}", *trust, "-o", tmp_path / "m"]
    status, _, err = calibrant("measure", store, *given)
    assert status == 2
    assert words in err
    assert not (tmp_path / "m").exists()


def test_other_names_are_sentences(calibrant, store, code, tmp_path):
    status, _, err = calibrant("measure", store, "--score", "ece", "--trust")
    assert (status, "expected module:NAME" in err) == (2, True)
    status, _, err = calibrant("measure", store, "--fail-if", "ROAD>1")
    assert (status, "ROAD" in err) == (2, True)
    given = ["--score", f"{code}:ROAD", "--trust", "--part", "1/2", "-o", tmp_path / "p"]
    status, _, err = calibrant("measure", store, *given)
    assert (status, "no --score with --part" in err) == (2, True)
