"""Parts by image, group and time; corruptions that grow and keep every pixel in place."""

import numpy as np
import pytest
import torch

from calibrant.data import CORRUPTIONS, StreetScenes, corrupt, corrupted, halves_in_time, split_by_group, split_by_image
from calibrant.errors import InputError, MethodError
from calibrant.predictions import Example, Prediction


def source(keys):
    return [Prediction(key, torch.zeros(2, 1), torch.zeros(1, 1, dtype=torch.long)) for key in keys]


def drive(key):
    return key.split("/")[0]


def test_split_by_image_depends_on_keys_and_seed_alone():
    keys = [f"{i:02d}" for i in range(30)]
    one = split_by_image(source(keys), (5, 5, 15), seed=1)
    other = split_by_image(source(keys[::-1]), (5, 5, 15), seed=1)
    assert [set(part.keys) for part in one] == [set(part.keys) for part in other]
    assert [len(part) for part in one] == [5, 5, 15]
    assert len(set().union(*(part.keys for part in one))) == 25
    assert set(split_by_image(source(keys), (5, 5, 15), seed=2)[0].keys) != set(one[0].keys)
    with pytest.raises(InputError, match=r"30 in all or fewer; got \(20, 11\), 31 in all"):
        split_by_image(source(keys), (20, 11), seed=0)


@pytest.mark.untyped
def test_split_by_group_keeps_groups_whole():
    keys = [f"{place}/{month}" for place in "abcdefghij" for month in range(1 + ord(place) % 5)]
    for seed in range(5):
        parts = split_by_group(source(keys), (0.6, 0.2, 0.2), group=drive, seed=seed)
        groups = [{drive(key) for key in part.keys} for part in parts]
        assert sum(len(g) for g in groups) == 10
        assert sorted(key for part in parts for key in part.keys) == sorted(keys)
        assert all(abs(len(part) / len(keys) - share) < 0.2 for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True))
    with pytest.raises(InputError, match="got 1 groups of up to 3 images, which leave a part empty"):
        split_by_group(source(["a/1", "a/2", "a/3"]), (1, 1), group=drive, seed=0)


def test_halves_in_time():
    first, second = halves_in_time(source(["b/2", "a/3", "a/1", "a/2", "b/1"]), group=drive)
    assert (first.keys, second.keys) == (("a/1", "b/1"), ("a/2", "a/3", "b/2"))


def picture(size=(40, 56)):
    return StreetScenes(1, size=size, seed=0)[0].image.float()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_and_is_drawn_by_its_seed(name):
    image = picture()
    changed = [corrupt(image, name, strength=s, generator=np.random.default_rng(0)) for s in range(1, 6)]
    again = corrupt(image, name, strength=3, generator=np.random.default_rng(0))
    assert torch.equal(again, changed[2])
    for x in changed:
        assert x.shape == image.shape
        assert x.dtype == image.dtype
        assert 0 <= x.min() <= x.max() <= 1
    error = [float((x - image).abs().mean()) for x in changed]
    if name == "saturate":  # pale for two strengths, then garish
        assert error[0] < error[1]
        assert error[2] < error[3] < error[4]
    elif name != "fog":  # how far fog is from the scene depends on the scene; see below
        assert error == sorted(error)
    assert error[0] > 0.001


@pytest.mark.parametrize("name", ["defocus_blur", "gaussian_blur", "motion_blur", "zoom_blur", "pixelate"])
def test_blurs_leave_a_plain_image_as_it_is(name):
    plain = torch.full((3, 32, 32), 102 / 255)
    blurred = corrupt(plain, name, strength=5, generator=np.random.default_rng(0))
    assert torch.allclose(blurred, plain, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "sd"), [("gaussian_noise", 0.08), ("speckle_noise", 0.075), ("shot_noise", (0.5 / 60) ** 0.5)]
)
def test_noise_has_the_published_strength(name, sd):
    grey = torch.full((3, 120, 120), 0.5)
    noisy = corrupt(grey, name, strength=1, generator=np.random.default_rng(0))
    assert noisy.std().item() == pytest.approx(sd, rel=0.02)
    assert noisy.mean().item() == pytest.approx(0.5, abs=0.002)


@pytest.mark.parametrize(("strength", "thickness"), [*enumerate((1.5, 2, 2.5, 2.5, 3), start=1)])
def test_fog_veils_the_scene_by_the_published_share(strength, thickness):
    one = torch.full((3, 24, 30), 0.25)
    one[:, 0, 0] = 1
    other = one.clone()
    other[:, 5, 6] = 0.75
    a, b = (corrupt(x, "fog", strength=strength, generator=np.random.default_rng(0)) for x in (one, other))
    assert (b - a)[:, 5, 6].tolist() == pytest.approx([0.5 / (1 + thickness)] * 3, abs=1e-6)
    assert (b != a).sum() == 3


def test_impulse_noise_hits_the_published_share():
    noisy = corrupt(torch.full((3, 120, 120), 0.5), "impulse_noise", strength=5, generator=np.random.default_rng(0))
    assert (noisy != 0.5).float().mean().item() == pytest.approx(0.27, abs=0.01)
    assert set(noisy.unique().tolist()) == {0, 0.5, 1}


def test_brightness_and_saturation_against_colorsys():
    import colorsys

    image = picture()[:, 20:25, 10:17].clone()
    image[:, 0, 0], image[:, 0, 1] = 0.0, 0.4
    for name, change in {
        "brightness": lambda h, s, v: (h, s, min(v + 0.3, 1)),
        "saturate": lambda h, s, v: (h, min(s * 2, 1), v),
    }.items():
        changed = corrupt(image, name, strength=3, generator=np.random.default_rng(0))
        for y in range(5):
            for x in range(7):
                wanted = colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*image[:, y, x].tolist())))
                assert changed[:, y, x].tolist() == pytest.approx(wanted, abs=1e-6)


def test_corrupted_examples_depend_on_their_key_not_on_their_place():
    scenes = StreetScenes(3, size=(16, 24), seed=0)
    noisy = corrupted(scenes, "gaussian_noise", strength=2, seed=5)
    alone = corrupted([scenes[2]], "gaussian_noise", strength=2, seed=5)
    assert torch.equal(noisy[2].image, alone[0].image)
    assert torch.equal(noisy[2].labels, scenes[2].labels)
    assert noisy.class_names == scenes.class_names
    assert list(noisy.keys) == list(scenes.keys)
    noise = [noisy[i].image - scenes[i].image for i in range(2)]
    assert not torch.equal(*noise)
    assert len(list(noisy)) == 3


def test_what_cannot_be_corrupted_is_told():
    grey, rng = torch.full((3, 8, 8), 0.5), np.random.default_rng(0)
    with pytest.raises(MethodError, match=r"corruption of: .*; got 'gausian_noise'\. Did you mean 'gaussian_noise'"):
        corrupt(grey, "gausian_noise", strength=1, generator=rng)
    with pytest.raises(InputError, match="strength of 1, 2, 3, 4 or 5; got 6"):
        corrupted([Example("a", grey, torch.zeros(1, 8, 8).long())], "fog", strength=6, seed=0)
    with pytest.raises(InputError, match=r"image in \[0, 1\]"):
        corrupt(grey * 255, "fog", strength=1, generator=rng)
