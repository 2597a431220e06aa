"""Log-likelihood and entropy of pixels: what fits minimise, and what candidates are compared by."""

import math
from collections.abc import Sequence

import torch

from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.calibrators._passes import serial_sum
from calibrant.calibrators.calibrator import MIN_EXPONENT, Calibrator, by_pixel_blocks
from calibrant.calibrators.parts import calibrated
from calibrant.calibrators.pixels import Pixels
from calibrant.predictions import Prediction, Predictions, summed

FLOOR = 1e-16
"""Probabilities below this count as this, so that one nearly impossible class does not dominate a linear map."""


def floored_log_softmax(z: Float[Tensor, "n c p"], floor: float = FLOOR) -> Float[Tensor, "n c p"]:
    """Return the logarithms of the probabilities, those of probabilities below ``floor`` at its logarithm.

    ``log(softmax(z) + floor)``, which is also in use, is the same but for probabilities near the floor, where it is up
    to log 2 larger.

    >>> floored_log_softmax(torch.tensor([[[0.0], [-100.0]]]), floor=1e-3).squeeze()
    tensor([ 0.0000, -6.9078])
    """
    return z.log_softmax(1).clamp_min_(math.log(floor))


def entropy(z: Float[Tensor, "n c p"]) -> Float[Tensor, "n 1 p"]:
    """Return the entropy of the softmax in nats; a class of probability 0 adds nothing.

    >>> entropy(torch.tensor([[[0.0], [0.0]]]))
    tensor([[[0.6931]]])
    """
    margins = (z - z.amax(1, keepdim=True)).clamp_min_(MIN_EXPONENT)
    weight = margins.exp()
    total = weight.sum(1, keepdim=True)
    return total.log() - weight.mul_(margins).sum(1, keepdim=True) / total


def nll(logits: Float[Tensor, "c p"], labels: Int[Tensor, " p"]) -> Float[Tensor, " p"]:
    """Return the negative log-likelihood of each pixel's label, in nats."""
    log_total = by_pixel_blocks(lambda z: z.logsumexp(1, keepdim=True), logits[None])[0, 0]
    return log_total - logits.gather(0, labels[None])[0]


@torch.no_grad()
def nll_by_image(calibrator: Calibrator, pixels: Pixels) -> Float[Tensor, " n"]:
    """Return the sum over each image's pixels of the negative log-likelihood, in the order of the images' numbers."""
    loss = nll(calibrator(pixels.logits[None])[0], pixels.labels)
    _, image = torch.unique(pixels.image, return_inverse=True)
    total = torch.zeros(int(image.max()) + 1, dtype=torch.float64, device=loss.device)
    return total.index_add_(0, image, loss.double()).cpu()


def mean_nll(calibrator: Calibrator, pixels: Pixels) -> float:
    """Return the mean negative log-likelihood of the pixels through a calibrator, in nats."""
    return float(serial_sum(nll_by_image(calibrator, pixels))) / len(pixels)


def mean_nll_of_images(calibrators: Sequence[Calibrator], predictions: Predictions) -> list[float]:
    """Return the mean negative log-likelihood of all labelled pixels through each calibrator; NaN if there is none.

    The images are read once, and each calibrator sees them whole.
    """
    sums = summed(_count_and_losses, predictions, calibrators)
    count = 0.0 if sums is None else float(sums[0])
    return [math.nan] * len(calibrators) if sums is None or count == 0 else (sums[1:] / count).tolist()


def _count_and_losses(prediction: Prediction, calibrators: Sequence[Calibrator]) -> Float[Tensor, " n"]:
    """How many labelled pixels an image has, and the sum of their negative log-likelihood through each calibrator."""
    labels = prediction.labels.flatten(1).long()
    labelled = labels != IGNORE
    sums = [float(labelled.sum())]
    for calibrator in calibrators:
        z = calibrated(prediction, calibrator).flatten(1)
        losses = [nll(z, each.clamp_min(0))[counted] for each, counted in zip(labels, labelled, strict=True)]
        sums.append(sum(float(serial_sum(loss)) for loss in losses))
    return torch.tensor(sums, dtype=torch.float64)
