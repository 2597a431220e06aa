"""What scores are is told from all of their values, over one image and over several."""

import numpy as np
import pytest
import torch

from calibrant._encoding.to_probabilities import to_probabilities
from calibrant._encoding.value_domain import check_said, count_values, describe, domain_of
from calibrant.errors import LogitsError
from calibrant.predictions import from_arrays

RNG = np.random.default_rng(0)
LOGITS = torch.as_tensor(RNG.normal(size=(4, 20, 30)) * 3).float()
PROBS = LOGITS.softmax(0)
ONE = LOGITS[:1]


def bordered(scores, value):
    scores = scores.clone()
    scores[:, :6] = value
    return scores


def with_an_odd_pixel(scores, value):
    scores = scores.clone()
    scores[:, 3, 4] = value
    return scores


@pytest.mark.parametrize(
    ("scores", "kind"),
    [
        (LOGITS, "logits"),
        (LOGITS.half(), "logits"),
        (LOGITS.log_softmax(0), "logits"),
        (bordered(LOGITS, 0), "logits"),
        (LOGITS * 1e-3, "logits"),
        (LOGITS[:2].abs(), "logits"),
        (PROBS, "probabilities"),
        (PROBS.half(), "probabilities"),
        (bordered(PROBS, 0), "probabilities"),
        (bordered(PROBS, torch.nan), "probabilities"),
        (bordered(PROBS, -1), "probabilities"),
        (with_an_odd_pixel(PROBS, 0.4), "probabilities"),
        (with_an_odd_pixel(PROBS, 1.7), "probabilities"),
        (torch.nn.functional.one_hot(LOGITS.argmax(0), 4).movedim(-1, 0).float(), "probabilities"),
        (PROBS * 100, "percent"),
        (bordered(PROBS * 100, 0), "percent"),
        ((PROBS * 100).round().byte(), "percent"),
        ((PROBS * 255).round().byte(), "bytes"),
        ((PROBS * 255).floor().byte(), "bytes"),
        ((PROBS * 255).round(), "bytes"),
        ((PROBS * 65535).round().int(), "bytes"),
        (LOGITS.sigmoid(), "sigmoid"),
        (bordered(LOGITS.sigmoid(), 0), "sigmoid"),
        (PROBS[1:], "sigmoid"),
        (LOGITS.argsort(0)[:2].byte(), "whole numbers"),
        (ONE, "logits"),
        (ONE.sigmoid(), "foreground"),
        (bordered(ONE.sigmoid(), 0), "foreground"),
        (torch.zeros(3, 4, 5), "constant"),
    ],
)
def test_each_kind_is_told_from_its_values(scores, kind):
    assert domain_of(count_values(scores)) == kind
    assert domain_of(count_values(scores) + count_values(scores)) == kind


def test_a_channel_that_is_never_negative_shows_over_a_set():
    percent = count_values(ONE.sigmoid() * 100)
    assert domain_of(percent) == "logits"
    assert domain_of(percent + percent, several=True) == "never negative"
    assert domain_of(percent + count_values(ONE), several=True) == "logits"


def test_a_blank_image_does_not_hide_what_the_others_are():
    assert domain_of(count_values(torch.zeros(4, 9, 9)) + count_values(PROBS)) == "probabilities"
    assert domain_of(count_values(torch.zeros(4, 9, 9)) + count_values(LOGITS)) == "logits"


def test_few_pixels_are_enough_of_a_large_image():
    assert domain_of(count_values(PROBS, every=7)) == "probabilities"
    assert count_values(PROBS, every=2).pixels == 200, "made odd, lest the pixels stand in columns"


@pytest.mark.parametrize(
    ("scores", "declared"),
    [
        (PROBS, "probabilities"),
        (PROBS * 100, "percent"),
        (PROBS * 100, "probabilities"),
        ((PROBS * 255).round().byte(), "bytes"),
        ((PROBS * 255).round().byte(), "probabilities"),
        ((PROBS * 65535).round().int(), "bytes"),
    ],
)
def test_declared_scores_become_probabilities(scores, declared):
    found = to_probabilities(scores, declared, "x")
    torch.testing.assert_close(found, PROBS, atol=5e-3, rtol=0)


