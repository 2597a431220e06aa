"""Run counts over predictions and over what samplers draw from them: one read of the logits, one row per image.

An image without labelled pixels has no score. It gets no row; ``left_out`` of the tally names it.
"""

import math
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import torch

from calibrant._random import generator_for
from calibrant._shapes import IGNORE, Int, Tensor
from calibrant.calibrators import Calibrator, calibrated
from calibrant.errors import InputError, ShapeError
from calibrant.metrics import SCORES, Interval, Resamples, Score, Tally, interval, resampled_scores
from calibrant.predictions import Prediction, Predictions, with_logits
from calibrant.samplers import Sampler

__all__ = [
    "Comparison",
    "Count",
    "CountHypotheses",
    "compare",
    "draw_hypotheses",
    "tally",
    "tally_all",
    "tally_hypotheses",
]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Tally)
Count = Callable[[Tensor, Tensor], T]
"""From logits (n, c, *s) and labels (n, a, *s) to a tally with n rows, such as ``CalibrationBins.of``."""
CountHypotheses = Callable[[Tensor, Tensor], T]
"""From hypotheses (m, n, *s) and labels (n, a, *s) to a tally with n rows, such as ``HypothesisDistances.of``."""


def tally(count: Count[T], predictions: Predictions, calibrator: Calibrator | None = None) -> T:
    """Count every image of a source, as it is or through a calibrator.

    :raises InputError: no image has a labelled pixel, or one cannot be counted (the message names it).

    >>> from calibrant.metrics import CalibrationBins, expected_calibration_error
    >>> sure = Prediction("a", torch.tensor([[9.0, 9.0], [0.0, 0.0]]), torch.tensor([[0, 1]]))
    >>> expected_calibration_error(tally(CalibrationBins.of, [sure]))
    tensor([0.4999], dtype=torch.float64)
    """
    return tally_all(count, predictions, {"": calibrator})[""]


def tally_all(count: Count[T], predictions: Predictions, calibrators: Mapping[K, Calibrator | None]) -> dict[K, T]:
    """Count every image through each of several calibrators, reading the logits once. None leaves them as they are."""
    rows: dict[K, _Rows[T]] = {name: _Rows(len(predictions)) for name in calibrators}
    left_out: list[str] = []
    for prediction in _Labelled(predictions, left_out):
        with _naming(prediction.key):
            for name, calibrator in calibrators.items():
                rows[name].add(prediction.key, count(calibrated(prediction, calibrator)[None], prediction.labels[None]))
    if len(left_out) == len(predictions):
        raise _nothing_labelled(len(predictions))
    return {name: each.tally(left_out) for name, each in rows.items()}


def draw_hypotheses(
    sampler: Sampler,
    predictions: Iterable[Prediction],
    calibrator: Calibrator | None = None,
    *,
    num_samples: int,
    generator: torch.Generator,
) -> Iterator[tuple[Prediction, Int[Tensor, "m *s"]]]:
    """Yield each prediction, its logits calibrated, with label maps drawn for it.

    What is drawn for an image depends on the state of the generator and on the key of the image alone: not on the
    images before it, their order, or which machine reads it.
    """
    seed = int(torch.randint(2**32, (), generator=generator, device=generator.device))
    for prediction in predictions:
        prediction = with_logits(prediction, calibrated(prediction, calibrator))
        own = generator_for(seed, prediction.key, device=generator.device)
        image = None if prediction.image is None else prediction.image[None]
        drawn = sampler.sample(prediction.logits[None], image, num_samples=num_samples, generator=own)
        yield prediction, drawn[:, 0]


def tally_hypotheses(
    count: CountHypotheses[T],
    sampler: Sampler,
    predictions: Predictions,
    calibrator: Calibrator | None = None,
    *,
    num_samples: int,
    generator: torch.Generator,
) -> T:
    """Draw hypotheses of every image of a source and count them against its labels, one row an image.

    :param count: from hypotheses (m, n, *s) and labels (n, a, *s) to a tally with n rows, such as
        ``functools.partial(HypothesisDistances.of, num_classes=2, classes=[1])``.
    :param generator: see :func:`draw_hypotheses`.
    :raises InputError: no image has a labelled pixel, or one cannot be counted (the message names it).

    >>> from functools import partial
    >>> from calibrant.metrics import HypothesisDistances, generalised_energy_distance
    >>> from calibrant.samplers import IndependentSampler
    >>> sure = Prediction("a", torch.tensor([[[60.0, 0.0]], [[0.0, 60.0]]]), torch.tensor([[[0, 1]]]))
    >>> distances = tally_hypotheses(partial(HypothesisDistances.of, num_classes=2), IndependentSampler(), [sure],
    ...     num_samples=4, generator=torch.Generator())
    >>> generalised_energy_distance(distances)
    tensor([0.], dtype=torch.float64)
    """
    rows: list[T] = []
    left_out: list[str] = []
    labelled = _Labelled(predictions, left_out)
    drawn = draw_hypotheses(sampler, labelled, calibrator, num_samples=num_samples, generator=generator)
    for prediction, hypotheses in drawn:
        with _naming(prediction.key):
            row = count(hypotheses[:, None], prediction.labels[None])
        rows.append(replace(row, keys=(prediction.key,)))
    if not rows:
        raise _nothing_labelled(len(predictions))
    return replace(type(rows[0]).stack(rows), left_out=tuple(sorted(left_out)))


