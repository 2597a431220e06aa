import base64
import io
import math
import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from measured_scenes import NAMES, images, measure
from PIL import Image

from calibrant.errors import DataError, InputError
from calibrant.metrics import SCORES, CalibrationBins, ConfidenceRanks
from calibrant.predictions import IGNORE, Prediction
from calibrant.report import case_of, cases_of, load_cases, save_cases, scale, telling_images, worst_images
from calibrant.report.curves import RiskCoverageLine, draws, reliability, risk_coverage
from calibrant.report.figures import ideal_risk_coverage, reliability_figure, risk_coverage_figure
from calibrant.report.palette import class_colors, style_of
from calibrant.report.pictures import color_key, label_maps, pictures, pictures_within, weight_of


def test_reliability_of_repetitions_is_that_of_all_their_pixels():
    rows = [measure(2.0, seed=0), measure(2.0, seed=1)]
    line = reliability(rows, draws({"a": rows}), lambda each: each.bins)
    logits, labels = (torch.cat(parts) for parts in zip(images(12, seed=0), images(12, seed=1), strict=True))
    confidence, predicted = (2.0 * logits.double()).softmax(1).max(1)
    known = labels != IGNORE
    inside = known & (confidence > 0.8) & (confidence <= 0.9)
    assert float(line.confidence[8]) == pytest.approx(float(confidence[inside].mean()), abs=1e-6)
    assert float(line.accuracy[8]) == pytest.approx(float((predicted == labels)[inside].double().mean()))
    assert float(line.fraction[8]) == pytest.approx(float(inside.sum() / known.sum()))


def test_band_is_that_of_a_plain_bootstrap_over_images():
    rows = measure(2.0, seed=0)
    line = reliability([rows], draws({"a": [rows]}, num_resamples=2000), lambda each: each.bins)
    generator, gaps = np.random.default_rng(0), []
    count, correct, confidence = (getattr(rows.bins, name)[:, 8].numpy() for name in ("count", "correct", "confidence"))
    for _ in range(2000):
        drawn = generator.integers(0, len(count), len(count))
        gaps.append((correct[drawn].sum() - confidence[drawn].sum()) / count[drawn].sum())
    low, high = np.quantile(gaps, [0.025, 0.975])
    assert float(line.low[8] - line.confidence[8]) == pytest.approx(low, abs=0.01)
    assert float(line.high[8] - line.confidence[8]) == pytest.approx(high, abs=0.01)


def test_the_same_image_in_two_repetitions_is_drawn_in_both_or_in_neither():
    rows = measure(2.0, seed=0)
    resamples = draws({"a": [rows]})
    once = reliability([rows], resamples, lambda each: each.bins)
    twice = reliability([rows, rows], resamples, lambda each: each.bins)
    np.testing.assert_allclose(once.low, twice.low)
    np.testing.assert_allclose(once.high, twice.high)


