"""Windows, scales and mirror images against slow loops, another library, and models whose answer is known."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from calibrant.errors import InputError, ShapeError
from calibrant.models import InViews, mean_of_views, slide
from calibrant.models.windows import window_starts

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(2, 3, 13, 22, generator=GENERATOR)
VOLUMES = torch.rand(1, 2, 7, 9, 11, generator=GENERATOR)


def convolution(dims: int, channels: int, size: int) -> nn.Module:
    """A model that sees neighbours, so that what it says depends on where its window ends."""
    torch.manual_seed(0)
    kind = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    return kind(channels, 4, size, padding=size // 2).requires_grad_(False)


def starts_slowly(size: int, crop: int, step: int) -> list[int]:
    starts = [0]
    while starts[-1] + crop < size:
        starts.append(min(starts[-1] + step, size - crop))
    return starts


def slide_slowly(model, images, crop, step):
    """Every window on its own; every pixel the mean of what windows over it say."""
    space = images.shape[2:]
    said = {}
    for corner in itertools.product(*(starts_slowly(*each) for each in zip(space, crop, step, strict=True))):
        ends = [min(start + length, size) for start, length, size in zip(corner, crop, space, strict=True)]
        window = (..., *(slice(a, b) for a, b in zip(corner, ends, strict=True)))
        answer = model(images[window]).double()
        for offset in np.ndindex(*answer.shape[2:]):
            pixel = tuple(a + b for a, b in zip(corner, offset, strict=True))
            said.setdefault(pixel, []).append(answer[(..., *offset)])
    out = torch.zeros(*answer.shape[:2], *space, dtype=torch.float64)
    for pixel, each in said.items():
        out[(..., *pixel)] = torch.stack(each).mean(0)
    return out


@pytest.mark.parametrize(
    ("crop", "overlap", "step"),
    [
        ((5, 8), 0.5, (2, 4)),
        ((5, 8), 0.0, (5, 8)),
        ((6, 6), 1 / 3, (4, 4)),
        ((13, 5), 0.9, (1, 1)),
        ((2, 3), 0.0, (2, 3)),
    ],
)
def test_windows_are_averaged_as_a_slow_loop_averages_them(crop, overlap, step):
    model = convolution(2, 3, 3)
    slow = slide_slowly(model, IMAGES, crop, step)
    torch.testing.assert_close(slide(model, IMAGES, crop=crop, overlap=overlap).double(), slow, rtol=1e-5, atol=1e-6)


def test_volumes_are_averaged_as_a_slow_loop_averages_them():
    model = convolution(3, 2, 3)
    slow = slide_slowly(model, VOLUMES, (4, 5, 6), (2, 2, 3))
    torch.testing.assert_close(slide(model, VOLUMES, crop=(4, 5, 6), overlap=0.5).double(), slow, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("images", "crop"), [(IMAGES, (6, 7)), (VOLUMES, (4, 5, 6))])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_monai_slides_alike(images, crop, overlap):
    inferers = pytest.importorskip("monai.inferers", reason="MONAI is not installed")
    model = convolution(images.ndim - 2, images.shape[1], 3)
    theirs = inferers.sliding_window_inference(images, crop, 3, model, overlap=overlap)
    torch.testing.assert_close(slide(model, images, crop=crop, overlap=overlap), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("crop", [4, 7, (13, 9), (40, 5), 512])
@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.75])
def test_a_model_that_sees_one_pixel_says_the_same_in_windows(crop, overlap):
    model = convolution(2, 3, 1)
    torch.testing.assert_close(slide(model, IMAGES, crop=crop, overlap=overlap), model(IMAGES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("crop", [3, (13, 9), 512])
def test_a_constant_answer_stays_constant(crop):
    answer = torch.tensor([1.5, -2.0, 0.25])

    def model(images):
        return answer[None, :, None, None].expand(len(images), -1, *images.shape[2:])

    found = slide(model, IMAGES, crop=crop)
    torch.testing.assert_close(found, model(IMAGES).contiguous())
    views = mean_of_views(model, IMAGES, scales=(0.5, 1, 1.7), flip=True)
    torch.testing.assert_close(views, model(IMAGES).contiguous().log_softmax(1))


def test_a_crop_larger_than_the_image_is_the_image():
    model = convolution(2, 3, 5)
    assert torch.equal(slide(model, IMAGES, crop=100), model(IMAGES))


def test_strided_answers_are_brought_to_the_size_of_the_window():
    model = nn.Conv2d(3, 2, 2, stride=2).requires_grad_(False)
    whole = slide(model, IMAGES, crop=100)
    torch.testing.assert_close(whole, F.interpolate(model(IMAGES), (13, 22), mode="bilinear"))
    assert slide(model, IMAGES, crop=8).shape == (2, 2, 13, 22)


@pytest.mark.parametrize(
    ("size", "crop", "overlap"), [(9, 4, 0.5), (1024, 512, 1 / 3), (768, 768, 1 / 3), (5, 3, 0.99)]
)
def test_windows_cover_every_pixel_and_end_with_the_image(size, crop, overlap):
    starts = window_starts(size, crop, overlap=overlap)
    assert starts[0] == 0
    assert starts[-1] + crop == size
    assert all(0 < b - a <= crop for a, b in itertools.pairwise(starts))


def test_mmsegmentations_windows():
    # Its configurations: crops of 512 with steps of 341, of 640 with 426, of 768 with 512, on Cityscapes' 2,048 pixels.
    assert window_starts(2048, 512, overlap=1 / 3)[:3] == [0, 341, 682]
    assert window_starts(2048, 640, overlap=1 / 3)[:3] == [0, 426, 852]
    assert window_starts(2048, 768, overlap=1 / 3) == [0, 512, 1024, 1280]


def test_views_are_the_mean_probability_of_each():
    model = convolution(2, 3, 3)
    scales, slow, count = (0.5, 1.0, 1.25), 0, 0
    for scale in scales:
        size = [round(s * scale) for s in IMAGES.shape[2:]]
        seen = F.interpolate(IMAGES, size, mode="bilinear")
        for mirrored in (False, True):
            answer = model(torch.flip(seen, [3])) if mirrored else model(seen)
            answer = F.interpolate(answer, IMAGES.shape[2:], mode="bilinear")
            slow, count = slow + (torch.flip(answer, [3]) if mirrored else answer).double().softmax(1), count + 1
    found = mean_of_views(model, IMAGES, scales=scales, flip=True)
    torch.testing.assert_close(found.softmax(1).double(), slow / count, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(2, 13, 22))


def test_mirroring_makes_a_model_of_mirror_images():
    model = convolution(2, 3, 3)
    found = mean_of_views(model, IMAGES, flip=True)
    torch.testing.assert_close(mean_of_views(model, IMAGES.flip(-1), flip=True).flip(-1), found)


def test_one_view_is_the_answer_itself_at_its_own_resolution():
    model = nn.Conv2d(3, 2, 2, stride=2).requires_grad_(False)
    assert torch.equal(mean_of_views(model, IMAGES), model(IMAGES))
    doubled = F.interpolate(IMAGES, (26, 44), mode="bilinear")
    assert torch.equal(mean_of_views(model, IMAGES, scales=(2.0,)), model(doubled))


def test_a_sigmoid_head_gets_its_background_before_the_mean():
    model = nn.Conv2d(3, 1, 1).requires_grad_(False)
    found = mean_of_views(model, IMAGES, flip=True)
    torch.testing.assert_close(found.softmax(1)[:, 1], model(IMAGES)[:, 0].sigmoid())


def test_views_of_volumes():
    model = convolution(3, 2, 1)
    found = mean_of_views(model, VOLUMES, flip=True)
    torch.testing.assert_close(found, model(VOLUMES).log_softmax(1))


def test_windows_lie_in_each_view():
    model = convolution(2, 3, 3)
    both = InViews(model, crop=6, overlap=0.5, scales=(1.0, 1.5), flip=True)(IMAGES)
    by_hand = mean_of_views(lambda seen: slide(model, seen, crop=6, overlap=0.5), IMAGES, scales=(1.0, 1.5), flip=True)
    assert torch.equal(both, by_hand)


def test_the_shorter_side_is_what_was_asked_for():
    seen = []
    InViews(lambda images: seen.append(images.shape[2:]) or images, shorter_side=26)(IMAGES)
    assert seen == [(26, 44)]


def test_parameters_and_mode_are_the_models_own():
    model = nn.Sequential(convolution(2, 3, 1), nn.Dropout(0.5)).train()
    views = InViews(model, crop=4)
    assert list(views.parameters()) == list(model.parameters())
    assert model[1] in set(views.modules())


def test_a_very_unlikely_class_does_not_become_minus_infinity():
    logits = torch.tensor([400.0, -400.0])[None, :, None, None].expand(1, 2, 4, 4)
    found = mean_of_views(lambda images: logits, torch.rand(1, 3, 4, 4), flip=True)
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([0.0, -800.0]))
    assert math.isfinite(float(found.min()))


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 1.5])
def test_no_such_overlap(overlap):
    with pytest.raises(InputError, match="expected an overlap of at least 0 and below 1"):
        slide(nn.Conv2d(3, 2, 1), IMAGES, crop=4, overlap=overlap)


@pytest.mark.parametrize("crop", [0, (4, 4, 4), (4, -1)])
def test_no_such_windows(crop):
    with pytest.raises(InputError, match="expected the size of windows as one number, or 2, of pixels"):
        slide(nn.Conv2d(3, 2, 1), IMAGES, crop=crop)


def test_no_scales():
    with pytest.raises(InputError, match="above 0; got 1, 0"):
        mean_of_views(nn.Conv2d(3, 2, 1), IMAGES, scales=(1, 0))


def test_a_model_that_answers_something_else_is_told():
    with pytest.raises(ShapeError, match="expected the model to return logits"):
        slide(lambda images: images[:, :, :1], IMAGES, crop=8)