@dataclass(frozen=True)
class _Labelled:
    """The predictions with a labelled pixel; the names of the others are noted."""

    predictions: Predictions
    left_out: list[str]

    def __iter__(self) -> Iterator[Prediction]:
        for prediction in self.predictions:
            if bool((prediction.labels != IGNORE).any()):
                yield prediction
            else:
                self.left_out.append(prediction.key)


@contextmanager
def _naming(key: str) -> Generator[None]:
    """Name the image in the message of an error that knows it as the only one of a batch."""
    try:
        yield
    except InputError as error:
        said = str(error).removeprefix("image 0 of the batch").removeprefix(", ").removeprefix(": ")
        raise type(error)(f"image {key!r}: {said}") from error


def _nothing_labelled(num_images: int) -> InputError:
    return InputError(
        f"expected labelled pixels in at least one image; got none in {num_images} images. "
        "Check ignore_index and the folder of labels."
    )


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
    :param leaders: by score that has a better side, the method with the best value, by chance or not.
    :param behind: as differences, but less the leader's.
    :param ranks: by method and score that has a better side, 1 for the best value; methods that tie share their ranks.
        The interval holds the ranks in 95 % of the resamples.
    """

    values: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Interval]]
    best: dict[str, str | None]
    leaders: dict[str, str] = field(default_factory=dict)
    behind: dict[str, dict[str, Interval]] = field(default_factory=dict)
    ranks: dict[str, dict[str, Interval]] = field(default_factory=dict)


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
    by_score = {name: {m: figures[name] for m, figures in drawn.items()} for name in scores}
    directed = {name: score for name, score in scores.items() if score.better}
    leaders = {name: _leader(by_score[name], score) for name, score in directed.items()}
    ranks = {name: _ranks(by_score[name], score) for name, score in directed.items()}
    return Comparison(
        {m: {name: interval(*each) for name, each in figures.items()} for m, figures in drawn.items()},
        {m: {name: _difference(figures[name], baseline[name]) for name in scores} for m, figures in drawn.items()},
        {name: _best(by_score[name], leaders.get(name)) for name in scores},
        leaders,
        {m: {name: _difference(by_score[name][m], by_score[name][leaders[name]]) for name in directed} for m in drawn},
        {m: {name: ranks[name][m] for name in directed} for m in drawn},
    )


def _difference(one: tuple[float, Tensor], other: tuple[float, Tensor]) -> Interval:
    return interval(one[0] - other[0], one[1] - other[1])


def _leader(drawn: Mapping[str, tuple[float, Tensor]], score: Score) -> str:
    sign = 1 if score.better == "lower" else -1
    return min(drawn, key=lambda method: math.inf if math.isnan(drawn[method][0]) else sign * drawn[method][0])


def _best(drawn: Mapping[str, tuple[float, Tensor]], leader: str | None) -> str | None:
    if leader is None or len(drawn) < 2:
        return None
    ahead = (_difference(drawn[leader], drawn[method]) for method in drawn if method != leader)
    return leader if all(each.excludes_zero() for each in ahead) else None


def _ranks(drawn: Mapping[str, tuple[float, Tensor]], score: Score) -> dict[str, Interval]:
    """The ranks of the values, and on every resample, its values less their bias as in intervals; unknown ones last."""
    value = torch.tensor([each for each, _ in drawn.values()], dtype=torch.float64)[:, None]
    again = torch.stack([values for _, values in drawn.values()])
    every = torch.cat([value, again - again.nanmean(1, keepdim=True) + value], 1)
    every = (every if score.better == "lower" else -every).nan_to_num(
        nan=torch.inf, posinf=torch.inf, neginf=-torch.inf
    )
    ahead = (every[None] < every[:, None]).sum(1)
    level = (every[None] == every[:, None]).sum(1)  # with itself
    ranks = (ahead + (level + 1) / 2).double()
    tails = torch.quantile(ranks[:, 1:], torch.tensor([0.025, 0.975], dtype=torch.float64), dim=1)
    return {method: Interval(float(ranks[i, 0]), *tails[:, i].tolist()) for i, method in enumerate(drawn)}
