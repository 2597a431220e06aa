"""K-Net (Zhang et al., NeurIPS 2021): one kernel a class, updated by what it finds in the image, three times.

The kernels of a segmenter are the weights of its last, 1 × 1 convolution: the logits of a class are its kernel times
the features of a pixel. K-Net starts with those, and each stage makes new ones for the image at hand.

Backbones come from ``transformers``; published checkpoints of mmsegmentation fit key by key. Of training, the
stochastic depth, the dropout before the last convolution and the auxiliary head are left out.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Tensor
from calibrant.networks._backbones import fill_positions, resnet, swin
from calibrant.networks._decoders import AtrousPyramid, UperNet
from calibrant.networks._knet_layout import HEADS, SIZES, KNetSize, read_size, renamed
from calibrant.networks._published import load_published

__all__ = ["KNet", "KNetSize", "KernelUpdate"]


class KernelUpdater(nn.Module):
    """New kernels from the features they found and themselves, each with a gate (K-Net, eq. 4 and 5).

    :param channels: of a kernel, or of a group of its channels.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.of_features = nn.Linear(channels, 2 * channels)
        self.of_kernels = nn.Linear(channels, 2 * channels)
        self.feature_gate, self.feature_gate_norm = nn.Linear(channels, channels), nn.LayerNorm(channels)
        self.kernel_gate, self.kernel_gate_norm = nn.Linear(channels, channels), nn.LayerNorm(channels)
        self.feature_norm, self.kernel_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.out, self.out_norm = nn.Linear(channels, channels), nn.LayerNorm(channels)

    def forward(self, features: Float[Tensor, "*b g"], kernels: Float[Tensor, "*b g"]) -> Float[Tensor, "*b g"]:
        """Return kernels of the same shape.

        :param features: what the masks of the kernels gathered of the features, in groups of g channels.
        :param kernels: the kernels, in the same groups.
        """
        feature_in, feature_out = self.of_features(features).chunk(2, -1)
        kernel_in, kernel_out = self.of_kernels(kernels).chunk(2, -1)
        both = feature_in * kernel_in
        feature_gate = self.feature_gate_norm(self.feature_gate(both)).sigmoid()
        kernel_gate = self.kernel_gate_norm(self.kernel_gate(both)).sigmoid()
        updated = feature_gate * self.feature_norm(feature_out) + kernel_gate * self.kernel_norm(kernel_out)
        return F.relu(self.out_norm(self.out(updated)))


class KernelUpdate(nn.Module):
    """One stage: masks gather features, features update kernels, kernels attend to each other, and make new masks.

    :param channels: of features and kernels.
    :param group: how many channels are updated at once, with the same weights for each group.
    :param hidden: width of the hidden layer after the attention.

    >>> stage = KernelUpdate(16, group=8, hidden=32)
    >>> masks, kernels = stage(torch.randn(2, 16, 5, 7), torch.randn(2, 3, 16), torch.randn(2, 3, 5, 7))
    >>> masks.shape, kernels.shape
    (torch.Size([2, 3, 5, 7]), torch.Size([2, 3, 16]))
    """

    def __init__(self, channels: int, *, group: int, hidden: int):
        super().__init__()
        self.group = group
        self.transform = nn.Conv2d(channels, channels, 1)
        self.updater = KernelUpdater(group)
        self.attention = nn.MultiheadAttention(channels, HEADS, batch_first=True)
        self.attention_norm = nn.LayerNorm(channels)
        self.feedforward = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.feedforward_norm = nn.LayerNorm(channels)
        self.into_mask = nn.Sequential(nn.Linear(channels, channels, bias=False), nn.LayerNorm(channels), nn.ReLU())
        self.mask = nn.Linear(channels, channels)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, features: Float[Tensor, "n k t u"], kernels: Float[Tensor, "n c k"], masks: Float[Tensor, "n c t u"]
    ) -> tuple[Float[Tensor, "n c t u"], Float[Tensor, "n c k"]]:
        """Return masks, as logits, and kernels, for the next stage.

        :param features: of the decoder, the same at every stage.
        :param kernels: one a class, of the stage before.
        :param masks: logits of the classes, of the stage before.
        """
        features = self.transform(features)
        # A sum over pixels, no mean: what is found grows with the area (eq. 3).
        found = torch.einsum("ncp,nkp->nck", masks.softmax(1).flatten(2), features.flatten(2))
        groups = (-1, self.group)
        kernels = self.updater(found.unflatten(-1, groups), kernels.unflatten(-1, groups)).flatten(-2)
        kernels = self.attention_norm(kernels + self.attention(kernels, kernels, kernels, need_weights=False)[0])
        kernels = self.feedforward_norm(kernels + self.feedforward(kernels))
        return torch.einsum("nck,nktu->nctu", self.mask(self.into_mask(kernels)), features), kernels