def test_risk_at_full_coverage_is_the_error_and_matches_a_sort():
    logits, labels = images(12, seed=0)
    line = risk_coverage([ConfidenceRanks.of(logits, labels)])
    confidence, predicted = logits.softmax(1).max(1)
    known = labels != IGNORE
    wrong = (predicted != labels)[known]
    assert line.at(1.0) == pytest.approx(float(wrong.double().mean()))
    surest = confidence[known].argsort(descending=True)[: len(wrong) // 2]
    assert line.at(0.5) == pytest.approx(float(wrong[surest].double().mean()), abs=5e-3)


def test_ideal_curve_has_no_mistake_until_only_mistakes_are_left():
    line = RiskCoverageLine(torch.tensor([0.5, 1.0]).double(), torch.tensor([0.1, 0.2]).double())
    ideal = ideal_risk_coverage(line)
    assert ideal.at(0.79) == 0
    assert ideal.at(1.0) == pytest.approx(0.2)
    assert ideal.at(0.9) == pytest.approx(0.1 / 0.9, abs=1e-3)


def drawing(name: str) -> str:
    rows = measure(2.0, seed=0)
    line = reliability([rows], draws({"a": [rows]}), lambda each: each.bins)
    return reliability_figure([("a <method>", line, style_of(1))], name=name, label='said "so" & <so>')


def test_figure_holds_only_its_own_names_and_the_pages_colours():
    text = drawing("one")
    assert 'aria-label="said &quot;so&quot; &amp; &lt;so>"' in text
    assert all(each.startswith("one-") for each in re.findall(r'\bid="([^"]+)"', text))
    assert all(each.startswith("#one-") for each in re.findall(r'href="([^"]+)"', text))
    assert "var(--line1)" in text
    assert "font-family" not in text
    assert "http" not in text
    assert "<text" in text


def test_figures_are_the_same_each_time_and_leave_settings_alone():
    with mpl.rc_context({"font.size": 33.0, "axes.grid": True}):
        one = drawing("one")
        assert mpl.rcParams["font.size"] == 33.0
    assert one == drawing("one")


def test_empty_bins_and_dollar_signs_are_drawn_without_complaint():
    empty = CalibrationBins(*(torch.zeros(2, 10, dtype=kind) for kind in (torch.int64, torch.int64, torch.float64)))
    count, correct, confidence = (getattr(empty, each).clone() for each in ("count", "correct", "confidence"))
    count[0, 9], correct[0, 9], confidence[0, 9] = 10, 9, 9.5
    rows = measure(1.0, seed=0, count=2)
    line = reliability([rows], draws({"a": [rows]}), lambda _: CalibrationBins(count, correct, confidence))
    assert int((line.fraction > 0).sum()) == 1
    curve = RiskCoverageLine(torch.tensor([1.0]).double(), torch.tensor([0.0]).double())
    assert "cost $x$" in reliability_figure(
        [("a", line, style_of(0)), ("cost $x$", line, style_of(1))], name="a", label="b"
    )
    assert "cost $x$" in risk_coverage_figure([("cost $x$", curve, style_of(0))], name="a", label="b")


def test_styles_differ_in_more_than_colour():
    styles = [style_of(i) for i in range(20)]
    assert len({(style.marker, style.dashes) for style in styles}) == 20
    assert len(set(class_colors(150))) > 100


def pixels(picture) -> np.ndarray:
    data = base64.b64decode(picture.source.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def test_pictures_show_what_they_say(case):
    shown = pictures(case, NAMES, ["uncalibrated", "good"])
    assert [(each.layer, each.method) for each in shown] == [
        ("image", ""),
        ("reference", ""),
        ("prediction", ""),
        ("mistakes", ""),
        ("confidence", "uncalibrated"),
        ("confidence", "good"),
        ("entropy", ""),
    ]
    known = case.labels != IGNORE
    wrong = known & (case.labels != case.prediction)
    assert f"{100 * float(wrong.sum() / known.sum()):.1f}" in shown[3].alt
    assert ((pixels(shown[3])[..., :3] == (196, 70, 0)).all(-1) == wrong.numpy()).all()
    for each in (shown[1], *shown[3:]):
        assert ((pixels(each)[..., 3] > 0) == known.numpy()).all()  # the page's hatching shows through


def test_colours_tell_class_and_level_again(case):
    """What the script of the page reads from the pictures."""
    shown = {(each.layer, each.method): pixels(each)[..., :3] for each in pictures(case, NAMES, ["good"])}
    known = (case.labels != IGNORE).numpy()
    for layer, labels in (("reference", case.labels), ("prediction", case.prediction)):
        colors = {tuple(int(part) for part in color): i for i, color in enumerate(class_colors(len(NAMES)))}
        assert [colors[tuple(c)] for c in shown[layer, ""][known].tolist()] == labels[known].tolist()
    for ramp, drawn, level in (
        ("cividis", shown["confidence", "good"], case.confidence["good"]),
        ("magma", shown["entropy", ""], case.entropy),
    ):
        levels = {tuple(color): i for i, color in enumerate(scale.colors(ramp).tolist())}
        assert len(levels) == scale.NUM_LEVELS
        assert [levels[tuple(c)] for c in drawn[known].tolist()] == level[known].tolist()
    assert len(set(class_colors(300))) == 300


def test_levels_are_the_confidence_to_a_sixteenth_of_log_odds():
    p = np.array([0.11, 0.3, 0.5, 0.9, 0.99, 0.998])
    back = scale.confidence_of_level(scale.level_of_confidence(p))
    np.testing.assert_allclose(np.log(back / (1 - back)), np.log(p / (1 - p)), atol=1 / 16)


def test_cases_on_disk_are_those_that_were_written(case, tmp_path):
    odd = replace(case, wrong=float("nan"), image=None, part="slice 1 of 3", relabelled={"good": case.prediction + 1})
    save_cases([case, odd], tmp_path / "images")
    one, other = load_cases(tmp_path / "images")
    assert pictures(one, NAMES, ["good"]) == pictures(case, NAMES, ["good"])
    assert (one.scores, one.key, one.why) == (case.scores, case.key, case.why)
    assert (other.part, other.image, math.isnan(other.wrong)) == ("slice 1 of 3", None, True)
    assert torch.equal(other.relabelled["good"], odd.relabelled["good"])
    content = bytearray((tmp_path / "images").read_bytes())
    content[-5] ^= 1
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(DataError, match="changed since it was written"):
        load_cases(tmp_path / "images")
    with pytest.raises(DataError, match="expected images of a report"):
        load_cases(tmp_path / "none")


def test_pictures_are_thinned_until_a_page_can_hold_them():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(3, 300, 400, generator=generator), torch.zeros(1, 300, 400, dtype=torch.long)
    cases = [case_of(Prediction(str(i), logits, labels), {"m": logits}) for i in range(2)]
    small = pictures_within(cases, ["a", "b", "c"], ["m"], most=100_000)
    assert weight_of(small) <= 100_000
    assert {(each.width, each.height) for shown in small for each in shown} != {(400, 300)}


@pytest.mark.untyped
def test_a_volume_is_shown_by_its_worst_slice_and_others():
    labels = torch.zeros(1, 9, 6, 7, dtype=torch.long)
    labels[:, 3:6, 2:4] = 1
    said = labels[0].clone()
    said[7] = 1  # a slice without a mistake but there
    logits = 5 * torch.nn.functional.one_hot(said, 2).movedim(-1, 0).float()
    image = torch.rand(1, 9, 6, 7, generator=torch.Generator().manual_seed(0))
    shown = cases_of(Prediction("v", logits, labels, image), {"m": logits, "n": -logits})
    assert [each.part for each in shown] == ["slice 4 of 9", "slice 5 of 9", "slice 6 of 9", "slice 8 of 9"]
    assert [each.wrong for each in shown] == [0, 0, 0, 1]
    assert [each.image.shape for each in shown] == [(1, 6, 7)] * 4
    assert list(shown[0].relabelled) == ["n"]
    with pytest.raises(InputError, match="cases_of"):
        case_of(Prediction("v", logits, labels), {"m": logits})


def test_large_images_are_thinned_and_any_scale_of_image_is_shown():
    logits = torch.randn(3, 1500, 20, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(1, 1500, 20, dtype=torch.long)
    case = case_of(Prediction("a", logits, labels, 100 * torch.randn(1, 1500, 20)), {"m": logits})
    assert (int(case.image.min()), int(case.image.max())) == (0, 255)
    assert max(max(each.width, each.height) for each in pictures(case, ["a", "b", "c"], ["m"])) <= 640


def test_unlabelled_image_is_said_to_be_so():
    logits = torch.randn(3, 8, 8)
    case = case_of(Prediction("a", logits, torch.full((1, 8, 8), IGNORE)), {"m": logits})
    shown = pictures(case, ["a", "b", "c"], ["m"])
    assert "nothing is labelled" in shown[0].alt
    assert "not known" in shown[2].heading
    assert {number for number, _, _ in color_key(["a", "b", "c"], label_maps([case]))} <= {0, 1, 2}


def test_worst_images_come_worst_first():
    rows = measure(3.0, seed=0)
    values = dict(zip(rows.keys, SCORES["ece_images"].of(rows).tolist(), strict=True))
    assert worst_images(rows, SCORES["ece_images"], count=3) == sorted(values, key=lambda key: -values[key])[:3]
    accuracy = dict(zip(rows.keys, SCORES["accuracy"].of(rows).tolist(), strict=True))
    assert worst_images(rows, SCORES["accuracy"], count=1) == [min(accuracy, key=lambda key: accuracy[key])]


def test_images_are_chosen_for_reasons():
    before, after = measure(3.0, seed=0), measure(1.0, seed=0)
    chosen = telling_images(before, after, SCORES["ece_images"], count=6)
    worst = worst_images(before, SCORES["ece_images"], count=12)
    assert len(chosen) == 6
    assert list(chosen)[:3] == worst[:3]
    assert "typical" in chosen[worst[6]]
    gain = SCORES["ece_images"].of(before) - SCORES["ece_images"].of(after)
    assert "helped most" in chosen[before.keys[int(gain.argmax())]]
    assert list(telling_images(before, None, SCORES["ece_images"], count=1)) == worst[:1]
    assert telling_images(before, after, SCORES["ece_images"], count=0) == {}
