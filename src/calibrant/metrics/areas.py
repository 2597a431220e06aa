"""Areas (in three dimensions, volumes) of a class over the hypotheses, judged against the areas that annotators drew.

Conventions
-----------
* A forecast is the set of areas of an image's hypotheses; each annotator's area is an outcome, and scores of an image
  are means over its annotators.
* Hypotheses and outcomes that are draws from one law are exchangeable. Intervals and ranks are made so that this alone,
  whatever the law, gives them the right coverage and flat ranks.
* Every score is one number an image; the score of a data set is the mean over images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import torch

from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant.errors import InputError, LabelError
from calibrant.metrics._imagewise import ImageWise
from calibrant.metrics._maps import each_map_set

T = TypeVar("T", bound="AreaSamples")


@dataclass(frozen=True)
class AreaSamples(ImageWise):
    """The area of one class in every hypothesis and every label.

    :param sampled: areas of the hypotheses, in the unit asked for.
    :param labelled: areas of the labels, in that unit; without meaning where the weight is 0.
    :param weights: one an annotator, adding up to 1.
    :param keys: names of the rows, if they are known.
    :param left_out: names of images that have no row because nothing in them is labelled.
    """

    sampled: Float[Tensor, "n m"]
    labelled: Float[Tensor, "n a"]
    weights: Float[Tensor, "n a"]

    @classmethod
    def of(
        cls,
        hypotheses: Int[Tensor, "m n *s"],
        labels: Int[Tensor, "n *t"],
        *,
        num_classes: int,
        of_class: int,
        pixel_size: float | Float[Tensor, " n"] = 1.0,
        weights: Float[Tensor, "n a"] | None = None,
    ) -> "AreaSamples":
        """Measure a batch of images, one row each, on the pixels that every annotator labelled.

        :param hypotheses: (m, n, *s), drawn maps, samples first.
        :param labels: (n, a, *s), or (n, *s) with one annotator; ``IGNORE`` where unlabelled.
        :param num_classes: how many classes there are.
        :param of_class: the class whose area counts.
        :param pixel_size: area (volume) of a pixel, such as mm²; of each image if they differ.
        :param weights: one an annotator; by default all who labelled a pixel of the image weigh the same.
        :raises ShapeError, LabelError, InputError: what was passed cannot be measured.
        """
        if not 0 <= of_class < num_classes:
            raise LabelError(f"expected a class of 0..{num_classes - 1}; got {of_class}. Check num_classes.")
        rows = [
            (
                torch.from_numpy(np.count_nonzero(maps.hypotheses[:, maps.complete] == of_class, axis=1)),
                torch.from_numpy(np.count_nonzero(maps.labels[:, maps.complete] == of_class, axis=1)),
                torch.from_numpy(maps.weights if maps.complete.any() else np.zeros_like(maps.weights)),
            )
            for maps in each_map_set(hypotheses, labels, num_classes, weights)
        ]
        sampled, labelled, shares = (torch.stack(column).double() for column in zip(*rows, strict=True))
        size = torch.as_tensor(pixel_size, dtype=torch.float64).reshape(-1, 1)
        return cls(sampled * size, labelled * size, shares)

    @classmethod
    def stack(cls: type[T], tallies: Sequence[T]) -> T:
        """Return all rows in one tally, sorted by key; images of fewer annotators are padded with weights of 0.

        :param tallies: at least one; all with the same number of samples.
        :raises ShapeError: the tallies hold different numbers of samples.
        :raises InputError: there is none.
        """
        most = max((tally.weights.shape[1] for tally in tallies), default=0)
        pad = torch.nn.functional.pad
        return super().stack(
            [
                replace(
                    tally,
                    labelled=pad(tally.labelled, (0, most - tally.weights.shape[1])),
                    weights=pad(tally.weights, (0, most - tally.weights.shape[1])),
                )
                for tally in tallies
            ]
        )

    def over_annotators(self, values: Float[Tensor, "n a"]) -> Float[Tensor, " n"]:
        """Return the weighted mean of a value over the annotators of each image; NaN if it has none.

        :param values: one an image and annotator.
        """
        known = self.weights > 0
        mean = torch.where(known, values * self.weights, 0.0).sum(1)
        return torch.where(known.any(1), mean, torch.nan)


def area_crps(areas: AreaSamples, *, fair: bool = True) -> Float[Tensor, " n"]:
    r"""Return the continuous ranked probability score (CRPS) of each image, in the unit of area; lower is better.

    .. math:: \frac1m\sum_i|x_i-y| - \frac1{2m(m-1)}\sum_{i\ne j}|x_i-x_j|

    Gneiting and Raftery (2007), eq. (21), is the plain estimator, which divides by :math:`2m^2` and so punishes few
    samples; the fair one (Ferro 2014) is, on average, the score of infinitely many.

    :param areas: one row an image.
    :param fair: whether the pairs of a sample with itself are left out; needs two hypotheses, or the score is NaN.

    >>> areas = AreaSamples(*(torch.tensor([x]).double() for x in ([1, 3], [2], [1])))
    >>> area_crps(areas), area_crps(areas, fair=False)
    (tensor([0.], dtype=torch.float64), tensor([0.5000], dtype=torch.float64))
    """
    m = areas.sampled.shape[1]
    x = areas.sampled.sort(1).values
    # The sum over pairs of |x_i - x_j| is a weighted sum of the sorted values.
    rank = torch.arange(1 - m, m, 2, dtype=torch.float64)
    pairs = 2 * (x * rank).sum(1)
    number = m * (m - 1) if fair else m * m
    spread = pairs / (2 * number) if number else torch.full_like(pairs, torch.nan)
    away = (x[:, :, None] - areas.labelled[:, None]).abs().mean(1)
    return areas.over_annotators(away) - spread


def area_interval(areas: AreaSamples, *, level: float = 0.9) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return the bounds of each image's central interval of sampled areas.

    The quantile p is the sample of rank p (m + 1), between samples interpolated: where ranks are whole, an outcome
    exchangeable with the samples lies between the bounds with probability ``level`` exactly, if there are no ties. With
    fewer than 2 / (1 - level) - 1 samples (19 for 90 %) the bounds are the smallest and the largest sample, which
    hold (m - 1) / (m + 1) of outcomes.

    :param areas: one row an image.
    :param level: the share of outcomes that the interval is made to hold, between 0 and 1.
    :raises InputError: the level is not between 0 and 1.

    >>> areas = AreaSamples(*(torch.tensor([x]).double() for x in ([3, 1, 2], [2], [1])))
    >>> area_interval(areas, level=0.5)
    (tensor([1.], dtype=torch.float64), tensor([3.], dtype=torch.float64))
    """
    _checked_level(level)
    quantiles = np.quantile(areas.sampled.numpy(), [(1 - level) / 2, (1 + level) / 2], axis=1, method="weibull")
    low, high = torch.from_numpy(quantiles)
    return low, high


