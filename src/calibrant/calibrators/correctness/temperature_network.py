"""A small network that says by how much to scale a pixel's logits, seen from its context; and its training.

Several networks, each trained without some of the images, are one: their outputs are averaged, and as each has one
hidden layer they are stored and run as a single one that is wide.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, silu

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators._descend import descend
from calibrant.calibrators.calibrator import by_pixel_blocks
from calibrant.calibrators.correctness.features import Context
from calibrant.calibrators.correctness.sample import ContextPixels, together

COLDEST, HOTTEST = 3.0, 4.0
"""The factor on the logits stays within exp(-HOTTEST) and exp(COLDEST)."""

LEVELS = torch.linspace(0.05, 0.95, 10)
"""Confidences around which the calibration of an image is looked at in training."""


class TemperatureNetwork(nn.Module):
    """From the context of a pixel to the factor on its logits; below 1 softens.

    :param centre: mean of each number of the context.
    :param scale: its standard deviation.
    :param weight: of the hidden layer, (hidden, numbers).
    :param by_winner: what each class, if it is the likeliest, adds to the hidden layer, (classes, hidden).
    :param by_runner_up: what each class adds if it is the second.
    :param bias: of the hidden layer.
    :param readout: from the hidden layer to the logarithm of the factor.
    :param offset: its value where nothing is known.
    """

    centre: Tensor
    scale: Tensor
    weight: Tensor
    by_winner: Tensor
    by_runner_up: Tensor
    bias: Tensor
    readout: Tensor
    offset: Tensor

    def __init__(
        self,
        centre: Float[Tensor, " f"],
        scale: Float[Tensor, " f"],
        weight: Float[Tensor, "h f"],
        by_winner: Float[Tensor, "c h"],
        by_runner_up: Float[Tensor, "c h"],
        bias: Float[Tensor, " h"],
        readout: Float[Tensor, " h"],
        offset: Float[Tensor, ""],
    ) -> None:
        super().__init__()
        parts = {"centre": centre, "scale": scale, "weight": weight, "by_winner": by_winner}
        parts |= {"by_runner_up": by_runner_up, "bias": bias, "readout": readout, "offset": offset}
        for name, value in parts.items():
            self.register_buffer(name, value.detach().float().clone())

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs."""
        return dict(self.named_buffers())

    @property
    def num_classes(self) -> int:
        """The number of classes that it was trained on."""
        return len(self.by_winner)

    def forward(self, context: Context) -> Float[Tensor, "n 1 p"]:
        """Return the factor on the logits of each pixel."""
        classes = torch.stack([context.winner, context.runner_up], 1)
        return by_pixel_blocks(self._factor, context.numbers, classes)

    def _factor(self, numbers: Float[Tensor, "n f p"], classes: Int[Tensor, "n 2 p"]) -> Float[Tensor, "n 1 p"]:
        x = _normalised(numbers.mT, self.centre, self.scale)
        hidden = x @ self.weight.T + self.bias + self.by_winner[classes[:, 0]] + self.by_runner_up[classes[:, 1]]
        return _bounded(silu(hidden) @ self.readout + self.offset).exp().unsqueeze(1)


