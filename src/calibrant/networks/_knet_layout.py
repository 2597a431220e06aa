"""K-Net's sizes, and its weights as mmsegmentation's checkpoints name them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calibrant._input.checks import check_choice
from calibrant._shapes import Tensor
from calibrant.errors import InputError

HEADS = 8
"""Of the attention between kernels, in all published configurations; weights do not tell."""


@dataclass(frozen=True, kw_only=True)
class KNetSize:
    """What a K-Net is made of.

    :param backbone: ``resnet`` or ``swin``.
    :param decoder: ``deeplabv3``, on the last map of a ResNet that keeps stride 8, or ``upernet``, on all four maps.
    :param depths: blocks in each of the four stages of the backbone.
    :param width: channels of its stem (ResNet) or first stage (Swin).
    :param window: the side of Swin's windows.
    :param channels: how many channels features and kernels have.
    :param group: how many channels of a kernel are updated at once; the same weights serve all groups. The published
        configurations have kernels of 512 channels and an updater for 256.
    :param hidden: width of the hidden layer after the attention.
    :param num_stages: how often kernels are updated.
    :raises InputError: ``channels`` cannot be divided by 8, the heads of the attention, and by ``group``; or the
        decoder cannot stand on the backbone.

    >>> KNetSize(backbone="swin", decoder="upernet", depths=(2, 2, 18, 2), width=128).channels  # Swin base
    512
    """

    backbone: str
    decoder: str
    depths: tuple[int, ...]
    width: int
    window: int = 7
    channels: int = 512
    group: int = 256
    hidden: int = 2048
    num_stages: int = 3

    def __post_init__(self) -> None:
        check_choice(self.backbone, ("resnet", "swin"), "backbone of K-Net")
        check_choice(self.decoder, ("deeplabv3", "upernet"), "decoder of K-Net")
        if self.channels % HEADS or self.channels % self.group:
            raise InputError(
                f"expected kernels whose channels divide by {HEADS} heads and by the group, {self.group}; got "
                f"{self.channels} channels."
            )
        if self.decoder == "deeplabv3" and self.backbone == "swin":
            raise InputError("expected a backbone with stride 8 for deeplabv3, resnet; got swin. Take upernet.")


SIZES = {
    "deeplabv3-resnet50": KNetSize(backbone="resnet", decoder="deeplabv3", depths=(3, 4, 6, 3), width=64),
    "deeplabv3-resnet101": KNetSize(backbone="resnet", decoder="deeplabv3", depths=(3, 4, 23, 3), width=64),
    "upernet-resnet50": KNetSize(backbone="resnet", decoder="upernet", depths=(3, 4, 6, 3), width=64),
    "upernet-swin-tiny": KNetSize(backbone="swin", decoder="upernet", depths=(2, 2, 6, 2), width=96),
    "upernet-swin-large": KNetSize(backbone="swin", decoder="upernet", depths=(2, 2, 18, 2), width=192),
}
"""The published configurations, ``knet-s3_*``; of DeepLabV3 on ResNet-101 there is the paper's word alone."""

_HEAD, _UPDATE = "decode_head.kernel_generate_head.", "decode_head.kernel_update_head."

# mmsegmentation's names, and ours, of the parts of an update.
_PARTS = {
    "feat_transform.conv.": "transform.",
    "kernel_update_conv.dynamic_layer.": "updater.of_features.",
    "kernel_update_conv.input_layer.": "updater.of_kernels.",
    "kernel_update_conv.update_gate.": "updater.feature_gate.",
    "kernel_update_conv.norm_in.": "updater.feature_gate_norm.",
    "kernel_update_conv.input_gate.": "updater.kernel_gate.",
    "kernel_update_conv.input_norm_in.": "updater.kernel_gate_norm.",
    "kernel_update_conv.norm_out.": "updater.feature_norm.",
    "kernel_update_conv.input_norm_out.": "updater.kernel_norm.",
    "kernel_update_conv.fc_layer.": "updater.out.",
    "kernel_update_conv.fc_norm.": "updater.out_norm.",
    "attention.attn.": "attention.",
    "attention_norm.": "attention_norm.",
    "ffn.layers.0.0.": "feedforward.0.",
    "ffn.layers.1.": "feedforward.2.",
    "ffn_norm.": "feedforward_norm.",
    "mask_fcs.": "into_mask.",
    "fc_mask.": "mask.",
}
# The same of a bottleneck, theirs and transformers'.
_BOTTLENECK = {
    **{f"conv{i}.": f"layer.{i - 1}.convolution." for i in (1, 2, 3)},
    **{f"bn{i}.": f"layer.{i - 1}.normalization." for i in (1, 2, 3)},
    "downsample.0.": "shortcut.convolution.",
    "downsample.1.": "shortcut.normalization.",
}
# And of a block of Swin: transformers changed its names with release 5.
_BLOCK = {
    "norm1.": ("layernorm_before.", "layernorm_before."),
    "norm2.": ("layernorm_after.", "layernorm_after."),
    "attn.w_msa.q.": ("attention.q_proj.", "attention.self.query."),
    "attn.w_msa.k.": ("attention.k_proj.", "attention.self.key."),
    "attn.w_msa.v.": ("attention.v_proj.", "attention.self.value."),
    "attn.w_msa.proj.": ("attention.o_proj.", "attention.output.dense."),
    "attn.w_msa.relative_position_bias_table": (
        "attention.relative_position_bias.relative_position_bias_table",
        "attention.self.relative_position_bias_table",
    ),
    "ffn.layers.0.0.": ("mlp.fc1.", "intermediate.dense."),
    "ffn.layers.1.": ("mlp.fc2.", "output.dense."),
}