def area_bounds(
    probs: Float[Tensor, "c *s"], *, level: float = 0.9, where: Bool[Tensor, "*s"] | None = None
) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    r"""Return bounds of each class's area, in pixels, that hold however pixels of the image depend on each other.

    With :math:`a = (1-\text{level})/2` and the probabilities :math:`p_i` of a class,

    .. math:: \sum_i\max\Bigl(0, 1-\frac{1-p_i}a\Bigr) \le A \le \sum_i\min\Bigl(1, \frac{p_i}a\Bigr).

    For any event :math:`E` of probability :math:`a` or more, :math:`\mathbb{E}[A\mid E]\le\sum_i\min(1,p_i/a)`. With
    the event that the area exceeds the upper bound this says that its probability is below :math:`a`; so for the lower
    one. If pixels have a class as often as the probabilities say, the area thus lies between the bounds with
    probability ``level`` or more. They are wide: a sampler, which knows the dependence, gives :func:`area_interval`.

    :param probs: the probabilities of one image, class axis first.
    :param level: the share of outcomes that the bounds hold at least, between 0 and 1.
    :param where: the pixels that count; all if None.
    :raises InputError: the level is not between 0 and 1.

    >>> low, high = area_bounds(torch.tensor([[0.99, 0.5, 0.01], [0.01, 0.5, 0.99]]), level=0.9)
    >>> [round(x, 2) for x in (*low.tolist(), *high.tolist())]
    [0.8, 0.8, 2.2, 2.2]
    """
    tail = (1 - _checked_level(level)) / 2
    counted = probs.flatten(1).double() if where is None else probs[:, where].double()
    return (1 - (1 - counted) / tail).clamp_min(0).sum(1), (counted / tail).clamp_max(1).sum(1)