class Trainee(nn.Module):
    """One of the networks while it is trained; classes are told apart by two numbers each, not by a whole row."""

    def __init__(self, like: ContextPixels, centre: Tensor, scale: Tensor, hidden: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        f, c, d = like.numbers.shape[1], like.below.shape[1], 2

        def drawn(*shape: int, width: float) -> nn.Parameter:
            start = torch.empty(shape).uniform_(-width, width, generator=generator)
            return nn.Parameter(start.to(like.numbers.device))

        width = (f + 2 * d) ** -0.5
        self.centre, self.scale = centre, scale
        self.weight, self.bias = drawn(hidden, f, width=width), drawn(hidden, width=width)
        self.to_hidden = drawn(2, d, hidden, width=width)
        self.classes = drawn(2, c, d, width=0.15)
        self.readout, self.offset = drawn(hidden, width=0.0), drawn(width=0.0)

    def forward(self, numbers: Tensor, winner: Tensor, runner_up: Tensor) -> Tensor:
        """Return the factor on the logits."""
        first, second = self.tables()
        x = _normalised(numbers, self.centre, self.scale)
        hidden = x @ self.weight.T + self.bias + first[winner] + second[runner_up]
        return _bounded(silu(hidden) @ self.readout + self.offset).exp()

    def tables(self) -> Float[Tensor, "2 c h"]:
        """Return what each class adds to the hidden layer."""
        return self.classes @ self.to_hidden


def _normalised(numbers: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    return ((numbers - centre) / scale).clamp(-6, 6)


def _bounded(log_factor: Tensor) -> Tensor:
    return log_factor.clamp(-HOTTEST, COLDEST)


def loss_of(
    pixels: ContextPixels, factor: Float[Tensor, " p"], *, num_images: int, image_weight: float, level_weight: float
) -> Float[Tensor, ""]:
    """Return the loss of pixels of some images, equally many of each, image by image.

    Proper scores of the whole distribution (negative log-likelihood) and of being right (binary cross-entropy), the
    squared error of each image's accuracy, and each image's calibration error over soft bins of confidence.
    """
    doubt, nll = pixels.judged(pixels.log_probs(factor))
    right = (pixels.winner == pixels.labels).float()
    log_odds = (1 - doubt).clamp_min(1e-7).log() - doubt.clamp_min(1e-7).log()
    gap = (1 - doubt - right).view(num_images, -1)
    distance = (1 - doubt.detach()[:, None] - LEVELS.to(doubt.device)) / 0.05
    near = (-distance.square() / 2).softmax(-1).view(num_images, -1, len(LEVELS))
    by_level = (gap[..., None] * near).mean(1)
    return (
        nll.mean()
        + binary_cross_entropy_with_logits(log_odds, right)
        + image_weight * gap.mean(1).square().mean()
        + level_weight * (by_level.square() + 1e-6).sqrt().sum(-1).mean()
    )


def train(
    kept: Sequence[ContextPixels],
    held: Sequence[ContextPixels],
    centre: Float[Tensor, " f"],
    scale: Float[Tensor, " f"],
    *,
    hidden: int,
    epochs: int,
    batches_per_epoch: int = 15,
    images_per_batch: int = 8,
    learning_rate: float = 4e-3,
    image_weight: float = 5.0,
    level_weight: float = 4.0,
    seed: int = 0,
) -> Trainee:
    """Return a network trained on some images; the epoch with the lowest loss on the others is kept."""
    network = Trainee(kept[0], centre, scale, hidden, seed)
    most = max(map(len, (*kept, *held)))
    pixels_per_image = min(2000, most, max(100, 50_000 // kept[0].below.shape[1]))

    def value(images: Sequence[ContextPixels], generator: torch.Generator) -> Tensor:
        drawn = [
            i.at(torch.randint(len(i), (pixels_per_image,), generator=generator).to(i.labels.device)) for i in images
        ]
        pixels = together(drawn)
        factor = network(pixels.numbers, pixels.winner, pixels.runner_up)
        return loss_of(pixels, factor, num_images=len(images), image_weight=image_weight, level_weight=level_weight)

    def batches(generator: torch.Generator) -> list[tuple[list[int], int]]:
        found: list[tuple[list[int], int]] = []
        while len(found) < batches_per_epoch:
            for part in torch.randperm(len(kept), generator=generator).split(images_per_batch):
                found.append((part.tolist(), int(torch.randint(2**62, (), generator=generator))))
        return found[:batches_per_epoch]

    def loss(batch: tuple[list[int], int]) -> Tensor:
        return value([kept[i] for i in batch[0]], torch.Generator().manual_seed(batch[1]))

    descend(
        list(network.parameters()),
        loss=loss,
        batches=batches,
        score=lambda: float(value(held, torch.Generator().manual_seed(seed))),
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=1e-2,
        anneal=True,
        seed=seed,
        name=f"correctness scaling, network {seed}",
    )
    return network


@torch.no_grad()
def joined(networks: Sequence[Trainee]) -> TemperatureNetwork:
    """Return the networks as one, whose log-factor is the mean of theirs."""
    count = len(networks)
    tables = torch.cat([network.tables() for network in networks], -1)
    return TemperatureNetwork(
        networks[0].centre,
        networks[0].scale,
        torch.cat([network.weight for network in networks]),
        tables[0],
        tables[1],
        torch.cat([network.bias for network in networks]),
        torch.cat([network.readout for network in networks]) / count,
        torch.stack([network.offset for network in networks]).mean(),
    )
