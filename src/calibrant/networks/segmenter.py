"""Segmenter (Strudel et al., ICCV 2021): a vision transformer, and a transformer of class embeddings and patches.

Both are ``torch.nn.TransformerEncoderLayer``, pre-norm with GELU: the layer that published checkpoints were trained
with, part for part, so that weights fit key by key, and nothing has to be installed. Of training, the stochastic depth
(0.1) is left out.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError
from calibrant.networks._published import load_published

SIZES = {
    "tiny": (192, 12, 3, 512),
    "small": (384, 12, 6, 512),
    "base": (768, 12, 12, 512),
    "large": (1024, 24, 16, 640),
}
"""Width, depth, heads and side of the training images of the published models, with patches of 16 pixels."""

# mmsegmentation's names, and ours, of the parts of a layer; and of all else.
_LAYER = {
    "attn.attn.": "self_attn.",
    "ffn.layers.0.0.": "linear1.",
    "ffn.layers.1.": "linear2.",
    "ln1.": "norm1.",
    "ln2.": "norm2.",
}
_REST = {
    "backbone.patch_embed.projection.": "patches.",
    "backbone.cls_token": "cls_token",
    "backbone.pos_embed": "positions",
    "backbone.ln1.": "norm.",
    "decode_head.dec_proj.": "into_decoder.",
    "decode_head.cls_emb": "classes",
    "decode_head.decoder_norm.": "decoder_norm.",
    "decode_head.patch_proj.": "patch_projection.",
    "decode_head.classes_proj.": "class_projection.",
    "decode_head.mask_norm.": "mask_norm.",
}
_UNUSED = ("decode_head.conv_seg.", "auxiliary_head.")
"""In some checkpoints; no part of what is run."""


class Segmenter(nn.Module):
    """Logits at every sixteenth pixel: ``n 3 h w`` to ``n c h/16 w/16``, rounded up.

    :param num_classes: how many classes there are.
    :param size: ``tiny``, ``small``, ``base`` or ``large``: 6.7, 26, 102 or 333 million parameters with 150 classes.
    :param image_size: the side of the square images that positions are learnt for; others are reached by bicubic
        interpolation. By default that of the published model.
    :param in_channels: channels of the images.
    :param patch_bias: whether the projection of patches has a bias; some releases of mmsegmentation have none.

    >>> network = Segmenter(19, size="tiny", image_size=64).eval()
    >>> network(torch.zeros(1, 3, 64, 100)).shape
    torch.Size([1, 19, 4, 7])
    """

    def __init__(
        self,
        num_classes: int,
        *,
        size: str = "base",
        image_size: int | None = None,
        in_channels: int = 3,
        patch_bias: bool = True,
    ):
        super().__init__()
        check_choice(size, SIZES, "size of Segmenter")
        width, depth, heads, usual = SIZES[size]
        side = (usual if image_size is None else image_size) // 16
        self.patches = nn.Conv2d(in_channels, width, 16, stride=16, bias=patch_bias)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, side * side + 1, width))
        self.layers = nn.ModuleList(_layer(width, heads, 1e-6) for _ in range(depth))
        self.norm = nn.LayerNorm(width, 1e-6)
        self.into_decoder = nn.Linear(width, width)
        self.classes = nn.Parameter(torch.empty(1, num_classes, width))
        self.decoder_layers = nn.ModuleList(_layer(width, heads, 1e-5) for _ in range(2))
        self.decoder_norm = nn.LayerNorm(width)
        self.patch_projection = nn.Linear(width, width, bias=False)
        self.class_projection = nn.Linear(width, width, bias=False)
        self.mask_norm = nn.LayerNorm(num_classes)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 and "patches" not in name:
                nn.init.trunc_normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, images: Float[Tensor, "n k h w"]) -> Float[Tensor, "n c t u"]:
        """Return logits of images that are scaled to [-1, 1].

        :param images: scaled to [-1, 1].
        """
        height, width = images.shape[2:]
        patches = self.patches(F.pad(images, (0, -width % 16, 0, -height % 16)))
        count, _, rows, columns = patches.shape
        tokens = torch.cat([self.cls_token.expand(count, -1, -1), patches.flatten(2).movedim(1, 2)], 1)
        tokens = tokens + self._positions_for(rows, columns)
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.into_decoder(self.norm(tokens)[:, 1:])
        tokens = torch.cat([tokens, self.classes.expand(count, -1, -1)], 1)
        for layer in self.decoder_layers:
            tokens = layer(tokens)
        tokens = self.decoder_norm(tokens)
        seen = F.normalize(self.patch_projection(tokens[:, : rows * columns]), dim=-1)
        classes = F.normalize(self.class_projection(tokens[:, rows * columns :]), dim=-1)
        masks = self.mask_norm(seen @ classes.movedim(1, 2))
        return masks.movedim(1, 2).unflatten(2, (rows, columns))

    def _positions_for(self, rows: int, columns: int) -> Float[Tensor, "1 p w"]:
        first, grid = self.positions[:, :1], self.positions[:, 1:]
        side = math.isqrt(grid.shape[1])
        if (rows, columns) == (side, side):
            return self.positions
        grid = grid.movedim(1, 2).unflatten(2, (side, side))
        grid = F.interpolate(grid, (rows, columns), mode="bicubic")
        return torch.cat([first, grid.flatten(2).movedim(1, 2)], 1)

    @classmethod
    def from_mmsegmentation(cls, weights: Mapping[str, Any]) -> "Segmenter":
        """Return the network of a published checkpoint of mmsegmentation (``segmenter_vit-*_mask_*``), in eval mode.

        Size, classes and image size are read from the weights. Images are to be scaled by 0.5 and 0.5 in each channel.

        :param weights: the ``state_dict`` in the file: ``torch.load(path, weights_only=True)["state_dict"]``.
        :raises InputError: these are other weights, or some are missing.
        """
        try:
            width, num_classes = weights["backbone.cls_token"].shape[-1], weights["decode_head.cls_emb"].shape[1]
            image_size = 16 * math.isqrt(weights["backbone.pos_embed"].shape[1] - 1)
            channels = weights["backbone.patch_embed.projection.weight"].shape[1]
        except (KeyError, IndexError, AttributeError, TypeError) as error:
            raise InputError(
                "expected the weights of mmsegmentation's Segmenter with a mask transformer (backbone.cls_token, "
                f"decode_head.cls_emb, …); {error} is missing. Pass the checkpoint's state_dict."
            ) from error
        size = next((name for name, each in SIZES.items() if each[0] == width), None)
        if size is None:
            raise InputError(f"expected a width of {', '.join(str(each[0]) for each in SIZES.values())}; got {width}.")
        # No weights are drawn that would be replaced at once.
        with torch.device("meta"):
            bias = "backbone.patch_embed.projection.bias" in weights
            network = cls(num_classes, size=size, image_size=image_size, in_channels=channels, patch_bias=bias)
        ours = {_renamed(key): value for key, value in weights.items() if not key.startswith(_UNUSED)}
        load_published(
            network,
            ours,
            f"Segmenter, {size}, with {num_classes} classes",
            "Download the checkpoint again, or take one of segmenter_vit-*_mask_*.",
        )
        return network.eval()


def _layer(width: int, heads: int, eps: float) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, activation="gelu", layer_norm_eps=eps, batch_first=True, norm_first=True
    )


def _renamed(key: str) -> str:
    for theirs, ours in (("backbone.layers.", "layers."), ("decode_head.layers.", "decoder_layers.")):
        if key.startswith(theirs):
            number, _, part = key.removeprefix(theirs).partition(".")
            for their_part, our_part in _LAYER.items():
                if part.startswith(their_part):
                    return f"{ours}{number}.{our_part}{part.removeprefix(their_part)}"
    for theirs, ours in _REST.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key
