"""Losses of samplers with latents: sums by hand, what they bound, pixels that are drawn, the multiplier, annotators."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from calibrant.errors import InputError
from calibrant.networks import HierarchicalUNet, PHiSeg, ProbabilisticUNet, Reconstruction, WeightNoiseUNet
from calibrant.predictions import Prediction
from calibrant.samplers import (
    ConstrainedLoss,
    EvidenceLoss,
    HierarchicalSampler,
    Moment,
    PHiSegSampler,
    ProbabilisticSampler,
    SamplerRecipe,
    SupervisedLoss,
)
from calibrant.samplers.evidence import pixel_entropies
from calibrant.samplers.hierarchical import hard_pixels
from calibrant.samplers.supervised_uncertainty import mean_entropies

END = Moment(0.99, 10)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Fixed:
    """A network that answers what it was made with, whatever it is given."""

    num_classes = 3
    released = False

    def __init__(self, logits, divergences, numbers):
        self.answer = Reconstruction(logits, divergences, numbers)

    def latent_size(self, space):
        return 1

    def __call__(self, seen, latents, planes):
        self.planes = planes
        return self.answer


def fixed(annotators, numbers=(8, 32)):
    draw = generator()
    logits = [torch.randn(annotators, 2, 3, 4, 5, generator=draw).requires_grad_() for _ in numbers]
    apart = [torch.rand(annotators, 2, generator=draw) for _ in numbers]
    return Fixed(logits, apart, list(numbers)), torch.zeros(2, 1, 4, 5)


def test_the_bound_is_its_parts_added_by_hand():
    network, seen = fixed(3)
    labels = torch.randint(3, (2, 3, 4, 5), generator=generator())
    labels[0, 2] = -100  # two annotators of the first image
    labels[1, :, 0] = -100
    figures = EvidenceLoss(beta=2, warm_up=0, balanced=True, all_annotators=True)(
        network, seen, labels, generator(), END
    )
    total = 0.0
    for image, annotators in ((0, (0, 1)), (1, (0, 1, 2))):
        for a in annotators:
            of_levels = [
                F.cross_entropy(each[a, image][None], labels[image, a][None], reduction="sum")
                for each in network.answer.logits
            ]
            apart = [each[a, image] for each in network.answer.divergences]
            total += (sum(of_levels) + 2 * (4 * apart[0] + apart[1])) / len(annotators)
    torch.testing.assert_close(figures["loss"], total / 2)
    (gradient,) = torch.autograd.grad(figures["loss"], network.answer.logits[0])
    assert float(gradient[:, 1, :, 0].abs().max()) == 0
    assert float(network.planes[:, 1, :, 0].abs().max()) == 0
    assert float(gradient[2, 0].abs().max()) == 0


def test_the_weight_of_the_divergence_rises():
    network, seen = fixed(1)
    labels = torch.zeros(2, 1, 4, 5, dtype=torch.long)
    loss = EvidenceLoss(warm_up=0.2)
    found = [
        float(loss(network, seen, labels, generator(), Moment(done, 2))["weight of the divergence"])
        for done in (0.0, 0.1, 0.2, 0.9)
    ]
    assert found == pytest.approx([0, 0.5, 1, 1])
    figures = {"weight of the divergence": 1.0, "divergence 1": 0.01, "divergence 2": 0.02}
    assert "0.02 nats" in next(iter(loss.complaints(figures)))
    assert list(loss.complaints(figures | {"weight of the divergence": 0.5})) == []
    assert list(loss.complaints(figures | {"divergence 1": 0.6})) == []


def test_levels_of_phiseg_count_alike():
    """Published: 4 to the power of the level times its numbers, 2,048 at each level of 128 x 128."""
    sizes = PHiSeg(1, 2, widths=(2,) * 7).latent_sizes((128, 128))
    numbers = [2 * math.prod(size) for size in sizes]
    assert [max(numbers) / number for number in numbers] == [4.0**i for i in reversed(range(5))]
    assert {max(numbers) / number * number for number in numbers} == {2048}


@pytest.mark.parametrize("label", [0, 1])
def test_it_bounds_the_likelihood(label):
    """Of one pixel and one latent number, both by quadrature over the latent."""
    torch.manual_seed(0)
    network = ProbabilisticUNet(1, 2, widths=(4, 4), convolutions=1, latent_size=1)
    with torch.no_grad():
        network.mix.first.weight[:, -1].mul_(4)
        network.posterior.head.bias[0] = 0.7
    seen, labels = torch.ones(1, 1, 1, 1), torch.full((1, 1, 1), label)
    places = torch.linspace(-8, 8, 2001)[:, None, None]
    weights = torch.exp(-(places.flatten() ** 2) / 2)
    weights /= weights.sum()
    planes = F.one_hot(labels, 2).movedim(-1, 1)[None].float()
    with torch.no_grad():
        of_prior = -pixel_entropies(network(seen, places), labels.expand(2001, 1, 1, 1)).flatten()
        found = network(seen, places, planes.expand(2001, -1, -1, -1, -1))
        of_posterior = -pixel_entropies(found.logits[0], labels.expand(2001, 1, 1, 1)).flatten()
    evidence = (weights * of_prior.exp()).sum().log()
    bound = (weights * of_posterior).sum() - found.divergences[0][0, 0]
    assert float(bound) < float(evidence)
    assert float(evidence - bound) < 2


def test_hard_pixels_are_drawn_as_often_as_their_entropy_says():
    """Two of five, against all orders of drawing without replacement; those that are unlabelled never."""
    entropies = torch.tensor([0.1, 1.0, 2.0, 0.5, 3.0])
    known = torch.tensor([True, True, True, True, False])
    rates, wanted = entropies[:4].double(), torch.zeros(4, dtype=torch.float64)
    for one, other in itertools.permutations(range(4), 2):
        wanted[[one, other]] += rates[one] / rates.sum() * rates[other] / (rates.sum() - rates[one])
    drawn = hard_pixels(entropies.expand(1, 20_000, 5), known.expand(1, 20_000, 5), 0.4, generator(), of_batch=False)
    assert set(drawn.sum(2).flatten().tolist()) == {2}
    torch.testing.assert_close(drawn[0, :, :4].double().mean(0), wanted, atol=0.015, rtol=0)
    assert not bool(drawn[..., 4].any())
    assert torch.equal(
        hard_pixels(entropies[None, None], known[None, None], 1.0, generator(), of_batch=False)[0, 0], known
    )
    easy_and_hard = torch.stack([torch.full((50,), 1e-6), torch.ones(50)])[None]
    every = torch.ones_like(easy_and_hard, dtype=torch.bool)
    of_images, of_batch = (
        hard_pixels(easy_and_hard, every, 0.1, generator(), of_batch=of_batch).sum(2).tolist()
        for of_batch in (False, True)
    )
    assert of_images == [[5, 5]]
    assert of_batch == [[0, 10]]


def hierarchical(**options):
    torch.manual_seed(0)
    network = HierarchicalUNet(1, 2, widths=(4, 4, 8), latents=2, blocks=1, convolutions=1, **options)
    seen = torch.randn(2, 1, 16, 16, generator=generator())
    return network, seen, (seen > 0).long()


@pytest.mark.parametrize(("target", "rises"), [(1e-3, True), (100.0, False)])
@pytest.mark.parametrize("released", [False, True])
def test_the_multiplier_rises_while_the_constraint_is_broken(released, target, rises):
    network, seen, labels = hierarchical(released=released)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    loss = ConstrainedLoss(target=target, hard=1.0)
    figures = loss(network, seen, labels, generator(), END)
    assert float(figures["multiplier"]) == pytest.approx(1)
    assert float(network.multiplier.average) == pytest.approx(
        float(figures["cross-entropy of a hard pixel"]) * 256, rel=1e-5
    )
    figures["loss"].backward()
    optimiser.step()
    now = float(network.multiplier().detach())
    assert (now > 1) == rises
    assert now == pytest.approx(float(F.softplus(network.multiplier.raw).detach()) ** 2)
    assert ("multiplier.raw" in dict(network.named_parameters())) == released
    if not released:
        for _ in range(3000):
            network.multiplier.move(torch.tensor(0.02 if rises else -0.02))
        assert float(network.multiplier()) == pytest.approx(1000 if rises else 0.01, rel=0.02)


def test_the_gradient_of_the_constraint_is_that_of_the_step():
    """The value is a moving average, the gradient the multiplier times that of all of the cross-entropy."""
    network, seen, labels = hierarchical()
    with torch.no_grad():
        network.multiplier.raw.fill_(3.0)
    factor = float(F.softplus(torch.tensor(3.0))) ** 2
    network.multiplier.observe(torch.tensor(7.0), keep=0.99)
    loss = ConstrainedLoss(hard=1.0)
    bias = network.logits.bias
    (constrained,) = torch.autograd.grad(loss(network, seen, labels, generator(), END)["loss"], bias)
    (plain,) = torch.autograd.grad(EvidenceLoss(beta=0)(network, seen, labels, generator(), END)["loss"], bias)
    torch.testing.assert_close(constrained, factor * plain, rtol=1e-4, atol=1e-4)
    assert float(network.multiplier.average) != 7.0
    figures = {"multiplier": 1000.0, "cross-entropy of a hard pixel": 0.4, "divergence 1": 3.0}
    assert "target of 0.05" in next(iter(loss.complaints(figures)))


def test_the_comparison_of_means():
    samples = torch.rand(4, 2, 3, 4, 5, generator=generator()).softmax(2)
    labels = torch.randint(3, (2, 5, 4, 5), generator=generator())
    labels[0, :, 0, 0] = -100
    labels[1, 2:, 0, 1] = -100
    found = mean_entropies(samples, labels)
    mean = samples.mean(0)
    assert float(found[0, 0, 0]) == 0
    by_hand = -sum(mean[1, int(k), 0, 1].log() for k in labels[1, :2, 0, 1]) / 2
    assert float(found[1, 0, 1]) == pytest.approx(float(by_hand), abs=1e-5)
    shares = torch.stack([(labels == k).float().mean(1) for k in range(3)], 1)[1:, :, 2:].clamp(0.01)
    logits = (shares / shares.sum(1, keepdim=True)).log().requires_grad_()
    even = torch.arange(3).repeat(1, 1, 2, 5, 1).movedim(-1, 2)[:, 0]  # each class by one annotator
    at_the_mean = torch.zeros(1, 3, 2, 5).requires_grad_()
    for given, reached in ((at_the_mean, True), (logits, False)):
        (gradient,) = torch.autograd.grad(mean_entropies(given.softmax(1)[None], even).sum(), given)
        assert (float(gradient.abs().max()) < 1e-5) == reached


def test_what_the_released_code_weighs():
    torch.manual_seed(0)
    network = WeightNoiseUNet(1, 2, widths=(4, 4), convolutions=1).eval()
    seen, labels = torch.randn(2, 1, 8, 8), torch.randint(2, (2, 3, 8, 8))
    ours, released = (
        SupervisedLoss(released=released, warm_up=0)(network, seen, labels, generator(), END)
        for released in (False, True)
    )
    name = "cross-entropy of the mean"
    torch.testing.assert_close(released[name], ours[name] / 64 / math.log(2))
    bound = ours["cross-entropy of a map"] + ours["divergence 1"]
    of_weights = network.weight_divergence() / 10
    torch.testing.assert_close(ours["loss"], bound + of_weights + ours[name])
    torch.testing.assert_close(released["loss"], 3 * bound + of_weights + released[name])
    plain = SupervisedLoss(agreement=0, of_weights=0, all_annotators=False, warm_up=0)
    one, other = (loss(network, seen, labels, generator(), END) for loss in (plain, EvidenceLoss(warm_up=0)))
    assert one.keys() == other.keys()
    assert torch.equal(one["loss"], other["loss"])


def test_numbers_that_cannot_be():
    for make, words in (
        (lambda: EvidenceLoss(warm_up=1), "below 1"),
        (lambda: EvidenceLoss(beta=-1), "beta=-1"),
        (lambda: ConstrainedLoss(target=0), "target=0"),
        (lambda: ConstrainedLoss(hard=2), "hard=2"),
        (lambda: SupervisedLoss(num_samples=0), "num_samples=0"),
    ):
        with pytest.raises(InputError, match=words):
            make()


SIZES = {
    ProbabilisticSampler: {"widths": (4, 8), "convolutions": 1},
    HierarchicalSampler: {"widths": (8, 8, 8, 8), "latents": 2, "convolutions": 2, "blocks": 1},
    PHiSegSampler: {"widths": (8, 8, 8), "latents": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SIZES)
def test_two_maps_are_drawn_alike_often(kind):
    """A square that one of two annotators drew: about half of the samples show it, and one bit tells them.

    The image shows where it is: a latent for all of the image says whether, and not where.
    """
    square = torch.zeros(8, 8, dtype=torch.long)
    square[2:6, 3:7] = 1
    labels = torch.stack([square, torch.zeros_like(square)])
    images = [Prediction(str(i), torch.zeros(2, 8, 8), labels, square[None].float()) for i in range(4)]
    told = {}
    sampler = kind.fit(
        images,
        inputs="image",
        recipe=SamplerRecipe(
            num_steps=800 if kind is ProbabilisticSampler else 400,  # it takes a third of the others' time
            batch_size=16,
            learning_rate=3e-3,
            contrast=0,
            brightness=0,
            average=0.98,
        ),
        make=lambda *sizes, **dims: kind.network_class(*sizes, **SIZES[kind], **dims),
        watch=lambda done, figures: told.update(figures),
    )
    maps = sampler.sample(images[0].logits[None], images[0].image[None], num_samples=400, generator=generator())[:, 0]
    shown = (maps == square).flatten(1).float().mean(1) > 0.9
    empty = (maps == 0).flatten(1).float().mean(1) > 0.95
    assert float((shown | empty).float().mean()) > 0.95
    assert float(shown.float().mean()) == pytest.approx(0.5, abs=0.1)
    apart = sum(value for name, value in told.items() if name.startswith("divergence "))
    assert 0.5 < apart < 4
