"""Tallies: frozen counts with one row per image, and intervals by drawing images again.

Conventions
-----------
* Every tensor of a tally has the images on its first axis. Rows stack and add; nothing else is ever kept, so memory
  does not grow with the pixels.
* Counts are integers (32 bits in the row of one image, 64 in any sum) and sums are float64: nothing goes wrong beyond
  2^24 pixels in a bin, where float32 totals do.
* ``stack`` sorts rows by their keys, so a result does not depend on how images were spread over machines.
* A score is a function from a tally to one value per row. "Image-wise" is its mean over rows; "pooled" is its value
  on the one row of ``tally.pooled()``.
* Intervals draw whole images again (a cluster bootstrap): pixels of one image are far from independent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from typing import Any, TypeVar

import torch

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError, ShapeError

T = TypeVar("T", bound="Tally")
ScoreFunction = Callable[[Any], Tensor]
"""From a tally to one value per row."""


@dataclass(frozen=True)
class Score:
    """A figure of a report.

    :param title: how a table names it.
    :param of: from a tally to one value per row.
    :param pooled: whether every pixel counts once, or every image.
    :param better: "lower", "higher", or "" where neither is.
    :param note: one sentence for a reader who meets it for the first time.
    """

    title: str
    of: ScoreFunction
    pooled: bool
    better: str = ""
    note: str = ""


@dataclass(frozen=True)
class Tally:
    """Counts with one row per image: the base of all tallies, never made itself.

    :param keys: the names of the rows, if they are known.
    :param left_out: images that have no row because nothing in them is labelled.
    """

    keys: tuple[str, ...] = field(default=(), kw_only=True)
    left_out: tuple[str, ...] = field(default=(), kw_only=True)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(self.columns()))

    def columns(self) -> Iterator[Tensor]:
        """Yield every tensor, those of tallies within this one too."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, Tally):
                yield from value.columns()
            elif isinstance(value, Tensor):
                yield value

    def mapped(self: T, change: Callable[[Tensor], Tensor]) -> T:
        """Return the tally with every tensor changed, without names of rows."""
        changed = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, Tally):
                changed[each.name] = value.mapped(change)
            elif isinstance(value, Tensor):
                changed[each.name] = change(value)
        return replace(self, **changed, keys=(), left_out=())

    def pooled(self: T) -> T:
        """Return one row in which every pixel counts once."""
        return self.mapped(lambda column: column.sum(0, keepdim=True))

    def take(self: T, rows: Sequence[int]) -> T:
        """Return some rows, by number."""
        chosen = self.mapped(lambda column: column[torch.as_tensor(rows, dtype=torch.long)])
        return replace(chosen, keys=tuple(self.keys[i] for i in rows) if self.keys else (), left_out=self.left_out)

    def resampled(self: T, weights: Float[Tensor, "r n"]) -> T:
        """Return one row per resample: the rows of this tally added with those weights."""

        def add(column: Tensor) -> Tensor:
            return (weights @ column.double().reshape(len(column), -1)).reshape(-1, *column.shape[1:])

        return self.mapped(add)

    def minus(self: T, other: T) -> T:
        """Return the counts of this tally that are not in ``other``, a tally of some of the same pixels."""
        others = other.columns()
        return replace(self.mapped(lambda column: column - next(others)), keys=self.keys, left_out=self.left_out)

    @staticmethod
    def added(rows: Iterable[T]) -> T:
        """Return the sum of tallies row by row, in their order, without names of rows."""
        return reduce(_plus, rows)

    @staticmethod
    def stack(tallies: Sequence[T]) -> T:
        """Return all rows in one tally, sorted by key if every row has one.

        :raises ShapeError: the tallies count different things (other bins or classes).
        :raises InputError: there is none.
        """
        if not tallies:
            raise InputError("expected at least one tally to stack; got none. Count at least one image.")
        columns = [list(tally.columns()) for tally in tallies]
        shapes = [[column.shape[1:] for column in each] for each in columns]
        for number, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise ShapeError(
                    f"expected tallies of the same bins and classes; got {shapes[0]} in the first and {shape} in "
                    f"number {number}. Count all images with the same number of classes and bins."
                )
        joined = iter([torch.cat(parts) for parts in zip(*columns, strict=True)])
        stacked = tallies[0].mapped(lambda _: next(joined))
        keys = tuple(key for tally in tallies for key in tally.keys)
        left_out = tuple(sorted(key for tally in tallies for key in tally.left_out))
        if len(keys) < len(stacked):
            return replace(stacked, left_out=left_out)
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return replace(replace(stacked, keys=keys).take(order), left_out=left_out)


def _plus(first: T, second: T) -> T:
    others = second.columns()
    return first.mapped(lambda column: column + next(others))


