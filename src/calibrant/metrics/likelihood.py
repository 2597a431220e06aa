"""Proper scores: negative log-likelihood and Brier score, as sums over labelled pixels."""

from dataclasses import dataclass

import numpy as np
import torch

from calibrant._shapes import Bool, Float, Int, Shaped, Tensor
from calibrant.metrics._pixel_scores import PixelScores, count_images, each_image
from calibrant.metrics.tally import Tally


@dataclass(frozen=True)
class LikelihoodSums(Tally):
    """Sums over the labelled pixels of each image.

    :param pixels: how many there are.
    :param nll: negative log-likelihood, in nats.
    :param brier: squared distance of the probabilities to the label, over all classes (0 to 2).
    :param top_brier: squared distance of the confidence to being right (0 to 1).
    :param entropy: entropy of the probabilities, in nats.
    :param keys: names of the rows, if they are known.
    :param left_out: names of images that have no row because nothing in them is labelled.
    """

    pixels: Shaped[Tensor, " n"]
    nll: Float[Tensor, " n"]
    brier: Float[Tensor, " n"]
    top_brier: Float[Tensor, " n"]
    entropy: Float[Tensor, " n"]

    @classmethod
    def of(
        cls,
        logits: Float[Tensor, "n c *s"],
        labels: Int[Tensor, "n *t"],
        *,
        where: Bool[Tensor, "n *u"] | None = None,
    ) -> "LikelihoodSums":
        """Count a batch of images, one row each.

        :param logits: (n, c, *s), of two classes or more.
        :param labels: (n, *s), or (n, a, *s) with several annotators; ``IGNORE`` where unlabelled.
        :param where: the pixels that count, shaped like the labels; None for all.
        :raises InputError: the images cannot be counted (ShapeError, LabelError, LogitsError).
        """
        return count_images(cls, cls.of_pixels, each_image(logits, labels, where), likelihood=True)

    @classmethod
    def of_pixels(cls, pixels: PixelScores) -> "LikelihoodSums":
        """Return one row.

        :param pixels: labelled pixels of one image, scored with ``likelihood``.
        """
        assert pixels.nll is not None
        assert pixels.brier is not None
        assert pixels.entropy is not None
        top_brier = np.square(np.subtract(pixels.confidence, pixels.correct, dtype=np.float64))
        sums = (pixels.nll, pixels.brier, top_brier, pixels.entropy)
        return cls(
            torch.tensor([len(pixels.label)]), *(torch.tensor([column.sum(dtype=np.float64)]) for column in sums)
        )


def negative_log_likelihood(sums: LikelihoodSums) -> Float[Tensor, " n"]:
    """Return the mean negative log-likelihood of the labels, in nats.

    :param sums: one row an image, or one of all pixels.

    >>> negative_log_likelihood(LikelihoodSums.of(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long)))
    tensor([1.3863], dtype=torch.float64)
    """
    return sums.nll / sums.pixels


def brier_score(sums: LikelihoodSums) -> Float[Tensor, " n"]:
    """Return the mean Brier score over all classes, from 0 to 2. Brier (1950).

    :param sums: one row an image, or one of all pixels.
    """
    return sums.brier / sums.pixels


def top_label_brier_score(sums: LikelihoodSums) -> Float[Tensor, " n"]:
    """Return the mean Brier score of "the prediction is right", from 0 to 1.

    :param sums: one row an image, or one of all pixels.
    """
    return sums.top_brier / sums.pixels


def mean_entropy(sums: LikelihoodSums) -> Float[Tensor, " n"]:
    """Return the mean entropy of the predicted probabilities, in nats.

    It is the negative log-likelihood that a perfectly calibrated predictor would be expected to score.

    :param sums: one row an image, or one of all pixels.
    """
    return sums.entropy / sums.pixels
