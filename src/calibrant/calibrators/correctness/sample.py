"""The data of the fit: labelled pixels of each image with their features, and their probabilities by equations (2)-(5).

The pixels never change. What the accepted stages of the fit say of them stands beside them in :class:`Terms`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from calibrant._input.checks import check_labelled
from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant._statistics.generators import generator_for
from calibrant.calibrators.calibrator import Calibrator
from calibrant.calibrators.correctness.features import NAMES, features_of
from calibrant.calibrators.correctness.mistakes import redistributed
from calibrant.calibrators.correctness.pool import Recalibration, pooled
from calibrant.calibrators.pixels import bounded, fittable
from calibrant.predictions import Prediction, Predictions

log = logging.getLogger("calibrant")

MAX_NUMBERS = 50_000_000
"""Numbers that a fit keeps in memory, at most, whatever the number of images: 200 MB of float32."""

MIN_PIXELS = 16
"""Pixels of an image that are kept even where that exceeds the memory: fewer say nothing about the image."""

MIN_DEVIATION = 1e-3
"""A feature that hardly varies over the fit is divided by this at least."""


@dataclass(frozen=True)
class SampledImage:
    """Labelled pixels of one image (or of several, concatenated).

    :param features: see :data:`~calibrant.calibrators.correctness.features.NAMES`.
    :param margins: logits of the base minus the largest of their pixel.
    :param labels: the annotated classes, never ``IGNORE``.
    :param winner: the class with the largest logit.
    :param runner_up: the class with the second largest.
    """

    features: Float[Tensor, "p f"]
    margins: Float[Tensor, "p c"]
    labels: Int[Tensor, " p"]
    winner: Int[Tensor, " p"]
    runner_up: Int[Tensor, " p"]

    def __len__(self) -> int:
        """Return the number of pixels."""
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self.margins.shape[1]

    @property
    def is_winner(self) -> Bool[Tensor, "p c"]:
        """True at the winner of each pixel."""
        return torch.zeros_like(self.margins, dtype=torch.bool).scatter(1, self.winner[:, None], True)

    @property
    def is_right(self) -> Bool[Tensor, " p"]:
        """True where the winner is the label."""
        return self.winner == self.labels

    def at(self, chosen: Int[Tensor, " q"] | Bool[Tensor, " p"]) -> "SampledImage":
        """Return some of the pixels.

        :param chosen: their numbers, or a mask.
        """
        columns = (self.features, self.margins, self.labels, self.winner, self.runner_up)
        return SampledImage(*(column[chosen] for column in columns))

    @classmethod
    def concatenated(cls, images: Sequence["SampledImage"]) -> "SampledImage":
        """Return the pixels of several images, image by image."""
        columns = zip(*((i.features, i.margins, i.labels, i.winner, i.runner_up) for i in images), strict=True)
        return cls(*map(torch.cat, columns))


@dataclass(frozen=True)
class Terms:
    """What the accepted stages say of the pixels of one image, as fitted without that image; None for no such stage.

    :param factor: (2), the factor on the margins.
    :param others: (3), log-probabilities of the classes other than the winner.
    :param member: (4), log-probabilities of the second member of the pool.
    :param recalibration: (5), the map of the pool's confidence.
    """

    factor: Float[Tensor, " p"] | None = None
    others: Float[Tensor, "p c"] | None = None
    member: Float[Tensor, "p c"] | None = None
    recalibration: Recalibration | None = None

    def at(self, chosen: Int[Tensor, " q"]) -> "Terms":
        """Return the terms of some of the pixels."""
        columns = (self.factor, self.others, self.member)
        return Terms(*(None if column is None else column[chosen] for column in columns), self.recalibration)

    @classmethod
    def concatenated(cls, terms: Sequence["Terms"]) -> "Terms":
        """Return the terms of several images, which all have the same stages."""
        columns = zip(*((t.factor, t.others, t.member) for t in terms), strict=True)
        joined = (None if parts[0] is None else torch.cat(parts) for parts in columns)
        return cls(*joined, terms[0].recalibration)

    def log_probs(self, image: SampledImage) -> Float[Tensor, "p c"]:
        """Return the log-probabilities of the pixels, by equations (2) to (5)."""
        winners = image.is_winner[..., None]
        logits = image.margins[..., None]
        if self.factor is not None:
            logits = self.factor[:, None, None] * logits
        if self.others is not None:
            logits = redistributed(logits, self.others[..., None], winners)
        log_probs = logits.log_softmax(1)
        if self.member is not None:
            log_probs = pooled(log_probs, self.member[..., None])
        if self.recalibration is not None:
            log_probs = self.recalibration(log_probs, winners).log_softmax(1)
        return log_probs[..., 0]

    def confidence(self, image: SampledImage) -> Float[Tensor, " p"]:
        """Return the probability of the winner at each pixel."""
        return self.log_probs(image).gather(1, image.winner[:, None])[:, 0].exp()

    @torch.no_grad()
    def nll(self, image: SampledImage) -> float:
        """Return the mean negative log-likelihood of the labels."""
        return -float(self.log_probs(image).gather(1, image.labels[:, None]).mean())


@torch.no_grad()
def sample_images(
    predictions: Predictions,
    base: Calibrator,
    pixels_per_image: int | None,
    *,
    seed: int,
    max_numbers: int = MAX_NUMBERS,
) -> list[SampledImage]:
    """Return labelled pixels of each image that has any; which ones depends on the seed and the image's key alone.

    :param predictions: labelled predictions; read once, one image in memory at a time.
    :param base: a calibrator that is applied to the logits first.
    :param pixels_per_image: pixels kept of each image; None for all. Fewer where the memory asks for it.
    :param seed: seed of the choice of pixels.
    :param max_numbers: numbers that may be kept, of all images together.
    :raises FitError: there is no labelled pixel.
    """
    sampled = []
    for prediction in predictions:
        room = max_numbers // (len(predictions) * (3 * prediction.num_classes + len(NAMES)))
        count = max(MIN_PIXELS, room if pixels_per_image is None else min(pixels_per_image, room))
        if bool((prediction.labels == IGNORE).all()):
            continue
        num_classes = sampled[0].num_classes if sampled else prediction.num_classes
        sampled.append(_sampled(fittable(prediction, num_classes), base, count, seed))
        log.info("correctness scaling: read %s", prediction.key)
    check_labelled(len(sampled), len(predictions))
    return sampled


def _sampled(prediction: Prediction, base: Calibrator, count: int, seed: int) -> SampledImage:
    """At most ``count`` labelled pixels of one image; with several annotators each label of a pixel is one draw."""
    flat = prediction.labels.flatten()
    labelled = torch.nonzero(flat != IGNORE).squeeze(1)
    generator = generator_for(seed, prediction.key)
    chosen = labelled[torch.randperm(len(labelled), generator=generator)[:count].to(labelled.device)]
    logits = base(prediction.logits[None], None if prediction.image is None else prediction.image[None])
    features = features_of(logits)
    z = logits[0].flatten(1)
    pixel = chosen % z.shape[1]
    return SampledImage(
        features.values[0][:, pixel].T.contiguous(),
        bounded(z[:, pixel] - z[:, pixel].amax(0)).T.contiguous(),
        flat[chosen].long(),
        features.winner[0][pixel],
        features.runner_up[0][pixel],
    )


def moments(images: Sequence[SampledImage]) -> tuple[Float[Tensor, " f"], Float[Tensor, " f"]]:
    """Return the mean and the standard deviation of each feature over all pixels of all images."""
    count, zero = sum(map(len, images)), torch.zeros((), dtype=torch.float64)
    mean = sum((image.features.double().sum(0) for image in images), zero) / count
    square = sum(((image.features - mean).square().sum(0) for image in images), zero) / count
    return mean.float(), square.sqrt().clamp_min(MIN_DEVIATION).float()
