"""On a GPU all answers are those of the processor. Skipped where there is none."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from contracts.test_calibrators import FITS
from samplers.test_learnt_samplers import blobs, fit

from calibrant.calibrators import CalibrationNetwork, CalibrationRecipe
from calibrant.evaluation import draw_hypotheses, tally
from calibrant.metrics import CalibrationBins
from calibrant.samplers import (
    CopulaSampler,
    Coupled,
    IndependentSampler,
    MeanOfSamples,
    RefinementRecipe,
    RefinementSampler,
)
from calibrant.samplers.storage import LEARNT
from calibrant.testing import toy_predictions
from calibrant.training import Augmentation, SingleDevice

DEVICE = "cuda"

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

CROPS = Augmentation.of_scans(crop=(24, 24))


def moved(prediction):
    image = None if prediction.image is None else prediction.image.to(DEVICE)
    return replace(prediction, logits=prediction.logits.to(DEVICE), image=image)


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", FITS)
def test_a_calibrator_answers_alike(name):
    fitted = FITS[name](toy_predictions(num_classes=4))
    if not isinstance(fitted, torch.nn.Module):
        fitted = fitted.calibrator
    seen = toy_predictions(num_classes=4, seed=1)[0]
    logits, image = seen.logits[None], None if seen.image is None else seen.image[None]
    expected = fitted(logits, image)
    found = deepcopy(fitted).to(DEVICE)(logits.to(DEVICE), None if image is None else image.to(DEVICE))
    assert found.device.type == DEVICE
    torch.testing.assert_close(found.softmax(1).cpu(), expected.softmax(1), rtol=0, atol=1e-4)
    if fitted.keeps_labels:
        assert torch.equal(found.argmax(1).cpu(), logits.argmax(1))


def test_what_is_counted_is_the_same():
    predictions = toy_predictions(num_classes=4)
    expected = tally(CalibrationBins.of, predictions)
    found = tally(CalibrationBins.of, [moved(each) for each in predictions])
    assert torch.equal(found.count.sum(0), expected.count.sum(0))
    torch.testing.assert_close(found.confidence, expected.confidence, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", LEARNT)
def test_a_sampler_is_trained_and_draws_there(name):
    predictions = blobs()
    sampler = fit(name, predictions, devices=SingleDevice(DEVICE))
    assert all(each.device.type == "cpu" for each in sampler.parameters())
    there = deepcopy(sampler).to(DEVICE)
    check_drawn_alike(sampler, there, predictions)
    check_drawn_alike(Coupled(sampler, MeanOfSamples(sampler)), Coupled(there, MeanOfSamples(there)), predictions)


def check_drawn_alike(here, there, predictions):
    expected = list(draw_hypotheses(here, predictions[:2], num_samples=8, generator=generator()))
    found = list(draw_hypotheses(there, map(moved, predictions[:2]), num_samples=8, generator=generator()))
    for (_, maps), (_, others) in zip(expected, found, strict=True):
        assert others.device.type == DEVICE
        assert float((maps != others.cpu()).double().mean()) < 0.02  # ties of rounding


@pytest.mark.parametrize("sampler", [IndependentSampler(), CopulaSampler(image=0.5, cells={8: 0.3}, pixels=0.2)])
def test_a_sampler_without_a_network_draws_there(sampler):
    check_drawn_alike(sampler, deepcopy(sampler).to(DEVICE), toy_predictions(num_classes=4))


def test_refinement_is_trained_and_draws_there():
    recipe = replace(RefinementRecipe.small(num_steps=3, batch_size=2), augmentation=CROPS)
    sampler = RefinementSampler.fit(blobs(), recipe=recipe, devices=SingleDevice(DEVICE))
    check_drawn_alike(sampler, deepcopy(sampler).to(DEVICE), blobs())


def test_a_calibration_network_is_trained_there():
    recipe = CalibrationRecipe(num_steps=3, batch_size=2, augmentation=CROPS)
    found = CalibrationNetwork.fit(blobs(), recipe=recipe, model_output="nothing", devices=SingleDevice(DEVICE))
    seen = blobs()[0]
    expected = found(seen.logits[None], seen.image[None])
    there = deepcopy(found).to(DEVICE)(seen.logits[None].to(DEVICE), seen.image[None].to(DEVICE))
    torch.testing.assert_close(there.softmax(1).cpu(), expected.softmax(1), rtol=0, atol=1e-3)
