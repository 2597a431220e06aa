"""A second opinion: another calibrator, with the same say, so that two that err in different places make up for it.

The mean of probabilities is a linear opinion pool (Stone, Annals of Mathematical Statistics 32, 1961). Its negative
log-likelihood is at most the mean of the two, and less where they differ. It is flatter than either (Ranjan and
Gneiting, JRSS B 72, 2010), so the first is to be trained within the pool, and beside an opinion that is as good as it
will be: of images that it has not seen. Even then the pool is to be recalibrated, as they show.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import nn

from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant.calibrators._projections import EXCLUDED, MAX_CONFIDENCE, nearest_with_confidence
from calibrant.calibrators.dirichlet import DirichletScaling
from calibrant.calibrators.pixels import Pixels

MOST_CLASSES = 32
"""Up to so many classes. A matrix costs as many operations a logit as there are classes."""

FOLDS = 4

LEVELS = 50
"""Of confidence, at each of which the pool is recalibrated."""

REACH = 0.025
"""Standard deviation, in confidence, over which levels count as near."""

PRIOR = 2
"""How many images without any gap the recalibration starts from."""

STEPS = 1000
"""Of the confidence, between which a recalibration is a line."""


def pooled(one: Float[Tensor, "..."], two: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the logarithm of the mean of two probabilities, given as logarithms."""
    return torch.logaddexp(one, two) - math.log(2)


def second_opinion(
    below: Sequence[Float[Tensor, "_ c"]], labels: Sequence[Int[Tensor, " _"]], *, seed: int
) -> tuple[DirichletScaling, list[Float[Tensor, "_ c"]]]:
    """Return Dirichlet scaling with the labels kept, and log-probabilities by one that has not seen the image.

    :param below: logits of the pixels of each image, of two images or more.
    """
    images, folds = range(len(below)), min(FOLDS, len(below))

    def fitted(chosen: Sequence[int]) -> DirichletScaling:
        numbers = torch.cat([torch.full_like(labels[i], i) for i in chosen])
        logits = torch.cat([below[i] for i in chosen]).T.contiguous()
        pixels = Pixels(logits, torch.cat([labels[i] for i in chosen]), numbers)
        return DirichletScaling.fit(pixels, keep_labels=True, pixels_per_image=None, seed=seed)

    without = [fitted([i for i in images if i % folds != fold]) for fold in range(folds)]
    unseen = [without[i % folds](below[i].T[None])[0].log_softmax(0).T.contiguous() for i in images]
    return fitted(images), unseen


class Recalibration(nn.Module):
    """What the confidence of a pool has been worth.

    :param worth: of confidences in equal steps from 0 to 1, rising; at least 1 over the number of classes.
    """

    worth: Tensor

    def __init__(self, worth: Float[Tensor, " b"]) -> None:
        super().__init__()
        self.register_buffer("worth", worth.detach().float().clone())

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs."""
        return dict(self.named_buffers())

    def forward(self, log_probs: Float[Tensor, "n c p"], winners: Bool[Tensor, "n c p"]) -> Float[Tensor, "n c p"]:
        """Return logits, the winners' at 0, as sure as such pools have been right; where two tie, as sure as it is.

        :param log_probs: of the pool.
        :param winners: true at each class with the largest.
        """
        others = log_probs.masked_fill(winners, EXCLUDED)
        rest = others.logsumexp(1, keepdim=True)
        top = log_probs.masked_fill(~winners, EXCLUDED).amax(1, keepdim=True)
        steps = len(self.worth) - 1
        at = top.exp() * steps
        number = at.long().clamp(0, steps - 1)
        left, right = self.worth[number], self.worth[number + 1]
        worth = torch.lerp(left, right, at - number).clamp_max(MAX_CONFIDENCE)
        tied = winners.sum(1, keepdim=True) > 1
        wanted = torch.where(tied, rest - top, (1 - worth).log() - worth.log())
        return nearest_with_confidence(wanted, others - rest, winners)

    @classmethod
    def fit(
        cls, confidence: Sequence[Float[Tensor, " _"]], right: Sequence[Bool[Tensor, " _"]], num_classes: int
    ) -> "Recalibration":
        """Return what confidences have been worth on images that nothing in the pool has seen.

        The confidence is lowered by its mean gap to the accuracy of the pixels that are about as sure, as it would be
        if there were two images more, without a gap. Certainty stays certain.

        :param confidence: of the pixels of each image.
        :param right: where the winner is right.
        """
        count, sure, gap = np.zeros((3, LEVELS))
        for each, hit in zip(confidence, right, strict=True):
            level = (each * LEVELS).long().clamp(0, LEVELS - 1).cpu().numpy()
            count += np.bincount(level, minlength=LEVELS)
            sure += np.bincount(level, each.double().cpu().numpy(), LEVELS)
            gap += np.bincount(level, (each.double() - hit.double()).cpu().numpy(), LEVELS)
        count, sure, gap = (each[count > 0] for each in (count, sure, gap))
        at = sure / count
        near = np.exp(-(((at[:, None] - at) / REACH) ** 2) / 2)
        kept = len(right) / (len(right) + PRIOR)
        worth = isotonic_regression(at - kept * (near @ gap) / (near @ count), weights=count).x
        least = 1 / num_classes
        table = np.interp(np.linspace(0, 1, STEPS + 1), [least, *at, 1], [least, *worth.clip(least, 1), 1])
        return cls(torch.from_numpy(table).to(confidence[0].device))
