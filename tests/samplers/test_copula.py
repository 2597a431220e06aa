"""The copula sampler: what its fields are, what it draws, and that its fit finds how annotators hang together."""

import time
from functools import partial

import pytest
import torch
from scipy.stats import chi2

from calibrant.errors import FitError, InputError
from calibrant.evaluation import tally_hypotheses
from calibrant.metrics import HypothesisDistances, generalised_energy_distance
from calibrant.predictions import Prediction
from calibrant.samplers import CopulaSampler, IndependentSampler
from calibrant.samplers._fields import connected_regions, largest, smooth_field


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def two_classes(p):
    return torch.stack([torch.zeros_like(p), torch.logit(p)])[None]


@pytest.mark.parametrize("num_classes", [1, 2, 5, 256, 257, 600])
def test_the_largest_score_wins_the_first_of_those_that_tie(num_classes):
    scores = torch.rand(2, 3, num_classes, 7, 9, generator=torch.Generator().manual_seed(0)).mul(50).round()
    scores[:, :, -1, 0] = 99  # the last class wins somewhere
    assert torch.equal(largest(scores), scores.argmax(2))


def test_all_weight_on_the_image_and_two_classes_is_one_uniform_level_a_map():
    p = torch.linspace(0.001, 0.999, 500).reshape(20, 25)
    maps = CopulaSampler(image=1.0).sample(two_classes(p), num_samples=2000, generator=generator())[:, 0]
    area = maps.flatten(1).sum(1)
    order = p.flatten().argsort(descending=True)
    # Each map is the set of pixels above a level ...
    assert torch.equal(maps.flatten(1)[:, order], (torch.arange(500) < area[:, None]).long())
    # ... and the levels are uniform: areas fall into ten equal bins.
    counts = torch.bincount((area * 10 // 501), minlength=10).double()
    assert chi2.sf(float(((counts - 200) ** 2 / 200).sum()), 9) > 1e-4


def test_all_weight_on_pixels_is_independent_sampling_in_law():
    p = torch.full((8, 8), 0.3)
    maps = CopulaSampler(pixels=1.0).sample(two_classes(p), num_samples=4000, generator=generator())[:, 0].flatten(1)
    covariance = torch.cov(maps.T.double())
    off = covariance - torch.diag(covariance.diagonal())
    assert float(off.abs().max()) < 6 * 0.21 / 4000**0.5


@pytest.mark.parametrize("space", [(13,), (17, 30), (5, 9, 12), (1, 40)])
@pytest.mark.parametrize("cell", [2, 7, 64])
def test_a_smooth_field_has_variance_one_in_every_pixel(space, cell, monkeypatch):
    # The field is linear in the grid's numbers: its variance is the sum of squares of the answers to unit vectors.
    grids = [max(2, -(-size // cell) + 1) if size > 1 else 1 for size in space]
    count = torch.tensor(grids).prod().item()
    units = torch.eye(count).reshape(count, 1, *grids)
    monkeypatch.setattr("calibrant.samplers._fields.gaussian", lambda shape, generator, device: units)
    answers = smooth_field((count,), space, cell, generator(), torch.device("cpu"))
    torch.testing.assert_close(answers.square().sum(0), torch.ones(space), rtol=1e-5, atol=1e-5)


def test_a_smooth_field_is_coherent_within_a_cell_and_free_beyond():
    fields = smooth_field((20_000,), (64,), 16, generator(), torch.device("cpu"))
    near = float((fields[:, 30] * fields[:, 31]).mean())
    far = float((fields[:, 10] * fields[:, 50]).mean())
    assert near > 0.95
    assert abs(far) < 6 / 20_000**0.5


def test_rare_and_all_but_certain_classes_are_drawn_as_often_as_they_should():
    p = torch.tensor([1e-6, 1e-4, 1e-2, 0.5, 0.99, 1 - 1e-4])[None]
    logits = torch.stack([torch.log1p(-p), p.log()])[None]
    many = logits.expand(500, *logits.shape[1:])
    maps = CopulaSampler(image=0.5, cells={3: 0.3}, pixels=0.2).sample(many, num_samples=1000, generator=generator())
    found = maps.double().mean((0, 1))[0]
    assert torch.all((found - p[0]).abs() < 5 * (p[0] * (1 - p[0]) / 5e5).sqrt() + 4 / 5e5)


def test_logits_beyond_float32_probabilities_are_never_nan():
    z = torch.tensor([[0.0, 1e4, -1e4, 3e38], [0.0, 0.0, 0.0, -3e38]])[None]
    maps = CopulaSampler(image=0.5, pixels=0.5).sample(z, num_samples=50, generator=generator())[:, 0]
    assert (maps[:, 1] == 0).all()
    assert (maps[:, 2] == 1).all()
    assert (maps[:, 3] == 0).all()


def test_regions_move_on_their_own():
    p = torch.full((6, 20), 0.1)
    p[2:4, 2:6], p[2:4, 12:16] = 0.6, 0.6
    maps = CopulaSampler(regions=1.0).sample(two_classes(p), num_samples=4000, generator=generator())[:, 0]
    left, right = maps[:, 2:4, 2:6].flatten(1), maps[:, 2:4, 12:16].flatten(1)
    assert (left == left[:, :1]).all()
    assert (right == right[:, :1]).all()
    both = float((left[:, 0] & right[:, 0]).double().mean())
    assert both == pytest.approx(0.36, abs=5 * (0.36 * 0.64 / 4000) ** 0.5)


def test_connected_regions_in_three_dimensions():
    labels = torch.zeros(1, 3, 3, 3, dtype=torch.long)
    labels[0, 0, 0, 0] = labels[0, 2, 2, 2] = 1
    found = connected_regions(labels)[0]
    assert found.unique().tolist() == [0, 1, 2]
    assert found[0, 0, 0] != found[2, 2, 2]


@pytest.mark.parametrize(
    "shares", [{}, {"image": -1.0, "pixels": 2.0}, {"image": float("nan")}, {"image": 1.0, "cells": {1: 1.0}}]
)
def test_shares_that_cannot_be(shares):
    with pytest.raises(InputError, match="shares of the variance"):
        CopulaSampler(**shares)


def discs(law, *, num_images=24, seed=0):
    """Images whose annotators draw a disc of a radius of their own ("radius"), or each pixel on its own ("pixel")."""
    rng = generator(seed)
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    found = []
    for number in range(num_images):
        away = ((y - 12).square() + (x - 8 - 8 * torch.rand((), generator=rng)).square()).sqrt()
        p = torch.sigmoid((7 - away) / 1.5)
        size = (6, 24, 24) if law == "pixel" else (6, 1, 1)
        labels = (torch.rand(size, generator=rng) < p).long()
        found.append(Prediction(f"{number:03d}", two_classes(p)[0], labels))
    return found


@pytest.mark.slow
def test_the_fit_finds_the_law_of_the_annotators():
    fitted = {law: CopulaSampler.fit(discs(law, num_images=30), classes=[1], cells=(8,)) for law in ("radius", "pixel")}
    assert fitted["radius"].arguments()["image"] > 0.9
    assert fitted["pixel"].arguments()["pixels"] > 0.9
    test = discs("radius", seed=1)
    score = {
        name: generalised_energy_distance(
            tally_hypotheses(
                partial(HypothesisDistances.of, num_classes=2, classes=[1]),
                sampler,
                test,
                num_samples=8,
                generator=generator(),
            ),
            diagonal=False,
        ).mean()
        for name, sampler in {"copula": fitted["radius"], "independent": IndependentSampler()}.items()
    }
    assert abs(score["copula"]) < 0.02  # the law itself scores 0
    assert score["independent"] > 0.03


def test_one_annotator_is_enough():
    single = [Prediction(p.key, p.logits, p.labels[:1]) for p in discs("radius", num_images=40)]
    fitted = CopulaSampler.fit(single, classes=[1], cells=())
    assert fitted.arguments()["image"] > 0.7


def test_nothing_to_fit():
    void = [Prediction("a", torch.zeros(2, 3, 3), torch.full((1, 3, 3), -100))]
    with pytest.raises(FitError, match="labelled pixels"):
        CopulaSampler.fit(void)


def test_a_hundred_samples_take_well_under_a_second_of_the_processor():
    logits = two_classes(torch.rand(128, 128, generator=generator()))
    sampler = CopulaSampler(image=0.6, cells={32: 0.2, 8: 0.1}, pixels=0.1)
    sampler.sample(logits, num_samples=2, generator=generator())
    start = time.process_time()
    sampler.sample(logits, num_samples=100, generator=generator())
    assert time.process_time() - start < 1
