"""Isotonic scaling: what a confidence has been worth, by predicted class, from counts of every pixel.

Top-label isotonic regression (Zadrozny and Elkan, KDD 2002), done so that no label changes: the estimate is not put in
place of the confidence but reached by a temperature of each pixel's own.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.optimize import isotonic_regression

from calibrant._shapes import Float, Tensor
from calibrant.calibrators._newton import Blocks
from calibrant.calibrators._solve import COLDEST, log_odds, recalibrated, winner
from calibrant.calibrators._strength import best_temperature, mean_nll, num_classes, sample
from calibrant.calibrators.calibrator import Calibrator
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import InputError, ShapeError
from calibrant.predictions import Predictions, Subset

BINS = 512
"""Of the log-odds of the confidence, between certainly wrong (of that many classes) and SURE."""

SURE = 14.0
"""Log-odds of a confidence of 1 - 1e-6; more counts as this."""

FOLDS = 5
LOOKED_AT = 32
"""Images from which the first temperature is fitted."""

COLDER = (1.25, 1.5, 2.0, 4.0, 16.0)
"""By how much a pixel may be sharpened beyond the first temperature: to choose from, by NLL."""

PRIORS = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6)
"""How many pixels a prior is worth in each bin: to choose from, on left-out images."""


Counts = np.ndarray
"""Pixels and right pixels, (2, classes, bins)."""

Shares = np.ndarray
"""Shares of right pixels, (classes, bins), or of one class, (bins,)."""


class IsotonicScaling(Calibrator):
    """Give each pixel the temperature at which its confidence is what such confidences have been worth; labels stay.

    :param worth: by predicted class, the share of right pixels along the log-odds of the confidence, rising.
    :param temperature: at which that confidence is taken.
    :param coldest: no pixel's temperature is lower. (Where two classes nearly tie, one gets more confidence only by
        taking it from all the others, which may be right.)
    :param notes: what a fit had to say.
    :raises InputError: the numbers are no rising shares, or the temperature is not positive.

    >>> half = IsotonicScaling(torch.full((2, 512), 0.75), 1.0)
    >>> half(torch.tensor([[[3.0], [1.0]]])).softmax(1).squeeze()
    tensor([0.7500, 0.2500])
    """

    keeps_labels = True
    worth: Tensor

    def __init__(
        self, worth: Float[Tensor, "c b"], temperature: float, coldest: float = COLDEST, notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(notes)
        shares = worth.ndim == 2 and worth.shape[1] > 1 and bool(((worth >= 0) & (worth <= 1)).all())
        if not shares or bool((worth.diff(dim=1) < 0).any()):
            raise InputError(f"expected rising shares between 0 and 1, (classes, bins); got {tuple(worth.shape)}.")
        if not 0 < temperature < float("inf"):
            raise InputError(f"expected a positive temperature; got {temperature}. 1 changes nothing, 2 softens.")
        self.register_buffer("worth", worth.detach().float().clone())
        self.temperature, self.coldest = float(temperature), float(coldest)

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return the logits at a temperature of each pixel's own, the largest at 0, with the argmax of the input.

        :raises ShapeError: the logits have another number of classes.
        """
        c, bins = self.worth.shape
        if logits.shape[1] != c:
            raise ShapeError(
                f"expected logits of {c} classes, as fitted, in axis 1; got {tuple(logits.shape)}. "
                "Fit on predictions of this model."
            )
        flat = self.worth.flatten()

        def wanted(odds: Tensor, top: Tensor) -> Tensor:
            at = (odds - _lowest(c)).mul_((bins - 1) / (SURE - _lowest(c))).clamp_(0, bins - 1)
            number = at.long().clamp_max_(bins - 2)
            number_in_flat = number + top * bins
            left, right = flat[number_in_flat], flat[number_in_flat + 1]
            return left + (right - left) * (at - number)

        return recalibrated(logits, wanted, near=self.temperature, coldest=self.coldest)

    def arguments(self) -> dict[str, Any]:
        """Return what confidences are worth, the temperature at which they are taken, and the lowest."""
        return {"worth": self.worth, "temperature": self.temperature, "coldest": self.coldest}

    @classmethod
    def fit(
        cls,
        predictions: Predictions,
        *,
        by_class: bool = True,
        pixels_per_image: int | None = None,
        seed: int = 0,
    ) -> "IsotonicScaling":
        """Return what confidences have been worth on these images.

        After a look at 32 of the images, for a first temperature, every pixel is read once and counted: by predicted
        class and fine bins of the log-odds of its confidence, pixels and right pixels. Their share, made rising by
        isotonic regression, is drawn towards the confidence itself, and that of a class towards that of all classes,
        as far as left-out images favour (by the likelihood of being right; five folds, which are counted apart).

        :param by_class: if false, confidences are worth the same whichever class is predicted.
        :param pixels_per_image: pixels drawn of each image; by default all, streamed.
        :raises FitError: there is no labelled pixel.
        """
        source: Predictions | Pixels = predictions
        if pixels_per_image is not None:
            source = Pixels.draw(predictions, per_image=pixels_per_image, seed=seed)
        looked_at = sample(_some(source), seed)
        temperature = best_temperature(looked_at, seed=seed)
        counts = _counts(source, temperature)
        sure = confidences(counts.shape[2])

        def of_all(part: Counts, prior: float) -> Shares:
            return _rising(part.sum(1, keepdims=True), sure, prior)

        to_confidence = _best_prior(of_all, counts.sum(2, keepdims=True))

        def of_each(part: Counts, prior: float) -> Shares:
            return _rising(part, of_all(part, to_confidence)[0], prior)

        note = f"a bin is drawn to the confidence at temperature {temperature:.3g} as by {to_confidence:g} pixels"
        if by_class:
            to_all = _best_prior(of_each, counts)
            note += f", and that of a class to all classes as by {to_all:g}"
            worth = torch.from_numpy(of_each(counts.sum(0), to_all))
        else:
            worth = torch.from_numpy(of_all(counts.sum(0), to_confidence)).repeat(counts.shape[2], 1)
        candidates = [cls(worth, temperature, temperature / colder, (note,)) for colder in COLDER]
        return min(candidates, key=lambda candidate: mean_nll(candidate, looked_at))


