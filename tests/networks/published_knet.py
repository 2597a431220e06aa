"""What published checkpoints of K-Net hold, key by key, and random weights of that form."""

from math import prod

import torch
from torch import nn

from calibrant.networks import KNetSize

# Counted by running mmsegmentation's configurations (see test_mmsegmentation_has_these_keys): parameters with 150
# classes, and the SHA-256 of all lines "key shape", sorted; both without the auxiliary head, for training alone.
# There is no published configuration of DeepLabV3 on ResNet-101: it is that of ResNet-50 with depth 101.
PUBLISHED = {
    "deeplabv3-resnet50": (79_027_446, "f48d13ddd63224c393043361382aee558a4713efa7a20f648fbf094f6e3f1b72"),
    "deeplabv3-resnet101": (98_019_574, "dbd4d8d3d764e8a97fabf75ba78f679d9af4dd95bed2644f2dfcc07275d8915a"),
    "upernet-resnet50": (77_329_654, "0c244c9700690d19980ae1e2ef54175892c7ff1d9e9500c6f69e32149c391d75"),
    "upernet-swin-tiny": (72_229_968, "326fc6864cad78e776cd210d27ef29ec016fd2a22cc9840bfafd010a7d05bb99"),
    "upernet-swin-large": (245_163_306, "6da7ac9234c6335f7ed3eb07dd191ee955e2a96e96dbd2bea2e442a8aa33afbb"),
}
CONFIGURATIONS = {
    "deeplabv3-resnet50": ("knet-s3_r50-d8_deeplabv3_8xb2-adamw-80k_ade20k-512x512.py", {}),
    "deeplabv3-resnet101": ("knet-s3_r50-d8_deeplabv3_8xb2-adamw-80k_ade20k-512x512.py", {"depth": 101}),
    "upernet-resnet50": ("knet-s3_r50-d8_upernet_8xb2-adamw-80k_ade20k-512x512.py", {}),
    "upernet-swin-tiny": ("knet-s3_swin-t_upernet_8xb2-adamw-80k_ade20k-512x512.py", {}),
    "upernet-swin-large": ("knet-s3_swin-l_upernet_8xb2-adamw-80k_ade20k-640x640.py", {}),
}
SMALL = {"depths": (1, 2, 2, 2), "channels": 16, "group": 8, "hidden": 24, "num_stages": 2}
TINY = {
    "deeplabv3-resnet": KNetSize(backbone="resnet", decoder="deeplabv3", width=8, **SMALL),
    "upernet-resnet": KNetSize(backbone="resnet", decoder="upernet", width=8, **SMALL),
    "upernet-swin": KNetSize(backbone="swin", decoder="upernet", width=32, window=3, **SMALL),
}


def norm(name: str, width: int, *, batch: bool = False) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    if batch:
        shapes |= {f"{name}.running_mean": (width,), f"{name}.running_var": (width,), f"{name}.num_batches_tracked": ()}
    return shapes


def linear(name: str, before: int, after: int, *, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (after, before)} | ({f"{name}.bias": (after,)} if bias else {})