def test_declared_sigmoids_are_divided_by_their_sum():
    sigmoids = LOGITS.sigmoid()
    torch.testing.assert_close(to_probabilities(sigmoids, "sigmoid", "x"), sigmoids / sigmoids.sum(0))


@pytest.mark.parametrize(("scores", "declared"), [(ONE.sigmoid(), "probabilities"), (ONE.sigmoid() * 100, "percent")])
def test_one_channel_is_that_of_the_foreground(scores, declared):
    found = to_probabilities(scores, declared, "x")
    torch.testing.assert_close(found[1], ONE[0].sigmoid())
    torch.testing.assert_close(found[0], 1 - ONE[0].sigmoid())


def test_where_nothing_is_labelled_scores_of_no_meaning_are_passed_over():
    unlabelled = torch.zeros(20, 30, dtype=torch.bool)
    unlabelled[:6] = True
    for value in (0, torch.nan, -1):
        found = to_probabilities(bordered(PROBS, value), "probabilities", "x", unlabelled)
        torch.testing.assert_close(found[:, 6:], PROBS[:, 6:])
        assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    ("scores", "declared", "told"),
    [
        (LOGITS, "probabilities", r"expected probabilities in \[0, 1\]"),
        (bordered(PROBS, 0), "probabilities", "180 of 600, 180 of them zero in all classes"),
        (PROBS[1:], "probabilities", "sum to one.*--scores sigmoid"),
        (LOGITS.sigmoid() * 100, "percent", "sum to one"),
        (ONE.sigmoid() * 100, "probabilities", "--scores percent, or --scores bytes"),
        (bordered(LOGITS.sigmoid(), 0), "sigmoid", "180 of 600 labelled pixels with none"),
        (LOGITS.argsort(0)[:2].byte(), "probabilities", "whole numbers that sum to"),
    ],
)
def test_what_was_not_declared_rightly_is_told(scores, declared, told):
    with pytest.raises(LogitsError, match=told):
        to_probabilities(scores, declared, "x")


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        (PROBS * 100, "sum to 100 over the classes in 600 of 600 pixels, which are percent.*--scores percent"),
        (bordered(PROBS, 0), "420 of 420 pixels \\(180 more hold one number in all classes, such as padding"),
        (
            LOGITS.sigmoid(),
            "like the output of sigmoids.*--scores sigmoid, or --scores probabilities, or --scores logits",
        ),
        (ONE.sigmoid(), "before the sigmoid.*which look like its output"),
        ((PROBS * 255).byte(), "probabilities stored as whole numbers.*--scores bytes"),
    ],
)
def test_what_must_be_declared_is_asked_for(scores, told):
    with pytest.raises(LogitsError, match=told):
        check_said(count_values(scores), "x")
    check_said(count_values(LOGITS), "x")
    assert describe(count_values(scores))


def test_arrays_in_memory_obey_the_same():
    labels = np.zeros((2, 20, 30), dtype=int)
    labels[:, 0, :4] = range(4)
    both = torch.stack([PROBS, PROBS])
    for scores, kind in ((both, "probabilities"), (both * 100, "percent"), ((both * 255).round().byte(), "bytes")):
        with pytest.raises(LogitsError, match=f"scores='{kind}'"):
            from_arrays(scores, labels)
        found = from_arrays(scores, labels, scores=kind)
        torch.testing.assert_close(found[1].logits.softmax(0), PROBS, atol=5e-3, rtol=0)
    with pytest.raises(LogitsError, match="scores='sigmoid' or 'probabilities' or 'logits'"):
        from_arrays(torch.stack([LOGITS, LOGITS]).sigmoid(), labels)
    from_arrays(torch.stack([LOGITS, LOGITS]).sigmoid(), labels, scores="logits")


def test_nan_where_nothing_is_labelled_is_no_matter():
    labels = np.zeros((1, 20, 30), dtype=int)
    labels[:, :6] = 255
    found = from_arrays(bordered(LOGITS, torch.nan)[None], labels)[0]
    assert torch.equal(found.logits[:, 6:], LOGITS[:, 6:])
    assert (found.logits[:, :6] == 0).all()
    labels[0, 2, 3] = 1
    with pytest.raises(LogitsError, match="4 NaN"):
        from_arrays(bordered(LOGITS, torch.nan)[None], labels)
