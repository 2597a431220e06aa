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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from calibrant._shapes import Float, Int, Tensor
from calibrant._statistics.left_out import Gain
from calibrant.calibrators._likelihood import floored_log_softmax
from calibrant.calibrators.calibrator import Calibrator
from calibrant.calibrators.dirichlet import DirichletScaling
from calibrant.calibrators.pixels import MAX_SIZE
from calibrant.calibrators.temperature import TemperatureScaling
from calibrant.calibrators.vector import VectorScaling

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

    def pooled(self, left_out: Sequence[Sequence[Float[Tensor, "c _"]]]) -> list[Float[Tensor, "c _"]]:
        """Return the logits of the pool, image by image.

        :param left_out: by member, the anchor first, by image, its logits as fitted without the image.
        """
        chosen = [left_out[member] for member in self.members]
        return [
            torch.stack([weight * margins_of(z) for weight, z in zip(self.weights, image, strict=True)]).sum(0)
            for image in zip(*chosen, strict=True)
        ]


@dataclass(frozen=True)
class Pool:
    """The sum of the logits of calibrators, each with a weight.

    Those that scale and shift each class are added up first, as one; a matrix is added to the sum as it is multiplied.

    :param factor: what a class is multiplied by, all in all, by calibrators that scale and shift each class.
    :param shift: what is added to it.
    :param matrices: matrix of each Dirichlet scaling, times its weight, and its floor.
    :param others: of the other calibrators, number, weight and calibrator.
    """

    factor: Float[Tensor, "_ 1"]
    shift: Float[Tensor, "_ 1"]
    matrices: tuple[tuple[Float[Tensor, "c c"], float], ...]
    others: tuple[tuple[int, Float[Tensor, ""], Calibrator], ...]

    @classmethod
    def of(cls, calibrators: Sequence[Calibrator], weights: Float[Tensor, " m"]) -> "Pool":
        """Return what calibrators with these weights add up to.

        :param calibrators: what is pooled.
        :param weights: one each.
        """
        factor, shift = weights.new_zeros(1, 1), weights.new_zeros(1, 1)
        matrices, others = [], []
        for number, (calibrator, weight) in enumerate(zip(calibrators, weights, strict=True)):
            changes_labels = not calibrator.keeps_labels
            if isinstance(calibrator, TemperatureScaling):
                factor = factor + weight / calibrator.divisor
            elif isinstance(calibrator, VectorScaling) and changes_labels:
                factor, shift = factor + weight * calibrator.weight[:, None], shift + weight * calibrator.bias[:, None]
            elif isinstance(calibrator, DirichletScaling) and changes_labels:
                shift = shift + weight * calibrator.bias[:, None]
                matrices.append((weight * calibrator.weight, calibrator.floor))
            else:
                others.append((number, weight, calibrator))
        return cls(factor, shift, tuple(matrices), tuple(others))

    def of_logits(
        self, z: Float[Tensor, "n c p"], given: Mapping[int, Float[Tensor, "n c p"]]
    ) -> Float[Tensor, "n c p"]:
        """Return the sum of the logits.

        :param z: raw logits.
        :param given: by number of a calibrator that is not pixel by pixel, its logits.
        """
        z = z.clamp(-MAX_SIZE, MAX_SIZE)
        total = (z * self.factor).add_(self.shift)  # a quarter of the time of torch.addcmul
        for matrix, floor in self.matrices:
            total = total.baddbmm_(matrix.expand(len(z), -1, -1), floored_log_softmax(z, floor))
        for number, weight, calibrator in self.others:
            total = torch.addcmul(total, given[number] if number in given else calibrator(z), weight)
        return total


def margins_of(logits: Float[Tensor, "*n c p"]) -> Float[Tensor, "*n c p"]:
    """Return a member's logits less the largest of each pixel, and no lower than :data:`LEAST`.

    :param logits: the member's, class axis last but one.
    """
    return (logits - logits.amax(-2, keepdim=True)).clamp_min(LEAST)


def weigh(
    left_out: Sequence[Sequence[Float[Tensor, "c _"]]], labels: Sequence[Int[Tensor, " _"]], names: Sequence[str]
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
        if not gain.is_real or found[0][-1] == 0:  # without a weight it differs by where the descent ended
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
