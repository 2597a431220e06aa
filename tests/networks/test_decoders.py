"""Backbones and decoders against others, and against loops."""

import pytest
import torch
from torch import nn

pytest.importorskip("transformers", reason="transformers is not installed")

from published_knet import images, randomise

from calibrant.networks._backbones import resnet
from calibrant.networks._decoders import AtrousPyramid, UperNet


@torch.no_grad()
def test_stride_8_sees_at_every_eighth_pixel_what_stride_32_sees():
    plain, dilated = (resnet(8, (1, 2, 3, 2), in_channels=3, dilated=each) for each in (False, True))
    dilated.load_state_dict(randomise(plain).state_dict())
    view = images(1, 3, 83, 110)
    expected, found = plain(view).feature_maps, dilated.eval()(view).feature_maps
    assert [each.shape[-2:] for each in found] == [(21, 28), (11, 14), (11, 14), (11, 14)]
    for a, b, step in zip(found, expected, (1, 1, 2, 4), strict=True):
        assert b.std() > 0.01
        torch.testing.assert_close(a[:, :, ::step, ::step], b)


@torch.no_grad()
def test_upernet_is_that_of_transformers():
    from transformers import UperNetConfig
    from transformers.models.upernet.modeling_upernet import UperNetHead

    ours = randomise(UperNet((8, 16, 24, 32), 12))
    theirs = UperNetHead(UperNetConfig(hidden_size=12, num_labels=3), [8, 16, 24, 32]).eval()
    theirs.classifier = nn.Identity()
    theirs.load_state_dict({key.replace(".bn.", ".batch_norm."): value for key, value in ours.state_dict().items()})
    maps = [images(2, width, *size) for width, size in ((8, (21, 30)), (16, (11, 15)), (24, (6, 8)), (32, (3, 4)))]
    found = ours(maps)
    assert found.std() > 0.1
    torch.testing.assert_close(found, theirs(maps))


@torch.no_grad()
def test_the_atrous_pyramid_written_out():
    pyramid = randomise(AtrousPyramid(4, 8, dilations=(1, 2, 5)))
    x = images(1, 4, 6, 7)

    def convolve(x, part, rate=1):
        kernel, outputs = part.conv.weight, torch.zeros(part.conv.out_channels, 6, 7)
        reach = kernel.shape[-1] // 2
        for y in range(6):
            for z in range(7):
                for dy in range(-reach, reach + 1):
                    for dz in range(-reach, reach + 1):
                        a, b = y + rate * dy, z + rate * dz
                        if 0 <= a < 6 and 0 <= b < 7:
                            outputs[:, y, z] += kernel[:, :, dy + reach, dz + reach] @ x[:, a, b]
        norm = part.bn
        scale = norm.weight / (norm.running_var + 1e-5).sqrt()
        return ((outputs - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]).relu()

    mean = x[0].mean((1, 2))[:, None, None].expand(-1, 6, 7)
    parts = [convolve(mean, pyramid.image_pool[1])]
    parts += [convolve(x[0], part, rate) for part, rate in zip(pyramid.aspp_modules, (1, 2, 5), strict=True)]
    found = pyramid([torch.zeros(1, 1, 1, 1), x])
    assert found.std() > 0.1
    torch.testing.assert_close(found[0], convolve(torch.cat(parts), pyramid.bottleneck))
