"""A selector that knows: how good could selective scaling be, if it found so many of the mistakes?

Fig. 4 of Wang et al. (CVPR 2023) plots the calibration error against the share of mistakes found. No calibrator may see
labels, so they go in where everyone can see them: :func:`oracle_predictions` takes the place of the predictions, and
carries what the oracle flags as their image.

>>> from calibrant.testing import toy_predictions
>>> from calibrant.calibrators import SelectiveScaling, SelectorQuality, TemperatureScaling
>>> half = oracle_predictions(toy_predictions(), detection_rate=0.5)
>>> SelectorQuality.of(OracleSelector(), half).recall
0.5
>>> scaling = SelectiveScaling(OracleSelector(), TemperatureScaling(1e10), TemperatureScaling(2.0))
>>> scaling(half[0].logits[None], half[0].image[None]).shape
torch.Size([1, 3, 12, 16])
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

from calibrant._shapes import IGNORE, Bool, Float, Tensor
from calibrant._statistics.generators import generator_for
from calibrant.calibrators.selective.selector import Selector
from calibrant.errors import InputError
from calibrant.predictions import Mapped, Prediction, Predictions


class OracleSelector(Selector):
    """Flag what the first channel of the image says; see :func:`oracle_predictions`.

    :param quality: how well the selector does on images it was not fitted to, if that was measured.
    """

    reach = 0

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Bool[Tensor, "n *s"]:
        """Return true where the image is positive.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: the map of flagged pixels, in its first channel.
        :raises InputError: there is no image, so these are no :func:`oracle_predictions`.
        """
        if image is None:
            raise InputError(
                "expected what the oracle flags in place of the image; got no image. Pass the predictions through "
                "oracle_predictions(predictions, detection_rate)."
            )
        return image[:, 0] > 0

    def arguments(self) -> dict[str, Any]:
        """Return the quality, if measured."""
        return {"quality": self.quality}


def oracle_predictions(
    predictions: Predictions, detection_rate: float, false_alarm_rate: float = 0.0, *, seed: int = 0
) -> Mapped[Prediction]:
    """Return predictions whose image is a map of flagged pixels: a share of the mistakes, and none or some others.

    The share is exact in every image (rounded), and what is flagged at a lower rate is flagged at a higher one, too.
    Unlabelled pixels are not flagged. A pixel is a mistake if no annotator agrees with it. Calibrators that look at the
    image itself cannot be used with it.

    :param predictions: with labels, which the oracle looks at.
    :param detection_rate: the share of mistakes to be flagged, from 0 to 1.
    :param false_alarm_rate: the share of correct pixels to be flagged, from 0 to 1.
    :param seed: decides which pixels, together with the key of each image.
    :raises InputError: a rate below 0 or above 1.
    """
    if not (0 <= detection_rate <= 1 and 0 <= false_alarm_rate <= 1):
        raise InputError(f"expected rates between 0 and 1; got {detection_rate} and {false_alarm_rate}.")
    return Mapped(predictions, _Oracle(detection_rate, false_alarm_rate, seed))


@dataclass(frozen=True)
class _Oracle:
    detection_rate: float
    false_alarm_rate: float
    seed: int

    def __call__(self, prediction: Prediction) -> Prediction:
        labels = prediction.labels
        labelled = (labels != IGNORE).any(0)
        right = (prediction.logits.argmax(0) == labels).any(0)
        generator = generator_for(self.seed, prediction.key)
        order = torch.rand(labelled.shape, generator=generator).to(labels.device)
        flags = torch.zeros_like(order)
        for among, rate in ((labelled & ~right, self.detection_rate), (labelled & right, self.false_alarm_rate)):
            found = among.flatten().nonzero().squeeze(1)
            first = order.flatten()[found].argsort(stable=True)[: round(rate * len(found))]
            flags.view(-1)[found[first]] = 1.0
        return replace(prediction, image=flags[None])
