"""Intervals by drawing images again, alone and in pairs.

Intervals draw whole images with replacement (a cluster bootstrap): pixels of one image are far from independent. Two
methods are compared on the same images in each resample.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from calibrant._shapes import Float, Int, Tensor
from calibrant.errors import InputError
from calibrant.metrics.score import Score, ScoreFunction, image_mean
from calibrant.metrics.tally import Tally

_ROWS_AT_ONCE = 1024
"""Images whose scores are worked out together."""


def _at_once(num_images: int) -> int:
    """How many resamples are looked at together, so that memory stays small beside the tally itself."""
    return max(1, min(50, 10**6 // max(1, num_images)))


@dataclass(frozen=True)
class Interval:
    """A value and the bounds of its interval, in the value's unit.

    :param value: the value itself.
    :param low: the lower bound; NaN if not known.
    :param high: the upper bound; NaN if not known.
    """

    value: float
    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Return whether the whole interval lies on one side of zero.

        >>> Interval(0.2, 0.1, 0.3).excludes_zero(), Interval(0.2, -0.1, 0.3).excludes_zero()
        (True, False)
        """
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Resamples:
    """How often each image is drawn in each resample: shared by all that is to be compared in pairs.

    :param keys: names of the images.
    :param weights: how often each image is drawn.
    """

    keys: tuple[str, ...]
    weights: Int[Tensor, "r n"]

    @classmethod
    def draw(cls, tallies: Sequence[Tally], *, generator: torch.Generator, num_resamples: int = 1000) -> "Resamples":
        """Draw images with replacement from all that appear in the tallies.

        :param tallies: at least one; images without names are distinguished by their row.
        :param generator: what is drawn depends on its state.
        :param num_resamples: how many times images are drawn.
        :raises InputError: no resample is asked for.
        """
        if num_resamples < 1:
            raise InputError(f"expected at least one resample; got {num_resamples}. A thousand are usual.")
        keys = tuple(sorted({name for tally in tallies for name in _row_names(tally)}))
        weights = torch.zeros(num_resamples, len(keys), dtype=torch.uint8)  # of which there are very many
        for part in torch.arange(num_resamples).split(_at_once(len(keys))):
            some = torch.zeros(len(part), len(keys), dtype=torch.int16)
            drawn = torch.randint(len(keys), some.shape, generator=generator)
            some.scatter_add_(1, drawn, torch.ones_like(some))
            if int(some.max()) > 255:
                weights = weights.short()
            weights[part[0] : part[-1] + 1] = some
        return cls(keys, weights)

    def weights_of(self, tally: Tally) -> Float[Tensor, "r n"]:
        """Return the weights of a tally's rows, in float64, for :meth:`Tally.resampled`.

        :param tally: one row an image, each among ``keys``.
        """
        return self.weights[:, self._numbers_of(tally)].double()

    def weights_in_parts(self, tally: Tally) -> Iterator[Float[Tensor, "r n"]]:
        """Yield the weights of a tally's rows, some resamples at a time, so that memory stays small.

        What was yielded is written over by the next; memory that is asked for anew each time would be scattered.

        :param tally: one row an image, each among ``keys``.
        """
        rows = self._numbers_of(tally)
        parts = self.weights.split(_at_once(len(self.keys)))
        found = torch.empty(len(parts[0]), len(rows), dtype=torch.float64)
        for some in parts:
            yield found[: len(some)].copy_(some[:, rows])

    def _numbers_of(self, tally: Tally) -> Int[Tensor, " n"]:
        number = {key: i for i, key in enumerate(self.keys)}
        return torch.tensor([number[name] for name in _row_names(tally)])


def _row_names(tally: Tally) -> tuple[str, ...]:
    return tally.keys or tuple(f"{i:09d}" for i in range(len(tally)))


@dataclass(frozen=True)
class Resampled:
    """The value of a score on a data set, and on every resample of its images.

    :param value: on the images themselves.
    :param values: on each resample; NaN where it is not defined.
    """

    value: float
    values: Float[Tensor, " r"]

    def minus(self, other: "Resampled") -> "Resampled":
        """Return the paired difference, resample by resample.

        :param other: on the same resamples.
        """
        return Resampled(self.value - other.value, self.values - other.values)

    def interval(self, *, level: float = 0.95) -> Interval:
        """Return the percentile interval of the resampled values, less the bootstrap's own estimate of its bias.

        A resample holds some images twice, so its calibration errors are larger than the data's, by as much as the
        data's are larger than the truth. Unshifted, an interval may miss its own value. A bound crosses zero only if
        a resample does.

        :param level: the probability that the interval is made for, between 0 and 1.

        >>> Resampled(1.0, torch.tensor([1.0, 2.0, 3.0])).interval(level=0.5)
        Interval(value=1.0, low=0.5, high=1.5)
        """
        value, known = self.value, self.values[~self.values.isnan()]
        if len(known) == 0:
            return Interval(value, float("nan"), float("nan"))
        tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=known.dtype)
        low, high = (torch.quantile(known, tails) - known.mean() + value).tolist()
        if value >= 0 and bool((known >= 0).all()):
            low = max(low, 0.0)
        return Interval(value, min(low, value), max(high, value))


