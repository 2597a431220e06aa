"""Every sampler keeps the promises of the house."""

import pytest
import torch

from calibrant.samplers import CopulaSampler, IndependentSampler, RefinementRecipe, RefinementSampler, Sampler
from calibrant.testing import check_sampler, toy_predictions

SAMPLERS: dict[str, Sampler] = {
    "independent": IndependentSampler(),
    "copula, image": CopulaSampler(image=1.0),
    "copula, regions": CopulaSampler(regions=1.0),
    "copula, mixed": CopulaSampler(image=0.3, regions=0.2, cells={4: 0.3, 2: 0.1}, pixels=0.1),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_keeps_the_contract(name):
    check_sampler(SAMPLERS[name])


@pytest.mark.parametrize("size", [(12, 16), (12, 12, 13)])
def test_refinement_keeps_the_contract(size):
    recipe = RefinementRecipe.small(num_steps=2, batch_size=2, num_samples=2, discriminator_steps=0)
    sampler = RefinementSampler.fit(toy_predictions(size=size), recipe=recipe)
    check_sampler(sampler, spatial_dims=(len(size),), num_samples=400)


class Own(IndependentSampler):
    """A sampler with one promise broken."""

    def __init__(self, broken):
        super().__init__()
        self.broken = broken

    def sample(self, logits, image=None, *, num_samples, generator):
        if self.broken == "tempered":
            logits = 2 * logits.float()
        if self.broken == "global":
            generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        if self.broken == "shared":
            maps = super().sample(logits[:1], num_samples=num_samples, generator=generator)
            return maps.expand(-1, len(logits), *maps.shape[2:])
        maps = super().sample(logits, num_samples=num_samples, generator=generator)
        if self.broken == "order":
            return maps.movedim(0, 1)
        if self.broken == "training" and self.training:
            return maps.flip(-1)
        return maps


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("tempered", "keeps_marginals is broken"),
        ("global", "one state, two sets"),
        ("shared", "share what is drawn"),
        ("order", "samples first"),
        ("training", "training mode differs"),
    ],
)
def test_a_broken_sampler_is_found_out(broken, said):
    with pytest.raises(AssertionError, match=said):
        check_sampler(Own(broken), spatial_dims=(2,))
