"""Batches of predictions that depend on a seed and on the number of the step alone."""

from dataclasses import dataclass, field

import torch

from calibrant._random import seeded
from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.errors import FitError, ShapeError
from calibrant.predictions import Prediction, Predictions
from calibrant.training.augment import Augmentation


@dataclass(frozen=True)
class Batch:
    """Images of one size with what was said of them.

    :param labels: of fewer annotators are filled up with maps of ``IGNORE``.
    """

    logits: Float[Tensor, "n c *s"]
    labels: Int[Tensor, "n a *s"]
    image: Float[Tensor, "n k *s"] | None

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device."""
        image = None if self.image is None else self.image.to(device)
        return Batch(self.logits.to(device), self.labels.to(device), image)


@dataclass
class Batches:
    """Random batches, every image once an epoch; batches go on over the end of an epoch, so none is cut short.

    :param memory: bytes of images kept once read, so that they are read from the disk once.
    :raises FitError: there is no image.
    """

    predictions: Predictions
    size: int
    augmentation: Augmentation
    seed: int
    memory: int = 2**31
    _kept: dict[int, Prediction] = field(default_factory=dict, repr=False)
    _orders: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if len(self.predictions) == 0 or self.size < 1:
            raise FitError(
                f"expected images to train on, 1 or more a batch; got {len(self.predictions)} images, {self.size} a "
                "batch. Check the folder or the split."
            )

    def draw(self, step: int, *, part: int = 0, parts: int = 1) -> Batch:
        """Return the batch of a step; of several processes each draws its part of it, ``size`` images."""
        first = (step * parts + part) * self.size
        return collate([self._placed(position) for position in range(first, first + self.size)])

    def _placed(self, position: int) -> Prediction:
        epoch, place = divmod(position, len(self.predictions))
        if epoch not in self._orders:
            order = torch.randperm(len(self.predictions), generator=seeded(self.seed, "order", epoch))
            self._orders = {epoch: order}
        prediction = self._read(int(self._orders[epoch][place]))
        generator = seeded(self.seed, "augmentation", position)
        placement = self.augmentation.draw(prediction.logits.shape[1:], generator)
        image = None if prediction.image is None else placement.of(prediction.image)
        return Prediction(prediction.key, placement.of(prediction.logits), placement.of(prediction.labels), image)

    def _read(self, number: int) -> Prediction:
        if number in self._kept:
            return self._kept[number]
        prediction = self.predictions[number]
        tensors = (prediction.logits, prediction.labels, prediction.image)
        cost = sum(tensor.nbytes for tensor in tensors if tensor is not None)
        if cost <= self.memory:
            self.memory -= cost
            self._kept[number] = prediction
        return prediction


def collate(predictions: list[Prediction]) -> Batch:
    """Return predictions of one size as a batch.

    :raises ShapeError: they differ in size, classes or channels.
    """
    first = predictions[0]
    for other in predictions[1:]:
        images = (first.image, other.image)
        alike = (images[0] is None) == (images[1] is None) and (
            images[0] is None or images[1] is None or images[0].shape == images[1].shape
        )
        if first.logits.shape != other.logits.shape or not alike:
            raise ShapeError(
                f"image {other.key!r}: expected logits {tuple(first.logits.shape)} and an image like that of "
                f"{first.key!r}; got {tuple(other.logits.shape)}. Give a crop that fits all images."
            )
    most = max(len(p.labels) for p in predictions)
    labels = [
        torch.cat([p.labels, p.labels.new_full((most - len(p.labels), *p.labels.shape[1:]), IGNORE)])
        for p in predictions
    ]
    images = [p.image for p in predictions if p.image is not None]
    return Batch(
        torch.stack([p.logits for p in predictions]).float(),
        torch.stack(labels),
        torch.stack(images).float() if images else None,
    )
