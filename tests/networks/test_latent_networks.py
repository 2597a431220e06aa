"""Networks with latents: published sizes, divergences, what samples share, and that a training is the same path."""

import math

import pytest
import torch

from calibrant.errors import InputError
from calibrant.networks import Gaussian, HierarchicalUNet, PHiSeg, ProbabilisticUNet, WeightNoiseUNet

NETWORKS = {
    "probabilistic": lambda **sizes: ProbabilisticUNet(2, 3, widths=(4, 8), convolutions=1, latent_size=3, **sizes),
    "hierarchical": lambda **sizes: HierarchicalUNet(
        2, 3, widths=(4, 4, 8, 8), latents=2, blocks=1, convolutions=2, **sizes
    ),
    "phiseg": lambda **sizes: PHiSeg(2, 3, widths=(4, 6, 8, 8), latents=3, **sizes),
    "weight noise": lambda **sizes: WeightNoiseUNet(2, 3, widths=(4, 8), convolutions=1, latent_size=3, **sizes),
    "weight noise, released": lambda **sizes: WeightNoiseUNet(
        2, 3, widths=(4, 8), convolutions=1, latent_size=3, released=True, **sizes
    ),
}


def made(name, **sizes):
    torch.manual_seed(0)
    return NETWORKS[name](**sizes)


def given(network, space=(12, 17), number=3):
    generator = torch.Generator().manual_seed(1)
    size = network.latent_size(space)
    seen, latents = (torch.randn(shape, generator=generator) for shape in ((2, 2, *space), (number, 2, size)))
    labels = torch.randint(3, (number, 2, *space), generator=generator)
    return seen, latents, torch.nn.functional.one_hot(labels, 3).movedim(-1, 2).float()


@pytest.mark.parametrize(
    ("make", "whole", "parts"),
    [
        (lambda: ProbabilisticUNet(1, 2), 27_500_442, {"posterior": 27_500_442 - 19_638_414}),
        (lambda: ProbabilisticUNet(1, 2, widths=(32, 64, 128, 192, 192)), 9_315_162, {}),
        (lambda: ProbabilisticUNet(3, 24, widths=(32, 64, 128, *[192] * 4)), 17_954_736, {}),
        (lambda: ProbabilisticUNet(1, 2, widths=(32, 64, 128, *[192] * 4)), 17_945_946, {}),
        (
            lambda: ProbabilisticUNet(1, 1, widths=(32, 64, 128, 192), latent_size=2),
            4_996_233,
            {"prior": 1_366_276, "posterior": 1_366_564, "mix": 3_265},
        ),
        (
            lambda: ProbabilisticUNet(1, 1, widths=(32, 64, 128, 192)),
            4_999_449,
            {"prior": 1_367_820, "posterior": 1_368_108, "mix": 3_393},
        ),
        (
            lambda: ProbabilisticUNet(1, 2, widths=(32, 64, 128, *[192] * 4), norm=True),
            19_037_626,
            {"prior": 4_358_508, "posterior": 4_359_084},
        ),
        (lambda: WeightNoiseUNet(1, 1), 5_008_665, {}),
        (lambda: HierarchicalUNet(1, 2), 20_584_302, {"prior": 10_692_800, "posterior": 10_693_064 - 1_292_928}),
        (
            lambda: PHiSeg(1, 2),
            17_819_186,
            {"prior": 5_981_812, "posterior": 5_982_388, "likelihood": 5_854_986},
        ),
        (lambda: PHiSeg(1, 2, latents=1), 8_786_314, {}),
    ],
)
def test_published_sizes(make, whole, parts):
    """What the published codes have, but for layers that nothing comes of."""
    network = make()
    assert sum(p.numel() for p in network.parameters()) == whole
    for name, size in parts.items():
        assert sum(p.numel() for p in getattr(network, name).parameters()) == size, name


