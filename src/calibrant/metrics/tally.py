"""Tallies: frozen counts with one row per image.

Conventions
-----------
* Every tensor of a tally has the images on its first axis. Rows stack and add; nothing else is ever kept, so memory
  does not grow with the pixels.
* Counts are integers (32 bits in the row of one image, 64 in any sum) and sums are float64: they stay exact beyond
  2^24 pixels in a bin, where float32 totals do not.
* ``stack`` sorts rows by their keys, so a result does not depend on how images were spread over machines.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from typing import Any, TypeVar

import torch

from calibrant._shapes import Float, Tensor
from calibrant._storage.rows import joined_rows, taken_rows
from calibrant.errors import InputError, ShapeError

T = TypeVar("T", bound="Tally")


@dataclass(frozen=True)
class Tally:
    """Counts with one row per image: the base of all tallies, never made itself.

    A count of your own is a frozen dataclass that derives from this one, whose fields are tensors (or tallies) with
    the images on the first axis, and whose class method ``of`` makes one from logits and labels.

    :param keys: the names of the rows, if they are known.
    :param left_out: names of the images that have no row because nothing in them is labelled.

    >>> @dataclass(frozen=True)
    ... class Pixels(Tally):
    ...     labelled: Tensor
    >>> Pixels(torch.tensor([3, 4])).pooled().labelled
    tensor([7])
    """

    keys: tuple[str, ...] = field(default=(), kw_only=True)
    left_out: tuple[str, ...] = field(default=(), kw_only=True)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(self.columns()))

    def columns(self) -> Iterator[Tensor]:
        """Yield every tensor, those of tallies within this one too."""
        for column in fields(self):
            value = getattr(self, column.name)
            if isinstance(value, Tally):
                yield from value.columns()
            elif isinstance(value, Tensor):
                yield value

    def mapped(self: T, change: Callable[[Tensor], Tensor]) -> T:
        """Return the tally with every tensor changed, without names of rows.

        :param change: from a column, (n, …), to the column that takes its place.
        """
        changed: dict[str, Any] = {}
        for column in fields(self):
            value = getattr(self, column.name)
            if isinstance(value, Tally):
                changed[column.name] = value.mapped(change)
            elif isinstance(value, Tensor):
                changed[column.name] = change(value)
        return replace(self, **changed, keys=(), left_out=())

    def pooled(self: T) -> T:
        """Return one row in which every pixel counts once."""
        return self.mapped(_summed)

    def take(self: T, rows: Sequence[int]) -> T:
        """Return some rows.

        :param rows: their numbers, in the order wanted; a number may come more than once.
        """
        numbers = torch.as_tensor(rows, dtype=torch.long)
        chosen = self.mapped(lambda column: taken_rows(column, numbers))
        return replace(chosen, keys=tuple(self.keys[i] for i in rows) if self.keys else (), left_out=self.left_out)

    def resampled(self: T, weights: Float[Tensor, "r n"]) -> T:
        """Return one row per resample: the rows of this tally added, each times its weight.

        :param weights: float64; how often each of the n images was drawn in each of the r resamples.
        """

        def add(column: Tensor) -> Tensor:
            # Some images at a time: a copy of all rows in float64 would be larger than the tally.
            parts = zip(weights.split(100, 1), column.split(100), strict=True)
            total = sum(weight @ rows.double().reshape(len(rows), -1) for weight, rows in parts)
            return total.reshape(-1, *column.shape[1:])

        return self.mapped(add)

    def minus(self: T, other: T) -> T:
        """Return the counts of this tally that are not in another.

        :param other: a tally of some of the same pixels, with the same rows.
        """
        others = other.columns()
        return replace(self.mapped(lambda column: column - next(others)), keys=self.keys, left_out=self.left_out)

    @classmethod
    def added(cls: type[T], tallies: Iterable[T]) -> T:
        """Return the sum of tallies row by row, in their order, without names of rows.

        :param tallies: at least one; all with the same number of rows.
        """
        return reduce(_plus, tallies)

    @classmethod
    def stack(cls: type[T], tallies: Sequence[T]) -> T:
        """Return all rows in one tally, sorted by key if every row has one.

        :param tallies: at least one; all with the same bins and classes.
        :raises ShapeError: the tallies count different things (other bins or classes).
        :raises InputError: there is none, or two rows have one key.
        """
        if not tallies:
            raise InputError("expected at least one tally to stack; got none. Count at least one image.")
        columns = [list(tally.columns()) for tally in tallies]
        shapes = [[column.shape[1:] for column in tally] for tally in columns]
        for number, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise ShapeError(
                    f"expected tallies of the same bins and classes; got {shapes[0]} in the first and {shape} in "
                    f"number {number}. Count all images with the same number of classes and bins."
                )
        joined = iter([joined_rows(parts) for parts in zip(*columns, strict=True)])
        stacked = tallies[0].mapped(lambda _: next(joined))
        keys = tuple(key for tally in tallies for key in tally.keys)
        left_out = tuple(sorted(key for tally in tallies for key in tally.left_out))
        if len(keys) < len(stacked):
            return replace(stacked, left_out=left_out)
        if len(set(keys)) < len(keys):
            twice = next(key for key, count in Counter(keys).items() if count > 1)
            raise InputError(
                f"expected rows of different images; got {twice!r} twice. Count each image once, and name images of "
                "unlike sources differently."
            )
        named = replace(stacked, keys=keys, left_out=left_out)
        return named if list(keys) == sorted(keys) else named.take(sorted(range(len(keys)), key=keys.__getitem__))


GROUP = 64
"""Rows that are added before they are added to those of other rows."""


def _summed(column: Tensor) -> Tensor:
    """Add the rows in an order that does not depend on the number of threads: groups of rows, groups of groups."""
    while len(column) > GROUP:
        whole = len(column) // GROUP * GROUP
        groups = column[:whole].unflatten(0, (-1, GROUP))
        kind = column.dtype if column.is_floating_point() else torch.int64  # that of torch's sums
        found = torch.empty(len(groups) + len(column) - whole, *column.shape[1:], dtype=kind)
        # Some groups at a time, for torch makes a copy in 64 bits of all integers that it adds. The sums go into one
        # array: small ones between such copies would scatter these over a heap of many times their size.
        for some, into in zip(groups.split(GROUP), found[: len(groups)].split(GROUP), strict=True):
            into.copy_(some.sum(1))
        found[len(groups) :] = column[whole:]
        column = found
    return column.sum(0, keepdim=True)


def _plus(first: T, second: T) -> T:
    others = second.columns()
    return first.mapped(lambda column: column + next(others))
