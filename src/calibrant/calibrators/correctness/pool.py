"""Equations (4) and (5): the mean with a second calibrator, and the recalibration of that mean.

(4) The mean of two probabilities is a linear opinion pool (Stone, Annals of Mathematical Statistics 32, 1961). Its
negative log-likelihood is at most the mean of the two, and lower where they differ. The second member is Dirichlet
scaling that keeps the label map: it sees all classes of the pixel, the temperatures see its surroundings, so they err
at different pixels.

(5) A linear pool of calibrated members is underconfident (Ranjan and Gneiting, JRSS B 72, 2010). So the temperatures
are trained within the pool, beside a second member that was fitted without the image, and the pool's confidence is
recalibrated: p_w becomes the observed accuracy of pixels with that confidence on images left out.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import nn

from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant.calibrators._notes import inner_fits
from calibrant.calibrators._projections import EXCLUDED, MAX_CONFIDENCE, nearest_with_confidence
from calibrant.calibrators.dirichlet import DirichletScaling
from calibrant.calibrators.pixels import Pixels

MAX_CLASSES = 32
"""With more classes there is no second member: its matrix costs as many operations per logit as there are classes."""

NUM_LEVELS = 50
"""Equal bins of confidence in which the gap between confidence and accuracy is counted."""

BANDWIDTH = 0.025
"""Standard deviation, in confidence, of the kernel that smooths the gap: about one bin to each side."""

PRIOR_IMAGES = 2
"""The gap is shrunk as if so many further images had none (chosen on the CamVid images of docs/results/claims.md)."""

NUM_STEPS = 1000
"""Equal steps of confidence in the table of a recalibration, which is linear in between."""


def pooled(one: Float[Tensor, "..."], two: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return the logarithm of the mean of two probabilities.

    :param one: their logarithms under the first member.
    :param two: their logarithms under the second.

    >>> pooled(torch.tensor(0.2).log(), torch.tensor(0.6).log()).exp()
    tensor(0.4000)
    """
    return torch.logaddexp(one, two) - math.log(2)


def fit_second_member(
    margins: Sequence[Float[Tensor, "_ c"]],
    labels: Sequence[Int[Tensor, " _"]],
    folds: Sequence[Sequence[int]],
    *,
    seed: int,
) -> tuple[DirichletScaling, list[DirichletScaling]]:
    """Return Dirichlet scaling that keeps the label map, fitted on all images, and fitted without each fold.

    :param margins: logits of the pixels of each image, of two images or more.
    :param labels: labels of the same pixels.
    :param folds: the numbers of the images in each fold.
    :param seed: seed of the fits.
    """

    def fitted(chosen: Sequence[int]) -> DirichletScaling:
        numbers = torch.cat([torch.full_like(labels[i], i) for i in chosen])
        logits = torch.cat([margins[i] for i in chosen]).T.contiguous()
        pixels = Pixels(logits, torch.cat([labels[i] for i in chosen]), numbers)
        return DirichletScaling.fit(pixels, keep_labels=True, pixels_per_image=None, seed=seed)

    images = range(len(margins))
    with inner_fits():
        return fitted(images), [fitted([i for i in images if i not in set(fold)]) for fold in folds]


class Recalibration(nn.Module):
    """A map of the pool's confidence to the accuracy that was observed at it.

    :param accuracy: accuracies at confidences in equal steps from 0 to 1, not falling; at least 1 / number of classes.
    """

    accuracy: Tensor

    def __init__(self, accuracy: Float[Tensor, " b"]) -> None:
        super().__init__()
        self.register_buffer("accuracy", accuracy.detach().float().clone())

    def arguments(self) -> dict[str, Any]:
        """Return the accuracies."""
        return dict(self.named_buffers())

    def forward(self, log_probs: Float[Tensor, "n c p"], winners: Bool[Tensor, "n c p"]) -> Float[Tensor, "n c p"]:
        """Return logits, 0 at the winners, that give the winner the accuracy observed at its confidence.

        The other classes keep their proportion, but none gets more than the winner. Where two winners tie the pixel
        stays as it is.

        :param log_probs: log-probabilities of the pool.
        :param winners: true at each class with the largest logit.
        """
        others = log_probs.masked_fill(winners, EXCLUDED)
        rest = others.logsumexp(1, keepdim=True)
        top = log_probs.masked_fill(~winners, EXCLUDED).amax(1, keepdim=True)
        steps = len(self.accuracy) - 1
        at = top.exp() * steps
        number = at.long().clamp(0, steps - 1)
        left, right = self.accuracy[number], self.accuracy[number + 1]
        accuracy = torch.lerp(left, right, at - number).clamp_max(MAX_CONFIDENCE)
        tied = winners.sum(1, keepdim=True) > 1
        wanted = torch.where(tied, rest - top, (1 - accuracy).log() - accuracy.log())
        return nearest_with_confidence(wanted, others - rest, winners)

    @classmethod
    def fit(
        cls, confidence: Sequence[Float[Tensor, " _"]], is_right: Sequence[Bool[Tensor, " _"]], num_classes: int
    ) -> "Recalibration":
        """Return the map that subtracts the gap between confidence and accuracy from the confidence.

        The gap is counted in bins of confidence, smoothed over neighbouring bins, and shrunk as if
        :data:`PRIOR_IMAGES` further images had gap 0. The map is made monotone, and confidence 1 stays 1.

        :param confidence: the winner's probability at the pixels of each image, by a pool fitted without the image.
        :param is_right: true where the winner is the label.
        :param num_classes: no confidence gets below 1 over this.
        """
        count, total, gap = np.zeros((3, NUM_LEVELS))
        for sure, right in zip(confidence, is_right, strict=True):
            level = (sure * NUM_LEVELS).long().clamp(0, NUM_LEVELS - 1).cpu().numpy()
            count += np.bincount(level, minlength=NUM_LEVELS)
            total += np.bincount(level, sure.double().cpu().numpy(), NUM_LEVELS)
            gap += np.bincount(level, (sure.double() - right.double()).cpu().numpy(), NUM_LEVELS)
        count, total, gap = (column[count > 0] for column in (count, total, gap))
        at = total / count
        kernel = np.exp(-(((at[:, None] - at) / BANDWIDTH) ** 2) / 2)
        shrinkage = len(is_right) / (len(is_right) + PRIOR_IMAGES)
        accuracy = isotonic_regression(at - shrinkage * (kernel @ gap) / (kernel @ count), weights=count).x
        least = 1 / num_classes
        table = np.interp(np.linspace(0, 1, NUM_STEPS + 1), [least, *at, 1], [least, *accuracy.clip(least, 1), 1])
        return cls(torch.from_numpy(table).to(confidence[0].device))
