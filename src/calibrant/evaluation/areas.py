"""Areas and volumes of classes in each image, with intervals: from label maps drawn, or from probabilities alone."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

import torch

from calibrant._shapes import Bool, Tensor
from calibrant.calibrators import Calibrator, calibrated
from calibrant.data import Geometry
from calibrant.errors import DataError, LabelError
from calibrant.evaluation.hypotheses import Draws
from calibrant.metrics import AreaSamples, area_bounds, area_interval
from calibrant.predictions import Prediction

PIXELS = "px"
"""The unit of areas of images whose pixels have no known size."""


@dataclass(frozen=True)
class ClassArea:
    """The area (in three dimensions, the volume) of one class in one image, in the unit that is named.

    :param key: names the image.
    :param of_class: the number of the class.
    :param unit: mm², mm³ or m², or px where nobody says how large a pixel is.
    :param pixel_size: the size of a pixel in that unit.
    :param num_pixels: how many pixels of the image were counted.
    :param area: the area in the label map, which has the most probable class in each pixel.
    :param expected: the sum of the probabilities, or the mean of the label maps drawn.
    :param low: the lower bound of the interval.
    :param high: the upper bound.
    :param annotated: the areas that annotators drew, of each who labelled all pixels that were counted.
    """

    key: str
    of_class: int
    unit: str
    pixel_size: float
    num_pixels: int
    area: float
    expected: float
    low: float
    high: float
    annotated: tuple[float, ...]


@dataclass(frozen=True)
class Areas:
    """How areas are measured, image by image.

    :param draws: how label maps are drawn, whose quantiles are the interval; None for bounds from probabilities, which
        hold however pixels depend on each other: see :func:`~calibrant.metrics.area_bounds`.
    :param calibrator: what the logits go through without ``draws``, which have their own; None leaves them as they are.
    :param level: the share of outcomes that an interval is made to hold, between 0 and 1.
    :param classes: numbers of the classes that are measured; None for all.
    :param only_labelled: count only pixels that every annotator of the image labelled.
    :param places: where the pixels of images lie, by key; images that it lacks are measured in pixels.

    >>> sure = Prediction("a", torch.tensor([[[9.0, 0.0]], [[0.0, 9.0]]]), torch.tensor([[[0, 1]]]))
    >>> [found.annotated for found in Areas().of([sure])]
    [(1.0,), (1.0,)]
    """

    draws: Draws | None = None
    calibrator: Calibrator | None = None
    level: float = 0.9
    classes: Collection[int] | None = None
    only_labelled: bool = field(default=False, kw_only=True)
    places: Mapping[str, Geometry] | None = None

    def of(self, predictions: Iterable[Prediction]) -> Iterator[ClassArea]:
        """Yield the areas of each image, one class after the other.

        Pixels whose logits are the same in all classes, which is how missing data are stored, are not counted; images
        without a pixel to count are left out.

        :param predictions: read once, in order.
        :raises LabelError: there is no such class.
        :raises DataError: an image has not the size that its geometry says.
        """
        for prediction in predictions:
            counted = self._counted(prediction)
            if not bool(counted.any()):
                continue
            size, unit = self._pixel(prediction)
            said, expected, low, high = self._forecast(prediction, counted)
            drawn = _annotated(prediction, counted)
            for k in self._classes(prediction):
                numbers = (float(each[k]) * size for each in (said, expected, low, high))
                labelled = tuple(float(areas[k]) * size for areas in drawn)
                yield ClassArea(prediction.key, k, unit, size, int(counted.sum()), *numbers, labelled)

    def _classes(self, prediction: Prediction) -> Collection[int]:
        there = range(prediction.num_classes)
        wrong = [k for k in self.classes or () if k not in there]
        if wrong:
            raise LabelError(
                f"image {prediction.key!r}: expected classes of 0..{len(there) - 1}; got {wrong[0]}. Name others."
            )
        return there if self.classes is None else self.classes

    def _counted(self, prediction: Prediction) -> Bool[Tensor, "*s"]:
        """The pixels that count."""
        spoken = (prediction.logits != prediction.logits[0]).any(0)
        maps = _given(prediction)
        return spoken & (maps >= 0).all(0) & (len(maps) > 0) if self.only_labelled else spoken

    def _pixel(self, prediction: Prediction) -> tuple[float, str]:
        """The size of a pixel and its unit."""
        place, space = (self.places or {}).get(prediction.key), prediction.logits.shape[1:]
        found = None if place is None else place.pixel_size
        if place is None or found is None:
            return 1.0, PIXELS
        if prod(place.shape) != prod(space):
            raise DataError(
                f"image {prediction.key!r}: expected a map over the grid that its file had, {place.shape}; got "
                f"{tuple(space)}. Import the scores again, at the size of the labels."
            )
        return found

    def _forecast(self, prediction: Prediction, counted: Tensor) -> tuple[Tensor, ...]:
        """The number of pixels of each class: in the label map, expected, and the bounds of the interval."""
        num_classes = prediction.num_classes
        if self.draws is None:
            logits = calibrated(prediction, self.calibrator)
            probs = logits.float().softmax(0)
            low, high = area_bounds(probs, level=self.level, where=counted)
            return _counts(logits.argmax(0)[counted], num_classes), probs[:, counted].double().sum(1), low, high
        ((done, maps),) = self.draws.from_each([prediction])
        drawn = torch.stack([_counts(each[counted], num_classes) for each in maps], 1)
        nobody = drawn.new_zeros(num_classes, 0)
        low, high = area_interval(AreaSamples(drawn, nobody, nobody), level=self.level)
        return _counts(done.logits.argmax(0)[counted], num_classes), drawn.mean(1), low, high


def _counts(labels: Tensor, num_classes: int) -> Tensor:
    return torch.bincount(labels, minlength=num_classes).double()


def _given(prediction: Prediction) -> Tensor:
    """The maps of annotators who labelled a pixel of the image."""
    return prediction.labels[(prediction.labels >= 0).flatten(1).any(1)]


def _annotated(prediction: Prediction, counted: Tensor) -> list[Tensor]:
    """The areas of all classes of annotators who labelled all pixels that count."""
    maps = (labels[counted] for labels in _given(prediction))
    return [_counts(labels, prediction.num_classes) for labels in maps if len(labels) and bool((labels >= 0).all())]
