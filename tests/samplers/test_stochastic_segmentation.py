"""Stochastic segmentation networks: published sizes, the law of their logits, and the toy of the paper."""

import math

import pytest
import torch

from calibrant.errors import InputError
from calibrant.networks import GaussianLogits, StochasticUNet
from calibrant.samplers import MeanOfSamples, MonteCarloLikelihood, StochasticSegmentationSampler
from calibrant.samplers.sampler import MAX_SOBOL
from calibrant.samplers.stochastic_segmentation import map_likelihood
from calibrant.training import set_rate


def test_published_sizes():
    network = StochasticUNet(1, 2)
    of_law = sum(p.numel() for part in (network.factor, network.log_variance) for p in part.parameters())
    assert sum(p.numel() for p in network.parameters()) == 10_320_568
    assert sum(p.numel() for p in network.parameters()) - of_law == 10_319_842  # the deterministic U-Net


def test_draws_have_the_mean_and_covariance_of_the_law():
    generator = torch.Generator().manual_seed(0)
    law = GaussianLogits(*(torch.randn(1, *shape, 1, 2, generator=generator) for shape in ((2,), (3, 2), (2,))))
    law = law._replace(variance=law.variance.square())
    drawn = law.sampled(torch.randn(100_000, 1, 3 + 4, generator=generator)).flatten(1)
    factor = law.factor.flatten(2)[0].T
    wanted = factor @ factor.T + law.variance.flatten().diag()
    torch.testing.assert_close(drawn.mean(0), law.mean.flatten(), atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), wanted, atol=0.15, rtol=0.03)


def test_it_is_finite_where_a_covariance_matrix_could_not_be_factorised():
    law = GaussianLogits(torch.zeros(1, 2, 1, 4), torch.full((1, 1, 2, 1, 4), 1e3), torch.full((1, 2, 1, 4), 1e-5))
    assert bool(law.sampled(torch.randn(50, 1, 9)).isfinite().all())


def test_the_mean_of_spread_draws_with_a_latent_for_each_pixel_is_nearer_than_that_of_independent_ones():
    torch.manual_seed(0)
    sampler = StochasticSegmentationSampler(StochasticUNet(2, 2, widths=(4, 4), rank=2), inputs="probabilities")
    logits = torch.randn(1, 2, 32, 32)
    assert sampler.network.latent_size((32, 32)) > MAX_SOBOL

    def mean(num_samples, draws):
        generator = torch.Generator().manual_seed(num_samples)
        blocks = sampler.scores(logits, num_samples=num_samples, generator=generator, draws=draws)
        return sum(scores.softmax(2).sum(0) for scores in blocks) / num_samples

    with torch.no_grad():
        truth = mean(20_000, "independent")
        spread, independent = (
            float((mean(64, draws) - truth).square().mean().sqrt()) for draws in ("spread", "independent")
        )
    assert spread < independent / 2
    found = MeanOfSamples(sampler, num_samples=64)(logits).exp()
    assert float((found - truth).square().mean().sqrt()) < independent / 2


def test_of_one_sample_it_is_the_cross_entropy_of_the_labelled_pixels():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 3, 4, 5, generator=generator).requires_grad_()
    labels = torch.randint(3, (2, 4, 5), generator=generator)
    labels[:, 0] = -100
    entropy = torch.nn.functional.cross_entropy(logits[0], labels, reduction="none").sum((1, 2)).mean()
    torch.testing.assert_close(map_likelihood(logits, labels), entropy)
    (gradient,) = torch.autograd.grad(map_likelihood(logits, labels), logits)
    assert float(gradient[..., 0, :].abs().max()) == 0
    more = torch.randn(64, 2, 3, 4, 5, generator=generator)
    of_each = sum(map_likelihood(each[None], labels) for each in more) / 64
    assert float(map_likelihood(more, labels)) < float(of_each)  # Jensen
    with pytest.raises(InputError, match="1 sample or more"):
        MonteCarloLikelihood(num_samples=0)


@pytest.mark.parametrize(("rank", "bits"), [(2, 1), (0, 7)])
def test_the_toy_of_the_paper(rank, bits):
    """Of 21 pixels the middle seven are all on or all off: one bit for a law of rank 2, seven of independent pixels."""
    generator = torch.Generator().manual_seed(0)
    middle = torch.zeros(21, dtype=torch.long)
    middle[7:14] = 1
    labels = torch.stack([middle, torch.zeros(21, dtype=torch.long)])
    parameters = [torch.randn(1, *shape, 1, 21, generator=generator) for shape in ((2,), (rank, 2), (2,))]
    parameters = [each.requires_grad_() for each in parameters]
    optimiser, losses, steps = torch.optim.Adam(parameters), [], 500
    for step in range(steps):
        set_rate(optimiser, 1 - step / steps)
        law = GaussianLogits(parameters[0], parameters[1], (2 * parameters[2] - 4).exp())
        latents = torch.randn(200, 1, rank + 42, generator=generator)
        drawn = law.sampled(latents).expand(-1, 2, -1, -1, -1)
        losses.append(map_likelihood(drawn, labels[:, None]))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert float(sum(losses[-50:]).detach()) / 50 == pytest.approx(bits * math.log(2), rel=0.05, abs=0.1)
