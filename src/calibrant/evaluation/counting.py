"""Run counts over predictions: one read of the logits, one row per image.

An image without labelled pixels has no score. It gets no row; ``left_out`` of the tally names it.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import signature
from typing import Generic, TypeVar

from calibrant._shapes import IGNORE, Tensor
from calibrant._storage.rows import empty_rows
from calibrant.calibrators import CalibratedInParts, Calibrator, calibrated
from calibrant.errors import ShapeError
from calibrant.evaluation._labelled import naming, nothing_labelled, over
from calibrant.metrics import Tally
from calibrant.predictions import (
    Executor,
    Prediction,
    PredictionInParts,
    Predictions,
    each_in_parts,
    mapped_in_shards,
    spread,
)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Tally)
Count = Callable[[Tensor, Tensor], T]
"""From logits (n, c, *s) and labels (n, a, *s) to a tally with n rows, such as ``CalibrationBins.of``."""


def tally(
    count: Count[T],
    predictions: Predictions,
    calibrator: Calibrator | None = None,
    *,
    executor: Executor | None = None,
) -> T:
    """Count every image of a source, as it is or through a calibrator.

    :param count: from logits and labels to a tally, such as ``CalibrationBins.of``; it is called image by image.
    :param predictions: read once, in order.
    :param calibrator: what the logits go through first; None leaves them as they are.
    :param executor: whose workers count the images, in shards, with the same result to the bit; None counts here.
        Count, predictions and calibrators are pickled. A source that is ``Sharded`` has one already.
    :raises InputError: no image has a labelled pixel, or one cannot be counted (the message names it).

    >>> import torch
    >>> from calibrant.predictions import Prediction
    >>> from calibrant.metrics import CalibrationBins, expected_calibration_error
    >>> sure = Prediction("a", torch.tensor([[9.0, 9.0], [0.0, 0.0]]), torch.tensor([[0, 1]]))
    >>> expected_calibration_error(tally(CalibrationBins.of, [sure]))
    tensor([0.4999], dtype=torch.float64)
    """
    (counted,) = _counted(count, over(predictions, executor), [calibrator])
    return counted


def tally_all(
    count: Count[T],
    predictions: Predictions,
    calibrators: Mapping[K, Calibrator | None],
    *,
    executor: Executor | None = None,
) -> dict[K, T]:
    """Count every image through each of several calibrators, reading the logits once.

    :param count: from logits and labels to a tally, such as ``CalibrationBins.of``; it is called image by image.
    :param predictions: read once, in order.
    :param calibrators: by any name; None leaves the logits as they are.
    :param executor: whose workers count the images, in shards, with the same result to the bit; None counts here.
        Count, predictions and calibrators are pickled. A source that is ``Sharded`` has one already.
    :raises InputError: no image has a labelled pixel, or one cannot be counted (the message names it).

    >>> import torch
    >>> from calibrant.calibrators import TemperatureScaling
    >>> from calibrant.predictions import Prediction
    >>> from calibrant.metrics import CalibrationBins, mean_confidence
    >>> sure = Prediction("a", torch.tensor([[9.0, 9.0], [0.0, 0.0]]), torch.tensor([[0, 1]]))
    >>> tallies = tally_all(CalibrationBins.of, [sure], {"as it is": None, "halved": TemperatureScaling(2.0)})
    >>> {name: round(float(mean_confidence(bins)), 3) for name, bins in tallies.items()}
    {'as it is': 1.0, 'halved': 0.989}
    """
    return dict(zip(calibrators, _counted(count, over(predictions, executor), list(calibrators.values())), strict=True))


def tally_part(
    count: Count[T], predictions: Predictions, calibrators: Mapping[K, Calibrator | None]
) -> tuple[dict[K, T], tuple[str, ...]]:
    """Count images as :func:`tally_all` does, of which none need have a labelled pixel: part of what is counted.

    :param count: from logits and labels to a tally.
    :param predictions: read once, in order.
    :param calibrators: by any name; None leaves the logits as they are.
    :returns: the tallies, none if nothing is labelled; and the names of the images without a label.
    """
    rows, left_out = _rows_of(count, predictions, list(calibrators.values()))
    named = zip(calibrators, rows, strict=True) if len(left_out) < len(predictions) else ()
    return {name: own.tally(left_out) for name, own in named}, tuple(sorted(left_out))


def stacked_parts(parts: Sequence[tuple[Mapping[K, T], tuple[str, ...]]]) -> dict[K, T]:
    """Return what :func:`tally_all` would have returned of all images, from what :func:`tally_part` made of parts.

    :param parts: all of them, in any order.
    :raises InputError: nothing is labelled in any.
    """
    left_out = tuple(sorted(key for _, keys in parts for key in keys))
    found = [tallies for tallies, _ in parts if tallies]
    if not found:
        raise nothing_labelled(len(left_out))
    stacked = {name: type(own).stack([each[name] for each in found]) for name, own in found[0].items()}
    return {name: replace(own, left_out=left_out) for name, own in stacked.items()}


def _counted(count: Count[T], predictions: Predictions, calibrators: Sequence[Calibrator | None]) -> list[T]:
    """Return one tally for each calibrator."""
    rows, left_out = _rows_of(count, predictions, calibrators)
    if len(left_out) == len(predictions):
        raise nothing_labelled(len(predictions))
    return [own.tally(left_out) for own in rows]


def _rows_of(
    count: Count[T], predictions: Predictions, calibrators: Sequence[Calibrator | None]
) -> tuple[list["_Rows[T]"], list[str]]:
    """Return the rows for each calibrator, and the names of the images that have none."""
    rows: list[_Rows[T]] = [_Rows(len(predictions)) for _ in calibrators]
    left_out: list[str] = []
    if spread(predictions) is None:
        for counted in _each_counted(predictions, left_out, count, calibrators):
            _add(rows, counted)
    else:
        for tallies, unlabelled in mapped_in_shards(_of_shard, predictions, count, calibrators):
            _add(rows, tallies)
            left_out += unlabelled
    return rows, left_out


def _each_counted(
    predictions: Predictions | Iterable[Prediction],
    left_out: list[str],
    count: Count[T],
    calibrators: Sequence[Calibrator | None],
) -> Iterator[list[T]]:
    """Yield the row of each labelled image through each calibrator."""
    for image in each_in_parts(predictions):
        with naming(image.key):
            if not any(bool((image.labels(*run) != IGNORE).any()) for run in image.runs()):
                left_out.append(image.key)
                continue
            rows = list(_through_each(count, image, calibrators))
        yield [replace(row, keys=(image.key,)) for row in rows]


def _through_each(count: Count[T], image: PredictionInParts, calibrators: Sequence[Calibrator | None]) -> Iterator[T]:
    """The row of one image through each calibrator, counted in parts if that can be done."""
    in_parts = _in_parts(count)
    if in_parts is None:
        whole = image.whole()
        for calibrator in calibrators:
            yield count(calibrated(whole, calibrator)[None], whole.labels[None])
        return
    for calibrator in calibrators:
        yield in_parts(image if calibrator is None else CalibratedInParts(image, calibrator))


def _in_parts(count: Count[T]) -> Callable[[PredictionInParts], T] | None:
    """What counts an image in parts as ``count`` does the whole: ``of_parts`` beside ``of``, with the same options."""
    options, of = (count.keywords, count.func) if isinstance(count, partial) and not count.args else ({}, count)
    owner = getattr(of, "__self__", None)
    of_parts = getattr(owner, "of_parts", None)
    if of_parts is None or of != getattr(owner, "of", None) or not set(options) <= {*signature(of_parts).parameters}:
        return None
    return partial(of_parts, **options)


def _of_shard(
    images: Iterable[Prediction], first: int, count: Count[T], calibrators: Sequence[Calibrator | None]
) -> tuple[list[T], list[str]]:
    """Return the tallies of some images, one for each calibrator (none if nothing is labelled), and who is left out."""
    left_out: list[str] = []
    counted = list(_each_counted(images, left_out, count, calibrators))
    rows: list[_Rows[T]] = [_Rows(len(counted)) for _ in calibrators]
    for tallies in counted:
        _add(rows, tallies)
    return ([own.tally(()) for own in rows] if counted else []), left_out


def _add(rows: Sequence["_Rows[T]"], tallies: Sequence[T]) -> None:
    for own, counted in zip(rows, tallies, strict=False):  # of a shard without labels there are none
        own.add(counted)


class _Rows(Generic[T]):
    """Collects the rows of one tally in place, so that nothing is held twice."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.keys: list[str] = []
        self.columns: T | None = None

    def add(self, rows: T) -> None:
        if self.columns is None:
            self.columns = rows.mapped(lambda column: empty_rows(column, self.most))
        number = len(self.keys)
        for column, values in zip(self.columns.columns(), rows.columns(), strict=True):
            if column.shape[1:] != values.shape[1:]:
                raise ShapeError(
                    f"expected as many classes as in the images before, counts of shape {tuple(column.shape[1:])}; "
                    f"got {tuple(values.shape[1:])}. Measure images of one model and label space at a time."
                )
            column[number : number + len(rows.keys)] = values
        self.keys.extend(rows.keys)

    def tally(self, left_out: Sequence[str]) -> T:
        assert self.columns is not None
        number = len(self.keys)
        named = replace(self.columns.mapped(lambda column: column[:number]), keys=tuple(self.keys))
        if self.keys != sorted(self.keys):
            named = named.take(sorted(range(number), key=self.keys.__getitem__))
        return replace(named, left_out=tuple(sorted(left_out)))