@dataclass(frozen=True)
class Interval:
    """A value and the bounds of its interval."""

    value: float
    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Return whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Resamples:
    """How often each image is drawn in each resample: shared by all that is to be compared in pairs."""

    keys: tuple[str, ...]
    weights: Float[Tensor, "r n"]

    @classmethod
    def draw(cls, tallies: Sequence[Tally], *, generator: torch.Generator, num_resamples: int = 1000) -> "Resamples":
        """Draw images with replacement from all that appear in the tallies."""
        keys = tuple(sorted(reduce(set.union, (set(_row_names(tally)) for tally in tallies), set())))
        drawn = torch.randint(len(keys), (num_resamples, len(keys)), generator=generator)
        weights = torch.zeros(num_resamples, len(keys), dtype=torch.float64)
        return cls(keys, weights.scatter_add_(1, drawn, torch.ones_like(weights)))

    def of(self, tally: Tally) -> Float[Tensor, "r n"]:
        """Return the weights of a tally's rows."""
        number = {key: i for i, key in enumerate(self.keys)}
        return self.weights[:, [number[name] for name in _row_names(tally)]]


def _row_names(tally: Tally) -> tuple[str, ...]:
    return tally.keys or tuple(f"{i:09d}" for i in range(len(tally)))


def image_mean(values: Float[Tensor, " n"]) -> float:
    """Return the mean over images, leaving out those in which the score is not defined.

    >>> image_mean(torch.tensor([1.0, float("nan"), 2.0]))
    1.5
    """
    return float(values.nanmean())


def resampled_scores(
    scores: Mapping[str, Score], tally: Tally, resamples: Resamples
) -> dict[str, tuple[float, Float[Tensor, " r"]]]:
    """Return each score's value and its values on every resample."""
    weights = resamples.of(tally)
    found = {}
    pooled: dict[str, list[Tensor]] = {name: [] for name, score in scores.items() if score.pooled}
    whole = tally.pooled() if pooled else tally  # some tallies have no sum over images
    # A few resamples at a time, so that memory stays small beside the tally itself.
    for part in weights.split(50) if pooled else ():
        again = tally.resampled(part)
        for name, values in pooled.items():
            values.append(scores[name].of(again).double())
    for name, score in scores.items():
        if score.pooled:
            found[name] = (float(score.of(whole)), torch.cat(pooled[name]))
        else:
            values = score.of(tally).double()
            known = ~values.isnan()
            found[name] = (image_mean(values), (weights[:, known] @ values[known]) / weights[:, known].sum(1))
    return found


def interval(value: float, values: Float[Tensor, " r"], *, level: float = 0.95) -> Interval:
    """Return the percentile interval of resampled values, less the bootstrap's own estimate of its bias.

    A resample holds some images twice, so its calibration errors are larger than the data's, by as much as the data's
    are larger than the truth. Unshifted, an interval may miss its own value. No bound leaves zero behind that no
    resample crossed.

    >>> interval(1.0, torch.tensor([1.0, 2.0, 3.0]), level=0.5)
    Interval(value=1.0, low=0.5, high=1.5)
    """
    known = values[~values.isnan()]
    if len(known) == 0:
        return Interval(value, float("nan"), float("nan"))
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=known.dtype)
    low, high = (torch.quantile(known, tails) - known.mean() + value).tolist()
    if value >= 0 and bool((known >= 0).all()):
        low = max(low, 0.0)
    return Interval(value, min(low, value), max(high, value))


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
    :param pooled: whether every pixel counts once; otherwise every image does.

    >>> from calibrant.metrics import CalibrationBins, expected_calibration_error
    >>> logits, labels = torch.randn(8, 3, 9, 9), torch.zeros(8, 9, 9, dtype=torch.long)
    >>> bins = CalibrationBins.of(logits, labels)
    >>> found = bootstrap(expected_calibration_error, bins, generator=torch.Generator().manual_seed(0))
    >>> found.low <= found.value <= found.high
    True
    """
    resamples = Resamples.draw([tally], generator=generator, num_resamples=num_resamples)
    value, values = resampled_scores({"": Score("", score, pooled)}, tally, resamples)[""]
    return interval(value, values, level=level)


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

    :raises InputError: the tallies are not of the same images.
    """
    if _row_names(first) != _row_names(second):
        raise InputError(
            f"expected two tallies of the same images; got {len(first)} and {len(second)} rows that differ in their "
            "keys. Count both on the same predictions."
        )
    resamples = Resamples.draw([first], generator=generator, num_resamples=num_resamples)
    value, values = resampled_scores({"": Score("", score, pooled)}, first, resamples)[""]
    other, others = resampled_scores({"": Score("", score, pooled)}, second, resamples)[""]
    return interval(value - other, values - others, level=level)
