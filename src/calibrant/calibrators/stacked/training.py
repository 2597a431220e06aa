r"""How the networks of the confidence are trained, and how several become one.

Each is trained without some of the images on the sum, with q the probability that w is right, of

* twice the mean binary cross-entropy of "w is the label" under q, a proper score;
* ``image_weight`` times the mean over images of (mean q - accuracy)²: pixels of one image err together, which a mean
  over pixels does not see;
* ``level_weight`` times the mean over images of the sum over :data:`LEVELS` of |mean of share * (q - is right)|, where
  share says how near a confidence is to the level: the calibration error of the image, in bins that overlap.

Width and the last two weights are those of correctness scaling in version 0.1.0 (which were chosen while looking at the
80 CamVid images of docs/results/claims.md); which features, and the form of the log-odds, were chosen on three draws of
the same images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, silu

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators._descend import descend, seeded_batches
from calibrant.calibrators.stacked.confidence import MAX_FEATURE, ConfidenceNetwork, log_odds

LEVELS = torch.linspace(0.05, 0.95, 10)
"""Confidences around which the calibration of an image is measured in training."""

LEVEL_WIDTH = 0.05
"""Standard deviation, in confidence, of a level: half of the distance between two."""

ROUNDING = 1e-6
"""Added to a square before its root, so that the gradient of an absolute value is finite at 0."""

MIN_DEVIATION = 1e-3
"""A feature that hardly varies over the fit is divided by this at least."""

EMBEDDING = 2
"""Numbers by which a network in training distinguishes classes."""

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
    :param pixels_per_image: pixels of an image in a batch.
    :param learning_rate: learning rate of AdamW at the start; it falls to 0 along a half cosine.
    :param weight_decay: weight decay of AdamW.
    """

    hidden: int = 6
    num_epochs: int = 10
    image_weight: float = 5.0
    level_weight: float = 4.0
    batches_per_epoch: int = 15
    images_per_batch: int = 8
    pixels_per_image: int = 1000
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2


@dataclass(frozen=True)
class Seen:
    """What a network sees of labelled pixels of one image, and whether they are right.

    :param context: features of the anchor's logits.
    :param pool: log-odds and gap of the winner under a pool that was fitted without the image.
    :param winner: the class with the largest logit.
    :param is_right: 1 where the winner is the label, 0 elsewhere.
    """

    context: Float[Tensor, "p f"]
    pool: Float[Tensor, "p 2"]
    winner: Int[Tensor, " p"]
    is_right: Float[Tensor, " p"]

    def at(self, chosen: Int[Tensor, " q"]) -> "Seen":
        """Return some of the pixels.

        :param chosen: their numbers.
        """
        columns = (self.context, self.pool, self.winner, self.is_right)
        return Seen(*(column[chosen] for column in columns))

    @classmethod
    def concatenated(cls, images: Sequence["Seen"]) -> "Seen":
        """Return the pixels of several images, image by image."""
        columns = zip(*((i.context, i.pool, i.winner, i.is_right) for i in images), strict=True)
        return cls(*map(torch.cat, columns))


