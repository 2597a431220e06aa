"""Coupled: marginals that are exact whatever the sampler, in the order of its scores; and the mean of samples."""

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from calibrant.calibrators import LocalTemperatureScaling, TemperatureScaling, VectorScaling
from calibrant.errors import InputError
from calibrant.evaluation import tally_hypotheses
from calibrant.metrics import HypothesisDistances, generalised_energy_distance, presence_excess
from calibrant.networks import BasisUNet, RefinementUNet
from calibrant.samplers import (
    Coupled,
    EnergyScoreSampler,
    IndependentSampler,
    MeanOfSamples,
    RefinementSampler,
    load_sampler,
    save_sampler,
)
from calibrant.samplers.coupled import coupled, quotas
from calibrant.testing import check_sampler, toy_predictions


def free(classes=3, **options):
    torch.manual_seed(0)
    network = BasisUNet(classes, classes, width=4, depth=1, num_maps=3, hidden=8, latent_size=3)
    with torch.no_grad():
        network.coefficients_of[-1].weight.mul_(20)
    return EnergyScoreSampler(network, inputs="probabilities", **options)


@pytest.mark.parametrize("num_samples", [2, 5, 16])
def test_quotas_are_the_probabilities_exactly(num_samples):
    """The mean over all levels, from the levels at which a quota changes, is the share; each is within one of it."""
    probs = torch.rand(4, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 3
    probs[2, :4] = 0
    probs /= probs.sum(0)
    for pixel in probs.T[..., None]:
        changes = (pixel.cumsum(0)[:-1, 0] * num_samples) % 1
        ends = torch.cat([torch.zeros(1), changes.sort().values, torch.ones(1)]).double()
        mean = torch.zeros(4, dtype=torch.float64)
        for low, high in itertools.pairwise(ends):
            counts = quotas(pixel, num_samples, float((low + high) / 2))
            assert int(counts.sum()) == num_samples
            assert float((counts - num_samples * pixel).abs().max()) <= 1
            mean += (high - low) * counts[:, 0]
        torch.testing.assert_close(mean / num_samples, pixel[:, 0], atol=1e-9, rtol=0)
        assert float(mean[pixel[:, 0] == 0].sum()) == 0


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_set_has_the_quotas_and_the_best_assignment(classes):
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(12, classes, 40, generator=generator)
    probs = (2 * torch.randn(classes, 40, generator=generator)).softmax(0)
    maps = coupled(scores, probs, 0.37)
    counts = quotas(probs, 12, 0.37)
    assert torch.equal(torch.stack([(maps == k).sum(0) for k in range(classes)]), counts)
    reached = scores.gather(1, maps[:, None])[:, 0].sum(0)
    for pixel in range(40):
        slots = scores[:, :, pixel].numpy()[:, np.repeat(np.arange(classes), counts[:, pixel].numpy())]
        best = slots[linear_sum_assignment(-slots)].sum()
        assert float(reached[pixel]) == pytest.approx(float(best), abs=1e-4)


def test_with_the_samplers_own_marginals_its_maps_stay():
    scores = torch.randn(16, 3, 50, generator=torch.Generator().manual_seed(0))
    maps = scores.argmax(1)
    shares = torch.stack([(maps == k).double().mean(0) for k in range(3)])
    assert torch.equal(coupled(scores, shares, 0.5), maps)


@pytest.mark.parametrize("classes", [2, 3])
def test_it_keeps_the_contract(classes):
    check_sampler(Coupled(free(classes), set_size=8), num_classes=classes, num_samples=400, spatial_dims=(2,))


def test_marginals_are_exact_in_small_sets_too():
    """One map of each set: over many sets, and a scrambled order in each, a class comes as often as it should."""
    logits = toy_predictions(size=(3, 4), overconfidence=1.0)[0].logits[None]
    sampler, number = Coupled(free(), set_size=4), 600
    generator = torch.Generator().manual_seed(0)
    maps = sampler.sample(logits.expand(number, -1, -1, -1), num_samples=2, generator=generator)
    probs = logits[0].softmax(0)
    for map_of_set in maps:
        found = torch.stack([(map_of_set == k).double().mean(0) for k in range(3)])
        assert float(((found - probs).abs() - 6 * (probs * (1 - probs) / number).sqrt()).max()) < 8 / number


def test_over_the_refinement_sampler_and_a_calibrator():
    p = toy_predictions(size=(16, 16))[0]
    torch.manual_seed(0)
    inner = RefinementSampler(RefinementUNet.small(3, 3, width=4, depth=2))
    assert Coupled(inner).keeps_marginals
    behind = Coupled(inner, TemperatureScaling(2.0), set_size=64)
    assert not behind.keeps_marginals
    maps = behind.sample(p.logits[None], num_samples=64, generator=torch.Generator().manual_seed(0))
    found = torch.stack([(maps[:, 0] == k).double().mean(0) for k in range(3)])
    assert float((found - (p.logits / 2).softmax(0)).abs().max()) <= 1 / 64 + 1e-6


@pytest.mark.untyped
def test_what_cannot_be_coupled():
    with pytest.raises(InputError, match="IndependentSampler and set_size=64"):
        Coupled(IndependentSampler())
    with pytest.raises(InputError, match="set_size=1"):
        Coupled(free(), set_size=1)
    with pytest.raises(InputError, match="got IndependentSampler"):
        MeanOfSamples(IndependentSampler())


def test_stored(tmp_path):
    sampler = Coupled(free(), set_size=6)
    save_sampler(sampler, tmp_path)
    logits = toy_predictions()[0].logits[None]
    one, other = (
        each.sample(logits, num_samples=3, generator=torch.Generator().manual_seed(0))
        for each in (sampler, load_sampler(tmp_path))
    )
    assert torch.equal(one, other)


def test_scores_know_that_draws_depend_on_each_other():
    predictions = toy_predictions(num_annotators=3, void=0.0)

    def count(maps, labels):
        return HypothesisDistances.of(maps, labels, num_classes=3)

    for sampler, independent in ((free(), True), (free(draws="spread"), False), (Coupled(free(), set_size=4), False)):
        found = tally_hypotheses(count, sampler, predictions, num_samples=4, generator=torch.Generator())
        assert bool((found.independent == independent).all())
        unbiased = generalised_energy_distance(found, diagonal=False)
        assert bool((unbiased.isnan() != independent).all())
        assert bool((presence_excess(found).isnan() != independent).all())
        assert bool(generalised_energy_distance(found, num_samples=4).isfinite().all())
    with pytest.raises(InputError, match="Draw 2 at a time"):
        generalised_energy_distance(found, num_samples=2)


def test_the_mean_of_samples_is_their_mean():
    sampler = free()
    p = toy_predictions()[0]
    calibrator = MeanOfSamples(sampler, num_samples=512)
    logits = calibrator(p.logits[None].expand(2, *p.logits.shape))
    assert torch.equal(logits[0], logits[1])
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(2, *p.logits.shape[1:]))
    scores = sampler.scores(p.logits[None], num_samples=20_000, generator=torch.Generator().manual_seed(1))
    mean = torch.cat([each.softmax(2) for each in scores]).mean(0)
    torch.testing.assert_close(logits[:1].exp(), mean, atol=0.02, rtol=0)


