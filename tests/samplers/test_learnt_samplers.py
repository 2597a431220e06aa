"""What all samplers with one network promise: the contract, an exact continuation, storage, refusals."""

from dataclasses import replace

import pytest
import torch

from calibrant.data import BlobAnnotators
from calibrant.errors import StoreError
from calibrant.predictions import Prediction
from calibrant.samplers import (
    EnergyScoreLoss,
    LearntSampler,
    MonteCarloLikelihood,
    SamplerRecipe,
    load_sampler,
    save_sampler,
)
from calibrant.samplers.storage import LEARNT
from calibrant.testing import check_sampler, toy_predictions
from calibrant.training import Augmentation

SIZES = {
    "energy": {"width": 4, "depth": 1, "num_maps": 3, "hidden": 8, "latent_size": 3},
    "ssn": {"widths": (4, 8), "rank": 2, "hidden": 4, "convolutions": 1, "scale": 1.0},
}
LOSSES = {
    "energy": EnergyScoreLoss(num_samples=3, one_annotator=True, scale_weight=0.1),
    "ssn": MonteCarloLikelihood(num_samples=3),
}
RECIPE = SamplerRecipe(num_steps=6, batch_size=2, augmentation=Augmentation.of_scans(crop=(24, 24)))


class Stop(Exception):
    pass


def stop(done, figures):
    if done == 4:
        raise Stop


def fit(name, predictions, **options) -> LearntSampler:
    kind = LEARNT[name]

    def make(channels, classes, **dims):
        return kind.network_class.small(channels, classes, **SIZES[name], **dims)

    return kind.fit(predictions, **{"recipe": RECIPE, "loss": LOSSES[name], "make": make, "seed": 1} | options)


def blobs():
    return [Prediction(e.key, torch.zeros(2, 32, 32), e.labels, e.image) for e in BlobAnnotators(5, seed=0)]


def drawn(sampler, prediction):
    generator = torch.Generator().manual_seed(0)
    return sampler.sample(prediction.logits[None], prediction.image[None], num_samples=5, generator=generator)


@pytest.mark.parametrize("name", LEARNT)
def test_interrupted_and_resumed_it_is_the_same_sampler(name, tmp_path, monkeypatch):
    predictions = blobs()
    whole = fit(name, predictions)
    import calibrant.samplers.learnt_sampler as module

    plain = module.train
    with monkeypatch.context() as patched:
        patched.setattr(module, "train", lambda *a, **k: plain(*a, **{**k, "checkpoint_every": 3, "look_every": 2}))
        with pytest.raises(Stop):
            fit(name, predictions, checkpoint_path=tmp_path, watch=stop)
    with pytest.raises(StoreError, match="num_samples=4"):
        fit(name, predictions, checkpoint_path=tmp_path, loss=replace(LOSSES[name], num_samples=4))
    resumed = fit(name, predictions, checkpoint_path=tmp_path)
    for key, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[key], value), key
    assert torch.equal(drawn(whole, predictions[0]), drawn(resumed, predictions[0]))


@pytest.mark.parametrize("name", LEARNT)
def test_stored_with_its_weights(name, tmp_path):
    sampler = fit(name, blobs(), recipe=replace(RECIPE, num_steps=1), inputs="image", draws="spread")
    save_sampler(sampler, tmp_path)
    loaded = load_sampler(tmp_path)
    assert type(loaded) is LEARNT[name]
    assert (loaded.window, loaded.draws, loaded.inputs) == (sampler.window, "spread", "image")
    assert torch.equal(drawn(loaded, blobs()[0]), drawn(sampler, blobs()[0]))


@pytest.mark.parametrize("size", [(12, 16), (5, 9, 6)])
def test_ssn_keeps_the_contract(size):
    recipe = SamplerRecipe(num_steps=4, batch_size=2)
    sampler = fit("ssn", toy_predictions(size=size, num_annotators=2), recipe=recipe)
    check_sampler(sampler, spatial_dims=(len(size),), num_samples=400)
