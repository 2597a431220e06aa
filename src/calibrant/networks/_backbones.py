"""Backbones of the library ``transformers``, changed where published segmenters changed them.

Each answers with ``feature_maps`` of four stages, the coarsest last.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn

from calibrant._input.checks import needs
from calibrant._shapes import Int, Tensor

STAGES = ("stage1", "stage2", "stage3", "stage4")


def swin(width: int, depths: Sequence[int], *, window: int, in_channels: int) -> nn.Module:
    """Return a Swin transformer (Liu et al., ICCV 2021): strides 4, 8, 16, 32, and ``width`` to ``8 width`` channels.

    All published ones have 32 channels a head, and a norm on each of the four stages if they serve a segmenter.
    """
    transformers = needs("transformers", "provides the backbone")
    config = transformers.SwinConfig(
        num_channels=in_channels,
        embed_dim=width,
        depths=list(depths),
        num_heads=[width * 2**stage // 32 for stage in range(4)],
        window_size=window,
        drop_path_rate=0.0,
        out_features=list(STAGES),
    )
    network = transformers.SwinBackbone(config)
    if hasattr(network, "swin"):
        # A last norm that the four stages' own make idle: newer releases have it, no checkpoint does.
        network.swin.layernorm = nn.Identity()
    return network


def resnet(width: int, depths: Sequence[int], *, in_channels: int, dilated: bool) -> nn.Module:
    """Return a ResNet "V1c" of bottlenecks: a stem of three convolutions, and ``4 width`` to ``32 width`` channels.

    :param dilated: "D8": the last two stages keep stride 8, and dilate by 2 and 4 instead. The first block of each has
        the dilation of the stage before it, so that every eighth pixel sees what it saw without.
    """
    transformers = needs("transformers", "provides the backbone")
    config = transformers.ResNetConfig(
        num_channels=in_channels,
        embedding_size=width,
        hidden_sizes=[width * 4 * 2**stage for stage in range(4)],
        depths=list(depths),
        out_features=list(STAGES),
    )
    network = transformers.ResNetBackbone(config)
    network.embedder = _stem(in_channels, width)
    if dilated:
        for stage, dilation in zip(network.encoder.stages[2:], (2, 4), strict=True):
            stage.layers[0].shortcut.convolution.stride = (1, 1)
            for number, block in enumerate(stage.layers):
                rate = dilation if number else dilation // 2
                convolution = block.layer[1].convolution
                convolution.stride = (1, 1)
                convolution.dilation = convolution.padding = (rate, rate)
    return network


def fill_positions(network: nn.Module) -> None:
    """Compute anew which pair of pixels in a window has which entry of the table of biases.

    They follow from the window alone, are in no checkpoint of today, and hold nothing where a network was made without
    memory, on the device ``meta``.
    """
    for module in network.modules():
        index = module._buffers.get("relative_position_index")
        if index is not None:
            table = next(module.parameters(recurse=False))
            pairs = _relative_positions(math.isqrt(math.isqrt(index.numel())))
            module.register_buffer(
                "relative_position_index",
                pairs.view(index.shape).to(table.device),
                persistent="relative_position_index" not in module._non_persistent_buffers_set,
            )


def _relative_positions(window: int) -> Int[Tensor, "p p"]:
    with torch.device("cpu"):
        rows, columns = (each.flatten() for each in torch.meshgrid(*[torch.arange(window)] * 2, indexing="ij"))
    down, right = (each[:, None] - each[None] + window - 1 for each in (rows, columns))
    return down * (2 * window - 1) + right


def _stem(in_channels: int, width: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for before, after, stride in ((in_channels, width // 2, 2), (width // 2, width // 2, 1), (width // 2, width, 1)):
        convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        parts += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*parts, nn.MaxPool2d(3, stride=2, padding=1))
