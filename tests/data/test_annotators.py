"""Blobs against their known law; floors by enumeration, with no chance in them."""

import itertools
import math

import pytest
import torch

from calibrant.data import BlobAnnotators
from calibrant.errors import InputError
from calibrant.metrics import (
    HypothesisDistances,
    annotator_diversity,
    ged_floor,
    generalised_energy_distance,
    hungarian_matched_iou,
)
from calibrant.predictions import Examples


def test_modes_are_seven_maps_that_weigh_one():
    blobs = BlobAnnotators(20, seed=0)
    assert isinstance(blobs, Examples)
    for i in range(20):
        maps, weights = blobs.modes(i)
        assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
        assert float(weights.min()) > 0
        assert len({tuple(each.flatten().tolist()) for each in maps}) == 7
        assert not maps[0].any()
        assert bool((maps[1:, 1:-1, 1:-1].sum((1, 2)) == maps[1:].sum((1, 2))).all()), "blobs lie within the picture"
        areas = maps.sum((1, 2)).tolist()
        assert 0 < areas[1] < areas[3] < areas[5]
        assert all(areas[n] < areas[n + 1] for n in (1, 3, 5))


def test_labels_follow_the_law():
    blobs = BlobAnnotators(3, size=(24, 32), num_annotators=5000, seed=1)
    for i in range(3):
        maps, weights = blobs.modes(i)
        example = blobs[i]
        assert example.labels.shape == (5000, 24, 32)
        which = (example.labels[:, None] == maps[None]).all(-1).all(-1)
        assert bool((which.sum(1) == 1).all())
        shares = which.double().mean(0)
        assert float(((shares - weights).abs() / (weights * (1 - weights) / 5000).sqrt()).max()) < 5
        seen = example.labels.double().mean(0)
        torch.testing.assert_close(seen, blobs.probabilities(i)[1], atol=0.04, rtol=0)


def test_pictures_are_brightest_where_most_agree_and_repeatable():
    blobs = BlobAnnotators(4, seed=2)
    for i, example in enumerate(blobs):
        probs = blobs.probabilities(i)[1]
        ranks = torch.stack([example.image.flatten().double(), probs.flatten()])
        assert float(torch.corrcoef(ranks)[0, 1]) > 0.9
        assert torch.equal(blobs[i - 4].image, example.image)
        assert torch.equal(BlobAnnotators(9, seed=2)[i].labels, example.labels)
    assert not torch.equal(BlobAnnotators(1, seed=3)[0].image, blobs[0].image)
    assert not torch.equal(BlobAnnotators(1, seed=2, noise=0.1)[0].image, blobs[0].image)


def test_floors_are_what_enumeration_gives():
    """All 49 pairs of draws, weighted by their chance, score what ``ged_floor`` says, and a known HM-IoU."""
    blobs = BlobAnnotators(3, seed=5)
    pairs = torch.tensor(list(itertools.product(range(7), repeat=2)))
    for i in range(3):
        maps, weights = blobs.modes(i)
        chance = weights[pairs].prod(1)
        found = HypothesisDistances.of(
            maps[pairs].movedim(1, 0), maps.expand(49, -1, -1, -1), num_classes=2, classes=[1],
            weights=weights.expand(49, 7), modes=True,
        )  # fmt: skip
        floor = float(ged_floor(found, 2)[0])
        assert float((chance * generalised_energy_distance(found)).sum()) == pytest.approx(floor)
        assert floor == pytest.approx(float(annotator_diversity(found)[0]) / 2)
        # One hypothesis is matched with every mode; two draws are matched no worse than each alone.
        alone = float(weights @ (1 - found.between_labels[0]) @ weights)
        matched = chance * hungarian_matched_iou(found)
        assert float((chance * hungarian_matched_iou(found, 1)).sum()) == pytest.approx(alone)
        assert float(matched.sum()) > alone
    assert math.isclose(float(chance.sum()), 1)


def test_numbers_that_cannot_be_are_told():
    with pytest.raises(InputError, match="16 x 16 or more"):
        BlobAnnotators(1, size=(8, 8), seed=0)
    with pytest.raises(IndexError, match="0 to 1; got 2"):
        BlobAnnotators(2, seed=0)[2]
