"""Every score again, written from its definition as plain loops over pixels in float64: the oracle of the tests."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np

from calibrant.predictions import IGNORE


@dataclass(frozen=True)
class Pixel:
    place: tuple[int, ...]
    label: int
    probs: list[float]
    prediction: int
    nll: float

    @property
    def confidence(self) -> float:
        return max(self.probs)

    @property
    def correct(self) -> bool:
        return self.label == self.prediction


def pixels_of(logits, labels, where=None) -> list[Pixel]:
    """The labelled pixels of one image: logits (c, *s), labels (a, *s)."""
    found = []
    for place in np.ndindex(*labels.shape):
        label = int(labels[place])
        if label == IGNORE or (where is not None and not bool(where[place])):
            continue
        z = [float(x) for x in logits[(slice(None), *place[1:])]]
        top = max(z)
        weights = [math.exp(x - top) for x in z]
        total = math.fsum(weights)
        found.append(Pixel(place, label, [w / total for w in weights], z.index(top), math.log(total) + top - z[label]))
    return found


def bin_number(probability: float, num_bins: int) -> int:
    for number in range(num_bins):
        if Fraction(number, num_bins) < Fraction(probability) <= Fraction(number + 1, num_bins):
            return number
    assert probability == 0
    return 0


def bins_of(pairs: Iterable[tuple[float, bool]], num_bins: int) -> list[tuple[int, int, float]]:
    """Count, positives and sum of probabilities of each bin."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(num_bins)]
    for probability, positive in pairs:
        bins[bin_number(probability, num_bins)].append((probability, positive))
    return [(len(each), sum(p for _, p in each), math.fsum(c for c, _ in each)) for each in bins]


def gaps(pixels: list[Pixel], num_bins: int) -> list[tuple[int, float]]:
    counted = bins_of([(p.confidence, p.correct) for p in pixels], num_bins)
    return [(count, right / count - total / count) for count, right, total in counted if count]


def ece(pixels, num_bins=15):
    return sum(count * abs(gap) for count, gap in gaps(pixels, num_bins)) / len(pixels)


def mce(pixels, num_bins=15):
    return max(abs(gap) for _, gap in gaps(pixels, num_bins))


def signed_gap(pixels):
    return mean(p.confidence - p.correct for p in pixels)


def classwise_ece(pixels, num_bins=15):
    errors = []
    for k in range(len(pixels[0].probs)):
        counted = bins_of([(p.probs[k], p.label == k) for p in pixels], num_bins)
        errors.append(sum(abs(right - total) for _, right, total in counted) / len(pixels))
    return mean(errors)


def nll(pixels):
    return mean(p.nll for p in pixels)


def brier(pixels):
    return mean(sum((q - (k == p.label)) ** 2 for k, q in enumerate(p.probs)) for p in pixels)


def brier_top(pixels):
    return mean((p.confidence - p.correct) ** 2 for p in pixels)


def entropy(pixels):
    return mean(-sum(q * math.log(q) for q in p.probs if q > 0) for p in pixels)


def iou(pixels, k):
    both = sum(p.label == k and p.prediction == k for p in pixels)
    either = sum(k in (p.label, p.prediction) for p in pixels)
    return both / either if either else math.nan


def dice(pixels, k):
    both = sum(p.label == k and p.prediction == k for p in pixels)
    sizes = sum(p.label == k for p in pixels) + sum(p.prediction == k for p in pixels)
    return 2 * both / sizes if sizes else math.nan


def accuracy(pixels):
    return mean(p.correct for p in pixels)


def auroc(scored: list[tuple[float, bool]]):
    """The chance that a right pixel scores above a wrong one, by looking at every pair."""
    right, wrong = [s for s, ok in scored if ok], [s for s, ok in scored if not ok]
    return mean((r > w) + 0.5 * (r == w) for r, w in product(right, wrong))


def risks(scored: list[tuple[float, bool]]) -> list[tuple[int, float]]:
    """Pixels kept and wrong ones among them, on average over all orders of ties, most confident first."""
    found, kept, wrong = [], 0, 0.0
    for score in sorted({s for s, _ in scored}, reverse=True):
        tied = [ok for s, ok in scored if s == score]
        rate = 1 - sum(tied) / len(tied)
        for _ in tied:
            kept, wrong = kept + 1, wrong + rate
            found.append((kept, wrong))
    return found


def boundary(labels, width):
    """Labelled pixels with another label within a square (a cube) around them; labels (a, *s)."""
    marked = np.zeros(labels.shape, bool)
    for place in np.ndindex(*labels.shape):
        if labels[place] == IGNORE:
            continue
        sizes = zip(place[1:], labels.shape[1:], strict=True)
        ranges = [range(max(0, x - width), min(size, x + width + 1)) for x, size in sizes]
        near = {int(labels[(place[0], *each)]) for each in product(*ranges)} - {IGNORE}
        marked[place] = len(near) > 1
    return marked


def mean(values) -> float:
    values = list(values)
    return math.fsum(values) / len(values)