def confidences(num_classes: int) -> Shares:
    """Return the confidences whose worth is looked up, from 1 / num_classes up."""
    return 1 / (1 + np.exp(-np.linspace(_lowest(num_classes), SURE, BINS)))


def _lowest(c: int) -> float:
    """The log-odds of 1 / c."""
    return -float(np.log(max(1, c - 1)))


def _some(source: Predictions | Pixels) -> Predictions | Pixels:
    if isinstance(source, Pixels) or len(source) <= LOOKED_AT:
        return source
    return Subset(source, np.linspace(0, len(source) - 1, LOOKED_AT).round().astype(int).tolist())


def _counts(source: Predictions | Pixels, temperature: float) -> Counts:
    """Pixels and right pixels (fold, which, class, bin); the images go to the folds in turn."""
    c = num_classes(source)
    counts = torch.zeros(FOLDS, 2, c * BINS, dtype=torch.int64)
    scale = (BINS - 1) / (SURE - _lowest(c))
    for number, part in enumerate(_images(source)):
        for z, labels in Blocks(part):
            odds, below = log_odds(z[None], temperature)
            top = winner(below)[0, 0]
            bins = ((odds[0, 0] - _lowest(c)) * scale).round_().clamp_(0, BINS - 1).long()
            cells = top * BINS + bins
            counts[number % FOLDS, 0] += torch.bincount(cells, minlength=c * BINS).cpu()
            counts[number % FOLDS, 1] += torch.bincount(cells[top == labels], minlength=c * BINS).cpu()
    return counts.view(FOLDS, 2, c, BINS).double().numpy()


def _images(source: Predictions | Pixels) -> Iterator[Predictions | Pixels]:
    if isinstance(source, Pixels):
        return (source.where(source.image == number) for number in torch.unique(source.image))
    return ([prediction] for prediction in source)


def _rising(counts: Counts, toward: Shares, prior: float) -> Shares:
    """Shares of right pixels (class, bin), each bin with ``prior`` pixels more that are right as ``toward`` says.

    Bins that isotonic regression pools become one point, at their mean, with straight lines between: no ties.
    """
    at = np.arange(BINS)
    rows = []
    for pixels, right in zip(*counts, strict=True):
        weight = pixels + prior
        pooled = isotonic_regression((right + prior * toward) / weight, weights=weight)
        first = pooled.blocks[:-1]
        centres = np.add.reduceat(weight * at, first) / np.add.reduceat(weight, first)
        rows.append(np.interp(at, centres, pooled.x[first]))
    return np.stack(rows)


def _best_prior(estimate: Callable[[Counts, float], Shares], counts: Counts) -> float:
    """The prior under which left-out folds are likeliest; the strongest where there is no other fold."""
    filled = [fold for fold in range(FOLDS) if counts[fold].any()]
    if len(filled) < 2:
        return PRIORS[-1]
    total = counts.sum(0)

    def loss(prior: float) -> float:
        lost = 0.0
        for fold in filled:
            pixels, right = counts[fold]
            share = np.clip(estimate(total - counts[fold], prior), 1e-7, 1 - 1e-7)
            lost -= float((right * np.log(share) + (pixels - right) * np.log1p(-share)).sum())
        return lost

    return min(reversed(PRIORS), key=loss)
