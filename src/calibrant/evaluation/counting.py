"""Run counts over predictions and over what samplers draw from them: one read of the logits, one row per image.

An image without labelled pixels has no score. It gets no row; ``left_out`` of the tally names it.
"""

from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch

from calibrant._shapes import IGNORE, Int, Tensor
from calibrant._statistics.generators import generator_for
from calibrant.calibrators import Calibrator, calibrated
from calibrant.errors import InputError, ShapeError
from calibrant.metrics import Tally
from calibrant.predictions import Prediction, Predictions, with_logits
from calibrant.samplers import Sampler

K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Tally)
Count = Callable[[Tensor, Tensor], T]
"""From logits (n, c, *s) and labels (n, a, *s) to a tally with n rows, such as ``CalibrationBins.of``."""
CountHypotheses = Callable[[Tensor, Tensor], T]
"""From hypotheses (m, n, *s) and labels (n, a, *s) to a tally with n rows, such as ``HypothesisDistances.of``."""


def tally(count: Count[T], predictions: Predictions, calibrator: Calibrator | None = None) -> T:
    """Count every image of a source, as it is or through a calibrator.

    :param count: from logits and labels to a tally, such as ``CalibrationBins.of``; it is called image by image.
    :param predictions: read once, in order.
    :param calibrator: what the logits go through first; None leaves them as they are.
    :raises InputError: no image has a labelled pixel, or one cannot be counted (the message names it).

    >>> from calibrant.metrics import CalibrationBins, expected_calibration_error
    >>> sure = Prediction("a", torch.tensor([[9.0, 9.0], [0.0, 0.0]]), torch.tensor([[0, 1]]))
    >>> expected_calibration_error(tally(CalibrationBins.of, [sure]))
    tensor([0.4999], dtype=torch.float64)
    """
    (counted,) = _counted(count, predictions, [calibrator])
    return counted


def tally_all(count: Count[T], predictions: Predictions, calibrators: Mapping[K, Calibrator | None]) -> dict[K, T]:
    """Count every image through each of several calibrators, reading the logits once.

    :param count: from logits and labels to a tally, such as ``CalibrationBins.of``; it is called image by image.
    :param predictions: read once, in order.
    :param calibrators: by any name; None leaves the logits as they are.
    :raises InputError: no image has a labelled pixel, or one cannot be counted (the message names it).

    >>> from calibrant.calibrators import TemperatureScaling
    >>> from calibrant.metrics import CalibrationBins, mean_confidence
    >>> sure = Prediction("a", torch.tensor([[9.0, 9.0], [0.0, 0.0]]), torch.tensor([[0, 1]]))
    >>> tallies = tally_all(CalibrationBins.of, [sure], {"as it is": None, "halved": TemperatureScaling(2.0)})
    >>> {name: round(float(mean_confidence(bins)), 3) for name, bins in tallies.items()}
    {'as it is': 1.0, 'halved': 0.989}
    """
    return dict(zip(calibrators, _counted(count, predictions, list(calibrators.values())), strict=True))


def _counted(count: Count[T], predictions: Predictions, calibrators: Sequence[Calibrator | None]) -> list[T]:
    """Return one tally for each calibrator."""
    rows: list[_Rows[T]] = [_Rows(len(predictions)) for _ in calibrators]
    left_out: list[str] = []
    for prediction in _Labelled(predictions, left_out):
        labels = prediction.labels[None]
        with _naming(prediction.key):
            for calibrator, own in zip(calibrators, rows, strict=True):
                own.add(prediction.key, count(calibrated(prediction, calibrator)[None], labels))
    if len(left_out) == len(predictions):
        raise _nothing_labelled(len(predictions))
    return [own.tally(left_out) for own in rows]


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

    :param sampler: what draws the maps.
    :param predictions: read once, in order.
    :param calibrator: what the logits go through first; None leaves them as they are.
    :param num_samples: how many maps are drawn for each image.
    :param generator: what is drawn depends on its state, which moves on by one number.

    >>> from calibrant.samplers import IndependentSampler
    >>> sure = Prediction("a", torch.tensor([[[60.0, 0.0]], [[0.0, 60.0]]]), torch.tensor([[[0, 1]]]))
    >>> [(_, maps)] = draw_hypotheses(IndependentSampler(), [sure], num_samples=2, generator=torch.Generator())
    >>> maps.tolist()
    [[[0, 1]], [[0, 1]]]
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
    :param sampler: what draws the maps.
    :param predictions: read once, in order.
    :param calibrator: what the logits go through first; None leaves them as they are.
    :param num_samples: how many maps are drawn for each image.
    :param generator: what is drawn depends on its state, which moves on by one number.
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
    """Put the name of the image before the message of an error: counts see one image, without its name."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"image {key!r}: {error}") from error


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