def test_the_calibrated_mean_has_the_frequencies_of_the_images_it_was_fitted_to(tmp_path):
    sampler = free()
    predictions = [
        replace(each, labels=each.labels.clamp_max(1))  # the last class never
        for each in toy_predictions(num_images=6, num_annotators=3, void=0.0)
    ]
    calibrate = partial(VectorScaling.fit, safe=False, strength=0.0)
    mean = MeanOfSamples.fit(predictions, sampler=sampler, calibrate=calibrate, num_samples=64)
    labels = torch.cat([each.labels.flatten() for each in predictions])
    wanted = labels.bincount(minlength=3) / len(labels)

    def frequencies(calibrator):
        maps = [calibrator(each.logits[None])[0].softmax(0).flatten(1).mean(1) for each in predictions]
        return torch.stack(maps).mean(0)

    assert float((frequencies(MeanOfSamples(sampler, num_samples=64)) - wanted).abs().max()) > 0.1
    torch.testing.assert_close(frequencies(mean), wanted, atol=0.01, rtol=0)
    p = predictions[0]
    maps = Coupled(sampler, mean).sample(p.logits[None], num_samples=64, generator=torch.Generator().manual_seed(0))
    drawn = torch.stack([(maps[:, 0] == k).double().mean(0) for k in range(3)])
    torch.testing.assert_close(drawn, mean(p.logits[None])[0].double().softmax(0), atol=1 / 64 + 1e-6, rtol=0)
    save_sampler(Coupled(sampler, mean), tmp_path)
    kept = load_sampler(tmp_path)
    again = kept.sample(p.logits[None], num_samples=64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again, maps)


def test_a_calibrator_of_the_mean_may_be_trained():
    predictions = toy_predictions(num_images=5, void=0.0)
    calibrate = partial(LocalTemperatureScaling.fit, num_epochs=1)
    mean = MeanOfSamples.fit(predictions, sampler=free(), calibrate=calibrate, num_samples=8)
    assert isinstance(mean.calibrator, LocalTemperatureScaling)
    first = predictions[0]
    assert mean(first.logits[None], first.image[None]).shape == (1, *first.logits.shape)
