"""A second opinion: another calibrator, with the same say, so that two that err in different places make up for it.

The mean of probabilities is a linear opinion pool (Stone, Annals of Mathematical Statistics 32, 1961). Its negative
log-likelihood is at most the mean of the two, and less where they differ. It is flatter than either (Ranjan and
Gneiting, JRSS B 72, 2010), so the first is to be trained within the pool, and beside an opinion that is as good as it
will be: of images that it has not seen.
"""

import math
from collections.abc import Sequence

import torch

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators.dirichlet import DirichletScaling
from calibrant.calibrators.pixels import Pixels

MOST_CLASSES = 32
"""Up to so many classes. A matrix costs as many operations a logit as there are classes."""

FOLDS = 4


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
        return DirichletScaling.fit(pixels, keep_argmax=True, pixels_per_image=None, seed=seed)

    without = [fitted([i for i in images if i % folds != fold]) for fold in range(folds)]
    unseen = [without[i % folds](below[i].T[None])[0].log_softmax(0).T.contiguous() for i in images]
    return fitted(images), unseen