def _checked_level(level: float) -> float:
    if not 0 < level < 1:
        raise InputError(f"expected a level between 0 and 1; got {level}. For 90 % pass 0.9.")
    return level


def interval_coverage(
    areas: AreaSamples, *, level: float = 0.9, ties: Literal["inside", "spread"] = "inside"
) -> Float[Tensor, " n"]:
    """Return the share of annotators whose area lies within each image's interval.

    Where areas tie, as those of empty maps do, the interval holds more than its level even for a perfect sampler: where
    a tenth of the samples are empty, 0 is the lower bound, and no annotator lies below it. With ``ties="spread"`` an
    annotator who ties with samples has a range of ranks among them, and counts by the part of it that lies within the
    level; for a perfect sampler these parts are ``level`` on average, whatever the law and the number of samples
    (it is the expectation of the randomised probability integral transform: Czado, Gneiting and Held, Biometrics 65,
    2009).

    :param areas: one row an image.
    :param level: the share of outcomes that the interval is made to hold, between 0 and 1.
    :param ties: "inside", the bounds are part of the interval; "spread", as above.
    :raises InputError: the level is not between 0 and 1.

    >>> half_empty = AreaSamples(*(torch.tensor([x]).double() for x in ([0, 0, 0, 5, 6, 7], [0, 6], [0.5, 0.5])))
    >>> interval_coverage(half_empty, level=0.5), interval_coverage(half_empty, level=0.5, ties="spread")
    (tensor([1.], dtype=torch.float64), tensor([0.5937], dtype=torch.float64))
    """
    if ties == "inside":
        low, high = area_interval(areas, level=level)
        inside = ((low[:, None] <= areas.labelled) & (areas.labelled <= high[:, None])).double()
    else:
        tail, ranks = (1 - _checked_level(level)) / 2, areas.sampled.shape[1] + 1
        below, tied = _below_and_tied(areas)
        first, last = below / ranks, (below + tied + 1) / ranks
        inside = (last.clamp_max(1 - tail) - first.clamp_min(tail)).clamp_min(0) / (last - first)
    return areas.over_annotators(inside)


def interval_width(areas: AreaSamples, *, level: float = 0.9) -> Float[Tensor, " n"]:
    """Return the width of each image's interval: of two samplers with the right coverage the narrower is better.

    :param areas: one row an image.
    :param level: the share of outcomes that the interval is made to hold, between 0 and 1.
    :raises InputError: the level is not between 0 and 1.
    """
    low, high = area_interval(areas, level=level)
    return high - low


def area_ranks(areas: AreaSamples) -> Float[Tensor, "n r"]:
    """Return where annotators rank among the samples, as shares of m + 1 ranks; ties are spread evenly.

    On average over images all shares are 1 / (m + 1) for a perfect sampler; a U says that samples vary too little.

    :param areas: one row an image.
    """
    below, tied = _below_and_tied(areas)
    m = areas.sampled.shape[1]
    rank = torch.arange(m + 1)
    hit = (rank >= below[..., None]) & (rank <= (below + tied)[..., None])
    shares = hit / (tied + 1)[..., None]
    return torch.stack([areas.over_annotators(shares[..., r]) for r in range(m + 1)], 1)


def area_pit(areas: AreaSamples, *, generator: torch.Generator) -> Float[Tensor, "n a"]:
    """Return the probability integral transform of each annotator's area; NaN where the weight is 0.

    Ranks are drawn at random among ties and within a rank, so that values are exactly uniform on [0, 1] for a perfect
    sampler, at any number of samples.

    :param areas: one row an image.
    :param generator: what is drawn depends on its state.
    """
    below, tied = _below_and_tied(areas)
    uniform = torch.rand(below.shape, generator=generator, dtype=torch.float64)
    values = (below + uniform * (tied + 1)) / (areas.sampled.shape[1] + 1)
    return torch.where(areas.weights > 0, values, torch.nan)


def _below_and_tied(areas: AreaSamples) -> tuple[Tensor, Tensor]:
    x, y = areas.sampled[:, :, None], areas.labelled[:, None]
    return (x < y).sum(1), (x == y).sum(1)
