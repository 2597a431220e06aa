"""Isotonic scaling: each confidence becomes the accuracy that was counted at it, by predicted class.

Top-label isotonic regression (Zadrozny and Elkan, KDD 2002) that keeps labels: the winner's probability becomes the
accuracy, and the other classes keep their proportions; one that would exceed the winner is cut to it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.optimize import isotonic_regression

from calibrant._input.checks import check_classes_as_fitted
from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant._statistics.left_out import folds
from calibrant.calibrators._passes import Blocks
from calibrant.calibrators._projections import (
    EXCLUDED,
    MAX_CONFIDENCE,
    NEXT_BELOW,
    Apart,
    apart,
    first_zero,
    keep_labels,
    nearest_with_confidence,
    replaced_where,
)
from calibrant.calibrators._strength import best_temperature, num_classes, sample
from calibrant.calibrators._tensors import keep_tensors
from calibrant.calibrators.calibrator import Calibrator, maps_by_pixel_blocks
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import InputError
from calibrant.predictions import Prediction, Predictions, PredictionsLike, Subset, mapped_in_shards, predictions_of

BINS = 512
"""Bins of the log-odds of the confidence, between those of 1 / num_classes and MAX_LOG_ODDS."""

MAX_LOG_ODDS = 14.0
"""Log-odds of a confidence of 1 - 1e-6; larger ones count as this."""

LEAST_ABOVE_UNIFORM = 1e-4
"""The winner's probability stays this far above 1 / num_classes, so that it can win."""

FOLDS = 5

MAX_IMAGES_FOR_TEMPERATURE = 32
"""Most images from which the temperature is fitted at which confidences are taken."""

PRIORS = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6)
"""Weights of the prior in each bin, in pixels: to choose from, on images left out."""


Counts = np.ndarray
"""Pixels and right pixels, (2, classes, bins)."""

Accuracies = np.ndarray
"""Shares of right pixels, (classes, bins), or of one class, (bins,)."""


