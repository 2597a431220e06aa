"""Run counts over predictions: one read of the logits for any number of calibrators, one row per image.

An image without labelled pixels has no score. It gets no row; ``left_out`` of the tally names it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch

from calibrant._shapes import IGNORE, Tensor
from calibrant.calibrators import Calibrator
from calibrant.errors import InputError, ShapeError
from calibrant.metrics import SCORES, Interval, Resamples, Score, Tally, interval, resampled_scores
from calibrant.predictions import Prediction, Predictions

T = TypeVar("T", bound=Tally)
Count = Callable[[Tensor, Tensor], T]
"""From logits (n, c, *s) and labels (n, a, *s) to a tally with n rows, such as ``CalibrationBins.of``."""


def tally(count: Count[T], predictions: Predictions, calibrator: Calibrator | None = None) -> T:
    """Count every image of a source, as it is or through a calibrator.

    :raises InputError: no image has a labelled pixel, or one cannot be counted (the message names it).

    >>> from calibrant.metrics import CalibrationBins, expected_calibration_error
    >>> sure = Prediction("a", torch.tensor([[9.0, 9.0], [0.0, 0.0]]), torch.tensor([[0, 1]]))
    >>> expected_calibration_error(tally(CalibrationBins.of, [sure]))
    tensor([0.4999], dtype=torch.float64)
    """
    return tally_all(count, predictions, {"": calibrator})[""]


def tally_all(count: Count[T], predictions: Predictions, calibrators: Mapping[str, Calibrator | None]) -> dict[str, T]:
    """Count every image through each of several calibrators, reading the logits once. None leaves them as they are."""
    rows: dict[str, _Rows[T]] = {name: _Rows(len(predictions)) for name in calibrators}
    left_out: list[str] = []
    for prediction in predictions:
        if not bool((prediction.labels != IGNORE).any()):
            left_out.append(prediction.key)
            continue
        try:
            for name, calibrator in calibrators.items():
                rows[name].add(prediction.key, count(calibrated(prediction, calibrator)[None], prediction.labels[None]))
        except InputError as error:
            said = str(error).removeprefix("image 0 of the batch: ")  # the batch is this image alone
            raise type(error)(f"image {prediction.key!r}: {said}") from error
    if len(left_out) == len(predictions):
        raise InputError(
            f"expected labelled pixels in at least one image; got none in {len(predictions)} images. "
            "Check ignore_index and the folder of labels."
        )
    return {name: each.tally(left_out) for name, each in rows.items()}


def calibrated(prediction: Prediction, calibrator: Calibrator | None) -> Tensor:
    """Return the logits of one image, as they are or through a calibrator."""
    if calibrator is None:
        return prediction.logits
    image = None if prediction.image is None else prediction.image[None]
    with torch.no_grad():
        return calibrator(prediction.logits[None], image)[0]


class _Rows(Generic[T]):
    """Collects the rows of one tally in place, so that nothing is held twice."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.keys: list[str] = []
        self.columns: T | None = None

    def add(self, key: str, row: T) -> None:
        if self.columns is None:
            self.columns = row.mapped(lambda column: column.new_empty(self.most, *column.shape[1:]))
        number = len(self.keys)
        for column, value in zip(self.columns.columns(), row.columns(), strict=True):
            if column.shape[1:] != value.shape[1:]:
                raise ShapeError(
                    f"expected as many classes as in the images before, counts of shape {tuple(column.shape[1:])}; "
                    f"got {tuple(value.shape[1:])}. Measure images of one model and label space at a time."
                )
            column[number] = value[0]
        self.keys.append(key)

    def tally(self, left_out: Sequence[str]) -> T:
        assert self.columns is not None
        number = len(self.keys)
        named = replace(self.columns.mapped(lambda column: column[:number]), keys=tuple(self.keys))
        if self.keys != sorted(self.keys):
            named = named.take(sorted(range(number), key=self.keys.__getitem__))
        return replace(named, left_out=tuple(sorted(left_out)))


@dataclass(frozen=True)
class Comparison:
    """The figures of several methods on the same images.

    :param values: by method and score, with intervals over images.
    :param differences: the same less the first method's, on the same images each time.
    :param best: by score, the method that is best with all paired intervals against the others off zero, or None.
    """

    values: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Interval]]
    best: dict[str, str | None]


def compare(
    tallies: Mapping[str, Sequence[Tally]],
    *,
    generator: torch.Generator,
    scores: Mapping[str, Score] = SCORES,
    num_resamples: int = 1000,
) -> Comparison:
    """Compare methods by their scores, in pairs on the same images.

    :param tallies: by method, one tally for each repetition (such as another split into fit and test images). Values
        are means over repetitions; an image drawn again is drawn in every repetition that it is part of.
    :raises InputError: there is nothing to compare, or the methods were not counted on the same images.
    """
    if not tallies or not all(tallies.values()):
        raise InputError("expected at least one method with one tally or more; got none. Count some images first.")
    first = next(iter(tallies.values()))
    for method, repetitions in tallies.items():
        if [each.keys for each in repetitions] != [each.keys for each in first]:
            raise InputError(
                f"expected {method!r} to be counted on the same images as the others. Count all in one run."
            )
    resamples = Resamples.draw(first, generator=generator, num_resamples=num_resamples)
    drawn: dict[str, dict[str, tuple[float, Tensor]]] = {}
    for method, repetitions in tallies.items():
        found = [resampled_scores(scores, each, resamples) for each in repetitions]
        drawn[method] = {
            name: (
                sum(each[name][0] for each in found) / len(found),
                torch.stack([each[name][1] for each in found]).nanmean(0),
            )
            for name in scores
        }
    baseline = drawn[next(iter(tallies))]
    return Comparison(
        {m: {name: interval(*each) for name, each in figures.items()} for m, figures in drawn.items()},
        {m: {name: _difference(figures[name], baseline[name]) for name in scores} for m, figures in drawn.items()},
        {name: _best({m: figures[name] for m, figures in drawn.items()}, score) for name, score in scores.items()},
    )


def _difference(one: tuple[float, Tensor], other: tuple[float, Tensor]) -> Interval:
    return interval(one[0] - other[0], one[1] - other[1])


def _best(drawn: Mapping[str, tuple[float, Tensor]], score: Score) -> str | None:
    if not score.better or len(drawn) < 2:
        return None
    sign = 1 if score.better == "lower" else -1
    leader = min(drawn, key=lambda method: sign * drawn[method][0])
    ahead = (_difference(drawn[leader], drawn[method]) for method in drawn if method != leader)
    return leader if all(each.excludes_zero() for each in ahead) else None
