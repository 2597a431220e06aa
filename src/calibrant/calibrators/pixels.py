"""Pixels drawn from many images, in memory: what small fits are made from."""

from dataclasses import dataclass

import torch

from calibrant._input.checks import about, check_finite, check_labelled, check_labels
from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant._statistics.generators import generator_for
from calibrant._statistics.left_out import kept_and_held
from calibrant.calibrators._tensors import Kept
from calibrant.errors import FitError, ShapeError
from calibrant.predictions import Prediction, Predictions, of_each

MAX_SIZE = 1e6
"""Fits take larger logits as this. Nothing in float16 is as large; what is, such as the -1e30 or -3.4e38 of a class
that a model leaves out, would overflow where it is squared, and no probability can tell it from -1e6."""


@dataclass(frozen=True)
class Pixels:
    """Labelled pixels drawn from many images.

    :param logits: one column a pixel, so that a class lies together in memory.
    :param labels: never ``IGNORE``.
    :param image: the number of the image each pixel came from; fits hold images out, never pixels.
    """

    logits: Float[Tensor, "c p"]
    labels: Int[Tensor, " p"]
    image: Int[Tensor, " p"]

    def __len__(self) -> int:
        """Return the number of pixels."""
        return self.labels.shape[0]

    @classmethod
    def draw(
        cls, predictions: Predictions, *, per_image: int | None = 10_000, most: int = 4_000_000, seed: int = 0
    ) -> "Pixels":
        """Draw labelled pixels, without replacement, from each image on its own.

        What is drawn from an image depends on the seed and on its key alone, never on the other images.
        With several annotators each annotator's label of a pixel is one draw.

        :param predictions: labelled predictions.
        :param per_image: pixels of each image; None for all of them.
        :param most: pixels in all, shared alike among the images, so that memory does not grow with their number.
        :param seed: decides, with the key of an image, which of its pixels are drawn.
        :raises FitError: there is no labelled pixel.
        :raises LogitsError, LabelError, ShapeError: logits that are not finite, labels that are no class, or images of
            unlike classes.
        """
        if len(predictions) == 0:
            raise FitError("expected at least one image to fit on; got none. Check the folder or the split.")
        share = max(1, most // len(predictions))
        per_image = share if per_image is None else min(per_image, share)
        num_classes = predictions[0].num_classes
        kept = Kept()
        parts = [
            (kept.copy(part.logits), kept.copy(part.labels), kept.copy(part.image))
            for part in of_each(_drawn, predictions, per_image, num_classes, seed)
        ]
        logits, labels, image = zip(*parts, strict=True)
        drawn = cls(torch.cat(logits, 1), torch.cat(labels), torch.cat(image))
        check_labelled(len(drawn), len(predictions))
        return drawn

    def where(self, where: Bool[Tensor, " p"]) -> "Pixels":
        """Return the pixels where ``where`` is true.

        :param where: true at the pixels that are wanted.
        """
        return Pixels(self.logits[:, where], self.labels[where], self.image[where])

    def hold_out(self, fraction: float, *, seed: int = 0) -> tuple["Pixels", "Pixels"]:
        """Split by image into (kept, held out); at least one image on each side.

        :param fraction: the share of images that are held out.
        :param seed: decides which images are held out.
        :raises FitError: there is only one image.
        """
        numbers = torch.unique(self.image)
        held, _ = kept_and_held(len(numbers), fraction, seed=seed)  # the share is of those held out
        is_held = torch.isin(self.image, numbers[held])
        return self.where(~is_held), self.where(is_held)


def _drawn(prediction: Prediction, number: int, per_image: int, num_classes: int, seed: int) -> Pixels:
    """Draw labelled pixels of one image, which has this number."""
    flat = prediction.labels.flatten()
    labelled = torch.nonzero(flat != IGNORE).squeeze(1)
    if len(labelled) > per_image:
        generator = generator_for(seed, prediction.key)
        chosen = torch.randperm(len(labelled), generator=generator)[:per_image].sort().values
        labelled = labelled[chosen.to(labelled.device)]
    columns = fittable(prediction, num_classes).logits.flatten(1)
    logits = bounded(columns[:, labelled % columns.shape[1]].float())
    check_finite(logits, f"image {prediction.key!r}")
    labels = flat[labelled].long()
    return Pixels(logits, labels, torch.full_like(labels, number))


def bounded(logits: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return logits within :data:`MAX_SIZE`: themselves, bit for bit, unless one is larger.

    :param logits: logits of any shape.

    >>> bounded(torch.tensor([-3.4e38, 7.5]))
    tensor([-1.0000e+06,  7.5000e+00])
    """
    return logits.clamp(-MAX_SIZE, MAX_SIZE)


def fittable(prediction: Prediction, num_classes: int) -> Prediction:
    """Return a prediction, having looked at its classes: what a fit reads of predictions that nobody checked.

    :param num_classes: that of the other images.
    :param prediction: one of a source that nothing is known of but its first image.
    :raises ShapeError: the prediction has another number of classes.
    :raises LabelError: a label is none of them.
    """
    name = f"image {prediction.key!r}"
    if prediction.num_classes != num_classes:
        raise ShapeError(
            about(
                name,
                f"expected logits of {num_classes} classes, as the images before have; got {prediction.num_classes}. "
                "Fit on predictions of one model.",
            )
        )
    check_labels(prediction.labels, num_classes, name)
    return prediction
