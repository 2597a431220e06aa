"""The diagram of each class says what was counted of it, and nothing of classes that are never predicted."""

import pytest
from measured_scenes import NAMES

from calibrant.report.class_diagrams import class_diagrams
from calibrant.report.shift import place_links


def test_points_are_the_bins_of_what_is_predicted(three):
    measurements, _ = three
    diagrams = {each.name: each for each in class_diagrams(measurements, ["uncalibrated", "good"], NAMES)}
    assert set(diagrams) == set(NAMES[:3])
    for number, name in enumerate(NAMES[:3]):
        for curve in diagrams[name].curves:
            rows = [each.by_prediction.pooled() for each in measurements[curve.method]]
            count, correct, said = (
                sum(getattr(each, what)[0, number].double() for each in rows)
                for what in ("count", "correct", "confidence")
            )
            seen = count > 0
            expected = zip(100 * said[seen] / count[seen], 100 - 100 * correct[seen] / count[seen], strict=True)
            found = [(x, y) for x, y, _ in curve.points]
            assert found == [
                (pytest.approx(float(x), abs=0.051), pytest.approx(float(y), abs=0.051)) for x, y in expected
            ]


def test_a_model_that_is_too_sure_lies_under_the_line(three):
    measurements, _ = three
    for diagram in class_diagrams(measurements, ["uncalibrated", "good"], NAMES):
        sure, good = diagram.curves
        assert (sure.verdict, good.verdict) == ("too sure", "as it says")
        assert f"uncalibrated: too sure, says {sure_words(diagram.words)[0]}" in diagram.words
        said, right = map(float, sure_words(diagram.words))
        assert said > right + 5


def sure_words(words: str) -> list[str]:
    first = words.split(";")[0]
    return [part.split("says ")[-1].split("is right ")[-1].split("\u00a0")[0] for part in first.split(", ")[1:]]


def test_links_lead_to_the_pages_of_other_places_alone(three):
    _, here = three
    places = {"day": here, "a night": object()}
    assert place_links(places, here, {"day": "a.html", "a night": "b c.html"}) == [
        ("day", None),
        ("a night", "./b%20c.html"),
    ]
    assert place_links(places, here, {"day": "a.html"}) == []
