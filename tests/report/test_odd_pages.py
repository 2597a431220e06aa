"""Pages of what is rare: a calibrated model, one method, one image, 171 classes, volumes, several annotators."""

import re

import pytest
import torch
from measured_scenes import NAMES, SCORES_USED

from calibrant.evaluation import compare
from calibrant.metrics import Measurement
from calibrant.predictions import Prediction
from calibrant.report import cases_of, render_page
from calibrant.report.judged import AGREES, class_verdicts


def drawn(count: int, num_classes: int, size: tuple[int, ...], *, annotators: int = 1, seed: int = 0):
    """Logits whose softmax is the law of the labels, and labels of annotators."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(count, num_classes, *size, generator=generator)
    flat = logits.softmax(1).movedim(1, -1).flatten(0, -2)
    labels = torch.multinomial(flat, annotators, replacement=True, generator=generator)
    return logits, labels.view(count, *size, annotators).movedim(-1, 1)


def page(factors, logits, labels, *, names=None, cases=()):
    found = {}
    for name, factor in factors.items():
        rows = Measurement.of(factor * logits, labels)
        keys = tuple(f"image {i}" for i in range(len(logits)))
        found[name] = [Measurement(**{**vars(rows), "keys": keys})]
    comparison = compare(found, generator=torch.Generator().manual_seed(0), scores=SCORES_USED, num_resamples=20)
    return render_page(comparison, found, class_names=names, cases=cases), found


def test_a_calibrated_model_is_said_to_be_calibrated_everywhere():
    text, found = page({"uncalibrated": 1.0}, *drawn(30, 4, (24, 24)), names=NAMES)
    assert class_verdicts(found["uncalibrated"]) == [AGREES] * 4
    assert "No miscalibration was found" in text
    body = text[text.index("<main>") : text.index("</main>")]
    assert body.count(f'<small class="">{AGREES}</small>') == 4
    assert body.count("no bin departs from calibration by more than chance") == 2  # all pixels, and near boundaries
    assert "inside has no pixel" in body
    for word in (
        "too sure</small>",
        "too timid</small>",
        "on the whole it is too",
        "bins depart",
        "bin departs from c",
    ):
        assert word not in body.replace("no bin departs", "")


def test_a_model_that_is_too_sure_is_said_to_be_so_for_every_class():
    text, found = page({"uncalibrated": 2.5}, *drawn(30, 4, (24, 24)), names=NAMES)
    assert class_verdicts(found["uncalibrated"]) == ["too sure"] * 4
    assert "on the whole it is too sure" in text
    assert "Its confidence cannot be taken at its word" in text
    assert re.search(r"\d+ of \d+ bins depart from calibration", text)


def test_one_image_is_too_few_to_say_anything():
    text, found = page({"uncalibrated": 2.5}, *drawn(1, 4, (24, 24)), names=NAMES)
    assert "1 image is too few" in text
    assert set(class_verdicts(found["uncalibrated"])) == {"too few images"}
    assert "Its confidence cannot be taken" not in text


def test_many_classes_stay_a_small_page():
    names = [f"class number {i}" for i in range(171)]
    text, _ = page({"uncalibrated": 2.0, "one": 1.0, "two": 0.5}, *drawn(2, 171, (40, 40)), names=names)
    assert len(text.encode()) < 1_500_000
    assert text.count('<th scope="row">class number ') == 171
    assert "The other 146 classes" in text


@pytest.mark.parametrize("size", [(5, 12, 13), (12, 13)])
def test_volumes_and_several_annotators_have_pictures(size):
    logits, labels = drawn(6, 3, size, annotators=3)
    images = torch.rand(6, 1, *size, generator=torch.Generator().manual_seed(0))
    shown = cases_of(Prediction("one", 2 * logits[0], labels[0], images[0]), {"uncalibrated": 2 * logits[0]})
    text, _ = page({"uncalibrated": 2.0}, logits, labels, names=NAMES[:3], cases=shown)
    assert "The first of 3 annotators is shown." in text
    assert text.count('<article class="case"') == (len(shown) if len(size) == 3 else 1)
    assert (len(shown) > 3, "one, slice 4 of 5" in text) == (len(size) == 3, len(size) == 3)
