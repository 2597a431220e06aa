"""Selectors: which pixels are suspected to be mistakes, and how well a selector finds them."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from calibrant._shapes import Bool, Float, Tensor
from calibrant.metrics import CalibrationBins
from calibrant.predictions import Prediction, Predictions, summed


@dataclass(frozen=True)
class SelectorQuality:
    """How well a selector finds mistakes, counted over the labelled pixels of images it was not trained on.

    :param precision: share of mistakes among the flagged pixels; None where nothing is flagged.
    :param recall: share of flagged pixels among the mistakes; None where there is no mistake.
    :param flagged_share: share of flagged pixels among all.
    :param flagged_accuracy: share of right pixels among the flagged ones, 1 - precision.
    :param flagged_confidence: mean confidence of the flagged pixels in the raw logits.
    :param num_classes: the number of classes, whose inverse is the smallest confidence possible.
    :param num_pixels: how many pixels were counted.
    """

    precision: float | None
    recall: float | None
    flagged_share: float
    flagged_accuracy: float | None
    flagged_confidence: float | None
    num_classes: int
    num_pixels: int

    @classmethod
    def of(cls, selector: "Selector", predictions: Predictions) -> "SelectorQuality":
        """Return the quality of a selector over all labelled pixels of the predictions.

        :param selector: the selector to be judged.
        :param predictions: labelled predictions it was not trained on.
        :raises InputError: one of them cannot be counted.
        """
        found = summed(_counted, predictions, selector)
        pixels, correct, flagged, right, confidence = [0.0] * 5 if found is None else found.tolist()
        mistakes, hits = pixels - correct, flagged - right
        num_classes = predictions[0].num_classes if len(predictions) else 0
        return cls(
            precision=hits / flagged if flagged else None,
            recall=hits / mistakes if mistakes else None,
            flagged_share=flagged / pixels if pixels else 0.0,
            flagged_accuracy=right / flagged if flagged else None,
            flagged_confidence=confidence / flagged if flagged else None,
            num_classes=num_classes,
            num_pixels=int(pixels),
        )

    @property
    def uniform_is_harmful(self) -> bool:
        """Whether sending flagged pixels to the uniform distribution moves confidence further from accuracy.

        |1/K - a| < |conf - a| holds only if the flagged accuracy a is below (conf + 1/K) / 2.
        """
        if self.flagged_accuracy is None or self.flagged_confidence is None:
            return False
        return self.flagged_accuracy >= (self.flagged_confidence + 1 / self.num_classes) / 2

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs."""
        return asdict(self)


class Selector(nn.Module, ABC):
    """A map from logits (and image) to suspected mistakes.

    ``reach`` says how many pixels around a pixel its answer depends on, as for a calibrator.

    :param quality: how well it does on images it was not trained on, if that was measured.
    """

    reach: int | None = None

    def __init__(self, *, quality: SelectorQuality | None = None) -> None:
        super().__init__()
        self._quality = quality

    @property
    def quality(self) -> SelectorQuality | None:
        """How well it does on images it was not trained on, if that was measured."""
        return self._quality

    @abstractmethod
    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Bool[Tensor, "n *s"]:
        """Return true where the prediction is suspected to be a mistake.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: the images, for selectors that need them; others ignore them.
        """

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this selector again."""


class NoSelector(Selector):
    """Flag nothing: what a fit falls back to where no selector helps.

    :param quality: how well the selector does on images it was not fitted to, if that was measured.

    >>> NoSelector()(torch.zeros(1, 3, 2)).tolist()
    [[False, False]]
    """

    reach = 0

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Bool[Tensor, "n *s"]:
        """Return false everywhere.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: not used.
        """
        return torch.zeros_like(logits[:, 0], dtype=torch.bool)

    def arguments(self) -> dict[str, Any]:
        """Return the quality of the selector that was given up, if any."""
        return {"quality": self.quality}


def select(
    selector: Selector, logits: Float[Tensor, "c *s"], image: Float[Tensor, "k *s"] | None
) -> Bool[Tensor, " *s"]:
    """Return the suspected mistakes of one image.

    :param selector: flags the pixels.
    :param logits: raw logits (c, *s) of one image.
    :param image: the image (k, *s); None if there is none.
    """
    with torch.no_grad():
        return selector(logits[None], None if image is None else image[None])[0]


def _counted(prediction: Prediction, selector: Selector) -> Float[Tensor, "5"]:
    """Of one image: its labelled pixels and the right ones; those that are flagged, right, and their confidences."""
    flags = select(selector, prediction.logits, prediction.image)[None]
    count = partial(CalibrationBins.of, prediction.logits[None], prediction.labels[None], num_bins=1)
    every, flagged = count(), count(where=flags)
    columns = (every.count, every.correct, flagged.count, flagged.correct, flagged.confidence)
    return torch.stack([column.double().squeeze() for column in columns])
