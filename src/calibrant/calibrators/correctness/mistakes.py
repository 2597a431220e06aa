"""What a pixel may be if its likeliest class is wrong: a distribution over all other classes, fitted on mistakes.

A temperature sets how sure a pixel is of its winner, and in passing how the rest is spread. That spread is seldom
right: which classes a model takes for which is a habit of its own, and mistakes alone tell it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant.calibrators import _quasi_newton
from calibrant.calibrators._newton import Blocks
from calibrant.calibrators._projections import EXCLUDED, nearest_with_confidence
from calibrant.calibrators.pixels import Pixels

STRENGTHS = (1.0, 0.1, 1e-2, 1e-3)
"""Pulls to the base's own spread, from the strongest."""


class MistakeModel(nn.Module):
    """The log-probabilities of the classes other than the winner.

    They are the softmax of ``weight * z + bias + confusion[winner]`` over those classes.

    :param weight: one number a class.
    :param bias: one number a class.
    :param confusion: what each class gains beside each winner, (winner, class).
    """

    weight: Tensor
    bias: Tensor
    confusion: Tensor

    def __init__(self, weight: Float[Tensor, " c"], bias: Float[Tensor, " c"], confusion: Float[Tensor, "c c"]) -> None:
        super().__init__()
        for name, value in {"weight": weight, "bias": bias, "confusion": confusion}.items():
            self.register_buffer(name, value.detach().float().clone())

    @property
    def num_classes(self) -> int:
        """The number of classes that it was fitted on."""
        return len(self.weight)

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs."""
        return dict(self.named_buffers())

    def forward(self, below: Float[Tensor, "n c p"], winner: Int[Tensor, "n p"]) -> Float[Tensor, "n c p"]:
        """Return log-probabilities that the other classes share, and ``EXCLUDED`` for the winner.

        :param below: logits less the largest of their pixel.
        """
        n, c, p = below.shape
        habit = self.confusion.T.index_select(1, winner.flatten()).view(c, n, p).transpose(0, 1)
        z = below * self.weight[:, None] + self.bias[:, None] + habit
        z = z.scatter(1, winner[:, None], EXCLUDED)
        return (z - z.logsumexp(1, keepdim=True)).clamp_min(EXCLUDED)


def spread(
    below: Float[Tensor, "n c p"],
    winners: Bool[Tensor, "n c p"],
    factor: Float[Tensor, "n 1 p"],
    others: Float[Tensor, "n c p"] | None,
) -> Float[Tensor, "n c p"]:
    """Return logits, the winners' at 0: as sure as ``below * factor``, what remains spread as ``others`` says.

    :param winners: true at each class with the largest logit.
    """
    scaled = below * factor
    if others is None:
        return scaled
    return nearest_with_confidence(scaled.masked_fill(winners, EXCLUDED).logsumexp(1, keepdim=True), others, winners)


@dataclass(frozen=True)
class Mistakes:
    """The mistaken pixels of one image.

    :param below: logits less the largest of their pixel, after the base.
    """

    below: Float[Tensor, "p c"]
    labels: Int[Tensor, " p"]
    winner: Int[Tensor, " p"]


def fit_mistake_model(
    images: Sequence[Mistakes], *, strengths: Sequence[float] = STRENGTHS
) -> tuple[MistakeModel | None, str]:
    """Return the alternatives that are best on images left out, or None, and a sentence on what was found.

    Half of the images is fitted on and the other half judged, both ways, at each strength; what is returned is fitted
    on all. A gain in log-likelihood of less than its standard error over images is none.
    """
    images = [image for image in images if len(image.labels)]
    if len(images) < 2:
        return None, "alternatives: fewer than two images with mistakes, so the base's own are kept"
    halves = [images[::2], images[1::2]]
    own = torch.tensor([_loss(None, image) for half in halves for image in half])
    best, gain, error = None, 0.0, 0.0
    for strength in strengths:
        fitted = [_fit(half, strength) for half in halves]
        ours = torch.tensor([_loss(fitted[1 - k], image) for k, half in enumerate(halves) for image in half])
        gains = own - ours
        if float(gains.mean()) > gain:
            best, gain, error = strength, float(gains.mean()), float(gains.std()) / math.sqrt(len(gains))
        elif best is not None:
            break
    count = sum(len(image.labels) for image in images) / len(images)
    found = f"alternatives: NLL of left-out mistakes lower by {gain / count:.3f} ± {error / count:.3f} than the base's"
    if best is None or not gain > error:
        return None, f"{found}: no gain, so the base's own are kept"
    return _fit(images, best), f"{found} (strength {best:g})"


def _loss(alternatives: MistakeModel | None, image: Mistakes) -> float:
    """The sum over the mistakes of one image of the negative log-likelihood of what they are."""
    below = image.below.T[None]
    with torch.no_grad():
        if alternatives is None:
            z = below.scatter(1, image.winner[None, None], EXCLUDED)
            others = z - z.logsumexp(1, keepdim=True)
        else:
            others = alternatives(below, image.winner[None])
        return -float(others[0].gather(0, image.labels[None]).sum())


def _fit(images: Sequence[Mistakes], strength: float) -> MistakeModel:
    """The alternatives with the smallest mean negative log-likelihood plus the pull, which is convex.

    (By our own L-BFGS: the first use of torch's imports its compiler, which takes longer than the fit.)
    """
    below = torch.cat([image.below for image in images])
    labels = torch.cat([image.labels for image in images])
    winner = torch.cat([image.winner for image in images])
    c = below.shape[1]
    # Winner and label as one number, so that blocks of pixels carry both.
    pixels = Pixels(below.T.contiguous(), winner * c + labels, torch.zeros_like(labels))
    centre = torch.zeros(c + 2, c, dtype=torch.float64)
    centre[0] = 1

    def penalty(point: Tensor) -> tuple[float, Tensor]:
        away = point - centre
        return strength / 2 * float(away.square().sum()), strength * away

    curvature = strength + torch.stack([_curvature(z, at, centre) for z, at in Blocks(pixels)]).sum(0) / len(pixels)
    factors = _quasi_newton.DiagonalFactors(curvature.sqrt())
    found = _quasi_newton.minimise(_slope, penalty, factors, Blocks(pixels), centre)
    weight, bias, *confusion = found.point.to(below.device).unbind()
    return MistakeModel(weight, bias, torch.stack(confusion))


def _spread_of(below: Tensor, winner: Tensor, point: Tensor) -> Float[Tensor, "c p"]:
    """The log-probabilities at weights, biases and confusions in the rows of a point."""
    point = point.to(below.device, below.dtype)
    z = below * point[0][:, None] + point[1][:, None] + point[2:].T.index_select(1, winner)
    return z.scatter_(0, winner[None], EXCLUDED).log_softmax(0)


def _slope(below: Float[Tensor, "c p"], at: Int[Tensor, " p"], point: Tensor) -> tuple[float, Tensor]:
    """The sums over pixels of the negative log-likelihood and of its gradient."""
    winner, labels = at // len(below), at % len(below)
    log_probs = _spread_of(below, winner, point)
    value = -float(log_probs.gather(0, labels[None]).sum(dtype=torch.float64))
    excess = log_probs.exp()
    excess[labels, torch.arange(len(labels), device=labels.device)] -= 1
    return value, _rows_of(excess * below, excess, winner)


def _curvature(below: Float[Tensor, "c p"], at: Int[Tensor, " p"], point: Tensor) -> Tensor:
    """The diagonal of the Hessian, in the form of a point."""
    winner = at // len(below)
    probs = _spread_of(below, winner, point).exp()
    spread = probs * (1 - probs)
    return _rows_of(spread * below.square(), spread, winner)


def _rows_of(by_weight: Tensor, by_bias: Tensor, winner: Tensor) -> Tensor:
    c = len(by_bias)
    by_winner = torch.zeros(c, c, device=winner.device).index_add_(1, winner, by_bias).T
    return torch.cat([by_weight.sum(1)[None], by_bias.sum(1)[None], by_winner]).double().cpu()