class KNet(nn.Module):
    """Logits ``n c t u`` of images ``n k h w``, at every eighth pixel (DeepLabV3) or every fourth (UperNet).

    :param num_classes: how many classes there are.
    :param size: one of the published, ``deeplabv3-resnet50``, ``deeplabv3-resnet101``, ``upernet-resnet50``,
        ``upernet-swin-tiny`` or ``upernet-swin-large``: 79, 98, 77, 72 or 245 million parameters with 150 classes; or
        one of your own.
    :param in_channels: channels of the images.
    :raises InputError: ``transformers`` is not installed.

    >>> with torch.device("meta"):  # which has shapes and no numbers
    ...     network = KNet(150, size="upernet-swin-large").eval()
    ...     logits = network(torch.zeros(1, 3, 512, 683))
    >>> sum(parameter.numel() for parameter in network.parameters()), logits.shape
    (245163306, torch.Size([1, 150, 128, 171]))
    """

    def __init__(self, num_classes: int, *, size: str | KNetSize = "upernet-swin-tiny", in_channels: int = 3):
        super().__init__()
        if isinstance(size, str):
            check_choice(size, SIZES, "size of K-Net")
            size = SIZES[size]
        if size.backbone == "swin":
            self.backbone = swin(size.width, size.depths, window=size.window, in_channels=in_channels)
            widths = [size.width * 2**stage for stage in range(4)]
        else:
            dilated = size.decoder == "deeplabv3"
            self.backbone = resnet(size.width, size.depths, in_channels=in_channels, dilated=dilated)
            widths = [size.width * 4 * 2**stage for stage in range(4)]
        if size.decoder == "deeplabv3":
            self.decoder = AtrousPyramid(widths[-1], size.channels)
        else:
            self.decoder = UperNet(widths, size.channels)
        self.classifier = nn.Conv2d(size.channels, num_classes, 1)
        self.stages = nn.ModuleList(
            KernelUpdate(size.channels, group=size.group, hidden=size.hidden) for _ in range(size.num_stages)
        )

    def forward(self, images: Float[Tensor, "n k h w"]) -> Float[Tensor, "n c t u"]:
        """Return the logits of the last stage.

        :param images: normalised as in training.
        """
        return self.by_stage(images)[-1]

    def by_stage(self, images: Float[Tensor, "n k h w"]) -> list[Tensor]:
        """Return logits of the first kernels and of every stage: training puts the same loss on all of them.

        :param images: normalised as in training.
        """
        features = self.decoder(self.backbone(images).feature_maps)
        logits = [self.classifier(features)]
        kernels = self.classifier.weight.flatten(1).expand(len(images), -1, -1)
        for stage in self.stages:
            masks, kernels = stage(features, kernels, logits[-1])
            logits.append(masks)
        return logits

    @classmethod
    def from_mmsegmentation(cls, weights: Mapping[str, Any]) -> "KNet":
        """Return the network of a published checkpoint of mmsegmentation, in eval mode.

        Those are ``knet_s3_deeplabv3_*`` and ``knet_s3_upernet_*``; size and classes are read from the weights. Images
        are to be scaled by ImageNet's means and deviations.

        :param weights: the ``state_dict`` in the file: ``torch.load(path, weights_only=True)["state_dict"]``.
        :raises InputError: these are other weights, some are missing, or ``transformers`` is not installed.
        """
        size, num_classes, in_channels = read_size(weights)
        # No weights are drawn that would be replaced at once.
        with torch.device("meta"):
            network = cls(num_classes, size=size, in_channels=in_channels)
        load_published(
            network,
            renamed(weights, release_5=hasattr(network.backbone, "swin")),
            f"K-Net, {size.decoder} on {size.backbone} {size.depths}, with {num_classes} classes",
            "Download the checkpoint again, or take one of knet_s3_deeplabv3_* or knet_s3_upernet_*.",
            ignoring="relative_position_index",
        )
        fill_positions(network.backbone)
        return network.eval()