def test_the_divergence_of_gaussians():
    """By hand, by chance, and not symmetric; nothing between equal laws."""
    generator = torch.Generator().manual_seed(0)
    one, other = (
        Gaussian(torch.randn(1, 3, generator=generator), torch.rand(1, 3, generator=generator) + 0.2) for _ in range(2)
    )
    drawn = one.drawn(torch.randn(200_000, 3, generator=generator))
    laws = [torch.distributions.Normal(*each) for each in (one, other)]
    by_chance = (laws[0].log_prob(drawn) - laws[1].log_prob(drawn)).sum(1).mean()
    assert float(one.divergence(other)) == pytest.approx(float(by_chance), rel=0.02)
    assert float(one.divergence(one)) == pytest.approx(0, abs=1e-6)
    narrow, wide = (Gaussian(torch.zeros(1, 1), torch.full((1, 1), each)) for each in (1.0, 3.0))
    assert float(narrow.divergence(wide)) == pytest.approx(math.log(3) + 1 / 18 - 1 / 2, abs=1e-6)
    assert float(wide.divergence(narrow)) == pytest.approx(-math.log(3) + 9 / 2 - 1 / 2, abs=1e-6)
    law = Gaussian.of(torch.tensor([[0.0, 1e9]]))
    assert bool(law.deviation.isfinite().all())


def blinded(network):
    """The network with a posterior that is its prior, and does not look at the label map."""
    prior, posterior = (network.unet if hasattr(network, "unet") else network), None
    posterior = prior.posterior
    weights = posterior.state_dict()
    for name, value in prior.prior.state_dict().items():
        if name in weights:
            weights[name] = torch.zeros_like(weights[name])
            weights[name][tuple(slice(0, side) for side in value.shape)] = value
    posterior.load_state_dict(weights)
    return network


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_takes_the_path_of_samples(name, dims):
    """If the posterior is the prior, nothing lies between them, and a map comes out as a sample does."""
    network = blinded(made(name, dims=dims)).eval()
    seen, latents, planes = given(network, (12, 17) if dims == 2 else (6, 9, 10))
    with torch.no_grad():
        found, samples = network(seen, latents, planes), network(seen, latents)
    torch.testing.assert_close(found.logits[-1], samples, atol=1e-5, rtol=1e-5)
    for apart in found.divergences:
        assert float(apart.abs().max()) < 1e-4
    of_weights = network.latent_size(seen.shape[2:]) - sum(found.numbers)
    assert of_weights >= 0
    assert (of_weights == 0) == ("weight" not in name)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_learns(name):
    network = made(name)
    found = network(*given(network, (16, 16)))
    total = sum(each.square().sum() for each in found.logits) + sum(each.sum() for each in found.divergences)
    total.backward()
    for key, weight in network.named_parameters():
        assert weight.grad is not None, key
        assert float(weight.grad.abs().max()) > 0, key


@pytest.mark.parametrize("name", NETWORKS)
def test_samples_together_are_samples_alone(name):
    network = made(name).eval()
    seen, latents, _ = given(network)
    with torch.no_grad():
        shared = network.encode(seen)
        together = network.decode(shared, latents, seen.shape[2:])
        alone = torch.cat([network.decode(shared, each[None], seen.shape[2:]) for each in latents])
        one_image = network(seen[1:], latents[:, 1:])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[:, 1:], one_image, atol=1e-5, rtol=1e-5)
    assert float(together.std(0).max()) > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_the_posterior_sees_the_label_and_the_prior_does_not(name):
    network = made(name).eval()
    seen, latents, planes = given(network)
    with torch.no_grad():
        apart = [torch.stack(network(seen, latents, each).divergences) for each in (planes, planes.roll(1, 2))]
        samples = [network(seen, latents) for _ in range(2)]
    assert not torch.allclose(*apart)
    assert torch.equal(*samples)


def test_probabilistic_latents_are_the_same_in_all_pixels():
    """Pixels with equal features have equal logits, and change alike with the latent."""
    network = made("probabilistic")
    maps = torch.randn(2, 4, 5, 6)
    order = torch.randperm(30)
    latents = torch.randn(3, 2, 3)
    shuffled = maps.flatten(2)[..., order].unflatten(2, (5, 6))
    one, other = network.mix(maps, latents), network.mix(shuffled, latents)
    torch.testing.assert_close(one.flatten(3)[..., order], other.flatten(3))
    joined = torch.cat([maps.expand(3, *maps.shape), latents[..., None, None].expand(-1, -1, -1, 5, 6)], 2)
    plain = network.mix.logits(network.mix.rest(network.mix.first(joined.flatten(0, 1)))).unflatten(0, (3, 2))
    torch.testing.assert_close(one, plain, atol=1e-5, rtol=1e-5)


