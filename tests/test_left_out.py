"""Leaving images out: every image once, and only gains that chance does not explain are real."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import sem, t

from calibrant._statistics.left_out import CONFIDENCE, Gain, folds, kept_and_held
from calibrant.errors import FitError, InputError


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 5))
def test_every_image_is_in_one_fold_and_folds_are_nearly_equal(num_images, count, seed):
    parts = folds(num_images, count, seed=seed)
    assert sorted(image for part in parts for image in part) == list(range(num_images))
    assert len(parts) == min(count, num_images)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts == folds(num_images, count, seed=seed)


def test_the_seed_shuffles_the_folds():
    assert folds(20, 4, seed=0) != folds(20, 4, seed=1)


@given(st.integers(2, 60), st.floats(0, 1), st.integers(0, 5))
def test_some_images_are_kept_and_some_held(num_images, share, seed):
    kept, held = kept_and_held(num_images, share, seed=seed)
    assert sorted(kept + held) == list(range(num_images))
    assert (kept, held) == (sorted(kept), sorted(held))
    assert kept
    assert held
    assert abs(len(kept) - share * num_images) <= 1


@pytest.mark.parametrize("num_images", [0, 1])
def test_one_image_cannot_be_split(num_images):
    with pytest.raises(FitError, match=f"at least two images.*got {num_images}.*Add images"):
        kept_and_held(num_images, 0.8, seed=0)


def test_a_gain_agrees_with_scipy():
    before, after = np.random.default_rng(0).normal(size=(2, 12))
    gain = Gain.of(before.tolist(), after.tolist())
    assert gain.mean == pytest.approx(np.mean(before - after))
    assert gain.error == pytest.approx(sem(before - after))
    assert gain.margin == pytest.approx(gain.error * t.ppf(CONFIDENCE, 11))


def test_with_many_images_a_real_gain_is_one_standard_error():
    assert Gain(0.0101, 0.01, 10_000).is_real
    assert not Gain(0.0099, 0.01, 10_000).is_real


def test_few_images_ask_for_more_and_one_proves_nothing():
    assert not Gain(0.015, 0.01, 2).is_real
    alone = Gain.of([1.0], [0.0])
    assert alone.mean == 1.0
    assert math.isinf(alone.error)
    assert not alone.is_real


def test_no_gain_is_not_real():
    assert not Gain.of([0.5] * 4, [0.5] * 4).is_real
    assert not Gain.of([0.1, 0.2], [0.3, 0.4]).is_real


@pytest.mark.parametrize(("before", "after"), [([], []), ([1.0], [1.0, 2.0])])
def test_losses_must_pair_up(before, after):
    with pytest.raises(InputError, match="one image or more, before and after"):
        Gain.of(before, after)


def test_no_fold_of_nothing():
    with pytest.raises(InputError, match="got 0 images and 3 folds"):
        folds(0, 3, seed=0)