def resampled_scores(scores: Mapping[str, Score], tally: Tally, resamples: Resamples) -> dict[str, Resampled]:
    """Return each score's value and its values on every resample, adding up the images of a resample once for all.

    :param scores: by name; each says whether every pixel counts once or every image.
    :param tally: one row an image.
    :param resamples: drawn from these images, and perhaps others.
    """
    drawn = _resampled([(score.of, score.pooled) for score in scores.values()], tally, resamples)
    return dict(zip(scores, drawn, strict=True))


def _resampled(scores: Sequence[tuple[ScoreFunction, bool]], tally: Tally, resamples: Resamples) -> list[Resampled]:
    """Return what ``resampled_scores`` does, of pairs of a function and whether it is pooled."""
    any_pooled = any(pooled for _, pooled in scores)
    by_image = [None if pooled else _of_each_image(of, tally) for of, pooled in scores]
    drawn, done = torch.empty(len(scores), len(resamples.weights), dtype=torch.float64), 0
    for weights in resamples.weights_in_parts(tally):
        again, part = tally.resampled(weights) if any_pooled else None, slice(done, done := done + len(weights))
        for (of, _), values, row in zip(scores, by_image, drawn, strict=True):
            row[part] = of(again) if values is None else _weighted_mean(weights, values)
    whole = tally.pooled() if any_pooled else None
    return [
        Resampled(float(of(whole)) if values is None else image_mean(values), row)
        for (of, _), values, row in zip(scores, by_image, drawn, strict=True)
    ]


def _of_each_image(score: ScoreFunction, tally: Tally) -> Float[Tensor, " n"]:
    """Return a score of each row, some rows at a time: those of a file need not all be in memory."""
    if len(tally) <= _ROWS_AT_ONCE:
        return score(tally).double()
    numbers = torch.arange(len(tally)).split(_ROWS_AT_ONCE)
    return torch.cat([score(tally.take(some.tolist())).double() for some in numbers])


def _weighted_mean(weights: Float[Tensor, "r n"], values: Float[Tensor, " n"]) -> Float[Tensor, " r"]:
    """Return the mean of each resample over the images in which the value is known."""
    known = (~values.isnan()).double()
    return (weights @ values.nan_to_num()) / (weights @ known)


def bootstrap(
    score: ScoreFunction,
    tally: Tally,
    *,
    generator: torch.Generator,
    pooled: bool = False,
    num_resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Return a score with its interval over images.

    :param score: a function from a tally to one value per row.
    :param tally: one row an image.
    :param generator: the resamples depend on its state.
    :param pooled: whether every pixel counts once; otherwise every image does.
    :param num_resamples: how many times images are drawn.
    :param level: the probability that the interval is made for, between 0 and 1.
    :raises InputError: no resample is asked for.

    >>> from calibrant.metrics import CalibrationBins, expected_calibration_error
    >>> logits, labels = torch.randn(8, 3, 9, 9), torch.zeros(8, 9, 9, dtype=torch.long)
    >>> bins = CalibrationBins.of(logits, labels)
    >>> ece = bootstrap(expected_calibration_error, bins, generator=torch.Generator().manual_seed(0))
    >>> ece.low <= ece.value <= ece.high
    True
    """
    resamples = Resamples.draw([tally], generator=generator, num_resamples=num_resamples)
    return _resampled([(score, pooled)], tally, resamples)[0].interval(level=level)


def paired_difference(
    score: ScoreFunction,
    first: Tally,
    second: Tally,
    *,
    generator: torch.Generator,
    pooled: bool = False,
    num_resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Return ``score(first) - score(second)`` with its interval, both drawn on the same images each time.

    :param score: a function from a tally to one value per row.
    :param first: one row an image.
    :param second: counts of the same images.
    :param generator: the resamples depend on its state.
    :param pooled: whether every pixel counts once; otherwise every image does.
    :param num_resamples: how many times images are drawn.
    :param level: the probability that the interval is made for, between 0 and 1.
    :raises InputError: the tallies are not of the same images, or no resample is asked for.

    >>> from calibrant.metrics import CalibrationBins, mean_confidence
    >>> logits, labels = torch.randn(8, 3, 9, 9), torch.zeros(8, 9, 9, dtype=torch.long)
    >>> sure, unsure = CalibrationBins.of(2 * logits, labels), CalibrationBins.of(logits, labels)
    >>> paired_difference(mean_confidence, sure, unsure, generator=torch.Generator().manual_seed(0)).excludes_zero()
    True
    """
    if _row_names(first) != _row_names(second):
        raise InputError(
            f"expected two tallies of the same images; got {len(first)} and {len(second)} rows that differ in their "
            "keys. Count both on the same predictions."
        )
    resamples = Resamples.draw([first], generator=generator, num_resamples=num_resamples)
    one, other = (_resampled([(score, pooled)], tally, resamples)[0] for tally in (first, second))
    return one.minus(other).interval(level=level)
