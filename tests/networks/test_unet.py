import pytest
import torch

from calibrant.networks import SmallUNet


def network(**options) -> SmallUNet:
    generator = torch.Generator().manual_seed(0)
    return SmallUNet(3, 5, **{"width": 4, "depth": 2, "generator": generator, **options})


@pytest.mark.parametrize("space", [(4, 4), (16, 24), (17, 23)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_logits_at_every_stride_th_pixel(space, stride):
    logits = network(stride=stride, depth=1)(torch.rand(2, 3, *space))
    assert logits.shape == (2, 5, *(-(-size // stride) for size in space))


def test_three_dimensions():
    assert network(dims=3)(torch.rand(1, 3, 5, 8, 9)).shape == (1, 5, 5, 8, 9)
    with pytest.raises(ValueError, match="2 or 3"):
        network(dims=1)


def test_every_weight_learns():
    net = network()
    net(torch.rand(2, 3, 12, 12)).square().sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in net.parameters())


def test_weights_come_from_the_generator():
    a, b = network().state_dict(), network().state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_each_image_on_its_own_and_in_any_memory_layout():
    net = network().eval()
    images = torch.rand(3, 3, 10, 14)
    logits = net(images)
    torch.testing.assert_close(torch.cat([net(image[None]) for image in images]), logits, rtol=1e-4, atol=1e-5)
    net = net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(images.to(memory_format=torch.channels_last)), logits, rtol=1e-4, atol=1e-5)


def test_skips_keep_single_pixels():
    # What lies one pixel beside must be told apart: a change of one pixel moves its own logits most.
    net = network().eval()
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    changed = image.clone()
    changed[..., 7, 9] += 1
    moved = (net(changed) - net(image)).abs().sum((0, 1))
    row, column = divmod(int(moved.argmax()), 16)
    assert abs(row - 7) <= 2
    assert abs(column - 9) <= 2