class IsotonicScaling(Calibrator):
    """Set each winner's probability to the accuracy of such confidences, the others in proportion; labels stay.

    Where several classes share the largest logit, the pixel keeps its distribution (at ``temperature``).

    :param accuracy: by predicted class, the share of right pixels in equal steps of the log-odds of the confidence,
        from those of 1 / num_classes to 14; rising.
    :param temperature: at which that confidence is taken, and the other classes' proportions.
    :param notes: what the fit found.
    :raises InputError: the numbers are no rising shares, or the temperature is not positive.

    >>> half = IsotonicScaling(torch.full((2, 512), 0.75), 1.0)
    >>> half(torch.tensor([[[3.0], [1.0]]])).softmax(1).squeeze()
    tensor([0.7500, 0.2500])
    """

    keeps_labels = True
    reach = 0
    definition: ClassVar[Mapping[str, object]] = {"max_log_odds": MAX_LOG_ODDS}
    accuracy: Tensor

    def __init__(self, accuracy: Float[Tensor, "c b"], temperature: float, *, notes: tuple[str, ...] = ()) -> None:
        super().__init__(notes=notes)
        shares = accuracy.ndim == 2 and accuracy.shape[1] > 1 and bool(((accuracy >= 0) & (accuracy <= 1)).all())
        if not shares or bool((accuracy.diff(dim=1) < 0).any()):
            raise InputError(f"expected rising shares between 0 and 1, (classes, bins); got {tuple(accuracy.shape)}.")
        if not 0 < temperature < float("inf"):
            raise InputError(f"expected a positive temperature; got {temperature}. 1 changes nothing, 2 softens.")
        keep_tensors(self, accuracy=accuracy)
        self.temperature = float(temperature)

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return logits, the largest at 0, whose confidence is the accuracy looked up, with the argmax of the input.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: not used.
        :raises ShapeError: the logits have another number of classes.
        """
        check_classes_as_fitted(logits, self.num_classes)
        found, wanted, unlike = (each.flatten(2) for each in maps_by_pixel_blocks(self._recalibrated, logits))
        return replaced_where(unlike, found, self._cut_or_tied, logits.flatten(2), wanted).view(logits.shape)

    def _recalibrated(
        self, z: Float[Tensor, "n c p"]
    ) -> tuple[Float[Tensor, "n c p"], Float[Tensor, "n 1 p"], Bool[Tensor, "n 1 p"]]:
        """Logits as if no other class exceeded the winner, the log-odds against it, and where one does, or ties."""
        winner, parts = _winner_apart(z, self.temperature)
        accuracy = self._looked_up(-parts.rest, winner)
        accuracy = accuracy.clamp(min(1 / z.shape[1] + LEAST_ABOVE_UNIFORM, MAX_CONFIDENCE), MAX_CONFIDENCE)
        wanted = (1 - accuracy).log() - accuracy.log()
        lift = wanted - parts.rest
        found = (parts.others + lift).clamp_(EXCLUDED, -NEXT_BELOW).scatter_(1, winner, 0.0)
        return found, wanted, (parts.highest + lift > 0) | (parts.highest == 0)

    def _cut_or_tied(self, z: Float[Tensor, "n c p"], wanted: Float[Tensor, "n 1 p"]) -> Float[Tensor, "n c p"]:
        """Where another class would exceed the winner, or several win."""
        z = z.float()
        margins = z - z.amax(1, keepdim=True)
        winners = margins == 0
        others = (margins / self.temperature).masked_fill(winners, EXCLUDED)
        rest = others.logsumexp(1, keepdim=True)
        wanted = torch.where(winners.sum(1, keepdim=True) > 1, rest, wanted)
        return keep_labels(z, nearest_with_confidence(wanted, others - rest, winners))

    def _looked_up(self, log_odds: Float[Tensor, "n 1 p"], winner: Int[Tensor, "n 1 p"]) -> Float[Tensor, "n 1 p"]:
        """The accuracy of confidences, linear between the steps of the table."""
        c, bins = self.accuracy.shape
        low, flat = _lowest_log_odds(c), self.accuracy.flatten()
        at = (log_odds - low).mul((bins - 1) / (MAX_LOG_ODDS - low)).clamp(0, bins - 1)
        number = at.long().clamp_max(bins - 2)
        in_flat = number + winner * bins
        return torch.lerp(flat[in_flat], flat[in_flat + 1], at - number)

    def arguments(self) -> dict[str, Any]:
        """Return the accuracies, and the temperature at which confidences are taken."""
        return {"accuracy": self.accuracy, "temperature": self.temperature}

    @property
    def num_classes(self) -> int:
        """The number of classes that it was fitted on."""
        return len(self.accuracy)

    def extra_repr(self) -> str:
        """Show the number of classes and the temperature."""
        return f"num_classes={self.num_classes}, temperature={self.temperature:.4g}"

    @classmethod
    def fit(
        cls,
        predictions: PredictionsLike,
        labels: Any = None,
        *,
        by_class: bool = True,
        pixels_per_image: int | None = None,
        seed: int = 0,
    ) -> "IsotonicScaling":
        """Return the accuracy of confidences counted on these images.

        A temperature is fitted to 32 of the images; then every pixel is read once and counted: by predicted class and
        bin of the log-odds of its confidence, pixels and right pixels. Their ratio, made rising by isotonic
        regression, is shrunk towards the confidence itself, and that of a class towards that of all classes, by the
        priors under which images left out are most likely (five folds, counted apart).

        :param predictions: labelled predictions to fit on.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param by_class: if false, one curve serves all predicted classes.
        :param pixels_per_image: pixels drawn of each image; None for all of them, streamed.
        :param seed: decides which pixels are drawn, and the folds.
        :raises FitError: there is no labelled pixel.
        """
        predictions = predictions_of(predictions, labels)
        source: Predictions | Pixels = predictions
        if pixels_per_image is not None:
            source = Pixels.draw(predictions, per_image=pixels_per_image, seed=seed)
        temperature = best_temperature(sample(_some(source), seed), seed=seed)
        counts = _counts(source, temperature, seed)
        confidence = confidences(counts.shape[2])

        def of_all(part: Counts, prior: float) -> Accuracies:
            return _rising(part.sum(1, keepdims=True), confidence, prior)

        to_confidence = _best_prior(of_all, counts.sum(2, keepdims=True))

        def of_each(part: Counts, prior: float) -> Accuracies:
            return _rising(part, of_all(part, to_confidence)[0], prior)

        note = f"each bin's accuracy is shrunk to the confidence at temperature {temperature:.3g}, by a prior of "
        note += f"{to_confidence:g} pixels"
        if by_class:
            to_all = _best_prior(of_each, counts)
            note += f", and each class's to that of all classes, by one of {to_all:g}"
            accuracy = torch.from_numpy(of_each(counts.sum(0), to_all))
        else:
            accuracy = torch.from_numpy(of_all(counts.sum(0), to_confidence)).repeat(counts.shape[2], 1)
        return cls(accuracy, temperature, notes=(note,))


def confidences(num_classes: int) -> Accuracies:
    """Return the confidences in whose steps accuracies are counted, from 1 / num_classes up.

    :param num_classes: the number of classes, whose inverse is the smallest confidence possible.
    """
    return 1 / (1 + np.exp(-np.linspace(_lowest_log_odds(num_classes), MAX_LOG_ODDS, BINS)))


def _lowest_log_odds(c: int) -> float:
    """The log-odds of 1 / c."""
    return -float(np.log(max(1, c - 1)))


def _winner_apart(z: Float[Tensor, "n c p"], temperature: float) -> tuple[Int[Tensor, "n 1 p"], Apart]:
    """The class with the largest logit (of those that tie, the first), and its margins at a temperature apart from it.

    Where one class wins, minus the logsumexp of the others is the log-odds of its confidence.
    """
    margins = z - z.amax(1, keepdim=True)
    winner = first_zero(margins)
    return winner, apart(margins.div_(temperature), winner)


def _some(source: Predictions | Pixels) -> Predictions | Pixels:
    if isinstance(source, Pixels) or len(source) <= MAX_IMAGES_FOR_TEMPERATURE:
        return source
    numbers = np.linspace(0, len(source) - 1, MAX_IMAGES_FOR_TEMPERATURE).round().astype(int).tolist()
    return Subset(source, numbers)


def _counts(source: Predictions | Pixels, temperature: float, seed: int) -> Counts:
    """Pixels and right pixels, (fold, which, class, bin)."""
    c = num_classes(source)
    numbers = torch.unique(source.image) if isinstance(source, Pixels) else range(len(source))
    fold_of = {number: fold for fold, part in enumerate(folds(len(numbers), FOLDS, seed=seed)) for number in part}
    if isinstance(source, Pixels):
        images = (source.where(source.image == number) for number in numbers)
        counts = _counts_by_fold(images, 0, fold_of, c, temperature)
    else:
        counts = np.zeros((FOLDS, 2, c * BINS), np.int64)
        for part in mapped_in_shards(_counts_by_fold, source, fold_of, c, temperature):
            counts += part
    return counts.reshape(FOLDS, 2, c, BINS).astype(np.float64)


def _counts_by_fold(
    images: Iterator[Prediction | Pixels], first: int, fold_of: Mapping[int, int], c: int, temperature: float
) -> Int[np.ndarray, "f 2 cells"]:
    """Pixels and right pixels of some images, by the fold that leaves an image out. Integers add in any order."""
    low = _lowest_log_odds(c)
    counts = np.zeros((FOLDS, 2, c * BINS), np.int64)
    for number, image in enumerate(images, first):
        for z, labels in Blocks(image if isinstance(image, Pixels) else [image]):
            winner, parts = _winner_apart(z[None], temperature)
            winner = winner[0, 0]
            bins = ((-parts.rest[0, 0] - low) * ((BINS - 1) / (MAX_LOG_ODDS - low))).round_().clamp_(0, BINS - 1).long()
            cells = winner * BINS + bins
            counts[fold_of[number], 0] += torch.bincount(cells, minlength=c * BINS).cpu().numpy()
            counts[fold_of[number], 1] += torch.bincount(cells[winner == labels], minlength=c * BINS).cpu().numpy()
    return counts


def _rising(counts: Counts, toward: Accuracies, prior: float) -> Accuracies:
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


def _best_prior(estimate: Callable[[Counts, float], Accuracies], counts: Counts) -> float:
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