def read_size(weights: Mapping[str, Any]) -> tuple[KNetSize, int, int]:
    """Return the size, the number of classes and that of the images' channels that weights are for.

    :raises InputError: these are other weights.
    """
    try:
        num_classes, channels = weights[f"{_HEAD}conv_seg.weight"].shape[:2]
        parts: dict[str, Any] = {
            "channels": channels,
            "group": len(weights[f"{_UPDATE}0.kernel_update_conv.fc_norm.weight"]),
            "hidden": len(weights[f"{_UPDATE}0.ffn.layers.0.0.weight"]),
            "num_stages": _count(weights, _UPDATE),
        }
        if "backbone.stem.0.weight" in weights:
            first = weights["backbone.stem.0.weight"]
            depths = tuple(_count(weights, f"backbone.layer{stage}.") for stage in (1, 2, 3, 4))
            parts |= {"backbone": "resnet", "depths": depths, "width": 2 * len(first)}
        else:
            first = weights["backbone.patch_embed.projection.weight"]
            depths = tuple(_count(weights, f"backbone.stages.{stage}.blocks.") for stage in range(4))
            table = weights["backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table"]
            window = (math.isqrt(len(table)) + 1) // 2
            parts |= {"backbone": "swin", "depths": depths, "width": len(first), "window": window}
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            "expected the weights of mmsegmentation's K-Net on ResNet-V1c or Swin (decode_head.kernel_generate_head.…, "
            f"decode_head.kernel_update_head.…, backbone.…); {error} is missing. Pass the checkpoint's state_dict."
        ) from error
    if f"{_HEAD}image_pool.1.conv.weight" in weights:
        decoder = "deeplabv3"
    elif f"{_HEAD}fpn_bottleneck.conv.weight" in weights:
        decoder = "upernet"
    else:
        raise InputError(
            "expected K-Net over DeepLabV3 or UperNet; this head has neither's weights. Take a checkpoint of "
            "knet_s3_deeplabv3_* or knet_s3_upernet_*."
        )
    return KNetSize(decoder=decoder, **parts), num_classes, first.shape[1]


def renamed(weights: Mapping[str, Tensor], *, release_5: bool) -> dict[str, Tensor]:
    """Return published weights under our names, and transformers', without what is of training alone.

    :param release_5: whether transformers has the names that it has since release 5.
    """
    ours: dict[str, Tensor] = {}
    for key, value in weights.items():
        if key.startswith("auxiliary_head.") or key.endswith("relative_position_index"):
            continue
        if key.startswith("backbone.stages.") and ".qkv." in key:
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                ours[_name(key.replace(".qkv.", f".{letter}."), release_5)] = part
        else:
            # The four pixels that are merged lie innermost with mmsegmentation, rows first; outermost with
            # transformers, columns first.
            if key.startswith("backbone.stages.") and ".downsample." in key and value.shape[-1] % 4 == 0:
                value = value.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)
            ours[_name(key, release_5)] = value
    return ours


def _name(key: str, release_5: bool) -> str:
    """Return our name of a part; that of no part of K-Net stays as it is."""
    try:
        return _known_name(key, release_5)
    except ValueError:
        return key


def _known_name(key: str, release_5: bool) -> str:
    swin = "backbone.swin." if release_5 else "backbone."
    if key.startswith("backbone.stages."):
        stage, kind, rest = key.removeprefix("backbone.stages.").split(".", 2)
        if kind == "blocks":
            number, _, part = rest.partition(".")
            names = {theirs: ours[0 if release_5 else 1] for theirs, ours in _BLOCK.items()}
            return f"{swin}encoder.layers.{stage}.blocks.{number}.{_swapped(part, names)}"
        return f"{swin}encoder.layers.{stage}.{kind}.{rest}"
    if key.startswith("backbone.norm"):
        stage, _, part = key.removeprefix("backbone.norm").partition(".")
        return f"backbone.hidden_states_norms.stage{int(stage) + 1}.{part}"
    if key.startswith("backbone.layer"):
        stage, number, part = key.removeprefix("backbone.layer").split(".", 2)
        return f"backbone.encoder.stages.{int(stage) - 1}.layers.{number}.{_swapped(part, _BOTTLENECK)}"
    if key.startswith(_UPDATE):
        number, _, part = key.removeprefix(_UPDATE).partition(".")
        return f"stages.{number}.{_swapped(part, _PARTS)}"
    whole = {
        "backbone.stem.": "backbone.embedder.",
        "backbone.patch_embed.projection.": f"{swin}embeddings.patch_embeddings.projection.",
        "backbone.patch_embed.norm.": f"{swin}embeddings.norm.",
        f"{_HEAD}conv_seg.": "classifier.",
        _HEAD: "decoder.",
    }
    return _swapped(key, whole)


def _swapped(key: str, names: Mapping[str, str]) -> str:
    return next((ours + key.removeprefix(theirs) for theirs, ours in names.items() if key.startswith(theirs)), key)


def _count(weights: Mapping[str, Any], prefix: str) -> int:
    numbers = [key.removeprefix(prefix).partition(".")[0] for key in weights if key.startswith(prefix)]
    if not numbers:
        raise KeyError(f"{prefix}0")
    return 1 + max(int(number) for number in numbers if number.isdecimal())
