r"""A pool of calibrators: the sum of their logits, each with a weight.

    p ∝ Π_m p_m^{u_m},    u_m >= 0,

a logarithmic opinion pool (Genest and Zidek, Statistical Science 1, 1986) whose weights need not sum to 1, so that it
may have the confidence that the data ask for. The weights have the smallest mean negative log-likelihood on images that
the members were fitted without (stacking: Wolpert, Neural Networks 5, 1992; Breiman, Machine Learning 24, 1996), which
is convex. A linear pool, Σ_m u_m p_m with weights by EM, was tried on three draws of the CamVid images of
docs/results/claims.md, and was behind in likelihood, Brier score and pooled calibration error: a mean of calibrated
probabilities is underconfident (Ranjan and Gneiting, JRSS B 72, 2010). It costs as many softmaxes as it has members.

A member enters only if images left out gain by it: the best is added first, and none whose gain chance would explain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant._statistics.left_out import Gain
from calibrant.calibrators._projections import EXCLUDED
from calibrant.calibrators.calibrator import MIN_EXPONENT

PIXELS = 100_000
"""Pixels on which weights are learnt, shared alike among the images."""

LEAST = -1e4
"""A member's logits count at least as this much below its largest: no probability can tell it from less."""


@dataclass(frozen=True)
class Weighed:
    """A pool and what was found on images left out.

    :param members: the numbers of the members that gain, the anchor, 0, first.
    :param weights: one each.
    :param notes: the gain of each member that was added.
    """

    members: tuple[int, ...]
    weights: tuple[float, ...]
    notes: tuple[str, ...]

    def pooled(self, left_out: Sequence[Sequence[Float[Tensor, "c p"]]]) -> list[Float[Tensor, "c p"]]:
        """Return the logits of the pool, image by image.

        :param left_out: by member, the anchor first, by image, its logits as fitted without the image.
        """
        chosen = [left_out[member] for member in self.members]
        return [
            torch.stack([weight * margins_of(z) for weight, z in zip(self.weights, image, strict=True)]).sum(0)
            for image in zip(*chosen, strict=True)
        ]


@dataclass(frozen=True)
class Apart:
    """The logits of a pool, the winner of the model apart from the other classes.

    :param others: the logits of the other classes, very low at the winners.
    :param at_winner: the winner's, the first of those that tie.
    :param highest: the largest of the others.
    :param rest: what the others sum to: their logsumexp.
    """

    others: Float[Tensor, "n c p"]
    at_winner: Float[Tensor, "n 1 p"]
    highest: Float[Tensor, "n 1 p"]
    rest: Float[Tensor, "n 1 p"]


def apart(pool: Float[Tensor, "n c p"], winners: Bool[Tensor, "n c p"], winner: Int[Tensor, "n 1 p"]) -> Apart:
    """Return the winner of each pixel apart from the other classes.

    :param pool: the logits of the pool.
    :param winners: true at each class with the largest logit of the model.
    :param winner: the first of them.
    """
    others = pool.masked_fill(winners, EXCLUDED)
    highest = others.amax(1, keepdim=True)
    rest = (others - highest).clamp_min_(MIN_EXPONENT).exp_().sum(1, keepdim=True).log_().add_(highest)
    return Apart(others, pool.gather(1, winner), highest, rest)


def margins_of(logits: Float[Tensor, "*n c p"]) -> Float[Tensor, "*n c p"]:
    """Return a member's logits less the largest of each pixel, and no lower than :data:`LEAST`.

    :param logits: the member's, class axis last but one.
    """
    return (logits - logits.amax(-2, keepdim=True)).clamp_min(LEAST)


def weigh(
    left_out: Sequence[Sequence[Float[Tensor, "c p"]]], labels: Sequence[Int[Tensor, " p"]], names: Sequence[str]
) -> Weighed:
    """Return the pool that is best on images left out, member by member.

    :param left_out: by member, the anchor first, by image, its logits as fitted without the image.
    :param labels: by image.
    :param names: of the members, for the notes.
    """
    share = max(1, PIXELS // len(labels))
    logits = [[margins_of(image[:, :share]) for image in member] for member in left_out]
    labels = [of_image[:share] for of_image in labels]
    chosen, notes = (0,), ()
    weights, losses = _fitted(logits, labels, chosen)
    while len(chosen) < len(logits):
        tried = {}
        for member in sorted({*range(len(logits))} - {*chosen}):
            further = _fitted(logits, labels, (*chosen, member))
            tried[member] = (Gain.of(losses, further[1]), further)
        best = max(tried, key=lambda member: tried[member][0].mean)
        gain, found = tried[best]
        if not gain.is_real:
            rest = ", ".join(names[member] for member in tried)
            notes += (f"{rest}: no gain on images left out; not used",)
            break
        chosen, (weights, losses) = (*chosen, best), found
        notes += (f"{names[best]}: NLL of images left out {gain}",)
    kept = [at for at, weight in enumerate(weights) if weight > 0 or at == 0]
    return Weighed(tuple(chosen[at] for at in kept), tuple(weights[at] for at in kept), notes)


def _fitted(
    logits: Sequence[Sequence[Tensor]], labels: Sequence[Tensor], chosen: Sequence[int]
) -> tuple[tuple[float, ...], list[float]]:
    """The weights with the smallest mean NLL over all pixels, and the mean NLL of each image."""
    x = torch.stack([torch.cat(list(logits[member]), 1) for member in chosen])
    y = torch.cat(list(labels))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        log_probs = torch.tensordot(torch.from_numpy(weights).to(x), x, 1).log_softmax(0)
        excess = log_probs.exp()
        excess[y, torch.arange(len(y), device=y.device)] -= 1
        value = -log_probs.gather(0, y[None]).mean(dtype=torch.float64)
        gradient = (x * excess).sum((1, 2), dtype=torch.float64) / len(y)
        return float(value), gradient.cpu().numpy()

    start = np.full(len(chosen), 1 / len(chosen))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(chosen))
    weights = torch.from_numpy(found.x).to(x)
    log_probs = torch.tensordot(weights, x, 1).log_softmax(0)
    at_label = -log_probs.gather(0, y[None])[0]
    losses = [float(part.mean()) for part in at_label.split([len(of_image) for of_image in labels])]
    return tuple(float(weight) for weight in found.x), losses
