"""The networks of calibrated adversarial refinement: published sizes, any size of image, where noise acts."""

import pytest
import torch
from torch import nn

from calibrant.errors import InputError, ShapeError
from calibrant.networks import CalibrationHead, Discriminator, RefinementUNet, SegNet


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("make", "published"),
    [
        (lambda: RefinementUNet(5, 2), 619_490),  # LIDC
        (lambda: RefinementUNet(28, 25, noise_size=32), 633_017),  # Cityscapes
        (lambda: CalibrationHead(28, 25), 141_913),
        (lambda: Discriminator(5, size=(128, 128)), 3_431_809),
        (lambda: Discriminator(5), 3_431_809 - 64 * (14 * 14 - 1)),  # one weight a channel, not one a position
    ],
)
def test_published_sizes(make, published):
    with torch.device("meta"):
        assert count(make()) == published


def test_published_size_of_the_segnet():
    with torch.device("meta"):
        network = SegNet(3, 2)
    assert count(network) == pytest.approx(39.79e6, abs=5e3)
    assert count(network.encoder) == pytest.approx(20.04e6, abs=5e3)


@pytest.mark.parametrize("space", [(16, 16), (17, 23), (8, 9, 11)])
def test_refinement_of_any_size(space):
    network = RefinementUNet.small(3, 4, dims=len(space))
    assert network(torch.rand(2, 3, *space), torch.randn(5, 2, 8)).shape == (5, 2, 4, *space)
    assert RefinementUNet(3, 4, width=4, depth=2)(torch.rand(1, 3, 12, 12), torch.randn(1, 1, 8)).shape[2:] == (
        4,
        12,
        12,
    )


def test_samples_differ_by_their_noise_alone():
    network = RefinementUNet.small(3, 2).eval()
    condition, noise = torch.rand(2, 3, 16, 24), torch.randn(3, 2, 8)
    noise[2] = noise[0]
    with torch.no_grad():
        maps = network(condition, noise)
        one_by_one = torch.stack([network(condition, z[None])[0] for z in noise])
        image_by_image = torch.cat([network(condition[i : i + 1], noise[:, i : i + 1]) for i in range(2)], 1)
    assert torch.equal(maps[0], maps[2])
    assert not torch.allclose(maps[0], maps[1])
    torch.testing.assert_close(maps, one_by_one, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps, image_by_image, rtol=1e-4, atol=1e-5)


def test_noise_reaches_every_injection():
    network = RefinementUNet(3, 2, width=4)
    noise = torch.randn(4, 1, 8, requires_grad=True)
    network(torch.rand(1, 3, 32, 32), noise).square().sum().backward()
    assert len(network.noise) == 3  # behind the second and third level up, and in the output
    for injection in network.noise:
        assert float(injection.shift.weight.grad.abs().sum()) > 0
        assert float(injection.scale.weight.grad.abs().sum()) > 0
    assert float(noise.grad.abs().sum()) > 0


def test_noise_of_zero_is_silent_as_published_and_plain_with_gain_one():
    features = torch.rand(1, 4, 5, 5)
    for gain in (1e-5, 1.0):
        injection = RefinementUNet(3, 2, width=4, gain=gain).noise[1]
        found = injection(features, torch.zeros(1, 8))
        torch.testing.assert_close(found, injection.mix(gain * features))


@pytest.mark.parametrize("space", [(24, 24), (31, 45), (24, 24, 25)])
def test_discriminator_of_any_size(space):
    network = Discriminator(3, width=4, dims=len(space))
    assert network(torch.rand(2, 3, *space)).shape == (2,)


def test_the_pooled_discriminator_is_the_published_one_with_alike_positions():
    published, pooled = Discriminator(3, width=4, size=(40, 48)), Discriminator(3, width=4)
    pooled.features.load_state_dict(published.features.state_dict())
    with torch.no_grad():
        weight = pooled.head.weight[0]
        published.head.weight.copy_(weight.repeat_interleave(3 * 4)[None] / 12)
        published.head.bias.copy_(pooled.head.bias)
        pairs = torch.rand(2, 3, 40, 48)
        torch.testing.assert_close(published(pairs), pooled(pairs), rtol=1e-4, atol=1e-6)


