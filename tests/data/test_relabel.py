"""Class flips against their known law."""

import math

import numpy as np
import pytest
import torch
from experiments._data import find
from PIL import Image

from calibrant.data import CAMVID_FLIPS, CITYSCAPES_FLIPS, ClassFlips, with_class_flips
from calibrant.errors import InputError, LabelError
from calibrant.metrics import (
    FlipCounts,
    HypothesisDistances,
    annotator_diversity,
    flip_offsets,
    ged_floor,
    generalised_energy_distance,
)
from calibrant.predictions import IGNORE, Example

CAMVID = find("camvid")


def scene(seed=0):
    labels = torch.randint(19, (12, 20), generator=torch.Generator().manual_seed(seed))
    labels[0] = IGNORE
    return labels


def test_modes_are_all_and_weigh_one():
    labels = scene()
    maps, weights = CITYSCAPES_FLIPS.modes(labels)
    assert maps.shape == (32, 12, 20)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-15)
    assert len({tuple(each.flatten().tolist()) for each in maps}) == 32
    assert torch.equal(CITYSCAPES_FLIPS.undone(maps), labels.expand(32, -1, -1))
    for each, weight in zip(maps, weights, strict=True):
        chance = 1.0
        for (k, new), p in zip(CITYSCAPES_FLIPS.pairs, CITYSCAPES_FLIPS.probabilities, strict=True):
            turned = bool((each == new).any())
            assert not (turned and (each == k).any()), "a class flips as a whole"
            chance *= p if turned else 1 - p
        assert float(weight) == pytest.approx(chance)


def test_marginals_are_the_weighted_modes_and_add_up():
    labels = scene()
    maps, weights = CITYSCAPES_FLIPS.modes(labels)
    slow = torch.stack([((maps == k).double() * weights[:, None, None]).sum(0) for k in range(24)])
    found = CITYSCAPES_FLIPS.marginals(labels)
    torch.testing.assert_close(found[:, 1:], slow[:, 1:].float())
    torch.testing.assert_close(found.sum(0), torch.ones(12, 20))
    torch.testing.assert_close(found[:, 0], torch.full((24, 20), 1 / 24))


def test_draws_follow_the_probabilities_each_class_alone():
    labels = torch.arange(19)
    drawn = CITYSCAPES_FLIPS.draw(labels, 20_000, generator=torch.Generator().manual_seed(0))
    turned = torch.stack([(drawn == new).any(1) for _, new in CITYSCAPES_FLIPS.pairs]).double()
    torch.testing.assert_close(turned.mean(1), torch.tensor([8, 7, 6, 5, 4]).double() / 17, atol=0.015, rtol=0)
    assert float((torch.corrcoef(turned) - torch.eye(5)).abs().max()) < 0.03
    offsets = flip_offsets(
        FlipCounts.of(drawn[:, None], labels[None], pairs=CITYSCAPES_FLIPS.pairs), CITYSCAPES_FLIPS.probabilities
    )
    assert float(offsets.max()) < 0.015


@pytest.mark.slow
def test_published_floor_of_a_perfect_sampler():
    """With all five classes in sight the distance of two draws is .5798, so 16 samples score .0362 at best."""
    labels = torch.tensor([[1, 11, 13, 8, 0]])
    maps, weights = CITYSCAPES_FLIPS.modes(labels)
    drawn = CITYSCAPES_FLIPS.draw(labels, 16 * 400, generator=torch.Generator().manual_seed(0))
    found = HypothesisDistances.of(
        drawn.view(16, 400, 1, 5), maps.expand(400, -1, -1, -1), num_classes=24, classes=CITYSCAPES_FLIPS.classes,
        empty="nan", weights=weights.expand(400, -1), modes=True,
    )  # fmt: skip
    assert float(annotator_diversity(found)[0]) == pytest.approx(0.5798, abs=5e-5)
    assert float(ged_floor(found, 16)[0]) == pytest.approx(0.0362, abs=5e-5)
    scored = generalised_energy_distance(found)
    assert float(scored.mean()) == pytest.approx(0.0362, abs=4 * float(scored.std()) / math.sqrt(400))


def test_flipped_examples_depend_on_seed_and_key_alone():
    clean = [Example(key, torch.zeros(3, 12, 20), scene(i)[None]) for i, key in enumerate("abc")]
    flipped = with_class_flips(clean, CITYSCAPES_FLIPS, num_draws=8, seed=1)
    again = with_class_flips(clean[::-1], CITYSCAPES_FLIPS, num_draws=8, seed=1)
    other = with_class_flips(clean, CITYSCAPES_FLIPS, num_draws=8, seed=2)
    assert [example.key for example in flipped] == ["a", "b", "c"]
    assert torch.equal(flipped[0].labels, again[2].labels)
    assert not torch.equal(flipped[0].labels, other[0].labels)
    assert torch.equal(CITYSCAPES_FLIPS.undone(flipped[1].labels), clean[1].labels.expand(8, -1, -1))
    with pytest.raises(LabelError, match="one clean label map; got 8"):
        with_class_flips(flipped, CITYSCAPES_FLIPS, seed=0)[0]


def test_flips_that_cannot_be_are_told():
    for flips in ({0: (1, 0.5)}, {0: (5, 0.5)}, {0: (3, 0.5), 1: (3, 0.5)}, {0: (3, 0.5), 3: (4, 0.5)}):
        with pytest.raises(LabelError, match="a number of its own"):
            ClassFlips(flips, num_classes=5 if 5 not in {new for new, _ in flips.values()} else 4) if flips != {
                0: (1, 0.5)
            } else ClassFlips({0: (0, 0.5)}, num_classes=5)
    with pytest.raises(InputError, match="from 0 to 1"):
        ClassFlips({0: (1, 8.0)}, num_classes=2)


@pytest.mark.skipif(CAMVID is None, reason="CamVid is not here")
def test_the_five_classes_of_camvid_are_the_same():
    import json

    names = json.loads((CAMVID / "meta.json").read_text())["classes"]
    assert [names[k] for k, _ in CAMVID_FLIPS.pairs] == ["Pavement", "Pedestrian", "Car", "Tree", "Road"]
    assert CAMVID_FLIPS.probabilities == CITYSCAPES_FLIPS.probabilities
    assert [new for _, new in CAMVID_FLIPS.pairs] == list(range(len(names), CAMVID_FLIPS.num_classes))
    labels = torch.from_numpy(np.array(Image.open(next((CAMVID / "labels").glob("*.png"))))).long()
    labels = torch.where(labels == 255, IGNORE, labels)[::4, ::4]
    maps, weights = CAMVID_FLIPS.modes(labels)
    assert torch.equal(CAMVID_FLIPS.undone(maps), labels.expand(32, -1, -1))
    assert float(weights.sum()) == pytest.approx(1)
