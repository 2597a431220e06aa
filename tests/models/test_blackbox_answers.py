"""What a model may not answer, and what it is told."""

import pytest
import torch

from calibrant.errors import ShapeError
from calibrant.models import ModelPredictions
from calibrant.predictions import Example

EXAMPLE = Example("scan 7", torch.rand(3, 8, 12), torch.zeros(1, 8, 12, dtype=torch.long))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, r"got NoneType\. Wrap it"),
        ([torch.rand(1, 4, 8, 12)], r"got list\. Wrap it"),
        ({"scores": torch.rand(1, 4, 8, 12)}, r"got dict with the keys 'scores'\. Wrap it"),
        (torch.rand(4, 8, 12), r"got \(4, 8, 12\)\. Keep the axis of images"),
        (torch.rand(2, 4, 8, 12), r"got \(2, 4, 8, 12\)\. Keep the axis of images"),
        (torch.rand(1, 8, 12, 4), r"got \(1, 8, 12, 4\), with the classes last\. Move them: logits\.movedim\(-1, 1\)"),
        (torch.rand(1, 4, 12, 8), r"got \(1, 4, 12, 8\), of another aspect ratio\. Crop away"),
        (torch.rand(1, 4, 8, 16), r"got \(1, 4, 8, 16\), of another aspect ratio\. Crop away"),
    ],
)
def test_it_is_told_what_was_expected_and_what_came(answer, message):
    with pytest.raises(ShapeError, match=message) as caught:
        ModelPredictions(lambda images: answer, [EXAMPLE])[0]
    assert "image 'scan 7': expected the model to return logits (1, classes, *space) for images (1, 3, 8, 12)" in str(
        caught.value
    )


@pytest.mark.parametrize("size", [(8, 12), (4, 6), (3, 4), (2, 3), (1, 2), (16, 24)])
def test_any_stride_will_do(size):
    assert ModelPredictions(lambda images: torch.rand(1, 4, *size) - 1, [EXAMPLE])[0].logits.shape == (4, 8, 12)
