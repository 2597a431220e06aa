"""Samplers come back from disk as they were."""

import json

import pytest
import torch

from calibrant._storage.saved import _digest
from calibrant.errors import StoreError
from calibrant.networks import RefinementUNet
from calibrant.samplers import CopulaSampler, IndependentSampler, RefinementSampler, load_sampler, save_sampler
from calibrant.training import Standardise

SAMPLERS = {
    "independent": IndependentSampler(notes=("a note",)),
    "copula": CopulaSampler(image=0.5, cells={8: 0.25, 3: 0.1}, pixels=0.15),
    "refinement": RefinementSampler(
        RefinementUNet.small(4, 3, width=4, depth=2, noise_size=3), Standardise(torch.ones(1), torch.ones(1))
    ),
    "refinement of probabilities": RefinementSampler(RefinementUNet.small(3, 3, width=4, depth=2)),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_round_trip(name, tmp_path):
    sampler = SAMPLERS[name]
    save_sampler(sampler, tmp_path)
    loaded = load_sampler(tmp_path)
    assert type(loaded) is type(sampler)
    assert loaded.notes == sampler.notes
    logits, image = torch.randn(2, 3, 9, 11), torch.rand(2, 1, 9, 11)
    maps = [
        each.sample(logits, image, num_samples=3, generator=torch.Generator().manual_seed(1))
        for each in (sampler, loaded)
    ]
    assert torch.equal(*maps)
    assert [p.suffix for p in sorted(tmp_path.iterdir())] == [".safetensors", ".json"]


def test_the_json_is_readable(tmp_path):
    save_sampler(SAMPLERS["copula"], tmp_path)
    stored = json.loads((tmp_path / "sampler.json").read_text())
    assert stored["sampler"]["kind"] == "copula"
    assert stored["sampler"]["arguments"]["cells"] == [[8, 0.25], [3, 0.1]]


def test_a_calibrator_is_no_sampler(tmp_path):
    from calibrant.calibrators import Identity, save

    save(Identity(), tmp_path)
    with pytest.raises(StoreError, match=r"sampler\.json is missing.*calibrant refine"):
        load_sampler(tmp_path)


def test_weights_of_another_size(tmp_path):
    save_sampler(SAMPLERS["refinement"], tmp_path)
    path = tmp_path / "sampler.json"
    stored = json.loads(path.read_text())
    stored["sampler"]["arguments"]["network"]["arguments"]["width"] = 8
    path.write_text(json.dumps(stored | {"digest": _digest(stored)}))
    with pytest.raises(StoreError, match="expected a whole sampler"):
        load_sampler(tmp_path)