def test_hierarchical_latents_lie_at_coarse_levels():
    published = HierarchicalUNet(1, 2, widths=(2,) * 8, blocks=1)
    assert published.latent_sizes((128, 128)) == [(1, 1), (2, 2), (4, 4), (8, 8)]
    torch.manual_seed(0)
    network = HierarchicalUNet.small(1, 2, widths=(4, 4, 8, 8, 8, 8, 8))
    assert network.latent_sizes((64, 64)) == [(1, 1), (2, 2), (4, 4), (8, 8)]
    seen, latents = torch.randn(1, 1, 64, 64), torch.zeros(1, 1, 85)
    for number, all_change in ((0, True), (84, False)):  # the coarsest one, and one corner of the finest
        moved = latents.clone()
        moved[..., number] = 5
        with torch.no_grad():
            change = (network(seen, moved) - network(seen, latents)).abs().amax((0, 1, 2))
        assert bool((change > 0).all()) == all_change
        assert float(change[-1, -1]) > 0
        assert (float(change[0, 0]) > 0) == all_change


def test_phiseg_sees_the_image_through_its_latents_alone():
    network = made("phiseg").eval()
    seen, *_ = given(network)
    maps = [torch.randn(6, 2, *size) for size in network.latent_sizes(seen.shape[2:])]
    whole = network.likelihood(maps, seen.shape[2:])
    assert len(whole) == 3
    changed = [maps[0], maps[1], -maps[2]]
    for level, same in ((0, True), (1, True), (2, False)):
        assert torch.equal(network.likelihood(changed, seen.shape[2:])[level], whole[level]) == same
    laws = []
    for coarse in (0.0, 1.0):
        kept = network.encode(seen)
        laws.append(network.prior(kept, lambda number, law, coarse=coarse: torch.full_like(law.mean, coarse)))
    assert torch.equal(laws[0][0].mean, laws[1][0].mean)
    assert not torch.equal(laws[0][1].mean, laws[1][1].mean)


@pytest.mark.parametrize("released", [False, True])
def test_drawn_weights_have_the_variance_of_their_law(released):
    torch.manual_seed(0)
    network = WeightNoiseUNet(1, 2, widths=(2, 4), convolutions=2, released=released)
    with torch.no_grad():
        network.log_deviation.fill_(-0.5)
    maps = torch.randn(1, 2, 3, 4)
    noise = torch.randn(20_000, 1, network.latent_size((3, 4)) - 6)
    plain = torch.nn.Conv2d(2, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        network.mean.bias.fill_(100)  # nothing is cut off
        drawn = network._noisy(maps, noise)
        plain.weight.fill_(math.exp(-1))
        wanted = plain(maps.square())[0]
        torch.testing.assert_close(drawn.var(0), wanted, atol=0.05, rtol=0.06)
        torch.testing.assert_close(drawn.mean(0), network.mean(maps)[0], atol=0.1, rtol=0)
        flat = network._noisy(torch.ones(1, 2, 5, 5), noise[:50] if not released else torch.randn(50, 1, 50))
    inner = flat[:, :, 1:-1, 1:-1].flatten(2)
    assert (float((inner - inner[..., :1]).abs().max()) < 1e-3) == (not released)  # equal surroundings, equal noise


def test_the_divergence_of_drawn_weights():
    network = made("weight noise")
    laws = [
        torch.distributions.Normal(network.mean.weight, network.log_deviation.exp()),
        torch.distributions.Normal(0.0, 1.0),
    ]
    wanted = torch.distributions.kl_divergence(*laws).sum()
    torch.testing.assert_close(network.weight_divergence(), wanted, rtol=1e-4, atol=1e-2)


def test_without_noise_of_weights_it_is_a_probabilistic_unet():
    network = made("weight noise").eval()
    plain = made("probabilistic").eval()
    weights = network.unet.state_dict()
    for part in ("weight", "bias"):
        weights[f"up.levels.0.0.{part}"] = getattr(network.mean, part)
    plain.load_state_dict(weights)
    seen, latents, planes = given(plain)
    silent = torch.cat([latents, torch.zeros(3, 2, network.log_deviation.numel())], 2)
    one, other = plain(seen, latents, planes), network(seen, silent, planes)
    torch.testing.assert_close(one.logits[0], other.logits[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.divergences[0], other.divergences[0])


def test_sizes_that_cannot_be():
    with pytest.raises(InputError, match="two levels or more"):
        ProbabilisticUNet(1, 2, widths=(4,))
    with pytest.raises(InputError, match="more levels than latents"):
        HierarchicalUNet(1, 2, widths=(4, 8), latents=2)
    with pytest.raises(InputError, match="as many levels as latents"):
        PHiSeg(1, 2, widths=(4, 8), latents=3)
    with pytest.raises(InputError, match="dims=1"):
        PHiSeg(1, 2, dims=1)
