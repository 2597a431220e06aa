import io
import json
import math

import pytest
from rich.console import Console

from calibrant.evaluation import Comparison
from calibrant.metrics import SCORES, Interval
from calibrant.report import as_json, terminal_table
from calibrant.report.columns import changes, columns, number, other_scores, shown_scores, verdict


def printed(comparison, scores=None) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(terminal_table(comparison, scores))
    return console.export_text()


def small(best: str | None = None) -> Comparison:
    nan = float("nan")
    values = {
        "uncalibrated": {"ece_images": Interval(0.0593, 0.05412, 0.0652), "nll": Interval(0.4671, 0.41, 0.52)},
        "other": {"ece_images": Interval(0.04, 0.036, 0.046), "nll": Interval(nan, nan, nan)},
    }
    for row in values.values():
        row["ece_images_null"] = Interval(0.0201, 0.02, 0.0202)
    zero, less = Interval(0.0, 0.0, 0.0), Interval(-0.0193, -0.03, -0.01)
    differences = {
        "uncalibrated": dict.fromkeys(values["uncalibrated"], zero),
        "other": {"ece_images": less, "ece_images_null": zero, "nll": Interval(-0.01, -0.03, 0.01)},
    }
    scores = {name: SCORES[name] for name in ("ece_images", "nll", "ece_images_null")}
    return Comparison(values, differences, {"ece_images": best, "nll": None, "ece_images_null": None}, scores=scores)


def test_shares_are_in_percent_and_the_rest_is_not():
    ece, nll = columns(small())
    assert (ece.cells["uncalibrated"].value, ece.cells["uncalibrated"].bounds) == ("5.93", "[5.41, 6.52]")
    assert (nll.cells["uncalibrated"].value, nll.unit, ece.unit) == ("0.467", "", "%")


def test_chance_stands_in_the_cells_of_its_score_and_nowhere_else():
    ece, nll = columns(small())
    assert ece.cells["other"].chance == "2.01"
    assert nll.cells["other"].chance == ""
    assert shown_scores(small(), ["ece_images", "ece_images_null"]) == ["ece_images"]
    assert shown_scores(small(), ["ece_images_null"]) == ["ece_images_null"]


@pytest.mark.parametrize("best", ["uncalibrated", "other", None])
def test_best_is_marked_where_the_comparison_says_so_and_nowhere_else(best):
    marked = [m for column in columns(small(best)) for m, cell in column.cells.items() if cell.best]
    assert marked == ([] if best is None else [best])
    assert printed(small(best)).count("★ ") - 1 == len(marked)  # one is the caption's


def test_unknown_numbers_are_a_dash_and_null():
    nll = columns(small())[1]
    assert (nll.cells["other"].value, nll.cells["other"].bounds) == ("–", "")
    assert as_json(small())["values"]["other"]["nll"] == {"value": None, "low": None, "high": None}


def test_json_holds_every_figure_with_its_interval_and_is_json(three):
    _, comparison = three
    written = json.loads(json.dumps(as_json(comparison), allow_nan=False))
    for method, row in comparison.values.items():
        for score, each in row.items():
            assert written["values"][method][score] == {"value": each.value, "low": each.low, "high": each.high}
            change = comparison.differences[method][score]
            assert written["differences_to_baseline"][method][score]["low"] == change.low
    assert written["scores"]["ece_images"]["best"] == comparison.best["ece_images"]
    assert written["scores"]["miou"]["better"] == "higher"
    assert written["scores"]["gap"]["better"] is None


@pytest.mark.parametrize(
    ("score", "interval", "word"),
    [
        ("nll", Interval(-0.1, -0.2, -0.01), "better"),
        ("nll", Interval(0.1, 0.01, 0.2), "worse"),
        ("auroc", Interval(0.1, 0.01, 0.2), "better"),
        ("auroc", Interval(-0.1, -0.2, -0.01), "worse"),
        ("nll", Interval(0.1, 0.0, 0.2), "not clear"),
        ("nll", Interval(0.0, 0.0, 0.0), "same"),
        ("gap", Interval(-0.1, -0.2, -0.01), "lower"),
        ("gap", Interval(0.1, 0.01, 0.2), "higher"),
        ("nll", Interval(float("nan"), float("nan"), float("nan")), "not known"),
    ],
)
def test_verdicts_follow_the_interval_and_the_direction(score, interval, word):
    assert verdict(SCORES[score], interval) == word


def test_no_verdict_stands_on_rounded_zeros():
    comparison = small()
    comparison.values["third"] = comparison.values["other"]
    comparison.differences["third"] = {**comparison.differences["other"], "nll": Interval(2e-5, 1e-5, 3e-5)}
    (nll,) = changes(comparison, ["nll"])
    assert nll.cells["third"].verdict == "worse"
    assert float(nll.cells["third"].value) == pytest.approx(2e-5)


def test_numbers_keep_their_sign_and_zero_has_none():
    assert number(-0.00001, 2) == "0.00"
    assert number(-0.00001, 2, signed=True) == "0.00"
    assert number(0.012, 2, signed=True) == "+0.01"
    assert number(math.inf, 2) == "inf"


def test_every_compared_score_is_shown_first_or_among_the_others(three):
    _, comparison = three
    every = [*shown_scores(comparison), *other_scores(comparison)]
    assert sorted(every) == sorted(s for s in comparison.values["good"] if s != "ece_images_null")
    assert len(set(every)) == len(every)


def test_terminal_says_values_intervals_and_methods(three):
    _, comparison = three
    text = printed(comparison)
    for method in comparison.values:
        assert method in text
    cell = columns(comparison)[0].cells["good"]
    assert cell.value in text
    assert cell.bounds in text
    assert f"chance {cell.chance}" in text
    assert "5.93 [5.41, 6.52]" in printed(small())  # two methods: side by side


def test_terminal_table_of_many_methods_fits_into_eighty_columns(three):
    _, comparison = three
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_table(comparison))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    last = columns(comparison)[-1].cells["good"]
    ends = " ".join(line[-10:].split("  ")[-1].strip() for line in lines)  # nothing of the last column is cut
    assert f"{last.value} ({last.rank.split()[0]}≈)" in ends


def test_ranks_stand_beside_values_and_say_whether_the_best_is_told_apart(three):
    _, comparison = three
    nll = next(column for column in columns(comparison) if column.score == "nll")
    assert [nll.cells[method].rank for method in ("good", "middling", "uncalibrated")] == ["1", "2", "3"]
    assert [nll.cells[method].level for method in ("good", "middling", "uncalibrated")] == [True, False, False]
    (behind,) = changes(comparison, ["nll"], to_best=True)
    assert {method: cell.verdict for method, cell in behind.cells.items()} == {
        "uncalibrated": "worse",
        "good": "leads",
        "middling": "worse",
    }
    assert changes(comparison, ["gap"], to_best=True) == []  # neither side is better
    assert "(3)" in printed(comparison, ["nll"])
    written = as_json(comparison)
    assert written["ranks"]["middling"]["nll"]["value"] == 2
    assert written["scores"]["nll"]["leader"] == "good"
    expected = comparison.values["middling"]["nll"].value - comparison.values["good"]["nll"].value
    assert written["differences_to_best"]["middling"]["nll"]["value"] == pytest.approx(expected)
    assert printed(small()).count("(1") == 0  # a comparison made without ranks
