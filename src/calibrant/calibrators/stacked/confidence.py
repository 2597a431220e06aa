r"""How sure to be of a pixel's winner: a small network on what the pixel and its surroundings show.

With x the features (``context.py``) and the pool's own log-odds and gap, standardised over the fit and cut at 6
standard deviations, w the winner, and l the mean of the log-odds of w under the anchor and under the pool:

    (a, b) = R silu(W x + U_w + h) + o;    log-odds of "w is right" = l exp(clip(a, -3, 2)) + clip(b, -4, 4).

It starts at l. Several networks, each trained without some of the images, are one: their a and b are averaged, and as
each has one hidden layer they are stored and run as a single wider one.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import silu

from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant.calibrators._projections import EXCLUDED, NEXT_BELOW, Apart, cut_at_level
from calibrant.calibrators._tensors import keep_tensors
from calibrant.calibrators.stacked.context import DEFINITION, MAX_GAP

LOG_FACTORS = (-3.0, 2.0)
"""Bounds on a: the log-odds are multiplied by 0.05 to 7.4. They keep a network from extremes, no more."""

SHIFTS = (-4.0, 4.0)
"""Bounds on b."""

LOG_ODDS = (-9.0, 37.0)
"""Log-odds of the pool count within these bounds, as those of the anchor do."""

MAX_FEATURE = 6.0
"""Features farther than this many standard deviations from their mean count as this: nothing was learnt beyond."""


class ConfidenceNetwork(nn.Module):
    """From the features of a pixel to the log-odds that its winner is right.

    :param centre: mean of each feature over the fit.
    :param scale: standard deviation of each feature.
    :param weight: W, from the standardised features to the hidden layer.
    :param by_winner: U, what each class adds to the hidden layer where it is the winner.
    :param bias: h, added to the hidden layer.
    :param readout: R, from the hidden layer to a and b.
    :param offset: o, added to a and b.
    """

    definition: ClassVar[Mapping[str, object]] = DEFINITION | {
        "log_factors": LOG_FACTORS,
        "shifts": SHIFTS,
        "log_odds": LOG_ODDS,
        "max_feature": MAX_FEATURE,
    }

    centre: Tensor
    scale: Tensor
    weight: Tensor
    by_winner: Tensor
    bias: Tensor
    readout: Tensor
    offset: Tensor

    def __init__(
        self,
        centre: Float[Tensor, " f"],
        scale: Float[Tensor, " f"],
        weight: Float[Tensor, "h f"],
        by_winner: Float[Tensor, "c h"],
        bias: Float[Tensor, " h"],
        readout: Float[Tensor, "2 h"],
        offset: Float[Tensor, "2"],
    ) -> None:
        super().__init__()
        keep_tensors(self, centre=centre, scale=scale, weight=weight, by_winner=by_winner)
        keep_tensors(self, bias=bias, readout=readout, offset=offset)

    def arguments(self) -> dict[str, Any]:
        """Return the tensors that the constructor takes."""
        return dict(self.named_buffers())

    @property
    def num_classes(self) -> int:
        """The number of classes that it was trained on."""
        return len(self.by_winner)

    def forward(
        self, context: Float[Tensor, "n f p"], pool: Float[Tensor, "n 2 p"], winner: Int[Tensor, "n 1 p"]
    ) -> Float[Tensor, "n 1 p"]:
        """Return the log-odds that the winner of each pixel is right.

        :param context: features of the anchor's logits.
        :param pool: log-odds and gap of the winner under the pool, see :func:`of_pool`.
        :param winner: the class with the largest logit.
        """
        x = torch.cat([context, pool], 1)
        x = x.sub_(self.centre[:, None]).mul_(1 / self.scale[:, None]).clamp_(-MAX_FEATURE, MAX_FEATURE)
        n, _, p = winner.shape
        by_winner = (self.by_winner + self.bias).T.contiguous().index_select(1, winner.flatten())
        by_winner = by_winner.view(-1, n, p).transpose(0, 1)
        hidden = silu(by_winner.baddbmm_(self.weight.expand(n, -1, -1), x), inplace=True)
        return log_odds(self.readout @ hidden + self.offset[:, None], context[:, :1], pool[:, :1])


def of_pool(parts: Apart) -> Float[Tensor, "n 2 p"]:
    """Return what the network sees of the pool: log-odds of the winner, and its lead over the next class.

    Either is below zero where the pool prefers another class.

    :param parts: the logits of the pool.
    """
    odds, gap = parts.at_winner - parts.rest, parts.at_winner - parts.highest
    return torch.cat([odds.clamp(*LOG_ODDS), gap.clamp(LOG_ODDS[0], MAX_GAP)], 1)


def as_sure(
    odds: Float[Tensor, "n 1 p"],
    parts: Apart,
    winner: Int[Tensor, "n 1 p"],
    tied: Bool[Tensor, "n 1 p"],
    raw: Float[Tensor, "n c p"],
) -> Float[Tensor, "n c p"]:
    """Return logits, 0 at the winner, that give it these log-odds, and the others their proportions in the pool.

    Where another class would exceed the winner they share their probability, as in the nearest distribution in which
    the winner still wins. Where several classes win, the pixel keeps the pool's distribution, and they share likewise.

    :param odds: the log-odds that the winner is right.
    :param parts: the logits of the pool.
    :param winner: the class with the largest logit of the model, the first of those that tie.
    :param tied: where several classes have it.
    :param raw: the logits of the model.
    """
    found, unlike = unshared(odds, parts, winner, tied)
    return torch.where(unlike, shared(odds, parts, winner, tied, raw), found)


def unshared(
    odds: Float[Tensor, "n 1 p"], parts: Apart, winner: Int[Tensor, "n 1 p"], tied: Bool[Tensor, "n 1 p"]
) -> tuple[Float[Tensor, "n c p"], Bool[Tensor, "n 1 p"]]:
    """Return the logits of :func:`as_sure` as if no classes shared, and where they do: at few pixels.

    :param odds: the log-odds that the winner is right.
    :param parts: the logits of the pool.
    :param winner: the class with the largest logit of the model, the first of those that tie.
    :param tied: where several classes have it.
    """
    base = parts.rest + odds
    found = (parts.others - base).clamp_(EXCLUDED, -NEXT_BELOW).scatter_(1, winner, 0.0)
    return found, (parts.highest > base) | tied


def shared(
    odds: Float[Tensor, "n 1 p"],
    parts: Apart,
    winner: Int[Tensor, "n 1 p"],
    tied: Bool[Tensor, "n 1 p"],
    raw: Float[Tensor, "n c p"],
) -> Float[Tensor, "n c p"]:
    """Return the nearest logits in which the winners win, 0 there: those of :func:`as_sure` where classes share.

    :param odds: the log-odds that the winner is right.
    :param parts: the logits of the pool.
    :param winner: the class with the largest logit of the model, the first of those that tie.
    :param tied: where several classes have it.
    :param raw: the logits of the model.
    """
    at_winner = torch.where(tied, parts.at_winner, parts.rest + odds)
    nearest = cut_at_level(raw, parts.others.scatter(1, winner, at_winner))
    nearest = (nearest - nearest.amax(1, keepdim=True)).clamp_max(-NEXT_BELOW)
    return nearest.masked_fill(raw == raw.amax(1, keepdim=True), 0.0)


def log_odds(
    found: Float[Tensor, "n 2 p"], anchor: Float[Tensor, "n 1 p"], pool: Float[Tensor, "n 1 p"]
) -> Float[Tensor, "n 1 p"]:
    """Return the log-odds that a network means.

    :param found: a and b.
    :param anchor: the log-odds of the winner under the anchor.
    :param pool: and under the pool.
    """
    a, b = found.split(1, 1)
    return (anchor + pool) / 2 * a.clamp(*LOG_FACTORS).exp() + b.clamp(*SHIFTS)
