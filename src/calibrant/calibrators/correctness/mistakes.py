"""Equation (3): which class a pixel is if its winner is wrong, fitted on misclassified pixels.

A temperature sets the probability of the winner, and with it how the rest is divided among the other classes. That
division is seldom right: confusions between classes are specific to the model and are estimated here from misclassified
pixels alone,

    q_k = softmax over k ≠ w of (α_k m_k + β_k + C_wk),

with the mean negative log-likelihood of the labels plus strength / 2 * (|α - 1|² + |β|² + |C|²), which is convex.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant.calibrators import _quasi_newton
from calibrant.calibrators._passes import Blocks
from calibrant.calibrators._projections import EXCLUDED, nearest_with_confidence
from calibrant.calibrators.pixels import Pixels

STRENGTHS = (1.0, 0.1, 1e-2, 1e-3)
"""Strengths of the pull to the base's own division (α = 1, β = 0, C = 0) to choose from, the strongest first."""


class MistakeModel(nn.Module):
    """The probabilities of the classes other than the winner, given that the winner is wrong.

    :param weight: α, the factor on each class's margin.
    :param bias: β, added to each class.
    :param confusion: C, added to each class (column) given the winner (row).
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
        """Return weight, bias and confusion."""
        return dict(self.named_buffers())

    def forward(self, margins: Float[Tensor, "n c p"], winner: Int[Tensor, "n p"]) -> Float[Tensor, "n c p"]:
        """Return log-probabilities that the other classes share, and ``EXCLUDED`` for the winner.

        :param margins: logits minus the largest of their pixel.
        :param winner: the class with the largest logit.

        >>> model = MistakeModel(torch.ones(3), torch.zeros(3), torch.zeros(3, 3))
        >>> model(torch.tensor([[[0.0], [-1.0], [-1.0]]]), torch.tensor([[0]])).exp().flatten()
        tensor([0.0000, 0.5000, 0.5000])
        """
        n, c, p = margins.shape
        confusion = self.confusion.T.index_select(1, winner.flatten()).view(c, n, p).transpose(0, 1)
        z = margins * self.weight[:, None] + self.bias[:, None] + confusion
        z = z.scatter(1, winner[:, None], EXCLUDED)
        return (z - z.logsumexp(1, keepdim=True)).clamp_min(EXCLUDED)


def redistributed(
    logits: Float[Tensor, "n c p"], others: Float[Tensor, "n c p"], winners: Bool[Tensor, "n c p"]
) -> Float[Tensor, "n c p"]:
    """Return logits that give the winner the same probability and the other classes theirs as ``others`` says.

    Of two or more winners that tie each keeps the same ratio to the sum of the others. None of the others gets more
    than the winner: see :func:`~calibrant.calibrators._projections.nearest_with_confidence`.

    :param logits: margins times their factor, so 0 at the winners.
    :param others: log-probabilities of the classes other than the winner.
    :param winners: true at each class with the largest logit.
    """
    rest = logits.masked_fill(winners, EXCLUDED).logsumexp(1, keepdim=True)
    return nearest_with_confidence(rest, others, winners)


@dataclass(frozen=True)
class Mistakes:
    """The misclassified pixels of one image.

    :param margins: logits of the base minus the largest of their pixel.
    :param labels: the annotated classes.
    :param winner: the class with the largest logit, never the label.
    """

    margins: Float[Tensor, "p c"]
    labels: Int[Tensor, " p"]
    winner: Int[Tensor, " p"]

    def __len__(self) -> int:
        """Return the number of pixels."""
        return len(self.labels)


@dataclass(frozen=True)
class FittedMistakes:
    """A mistake model with those that were fitted without some of the images.

    :param model: the model fitted on all images.
    :param without: for each fold, the model fitted on the other folds.
    :param strength: strength of the regularisation, the best on left-out images.
    :param converged: whether the model fitted on all images is at its optimum.
    """

    model: MistakeModel
    without: Sequence[MistakeModel]
    strength: float
    converged: bool


def fit_mistake_model(
    images: Sequence[Mistakes], folds: Sequence[Sequence[int]], *, strengths: Sequence[float] = STRENGTHS
) -> FittedMistakes:
    """Return the mistake model at the strength whose negative log-likelihood on left-out images is the lowest.

    The search goes from the strongest to the weakest and stops at the first that is worse than one before it, once one
    has beaten the base.

    :param images: misclassified pixels of each image, with at least one outside each fold.
    :param folds: numbers of the images in each fold.
    :param strengths: strengths to choose from, the strongest first.
    """
    kept = [[image for i, image in enumerate(images) if i not in set(fold)] for fold in folds]
    of_base = sum(_nll_sum(None, image) for image in images)
    best, lowest = strengths[0], math.inf
    without: list[MistakeModel] = []
    for strength in strengths:
        models = [_fit(part, strength)[0] for part in kept]
        nll = sum(_nll_sum(model, images[i]) for model, fold in zip(models, folds, strict=True) for i in fold)
        if nll < lowest:
            best, lowest, without = strength, nll, models
        elif lowest < of_base:
            break
    model, converged = _fit(images, best)
    return FittedMistakes(model, without, best, converged)


def _nll_sum(model: MistakeModel | None, image: Mistakes) -> float:
    """The summed negative log-likelihood of the labels given that the winner is wrong; None is the base's own."""
    margins = image.margins.T[None]
    with torch.no_grad():
        if model is None:
            z = margins.scatter(1, image.winner[None, None], EXCLUDED)
            others = z - z.logsumexp(1, keepdim=True)
        else:
            others = model(margins, image.winner[None])
        return -float(others[0].gather(0, image.labels[None]).sum())