def test_images_too_small_for_a_discriminator():
    with pytest.raises(ShapeError, match="at least 24 pixels a side"):
        Discriminator(3, width=4)(torch.rand(1, 3, 23, 40))
    Discriminator(3, width=4)(torch.rand(1, 3, 24, 40))


def test_the_discriminator_has_second_derivatives():
    network, pairs = Discriminator(3, width=4), torch.rand(2, 3, 24, 24, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(pairs).sum(), pairs, create_graph=True)
    gradient.square().sum().backward()
    assert float(network.features[1].weight.grad.abs().sum()) > 0


def test_the_head_sees_eleven_pixels():
    network = CalibrationHead(2, 3, width=8).eval()
    seen = torch.rand(1, 2, 31, 31)
    changed = seen.clone()
    changed[..., 15, 15] += 1
    with torch.no_grad():
        moved = (network(changed) - network(seen)).abs().sum(1)[0] > 0
    assert moved.nonzero().amin(0).tolist() == [10, 10]
    assert moved.nonzero().amax(0).tolist() == [20, 20]


class TestSegNet:
    def test_shape(self):
        assert SegNet.small(1, 3)(torch.rand(2, 1, 16, 48)).shape == (2, 3, 16, 48)
        with pytest.raises(ShapeError, match="divisible by 16"):
            SegNet.small(1, 3)(torch.rand(1, 1, 20, 16))

    def test_repeated_convolutions_share_their_weights(self):
        network = SegNet(3, 2, stages=((4,), (8,)), decoder=(((8, 4),),))
        assert len(network.decoder[0]) == 5
        assert len({id(block) for block in network.decoder[0]}) == 2

    def test_decoder_must_fit(self):
        with pytest.raises(InputError, match="a decoder of 1 stages"):
            SegNet(3, 2, stages=((4,), (8,)), decoder=())

    def test_pretrained_encoder(self):
        network = SegNet.small(3, 2)
        own = network.encoder.state_dict()
        given = {f"features.{name}": torch.rand(value.shape) if value.ndim else value for name, value in own.items()}
        network.load_encoder({**given, "classifier.0.weight": torch.zeros(1)})
        for name, value in network.encoder.state_dict().items():
            assert torch.equal(value, given[f"features.{name}"])
        other = SegNet.small(1, 2)
        first = next(iter(other.encoder.state_dict().values())).clone()
        other.load_encoder(given)
        assert torch.equal(next(iter(other.encoder.state_dict().values())), first)
        with pytest.raises(ShapeError, match=r"tensors of an encoder"):
            network.load_encoder({"features.0.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    "network",
    [RefinementUNet.small(3, 2, noise_size=5), Discriminator.small(3), CalibrationHead.small(4, 3), SegNet.small(1, 2)],
    ids=lambda network: type(network).__name__,
)
def test_made_again_from_its_arguments(network):
    import json

    arguments = json.loads(json.dumps(network.arguments()))
    again = type(network)(**arguments)
    again.load_state_dict(network.state_dict())
    assert again.arguments() == network.arguments()


def test_dimensions():
    with pytest.raises(InputError, match="2 or 3 dimensions"):
        Discriminator(3, dims=1)


def test_small_sizes_as_told():
    assert count(RefinementUNet.small(3, 2)) < 15_000
    assert count(Discriminator.small(3)) < 80_000
    assert count(SegNet.small(1, 2)) < 260_000


@torch.no_grad()
def test_first_weights_of_the_discriminator_let_images_through():
    torch.manual_seed(0)
    images = torch.randn(8, 3, 40, 40)
    before = Discriminator(3, width=8, halvings=2)(images).std()
    after = Discriminator.small(3, width=8)(images).std()
    assert float(before) < 2e-4
    assert float(after) > 50 * float(before)
