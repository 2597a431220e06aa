"""Words of errors about sizes, which the check of shapes would forestall."""

import pytest
import torch

from calibrant.errors import ShapeError
from calibrant.metrics import FlipCounts, HypothesisDistances, SampleDivergence


def maps(*shape):
    return torch.zeros(shape, dtype=torch.long)


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("Samples lead", {"labels": maps(3, 2, 4, 4)}),
        ("Samples lead", {"labels": maps(2, 2, 4, 5)}),
        ("one weight an image and annotator", {"weights": torch.ones(2, 3)}),
        ("one weight an image and hypothesis", {"sample_weights": torch.ones(3, 2)}),
    ],
)
def test_sizes_of_hypotheses_are_told(words, change):
    with pytest.raises(ShapeError, match=words):
        HypothesisDistances.of(
            **{"hypotheses": maps(3, 2, 4, 4), "labels": maps(2, 2, 4, 4), "num_classes": 2} | change
        )


def test_sizes_that_do_not_fit_are_told():
    with pytest.raises(ShapeError, match="one clean map"):
        FlipCounts.of(maps(2, 3, 4, 4), maps(3, 1, 4, 4), pairs=[(0, 1)])
    with pytest.raises(ShapeError, match="one clean map"):
        FlipCounts.of_probabilities(torch.zeros(3, 2, 4, 4), maps(3, 1, 4, 4), pairs=[(0, 1)])
    with pytest.raises(ShapeError, match="Samples lead"):
        SampleDivergence.of(maps(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