def _fit(images: Sequence[Mistakes], strength: float) -> tuple[MistakeModel, bool]:
    """The model with the smallest penalised mean negative log-likelihood, and whether the fit got there."""
    margins = torch.cat([image.margins for image in images])
    labels = torch.cat([image.labels for image in images])
    winner = torch.cat([image.winner for image in images])
    c = margins.shape[1]
    # Winner and label as one number, so that blocks of pixels carry both.
    pixels = Pixels(margins.T.contiguous(), winner * c + labels, torch.zeros_like(labels))
    centre = torch.zeros(c + 2, c, dtype=torch.float64)
    centre[0] = 1

    def penalty(point: Tensor) -> tuple[float, Tensor]:
        away = point - centre
        return strength / 2 * float(away.square().sum()), strength * away

    curvature = strength + torch.stack([_curvature(z, at, centre) for z, at in Blocks(pixels)]).sum(0) / len(pixels)
    factors = _quasi_newton.DiagonalFactors(curvature.sqrt())
    solution = _quasi_newton.minimise(_slope, penalty, factors, Blocks(pixels), centre)
    weight, bias, *confusion = solution.point.to(margins.device).unbind()
    return MistakeModel(weight, bias, torch.stack(confusion)), solution.converged


def _log_probs_at(margins: Tensor, winner: Tensor, point: Tensor) -> Float[Tensor, "c p"]:
    """The log-probabilities at weights, biases and confusions in the rows of a point."""
    point = point.to(margins.device, margins.dtype)
    z = margins * point[0][:, None] + point[1][:, None] + point[2:].T.index_select(1, winner)
    return z.scatter_(0, winner[None], EXCLUDED).log_softmax(0)


def _slope(margins: Float[Tensor, "c p"], at: Int[Tensor, " p"], point: Tensor) -> tuple[float, Tensor]:
    """The sums over pixels of the negative log-likelihood and of its gradient."""
    winner, labels = at // len(margins), at % len(margins)
    log_probs = _log_probs_at(margins, winner, point)
    value = -float(log_probs.gather(0, labels[None]).sum(dtype=torch.float64))
    excess = log_probs.exp()
    excess[labels, torch.arange(len(labels), device=labels.device)] -= 1
    return value, _rows_of(excess * margins, excess, winner)


def _curvature(margins: Float[Tensor, "c p"], at: Int[Tensor, " p"], point: Tensor) -> Tensor:
    """The diagonal of the Hessian, in the form of a point."""
    winner = at // len(margins)
    probs = _log_probs_at(margins, winner, point).exp()
    variance = probs * (1 - probs)
    return _rows_of(variance * margins.square(), variance, winner)


def _rows_of(by_weight: Tensor, by_bias: Tensor, winner: Tensor) -> Tensor:
    c = len(by_bias)
    by_winner = torch.zeros(c, c, device=winner.device).index_add_(1, winner, by_bias).T
    return torch.cat([by_weight.sum(1)[None], by_bias.sum(1)[None], by_winner]).double().cpu()
