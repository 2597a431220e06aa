"""The data of the fit: labelled pixels of each image with logits and context, and what the image looks like."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from calibrant._input.checks import check_labelled
from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant._statistics.generators import generator_for
from calibrant.calibrators._tensors import Kept
from calibrant.calibrators.calibrator import Calibrator
from calibrant.calibrators.pixels import bounded, fittable
from calibrant.calibrators.stacked.context import NAMES, context_of
from calibrant.calibrators.stacked.gate import descriptions
from calibrant.predictions import Prediction, Predictions, of_each

MAX_NUMBERS = 50_000_000
"""Numbers that a fit keeps in memory, at most, whatever the number of images: 200 MB of float32."""

MIN_PIXELS = 16
"""Pixels of an image that are kept even where that exceeds the memory: fewer say nothing about the image."""


@dataclass(frozen=True)
class SampledImage:
    """Labelled pixels of one image.

    :param key: the name of the image.
    :param number: its number among the predictions.
    :param pixels: the numbers of the pixels in the image; with several annotators a pixel may come more than once.
    :param logits: the model's.
    :param anchor: those that the anchor makes of them.
    :param context: features of the anchor's logits.
    :param labels: the annotated classes, never ``IGNORE``.
    :param winner: the class with the largest logit.
    :param description: what the image looks like to the gate.
    """

    key: str
    number: int
    pixels: Int[Tensor, " p"]
    logits: Float[Tensor, "c p"]
    anchor: Float[Tensor, "c p"]
    context: Float[Tensor, "f p"]
    labels: Int[Tensor, " p"]
    winner: Int[Tensor, " p"]
    description: Float[Tensor, " k"]

    @cached_property
    def is_right(self) -> Float[Tensor, " p"]:
        """1 where the winner is the label, 0 elsewhere."""
        return (self.winner == self.labels).float()

    @cached_property
    def tied(self) -> Bool[Tensor, " p"]:
        """True where several classes have the largest logit."""
        return (self.logits == self.logits.amax(0)).sum(0) > 1

    def as_prediction(self, count: int) -> Prediction:
        """Return its first pixels as an image with one axis of space: what a fit pixel by pixel needs.

        :param count: how many pixels; they were drawn in random order.
        """
        return Prediction(self.key, self.logits[:, :count], self.labels[None, :count])


@torch.no_grad()
def sample_images(
    predictions: Predictions, anchor: Calibrator, pixels_per_image: int | None, *, seed: int
) -> list[SampledImage]:
    """Return labelled pixels of each image that has any; which ones depends on the seed and the image's key alone.

    :param predictions: labelled predictions; read once, one image in memory at a time.
    :param anchor: a calibrator that keeps the label map.
    :param pixels_per_image: pixels kept of each image; None for all. Fewer where the memory asks for it.
    :param seed: of the choice of pixels.
    :raises FitError: there is no labelled pixel.
    """
    num_classes = predictions[0].num_classes
    room = max(MIN_PIXELS, MAX_NUMBERS // (max(1, len(predictions)) * (3 * num_classes + len(NAMES) + 4)))
    count = room if pixels_per_image is None else min(pixels_per_image, room)
    kept, sampled = Kept(), []
    for image in of_each(_of_image, predictions, anchor, count, num_classes, seed):
        if image is not None:
            tensors = {name: value for name, value in vars(image).items() if isinstance(value, Tensor)}
            sampled.append(replace(image, **{name: kept.copy(value) for name, value in tensors.items()}))
    check_labelled(len(sampled), len(predictions))
    return sampled


@torch.no_grad()
def _of_image(
    prediction: Prediction, number: int, anchor: Calibrator, count: int, num_classes: int, seed: int
) -> SampledImage | None:
    """At most ``count`` labelled pixels; with several annotators each label of a pixel is one draw."""
    flat = fittable(prediction, num_classes).labels.flatten()
    labelled = torch.nonzero(flat != IGNORE).squeeze(1)
    if len(labelled) == 0:
        return None
    generator = generator_for(seed, prediction.key)
    chosen = labelled[torch.randperm(len(labelled), generator=generator)[:count].to(labelled.device)]
    image = None if prediction.image is None else prediction.image[None]
    z = anchor(prediction.logits[None], image)
    context = context_of(prediction.logits[None], image, anchor)
    pixel = chosen % z[0, 0].numel()
    return SampledImage(
        prediction.key,
        number,
        pixel,
        bounded(prediction.logits.flatten(1)[:, pixel].float()),
        bounded(z[0].flatten(1)[:, pixel]),
        context.values[0][:, pixel],
        flat[chosen].long(),
        context.winner[0][pixel],
        descriptions(context)[0],
    )
