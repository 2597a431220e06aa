"""Several places side by side."""

import io

import pytest
from measured_scenes import compared
from rich.console import Console

from calibrant.report import mean_ranks, shift_table


@pytest.fixture(scope="module")
def places():
    """In the second place the first two change their order."""
    here = compared({"uncalibrated": 3.0, "good": 1.0, "middling": 2.0})[1]
    there = compared({"uncalibrated": 3.0, "good": 2.0, "middling": 1.0})[1]
    return {"day": here, "night": there}


def test_mean_ranks_are_over_places_and_scores(places):
    assert mean_ranks(places, ["nll", "ece"]) == {"uncalibrated": 3.0, "good": 1.5, "middling": 1.5}
    assert mean_ranks({"day": places["day"]}, ["nll", "gap"]) == {"uncalibrated": 3, "good": 1, "middling": 2}
    by_hand = [places[place].ranks["good"][score].value for place in places for score in ("auroc", "brier")]
    assert mean_ranks(places, ["auroc", "brier"])["good"] == sum(by_hand) / 4


def test_the_table_has_a_column_for_each_score_in_each_place(places):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(shift_table(places))
    text = console.export_text()
    assert (text.count("day"), text.count("night")) == (2, 2)
    row = next(line for line in text.splitlines() if line.lstrip().startswith("good"))
    assert row.split()[-1] == "1.50"
    for place in places.values():
        assert f"{place.values['good']['nll'].value:.3f}" in row
