import numpy as np
import pytest
import torch
from scipy import stats

from calibrant.data import StreetScenes
from calibrant.data.synthetic._view import Thing, posterior
from calibrant.errors import InputError, MethodError
from calibrant.predictions import IGNORE, Examples

SMALL = (24, 40)


def shares_and_probabilities(scenes: StreetScenes, i: int):
    labels = scenes[i].labels
    labelled = labels[0] != IGNORE
    shares = torch.nn.functional.one_hot(labels[:, labelled], scenes.num_classes).double().mean(0).T
    return shares, scenes.probabilities(i)[:, labelled]


def worst_deviation(shares, probs, num_draws: int) -> float:
    """How far a share lies from its probability, in units of what chance allows (5.5 sigma, and a few rare counts)."""
    allowed = 5.5 * (probs * (1 - probs) / num_draws).sqrt() + 4 / num_draws
    allowed[(probs == 0) | (probs == 1)] = 1e-9
    return float(((shares - probs).abs() / allowed).max())


@pytest.mark.parametrize("i", range(3))
def test_labels_follow_the_probabilities(i):
    scenes = StreetScenes(4, size=SMALL, num_annotators=1000, seed=3)
    shares, probs = shares_and_probabilities(scenes, i)
    assert worst_deviation(shares, probs, 1000) < 1
    # The same yardstick tells a law that is a little off.
    assert worst_deviation(shares, probs**1.3 / (probs**1.3).sum(0), 1000) > 1


def test_probabilities_are_probabilities_and_some_pixels_are_open():
    scenes = StreetScenes(6, seed=0)
    probs = torch.stack([scenes.probabilities(i) for i in range(6)])
    assert probs.dtype == torch.float64
    assert float((probs.sum(1) - 1).abs().max()) < 1e-12
    assert float(probs.min()) >= 0
    open_share = float((probs.amax(1) < 0.9).double().mean())
    assert 0.05 < open_share < 0.4
    assert (probs.flatten(2).amax((0, 2)) > 0.9).all(), "every class is somewhere certain"


def test_the_entropy_is_the_expected_loss():
    scenes = StreetScenes(40, size=SMALL, seed=5)
    gaps = []
    for i, example in enumerate(scenes):
        labelled = example.labels[0] != IGNORE
        probs = scenes.probabilities(i)[:, labelled]
        loss = -probs.gather(0, example.labels[:, labelled]).log()
        gaps.append(float(loss.mean() - torch.special.entr(probs).sum(0).mean()))
    assert abs(stats.ttest_1samp(gaps, 0).statistic) < 4


def test_a_shared_surface_is_judged_as_a_whole_and_by_eight_in_seventeen():
    scenes = StreetScenes(20, size=(32, 56), num_annotators=500, seed=0)
    roads = seen = 0
    for i in range(20):
        probs = scenes.probabilities(i)
        pure = ((probs[0] - 8 / 17).abs() < 1e-12) & ((probs[1] - 9 / 17).abs() < 1e-12)
        pure &= scenes.labels(i, 0) != IGNORE
        if seen == 3 or not (pure[:, :28].any() and pure[:, 28:].any()):
            continue
        seen += 1
        labels = scenes[i].labels[:, pure]
        assert (labels == labels[:, :1]).all(), "both sides of the street go together"
        roads += int((labels[:, 0] == 0).sum())
    assert seen == 3
    assert stats.binomtest(roads, 1500, 8 / 17).pvalue > 1e-4


def test_the_image_knows_nothing_of_what_annotators_said():
    one, three = (StreetScenes(2, size=SMALL, num_annotators=a, seed=1) for a in (1, 3))
    assert torch.equal(one[1].image, three[1].image)
    assert torch.equal(one[1].labels[0], three[1].labels[0])
    assert torch.equal(one.labels(1, 2), three[1].labels[2])
    assert len({labels.numpy().tobytes() for labels in three[1].labels}) == 3


def test_an_image_depends_on_the_seed_and_its_number_alone():
    few, many = StreetScenes(2, size=SMALL, seed=1), StreetScenes(50, size=SMALL, seed=1)
    assert torch.equal(few[1].image, many[1].image)
    assert torch.equal(few[-1].image, few[1].image)
    assert list(few.keys) == list(many.keys[:2]) == [example.key for example in few]
    assert not torch.equal(few[0].image, few[1].image)
    assert not torch.equal(few[0].image, StreetScenes(2, size=SMALL, seed=2)[0].image)
    with pytest.raises(IndexError):
        few[2]


def test_dusk_shows_the_same_scenes_in_another_light():
    day, dusk = (StreetScenes(3, size=SMALL, seed=1, lighting=light) for light in ("day", "dusk"))
    for i in range(3):
        assert torch.equal(day[i].labels, dusk[i].labels)
        assert torch.equal(day.probabilities(i), dusk.probabilities(i))
        assert dusk[i].image.mean() < 0.8 * day[i].image.mean()


@pytest.mark.parametrize("size", [(16, 16), (17, 50), (96, 160)])
def test_what_comes_out(size):
    scenes = StreetScenes(3, size=size, num_annotators=2, seed=0)
    assert isinstance(scenes, Examples)
    assert scenes.num_classes == len(scenes.class_names) == len(set(scenes.class_names))
    for example in scenes:
        assert example.image.shape == (3, *size)
        assert example.image.dtype == torch.float32
        assert 0 <= float(example.image.min()) < float(example.image.max()) <= 1
        assert example.labels.shape == (2, *size)
        unlabelled = example.labels == IGNORE
        assert torch.equal(unlabelled[0], unlabelled[1])
        assert 0.01 < float(unlabelled.double().mean()) < 0.25
        assert ((example.labels >= 0) & (example.labels < scenes.num_classes) | unlabelled).all()


def test_cover_is_the_chance_that_the_outline_lies_beyond():
    distance = np.linspace(-5, 5, 101)[None]
    thing = Thing((slice(0, 1), slice(0, 101)), distance, 3.0, {0: 1.0}, np.zeros((1, 101, 3)))
    np.testing.assert_allclose(thing.cover(), stats.triang(0.5, loc=-3, scale=6).sf(distance), atol=1e-12)


def test_posterior_is_bayes_rule():
    rng = np.random.default_rng(0)
    tone, law = posterior(rng, {4: 0.3, 7: 0.7}, {4: -1.0, 7: 2.0}, 1.5)
    a, b = 0.3 * stats.norm(-1, 1.5).pdf(tone), 0.7 * stats.norm(2, 1.5).pdf(tone)
    assert law == pytest.approx({4: a / (a + b), 7: b / (a + b)})
    laws = [posterior(rng, {4: 0.3, 7: 0.7}, {4: -1.0, 7: 2.0}, 1.5)[1][4] for _ in range(4000)]
    assert abs(np.mean(laws) - 0.3) < 4 * np.std(laws) / 4000**0.5


def test_what_cannot_be_made_is_refused():
    with pytest.raises(MethodError, match="Did you mean 'dusk'"):
        StreetScenes(1, seed=0, lighting="dust")
    for wrong in ({"num_images": -1}, {"size": (8, 24)}, {"num_annotators": 0}):
        with pytest.raises(InputError, match="expected 0 images or more"):
            StreetScenes(**{"num_images": 1, "seed": 0, **wrong})