def block(name: str, before: int, after: int, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.conv.weight": (after, before, size, size)} | norm(f"{name}.bn", after, batch=True)


def resnet_shapes(size: KNetSize) -> dict[str, tuple[int, ...]]:
    half, shapes = size.width // 2, {}
    for at, before, after in ((0, 3, half), (3, half, half), (6, half, size.width)):
        shapes |= {f"stem.{at}.weight": (after, before, 3, 3)} | norm(f"stem.{at + 1}", after, batch=True)
    before = size.width
    for stage, depth in enumerate(size.depths):
        inner = size.width * 2**stage
        for number in range(depth):
            name = f"layer{stage + 1}.{number}"
            for part, (i, o, side) in enumerate(((before, inner, 1), (inner, inner, 3), (inner, 4 * inner, 1)), 1):
                shapes |= {f"{name}.conv{part}.weight": (o, i, side, side)} | norm(f"{name}.bn{part}", o, batch=True)
            if number == 0:
                shapes |= {f"{name}.downsample.0.weight": (4 * inner, before, 1, 1)}
                shapes |= norm(f"{name}.downsample.1", 4 * inner, batch=True)
            before = 4 * inner
    return shapes


def swin_shapes(size: KNetSize) -> dict[str, tuple[int, ...]]:
    shapes = {"patch_embed.projection.weight": (size.width, 3, 4, 4), "patch_embed.projection.bias": (size.width,)}
    shapes |= norm("patch_embed.norm", size.width)
    for stage, depth in enumerate(size.depths):
        width = size.width * 2**stage
        for number in range(depth):
            name = f"stages.{stage}.blocks.{number}"
            attention = f"{name}.attn.w_msa"
            shapes |= norm(f"{name}.norm1", width) | norm(f"{name}.norm2", width)
            shapes |= linear(f"{attention}.qkv", width, 3 * width) | linear(f"{attention}.proj", width, width)
            shapes[f"{attention}.relative_position_bias_table"] = ((2 * size.window - 1) ** 2, width // 32)
            shapes[f"{attention}.relative_position_index"] = (size.window**2, size.window**2)
            shapes |= linear(f"{name}.ffn.layers.0.0", width, 4 * width)
            shapes |= linear(f"{name}.ffn.layers.1", 4 * width, width)
        if stage < 3:
            shapes |= norm(f"stages.{stage}.downsample.norm", 4 * width)
            shapes |= linear(f"stages.{stage}.downsample.reduction", 4 * width, 2 * width, bias=False)
        shapes |= norm(f"norm{stage}", width)
    return shapes


def update_shapes(size: KNetSize) -> dict[str, tuple[int, ...]]:
    k, g = size.channels, size.group
    shapes = {"feat_transform.conv.weight": (k, k, 1, 1), "feat_transform.conv.bias": (k,)}
    for name in ("dynamic_layer", "input_layer"):
        shapes |= linear(f"kernel_update_conv.{name}", g, 2 * g)
    for name in ("input_gate", "update_gate", "fc_layer"):
        shapes |= linear(f"kernel_update_conv.{name}", g, g)
    for name in ("norm_in", "norm_out", "input_norm_in", "input_norm_out", "fc_norm"):
        shapes |= norm(f"kernel_update_conv.{name}", g)
    shapes |= {"attention.attn.in_proj_weight": (3 * k, k), "attention.attn.in_proj_bias": (3 * k,)}
    shapes |= linear("attention.attn.out_proj", k, k) | norm("attention_norm", k)
    shapes |= linear("ffn.layers.0.0", k, size.hidden) | linear("ffn.layers.1", size.hidden, k) | norm("ffn_norm", k)
    return shapes | linear("mask_fcs.0", k, k, bias=False) | norm("mask_fcs.1", k) | linear("fc_mask", k, k)


def published_shapes(size: KNetSize, classes: int) -> dict[str, tuple[int, ...]]:
    """The keys of a published checkpoint and the shapes behind them."""
    backbone = resnet_shapes(size) if size.backbone == "resnet" else swin_shapes(size)
    widths = [size.width * 2**stage * (4 if size.backbone == "resnet" else 1) for stage in range(4)]
    k, head = size.channels, {}
    if size.decoder == "deeplabv3":
        head |= block("image_pool.1", widths[3], k, 1) | block("bottleneck", 5 * k, k, 3)
        for number in range(4):
            head |= block(f"aspp_modules.{number}", widths[3], k, 3 if number else 1)
    else:
        head |= block("bottleneck", widths[3] + 4 * k, k, 3) | block("fpn_bottleneck", 4 * k, k, 3)
        for number in range(4):
            head |= block(f"psp_modules.{number}.1", widths[3], k, 1)
        for number in range(3):
            head |= block(f"lateral_convs.{number}", widths[number], k, 1) | block(f"fpn_convs.{number}", k, k, 3)
    head |= {"conv_seg.weight": (classes, k, 1, 1), "conv_seg.bias": (classes,)}
    shapes = {f"backbone.{key}": shape for key, shape in backbone.items()}
    shapes |= {f"decode_head.kernel_generate_head.{key}": shape for key, shape in head.items()}
    for number in range(size.num_stages):
        shapes |= {f"decode_head.kernel_update_head.{number}.{k}": shape for k, shape in update_shapes(size).items()}
    return shapes


def number_of_parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    buffers = ("running_mean", "running_var", "num_batches_tracked", "relative_position_index")
    return sum(prod(shape) for key, shape in shapes.items() if not key.endswith(buffers))


def pairs_in_a_window(window: int) -> torch.Tensor:
    """Which entry of the table is for which two pixels, one pair after the other."""
    pixels = [(y, x) for y in range(window) for x in range(window)]
    side = 2 * window - 1
    index = [[(a - c + window - 1) * side + b - d + window - 1 for c, d in pixels] for a, b in pixels]
    return torch.tensor(index)


def random_weights(size: KNetSize, classes: int = 5) -> dict[str, torch.Tensor]:
    """Weights with which numbers neither vanish nor explode, and no norm is an identity."""
    generator, weights = torch.Generator().manual_seed(0), {}
    for key, shape in published_shapes(size, classes).items():
        drawn = torch.randn(shape, generator=generator)
        if key.endswith("relative_position_index"):
            weights[key] = pairs_in_a_window(size.window)
        elif key.endswith("num_batches_tracked"):
            weights[key] = torch.tensor(7)
        elif key.endswith("running_var"):
            weights[key] = 0.5 + drawn.abs()
        elif key.endswith("weight") and len(shape) > 1:
            weights[key] = drawn * prod(shape[1:]) ** -0.5
        else:
            weights[key] = 0.2 * drawn + (1 if key.endswith("weight") else 0)
    return weights


def images(*size: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def randomise(network: nn.Module) -> nn.Module:
    """Draw everything, norms and their running statistics too, so that no part is an identity."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            drawn = torch.randn(value.shape, generator=generator)
            value.copy_(0.5 + drawn.abs() if "running_var" in name else drawn * max(value[:1].numel(), 1) ** -0.5)
    return network.eval()
