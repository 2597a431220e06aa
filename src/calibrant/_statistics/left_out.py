"""Leaving images out of a fit: which ones, and whether what a fit gains on them is real.

Pixels of one image are not independent, so whole images are left out, never pixels, and the uncertainty of a gain is
its spread over images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.special import stdtrit

from calibrant.errors import FitError, InputError

CONFIDENCE = 0.84
"""One-sided confidence at which a gain is real: one standard error where there are many images."""


def folds(num_images: int, count: int, *, seed: int) -> list[list[int]]:
    """Return folds of nearly equal size; the number of every image is in exactly one of them.

    :param num_images: how many images there are.
    :param count: how many folds; no more than there are images are made.
    :param seed: of the order in which images go to the folds.
    :raises InputError: there would be no fold.

    >>> [len(fold) for fold in folds(7, 3, seed=0)], sorted(sum(folds(7, 3, seed=0), []))
    ([3, 2, 2], [0, 1, 2, 3, 4, 5, 6])
    """
    if num_images < 1 or count < 1:
        raise InputError(f"expected one image and one fold or more; got {num_images} images and {count} folds.")
    return [sorted(fold.tolist()) for fold in _shuffled(num_images, seed).tensor_split(min(count, num_images))]


def kept_and_held(num_images: int, fraction: float, *, seed: int) -> tuple[list[int], list[int]]:
    """Return the numbers of the images to fit on and of those to hold out, each in order and at least one.

    :param num_images: how many images there are.
    :param fraction: the part of the images that is kept.
    :param seed: of the choice.
    :raises FitError: there are fewer than two images.

    >>> kept, held = kept_and_held(5, 0.8, seed=0)
    >>> len(kept), len(held), sorted(kept + held)
    (4, 1, [0, 1, 2, 3, 4])
    """
    if num_images < 2:
        raise FitError(
            f"expected at least two images, so that one can be held out; got {num_images}. Add images to the fit."
        )
    count = min(max(1, round(fraction * num_images)), num_images - 1)
    order = _shuffled(num_images, seed).tolist()
    return sorted(order[:count]), sorted(order[count:])


def _shuffled(num_images: int, seed: int) -> torch.Tensor:
    return torch.randperm(num_images, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Gain:
    """By how much a loss falls on images that were left out of the fit.

    :param mean: over the images, of the loss before less the loss after.
    :param error: the standard error of that mean; infinite for a single image.
    :param num_images: how many images it was measured on.
    """

    mean: float
    error: float
    num_images: int

    @classmethod
    def of(cls, before: Sequence[float], after: Sequence[float]) -> "Gain":
        """Return the gain from the losses of each image.

        :param before: the loss of each image (its mean negative log-likelihood, as a rule) without a change.
        :param after: the loss of the same images with it.
        :raises InputError: there is no image, or not one loss of each kind for every image.

        >>> print(Gain.of([0.50, 0.40, 0.60], [0.45, 0.38, 0.50]))
        lower by 0.0567 ± 0.0233
        """
        if len(before) != len(after) or len(before) == 0:
            raise InputError(
                f"expected the losses of one image or more, before and after; got {len(before)} and {len(after)}."
            )
        falls = [float(one) - float(other) for one, other in zip(before, after, strict=True)]
        count = len(falls)
        mean = math.fsum(falls) / count
        if count == 1:
            return cls(mean, math.inf, 1)
        return cls(mean, math.sqrt(math.fsum((fall - mean) ** 2 for fall in falls) / (count - 1) / count), count)

    @property
    def margin(self) -> float:
        """What the mean must exceed: the standard error times Student's t for so few images."""
        return self.error * float(stdtrit(self.num_images - 1, CONFIDENCE)) if self.num_images > 1 else math.inf

    @property
    def is_real(self) -> bool:
        """Whether the loss falls by more than chance would explain: a one-sided t-test at :data:`CONFIDENCE`.

        >>> Gain.of([0.50, 0.40, 0.60], [0.45, 0.38, 0.50]).is_real, Gain.of([0.5], [0.1]).is_real
        (True, False)
        """
        return self.mean > self.margin

    def __str__(self) -> str:
        """Say by how much, and of more than one image with the standard error.

        >>> print(Gain.of([0.5], [0.1]))
        lower by 0.4000
        """
        if self.num_images == 1:
            return f"lower by {self.mean:.4f}"
        return f"lower by {self.mean:.4f} ± {self.error:.4f}"
