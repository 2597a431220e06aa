"""Pixels drawn from many images, in memory: what small fits are made from."""

from dataclasses import dataclass

import torch

from calibrant._check import check_labelled
from calibrant._left_out import kept_and_held
from calibrant._random import generator_for
from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant.errors import FitError
from calibrant.predictions import Predictions


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
        """
        if len(predictions) == 0:
            raise FitError("expected at least one image to fit on; got none. Check the folder or the split.")
        share = max(1, most // len(predictions))
        per_image = share if per_image is None else min(per_image, share)
        logits, labels, image = [], [], []
        for number, prediction in enumerate(predictions):
            flat = prediction.labels.flatten()
            labelled = torch.nonzero(flat != IGNORE).squeeze(1)
            if len(labelled) > per_image:
                generator = generator_for(seed, prediction.key)
                chosen = torch.randperm(len(labelled), generator=generator)[:per_image].sort().values
                labelled = labelled[chosen.to(labelled.device)]
            columns = prediction.logits.flatten(1)
            logits.append(columns[:, labelled % columns.shape[1]].float())
            labels.append(flat[labelled].long())
            image.append(torch.full_like(labels[-1], number))
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
