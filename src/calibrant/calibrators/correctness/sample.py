"""Labelled pixels with what lies around them: drawn from predictions, and judged."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from calibrant._check import check_labelled
from calibrant._random import generator_for
from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant.calibrators.calibrator import Calibrator
from calibrant.calibrators.correctness.features import NAMES, context_of
from calibrant.calibrators.correctness.mistakes import spread
from calibrant.calibrators.correctness.pool import pooled
from calibrant.predictions import Predictions

log = logging.getLogger("calibrant")

MOST_NUMBERS = 50_000_000
"""Numbers kept in memory by a fit, whatever the number of images (200 MB)."""


@dataclass(frozen=True)
class ContextPixels:
    """Labelled pixels of one image with their context.

    :param numbers: of the context.
    :param below: logits less the largest of their pixel.
    :param others: log-probabilities of the classes other than the winner, or None for those of the logits.
    :param opinion: log-probabilities of another calibrator that has the same say, if there is one.
    """

    numbers: Float[Tensor, "p f"]
    below: Float[Tensor, "p c"]
    others: Float[Tensor, "p c"] | None
    opinion: Float[Tensor, "p c"] | None
    labels: Int[Tensor, " p"]
    winner: Int[Tensor, " p"]
    runner_up: Int[Tensor, " p"]

    def __len__(self) -> int:
        """Return the number of pixels."""
        return len(self.labels)

    def at(self, chosen: Int[Tensor, " q"]) -> "ContextPixels":
        """Return some of the pixels."""
        return ContextPixels(
            self.numbers[chosen],
            self.below[chosen],
            None if self.others is None else self.others[chosen],
            None if self.opinion is None else self.opinion[chosen],
            self.labels[chosen],
            self.winner[chosen],
            self.runner_up[chosen],
        )

    def log_probs(self, factor: Float[Tensor, " p"]) -> Float[Tensor, "p c"]:
        """Return log-probabilities under a factor on the logits, with the other classes and the opinion as known."""
        others = None if self.others is None else self.others[..., None]
        own = spread(self.below[..., None], self.winners[..., None], factor[:, None, None], others)[..., 0]
        own = own.log_softmax(1)
        return own if self.opinion is None else pooled(own, self.opinion)

    @property
    def winners(self) -> Bool[Tensor, "p c"]:
        """True at the winner of each pixel."""
        return torch.zeros_like(self.below, dtype=torch.bool).scatter(1, self.winner[:, None], True)

    def judged(self, log_probs: Float[Tensor, "p c"]) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
        """Return the probability that the winner is wrong, and the negative log-likelihood."""
        sure, label = (log_probs.gather(1, at[:, None])[:, 0] for at in (self.winner, self.labels))
        return -sure.expm1(), -label


def together(images: Sequence[ContextPixels]) -> ContextPixels:
    """Return the pixels of several images as one list."""
    others = [image.others for image in images if image.others is not None]
    opinions = [image.opinion for image in images if image.opinion is not None]
    return ContextPixels(
        torch.cat([image.numbers for image in images]),
        torch.cat([image.below for image in images]),
        torch.cat(others) if others else None,
        torch.cat(opinions) if opinions else None,
        torch.cat([image.labels for image in images]),
        torch.cat([image.winner for image in images]),
        torch.cat([image.runner_up for image in images]),
    )


@torch.no_grad()
def draw(predictions: Predictions, base: Calibrator, per_image: int | None, seed: int) -> list[ContextPixels]:
    """Return labelled pixels of each image that has any; which ones depends on the seed and the image's key alone."""
    drawn: list[ContextPixels] = []
    for prediction in predictions:
        most = MOST_NUMBERS // (len(predictions) * (3 * prediction.num_classes + len(NAMES)))
        count = max(16, most if per_image is None else min(per_image, most))
        flat = prediction.labels.flatten()
        labelled = torch.nonzero(flat != IGNORE).squeeze(1)
        if len(labelled) == 0:
            continue
        generator = generator_for(seed, prediction.key)
        chosen = labelled[torch.randperm(len(labelled), generator=generator)[:count].to(labelled.device)]
        image = None if prediction.image is None else prediction.image[None]
        logits = base(prediction.logits[None], image)
        context = context_of(logits)
        z = logits[0].flatten(1)
        pixel = chosen % z.shape[1]
        drawn.append(
            ContextPixels(
                context.numbers[0][:, pixel].T.contiguous(),
                (z[:, pixel] - z[:, pixel].amax(0)).T.contiguous(),
                None,
                None,
                flat[chosen].long(),
                context.winner[0][pixel],
                context.runner_up[0][pixel],
            )
        )
        log.info("correctness scaling: read %s", prediction.key)
    check_labelled(len(drawn), len(predictions))
    return drawn


def moments(images: Sequence[ContextPixels]) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of each number of the context."""
    count = sum(map(len, images))
    centre = sum((i.numbers.double().sum(0) for i in images), torch.zeros((), dtype=torch.float64)) / count
    square = sum(((i.numbers - centre).square().sum(0) for i in images), torch.zeros((), dtype=torch.float64)) / count
    return centre.float(), square.sqrt().clamp_min(1e-3).float()
