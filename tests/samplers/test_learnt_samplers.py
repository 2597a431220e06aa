"""What all samplers with one network promise: the contract, an exact continuation, storage, refusals."""

from dataclasses import replace

import pytest
import torch

from calibrant.data import BlobAnnotators
from calibrant.errors import FitError, InputError, StoreError
from calibrant.predictions import Prediction
from calibrant.samplers import (
    ConstrainedLoss,
    Coupled,
    EnergyScoreLoss,
    EvidenceLoss,
    IndependentSampler,
    LearntSampler,
    MonteCarloLikelihood,
    SamplerRecipe,
    SupervisedLoss,
    load_sampler,
    save_sampler,
)
from calibrant.samplers.storage import LEARNT
from calibrant.testing import check_sampler, toy_predictions
from calibrant.training import Augmentation

SIZES = {
    "energy": {"width": 4, "depth": 1, "num_maps": 3, "hidden": 8, "latent_size": 3},
    "ssn": {"widths": (4, 8), "rank": 2, "hidden": 4, "convolutions": 1, "scale": 1.0},
    "probabilistic-unet": {"widths": (4, 8), "convolutions": 1, "latent_size": 3},
    "hierarchical": {"widths": (4, 4, 8, 8), "latents": 2, "blocks": 1, "convolutions": 1},
    "phiseg": {"widths": (4, 4, 8), "latents": 2},
    "supervised-uq": {"widths": (4, 8), "convolutions": 1, "latent_size": 3},
}
LOSSES = {name: kind.loss() for name, kind in LEARNT.items()} | {
    "energy": EnergyScoreLoss(num_samples=3, one_annotator=True, scale_weight=0.1),
    "ssn": MonteCarloLikelihood(num_samples=3),
}
OTHERS = {
    "energy": EnergyScoreLoss(num_samples=4),
    "ssn": MonteCarloLikelihood(num_samples=4),
    "probabilistic-unet": EvidenceLoss(beta=2),
    "hierarchical": ConstrainedLoss(target=0.1),
    "phiseg": EvidenceLoss(warm_up=0),
    "supervised-uq": SupervisedLoss(num_samples=3),
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
    whole = fit(name, predictions, checkpoint_path=tmp_path / "whole")
    import calibrant.samplers.learnt_sampler as module

    plain = module.train
    with monkeypatch.context() as patched:
        patched.setattr(module, "train", lambda *a, **k: plain(*a, **{**k, "checkpoint_every": 3, "look_every": 2}))
        with pytest.raises(Stop):
            fit(name, predictions, checkpoint_path=tmp_path / "cut", watch=stop)
    with pytest.raises(StoreError, match=r"loss"):
        fit(name, predictions, checkpoint_path=tmp_path / "cut", loss=OTHERS[name])
    resumed = fit(name, predictions, checkpoint_path=tmp_path / "cut")
    for key, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[key], value), key
    assert torch.equal(drawn(whole, predictions[0]), drawn(resumed, predictions[0]))
    one, other = ((tmp_path / each / "checkpoint.pt").read_bytes() for each in ("whole", "cut"))
    assert one == other


@pytest.mark.parametrize("name", LEARNT)
def test_stored_with_its_weights(name, tmp_path):
    sampler = fit(name, blobs(), recipe=replace(RECIPE, num_steps=1), inputs="image", draws="spread")
    save_sampler(sampler, tmp_path)
    loaded = load_sampler(tmp_path)
    assert type(loaded) is LEARNT[name]
    assert (loaded.window, loaded.draws, loaded.inputs) == (sampler.window, "spread", "image")
    assert torch.equal(drawn(loaded, blobs()[0]), drawn(sampler, blobs()[0]))


@pytest.mark.parametrize("size", [(12, 16), (5, 9, 6)])
@pytest.mark.parametrize("name", [name for name in LEARNT if name != "energy"])  # that one has tests of its own
def test_it_keeps_the_contract_free_and_coupled(name, size):
    recipe = SamplerRecipe(num_steps=4, batch_size=2)
    sampler = fit(name, toy_predictions(size=size, num_annotators=2), recipe=recipe)
    check_sampler(sampler, spatial_dims=(len(size),), num_samples=100)
    if len(size) == 2:
        check_sampler(Coupled(sampler, set_size=8), spatial_dims=(2,), num_samples=100)


@pytest.mark.parametrize("name", LEARNT)
def test_images_are_encoded_once(name):
    kind = LEARNT[name]
    network = kind.network_class.small(3, 3, **SIZES[name])
    sampler, calls = kind(network, inputs="probabilities"), []
    encode = network.encode
    network.encode = lambda seen: calls.append(1) or encode(seen)
    maps = sampler.sample(torch.randn(2, 3, 32, 32), num_samples=100, generator=torch.Generator().manual_seed(0))
    assert maps.shape == (100, 2, 32, 32)
    assert len(calls) == 1


def labelled(labels):
    return [Prediction(e.key, torch.zeros(2, 32, 32), labels(e.labels), e.image) for e in BlobAnnotators(3, seed=0)]


def test_what_labels_cannot_teach_is_said():
    once = replace(RECIPE, num_steps=1)
    assert fit("energy", labelled(lambda maps: maps), recipe=once).notes == ()
    (note,) = fit("energy", labelled(lambda maps: maps[:1]), recipe=once).notes
    assert "no image has more than one annotator" in note
    (note,) = fit("energy", labelled(torch.zeros_like), recipe=once).notes
    assert note == "every labelled pixel is of class 0: samples will show no other"
    with pytest.raises(FitError, match="no pixel of any image has one"):
        fit("energy", labelled(lambda maps: torch.full_like(maps, -100)))


def test_more_samples_than_memory_are_refused_before_any_is_taken(monkeypatch):
    sampler = LEARNT["energy"](LEARNT["energy"].network_class.small(3, 3, **SIZES["energy"]), inputs="probabilities")
    logits, generator = torch.zeros(1, 3, 32, 32), torch.Generator()
    for each in (sampler, Coupled(sampler), IndependentSampler()):
        with pytest.raises(InputError, match=r"10000000000 samples of 1 images take .* GiB.*CALIBRANT_MAX_GIB="):
            each.sample(logits, num_samples=10**10, generator=generator)
    monkeypatch.setenv("CALIBRANT_MAX_GIB", "0.001")
    assert sampler.sample(logits, num_samples=100, generator=generator).shape == (100, 1, 32, 32)
    with pytest.raises(InputError, match="scores of samples"):
        Coupled(sampler).sample(logits, num_samples=100, generator=generator)
