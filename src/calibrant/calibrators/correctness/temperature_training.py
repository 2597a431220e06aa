"""How the network of equation (2) is trained, and how several become one.

Each is trained without some of the images, on the sum, with p the probabilities by equations (2) to (4) and w the
winner, of

* the mean negative log-likelihood of the labels: a proper score of all classes;
* the mean binary cross-entropy of "w is the label" under p_w: a proper score of the confidence, which s decides;
* ``image_weight`` times the mean over images of (mean confidence - accuracy)²: pixels of one image err together, which
  a mean over pixels does not see;
* ``level_weight`` times the mean over images of the sum over :data:`LEVELS` of |mean of share * (p_w - is right)|,
  where share says how near a confidence is to the level: the calibration error of the image, in bins that overlap.

The width of the hidden layer was chosen while looking at the 80 CamVid images of docs/results/claims.md, which are
therefore no proof of it. What chose the two weights and the learning rate is not on record.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, silu

from calibrant._shapes import Float, Tensor
from calibrant.calibrators._descend import descend, seeded_batches
from calibrant.calibrators.correctness.sample import SampledImage, Terms
from calibrant.calibrators.correctness.temperature_network import TemperatureNetwork, bounded, standardised

LEVELS = torch.linspace(0.05, 0.95, 10)
"""Confidences around which the calibration of an image is measured in training."""

LEVEL_WIDTH = 0.05
"""Standard deviation, in confidence, of a level: half of the distance between two."""

ROUNDING = 1e-6
"""Added to a square before its root, so that the gradient of an absolute value is finite at 0."""

MIN_PROBABILITY = 1e-7
"""Probabilities below this count as this before their logarithm is taken: a step of float32 below 1."""

EMBEDDING = 2
"""Numbers by which a network in training distinguishes classes: rows of their own for 150 classes would
be ten times the weights of the 30 features."""

EMBEDDING_START = 0.15
"""Bound on those numbers at the start: not 0, where the two factors of the product have no gradient, and small."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    :param hidden: width of the hidden layer.
    :param num_epochs: number of epochs; the one with the lowest loss on the held-out images is kept.
    :param image_weight: weight of the squared gap between mean confidence and accuracy of each image.
    :param level_weight: weight of the calibration error of each image at ten levels of confidence.
    :param batches_per_epoch: steps in an epoch.
    :param images_per_batch: images in a batch, each with equally many pixels.
    :param pixels_per_image: pixels of an image in a batch, at most.
    :param logits_per_image: logits of an image in a batch, at most (but of 100 pixels at least): with many classes a
        step takes fewer pixels, and no longer.
    :param learning_rate: learning rate of AdamW at the start; it falls to 0 along a half cosine.
    :param weight_decay: weight decay of AdamW.
    """

    hidden: int = 6
    num_epochs: int = 10
    image_weight: float = 5.0
    level_weight: float = 4.0
    batches_per_epoch: int = 15
    images_per_batch: int = 8
    pixels_per_image: int = 2000
    logits_per_image: int = 50_000
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2


class TrainableNetwork(nn.Module):
    """One network in training; its tables U and V are products of an embedding of the classes and a matrix.

    :param like: an image of the fit, for its numbers of features and classes.
    :param centre: mean of each feature.
    :param scale: standard deviation of each feature.
    :param hidden: width of the hidden layer.
    :param seed: seed of the initial weights.
    """

    def __init__(
        self,
        like: SampledImage,
        centre: Float[Tensor, " f"],
        scale: Float[Tensor, " f"],
        *,
        hidden: int,
        seed: int,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        f, c, d = like.features.shape[1], like.num_classes, EMBEDDING

        def uniform(*shape: int, bound: float) -> nn.Parameter:
            start = torch.empty(shape).uniform_(-bound, bound, generator=generator)
            return nn.Parameter(start.to(like.features.device))

        bound = (f + 2 * d) ** -0.5  # of a linear layer in torch: one over the root of its number of inputs
        self.centre, self.scale = centre, scale
        self.weight, self.bias = uniform(hidden, f, bound=bound), uniform(hidden, bound=bound)
        self.to_hidden = uniform(2, d, hidden, bound=bound)
        self.classes = uniform(2, c, d, bound=EMBEDDING_START)
        # The readout starts at 0, so that the factor starts at 1: from the base.
        self.readout, self.offset = uniform(hidden, bound=0.0), uniform(bound=0.0)

    def forward(self, image: SampledImage) -> Float[Tensor, " p"]:
        """Return the factor on the margins of the pixels."""
        by_winner, by_runner_up = self.tables()
        x = standardised(image.features, self.centre, self.scale)
        hidden = x @ self.weight.T + self.bias + by_winner[image.winner] + by_runner_up[image.runner_up]
        return bounded(silu(hidden) @ self.readout + self.offset).exp()

    def tables(self) -> Float[Tensor, "2 c h"]:
        """Return what each class adds to the hidden layer as the winner, and as the runner-up."""
        return self.classes @ self.to_hidden


def loss_of(
    image: SampledImage, log_probs: Float[Tensor, "p c"], *, num_images: int, image_weight: float, level_weight: float
) -> Float[Tensor, ""]:
    """Return the loss, see the top of this file, of equally many pixels of some images.

    :param image: the pixels, image by image.
    :param log_probs: log-probabilities by equations (2) to (4).
    :param num_images: how many images they are of.
    :param image_weight: weight of the squared gap of each image.
    :param level_weight: weight of the calibration error of each image.
    """
    log_confidence, log_likelihood = (log_probs.gather(1, k[:, None])[:, 0] for k in (image.winner, image.labels))
    doubt, right = -log_confidence.expm1(), image.is_right.float()
    log_odds = (1 - doubt).clamp_min(MIN_PROBABILITY).log() - doubt.clamp_min(MIN_PROBABILITY).log()
    gap = (1 - doubt - right).view(num_images, -1)
    distance = (1 - doubt.detach()[:, None] - LEVELS.to(doubt.device)) / LEVEL_WIDTH
    share = (-distance.square() / 2).softmax(-1).view(num_images, -1, len(LEVELS))
    by_level = (gap[..., None] * share).mean(1)
    return (
        (-log_likelihood).mean()
        + binary_cross_entropy_with_logits(log_odds, right)
        + image_weight * gap.mean(1).square().mean()
        + level_weight * (by_level.square() + ROUNDING).sqrt().sum(-1).mean()
    )


def train(
    images: Sequence[SampledImage],
    terms: Sequence[Terms],
    held: Sequence[int],
    moments: tuple[Float[Tensor, " f"], Float[Tensor, " f"]],
    recipe: Recipe,
    *,
    seed: int,
) -> TrainableNetwork:
    """Return a network trained on some images; the epoch with the lowest loss on the others is kept.

    :param images: all images of the fit.
    :param terms: terms of equations (3) and (4) for each image.
    :param held: the numbers of the images to hold out.
    :param moments: mean and standard deviation of each feature.
    :param recipe: how the network is trained.
    :param seed: seed of the initial weights, the batches and the pixels in them.
    """
    network = TrainableNetwork(images[0], *moments, hidden=recipe.hidden, seed=seed)
    kept = [i for i in range(len(images)) if i not in set(held)]
    room = max(100, recipe.logits_per_image // images[0].num_classes)
    count = min(recipe.pixels_per_image, max(map(len, images)), room)

    def loss_on(chosen: Sequence[int], generator: torch.Generator) -> Float[Tensor, ""]:
        at = [torch.randint(len(images[i]), (count,), generator=generator) for i in chosen]
        at = [k.to(images[i].labels.device) for k, i in zip(at, chosen, strict=True)]
        batch = SampledImage.concatenated([images[i].at(k) for k, i in zip(at, chosen, strict=True)])
        given = Terms.concatenated([terms[i].at(k) for k, i in zip(at, chosen, strict=True)])
        log_probs = replace(given, factor=network(batch)).log_probs(batch)
        weights = {"image_weight": recipe.image_weight, "level_weight": recipe.level_weight}
        return loss_of(batch, log_probs, num_images=len(chosen), **weights)

    descend(
        list(network.parameters()),
        loss=lambda batch: loss_on(batch[0], torch.Generator().manual_seed(batch[1])),
        batches=partial(seeded_batches, kept, recipe.images_per_batch, recipe.batches_per_epoch),
        score=lambda: float(loss_on(held, torch.Generator().manual_seed(seed))),
        num_epochs=recipe.num_epochs,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        anneal=True,
        seed=seed,
        name=f"correctness scaling, network {seed}",
    )
    return network


@torch.no_grad()
def joined(networks: Sequence[TrainableNetwork]) -> TemperatureNetwork:
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