class _Trainable(nn.Module):
    """A network in training; its table U is the product of an embedding of the classes and a matrix."""

    def __init__(self, like: Seen, num_classes: int, moments: tuple[Tensor, Tensor], hidden: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        f, d = like.context.shape[1] + like.pool.shape[1], EMBEDDING

        def uniform(*shape: int, bound: float) -> nn.Parameter:
            start = torch.empty(shape).uniform_(-bound, bound, generator=generator)
            return nn.Parameter(start.to(like.context.device))

        bound = (f + d) ** -0.5  # of a linear layer in torch: one over the root of its number of inputs
        self.centre, self.scale = moments
        self.weight, self.bias = uniform(hidden, f, bound=bound), uniform(hidden, bound=bound)
        self.to_hidden = uniform(d, hidden, bound=bound)
        self.classes = uniform(num_classes, d, bound=EMBEDDING_START)
        # The readout starts at 0, so that the log-odds start at the mean of the anchor's and the pool's.
        self.readout, self.offset = uniform(2, hidden, bound=0.0), uniform(2, bound=0.0)

    def forward(self, seen: Seen) -> Float[Tensor, " p"]:
        x = torch.cat([seen.context, seen.pool], 1)
        x = ((x - self.centre) / self.scale).clamp(-MAX_FEATURE, MAX_FEATURE)
        hidden = silu(x @ self.weight.T + self.bias + (self.classes @ self.to_hidden)[seen.winner])
        found = hidden @ self.readout.T + self.offset
        return log_odds(found.T[None], seen.context.T[None, :1], seen.pool.T[None, :1])[0, 0]


def loss_of(odds: Float[Tensor, " p"], seen: Seen, num_images: int, recipe: Recipe) -> Float[Tensor, ""]:
    """Return the loss, see the top of this file, of equally many pixels of some images.

    :param odds: the log-odds that each pixel's winner is right, image by image.
    :param seen: the pixels.
    :param num_images: how many images they are of.
    :param recipe: the weights.
    """
    sure, right = odds.sigmoid(), seen.is_right
    gap = (sure - right).view(num_images, -1)
    distance = (sure.detach()[:, None] - LEVELS.to(sure.device)) / LEVEL_WIDTH
    share = (-distance.square() / 2).softmax(-1).view(num_images, -1, len(LEVELS))
    by_level = (gap[..., None] * share).mean(1)
    return (
        2 * binary_cross_entropy_with_logits(odds, right)
        + recipe.image_weight * gap.mean(1).square().mean()
        + recipe.level_weight * (by_level.square() + ROUNDING).sqrt().sum(-1).mean()
    )


def train(
    images: Sequence[Seen], num_classes: int, folds: Sequence[Sequence[int]], recipe: Recipe, *, seed: int
) -> tuple[ConfidenceNetwork, list[ConfidenceNetwork]]:
    """Return one network for all, and those that were trained without each fold, of which it is the mean.

    :param images: pixels of two images or more.
    :param num_classes: the number of classes.
    :param folds: the numbers of the images that each network holds out.
    :param recipe: how the networks are trained.
    :param seed: of the initial weights, the batches and the pixels in them.
    """
    moments = _moments(images)
    trained = [
        _trained(images, num_classes, fold, moments, recipe, seed=seed * 1000 + number)
        for number, fold in enumerate(folds)
    ]
    return _joined(trained), [_joined([each]) for each in trained]


def _trained(
    images: Sequence[Seen],
    num_classes: int,
    held: Sequence[int],
    moments: tuple[Tensor, Tensor],
    recipe: Recipe,
    *,
    seed: int,
) -> _Trainable:
    network = _Trainable(images[0], num_classes, moments, recipe.hidden, seed)
    kept = [i for i in range(len(images)) if i not in set(held)]

    def loss_on(chosen: Sequence[int], generator: torch.Generator) -> Float[Tensor, ""]:
        at = [torch.randint(images[i].winner.numel(), (recipe.pixels_per_image,), generator=generator) for i in chosen]
        batch = Seen.concatenated(
            [images[i].at(k.to(images[i].winner.device)) for k, i in zip(at, chosen, strict=True)]
        )
        return loss_of(network(batch), batch, len(chosen), recipe)

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
        name=f"stacked scaling, network {seed}",
    )
    return network


def _moments(images: Sequence[Seen]) -> tuple[Float[Tensor, " f"], Float[Tensor, " f"]]:
    """The mean and the standard deviation of each feature over all pixels of all images."""
    x = [torch.cat([image.context, image.pool], 1).double() for image in images]
    count = sum(len(each) for each in x)
    mean = torch.stack([each.sum(0) for each in x]).sum(0) / count
    square = torch.stack([(each - mean).square().sum(0) for each in x]).sum(0) / count
    return mean.float(), square.sqrt().clamp_min(MIN_DEVIATION).float()


@torch.no_grad()
def _joined(networks: Sequence[_Trainable]) -> ConfidenceNetwork:
    """The networks as one, whose a and b are the means of theirs."""
    return ConfidenceNetwork(
        networks[0].centre,
        networks[0].scale,
        torch.cat([network.weight for network in networks]),
        torch.cat([network.classes @ network.to_hidden for network in networks], 1),
        torch.cat([network.bias for network in networks]),
        torch.cat([network.readout for network in networks], 1) / len(networks),
        torch.stack([network.offset for network in networks]).mean(0),
    )
