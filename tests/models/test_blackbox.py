from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from calibrant.data import StreetScenes
from calibrant.errors import InputError, LabelError, LogitsError
from calibrant.models import ModelPredictions
from calibrant.networks import SmallUNet
from calibrant.predictions import Example, Predictions


def examples(*sizes: tuple[int, ...]) -> list[Example]:
    generator = torch.Generator().manual_seed(0)
    return [
        Example(f"{i}", torch.rand(3, *s, generator=generator), torch.randint(0, 2, (1, *s), generator=generator))
        for i, s in enumerate(sizes)
    ]


def pixelwise(channels: int = 4, **options) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(3, channels, 1, **options)


SIZES = ((8, 12), (8, 12), (6, 6), (6, 6), (6, 6), (8, 12), (9, 7))


@pytest.mark.parametrize("batch_size", [2, 3, 100])
def test_the_batch_size_changes_nothing(batch_size):
    model = SmallUNet(3, 4, width=4, depth=1, stride=2, generator=torch.Generator().manual_seed(0))
    source = examples(*SIZES)
    one, many = ModelPredictions(model, source), ModelPredictions(model, source, batch_size=batch_size)
    assert isinstance(one, Predictions)
    assert [p.key for p in many] == [p.key for p in one] == list(one.keys)
    for i, (a, b) in enumerate(zip(one, many, strict=True)):
        torch.testing.assert_close(a.logits, b.logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(many[i].logits, b.logits, rtol=1e-5, atol=1e-5)
        assert torch.equal(a.labels, source[i].labels)
        assert torch.equal(a.image, source[i].image)


def test_consecutive_images_of_one_size_go_together():
    sizes = []

    def model(images):
        sizes.append(len(images))
        return images - 2

    list(ModelPredictions(model, examples(*SIZES), batch_size=2))
    assert sizes == [2, 2, 1, 1, 1]


def test_a_smaller_answer_is_upsampled_bilinearly():
    # Slow reference: half-pixel centres, edges repeated.
    small = torch.randn(1, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    (prediction,) = ModelPredictions(lambda images: small, examples((6, 10)))
    y = np.clip((np.arange(6) + 0.5) / 2 - 0.5, 0, 2)
    x = np.clip((np.arange(10) + 0.5) / 2 - 0.5, 0, 4)
    for row in range(6):
        for column in range(10):
            top, left = int(y[row]), int(x[column])
            bottom, right = min(top + 1, 2), min(left + 1, 4)
            v, u = y[row] - top, x[column] - left
            corner = small[0]
            upper = corner[:, top, left] * (1 - u) + corner[:, top, right] * u
            lower = corner[:, bottom, left] * (1 - u) + corner[:, bottom, right] * u
            torch.testing.assert_close(prediction.logits[:, row, column], (upper * (1 - v) + lower * v).float())


def test_a_sigmoid_head_becomes_two_classes():
    model = pixelwise(1)
    (prediction,) = ModelPredictions(model, examples((4, 6)))
    torch.testing.assert_close(prediction.logits.softmax(0)[1], model(prediction.image[None])[0, 0].sigmoid())


@pytest.mark.parametrize(
    "wrap",
    [lambda z: {"logits": z, "loss": None}, lambda z: {"out": z, "aux": z * 0}, lambda z: SimpleNamespace(logits=z)],
)
def test_outputs_of_well_known_libraries_are_opened(wrap):
    model = pixelwise()
    (prediction,) = ModelPredictions(lambda images: wrap(model(images)), examples((4, 6)))
    torch.testing.assert_close(prediction.logits, model(prediction.image[None])[0])


def test_three_dimensions():
    model = nn.Conv3d(3, 2, 2, stride=2)
    (prediction,) = ModelPredictions(model, examples((4, 6, 8)))
    torch.testing.assert_close(
        prediction.logits, F.interpolate(model(prediction.image[None]), (4, 6, 8), mode="trilinear")[0]
    )


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(pixelwise(), nn.Dropout(0.5), nn.BatchNorm2d(4)).train()
    model[2].eval()
    predictions = ModelPredictions(model, examples((4, 6)))
    assert torch.equal(predictions[0].logits, predictions[0].logits)
    assert [m.training for m in model.modules()] == [True, True, True, False]

    class Broken(nn.Module):
        def forward(self, images):
            raise RuntimeError("broken")

    broken = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        list(ModelPredictions(broken, examples((4, 6))))
    assert broken.training


def test_predictions_can_be_fitted_on():
    (prediction,) = ModelPredictions(pixelwise(), examples((4, 6)))
    assert not prediction.logits.requires_grad
    temperature = torch.ones((), requires_grad=True)
    (prediction.logits / temperature).square().sum().backward()
    assert temperature.grad is not None


def test_half_precision_models_get_images_of_their_kind():
    model = pixelwise().to(torch.bfloat16)
    (prediction,) = ModelPredictions(model, examples((4, 6)))
    assert prediction.logits.dtype == torch.bfloat16
    assert prediction.image.dtype == torch.float32


def test_nothing_runs_before_it_is_asked_for():
    calls = []

    def model(images):
        calls.append(images.shape)
        return images - 2

    scenes = StreetScenes(5, size=(16, 24), seed=0)
    predictions = ModelPredictions(lambda images: model(images.repeat(1, 3, 1, 1)), scenes)
    assert len(predictions) == 5
    assert predictions.keys == tuple(scenes.keys)
    assert ModelPredictions(model, examples((4, 6))).keys == ("0",)
    assert calls == []
    assert predictions[3].key == scenes.keys[3]
    next(iter(predictions))
    assert len(calls) == 2


def test_the_numbers_are_looked_at():
    source = examples((4, 6))
    with pytest.raises(LogitsError, match="1 NaN and 0 infinite"):
        list(
            ModelPredictions(
                lambda images: torch.where(torch.arange(72).reshape(1, 3, 4, 6) == 5, torch.nan, images), source
            )
        )
    with pytest.raises(LogitsError, match="which are probabilities"):
        list(ModelPredictions(lambda images: images.softmax(1), source))
    with pytest.raises(LogitsError, match=r"torch.int64.*not label maps"):
        list(ModelPredictions(lambda images: images.argmax(1), source))
    with pytest.raises(LabelError, match=r"expected labels in 0..1, or unlabelled; got 9"):
        list(ModelPredictions(pixelwise(2), [Example("a", source[0].image, torch.full((1, 4, 6), 9))]))
    with pytest.raises(InputError, match="got batch_size=0"):
        ModelPredictions(pixelwise(), source, batch_size=0)
