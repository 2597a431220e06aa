"""Batches of images that depend on a seed and on the number of the step alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from calibrant._input.checks import shape_of
from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant._statistics.generators import seeded
from calibrant.errors import FitError, ShapeError
from calibrant.predictions import Example, Examples, Prediction, Predictions
from calibrant.training.augment import Augmentation


@dataclass(frozen=True)
class Batch:
    """Images of one size with their labels and what was said of them.

    :param logits: scores of each pixel; None if the source holds examples, which have none.
    :param labels: one map per annotator; images with fewer annotators are filled up with maps of ``IGNORE``.
    :param image: the images themselves; None if the source has none.
    """

    logits: Float[Tensor, "n c *s"] | None
    labels: Int[Tensor, "n a *s"]
    image: Float[Tensor, "n k *s"] | None

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device.

        :param device: where its tensors shall be.
        """

        def moved(maps: Tensor | None) -> Tensor | None:
            return None if maps is None else maps.to(device)

        return Batch(moved(self.logits), self.labels.to(device), moved(self.image))


@dataclass
class Batches:
    """Random batches, every image once an epoch; batches go on over the end of an epoch, so none is cut short.

    :param source: predictions, or examples without logits; images are read when they are needed.
    :param batch_size: images a batch, of each process.
    :param augmentation: drawn anew each time an image is used.
    :param seed: the seed of the order and of the augmentation.
    :param memory: bytes of images kept once read, so that they are read from the disk once.
    :raises FitError: there is no image.
    """

    source: Predictions | Examples
    batch_size: int
    augmentation: Augmentation
    seed: int
    memory: int = 2**31
    _kept: dict[int, Prediction | Example] = field(default_factory=dict, init=False, repr=False)
    _orders: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.source) == 0 or self.batch_size < 1:
            raise FitError(
                f"expected images to train on, 1 or more a batch; got {len(self.source)} images, {self.batch_size} a "
                "batch. Check the folder or the split."
            )

    def draw(self, step: int, *, part: int = 0, parts: int = 1) -> Batch:
        """Return the batch of a step.

        :param step: the number of the step, from 0.
        :param part: the number of this process; each draws a part of its own, ``batch_size`` images.
        :param parts: how many processes there are.
        :raises ShapeError: an image is smaller than the crop, or the images differ in size.
        """
        first = (step * parts + part) * self.batch_size
        return collate([self._placed(position) for position in range(first, first + self.batch_size)])

    def _placed(self, position: int) -> Prediction | Example:
        """The image at a position of the endless sequence of epochs, augmented."""
        epoch, place = divmod(position, len(self.source))
        if epoch not in self._orders:
            order = torch.randperm(len(self.source), generator=seeded(self.seed, "order", epoch))
            self._orders = {epoch: order}
        item = self._read(int(self._orders[epoch][place]))
        generator = seeded(self.seed, "augmentation", position)
        try:
            placement = self.augmentation.draw(item.labels.shape[1:], generator)
        except ShapeError as error:
            raise ShapeError(f"image {item.key!r}: {error}") from error
        return replace(item, **{name: placement.of(maps) for name, maps in _maps_of(item).items()})

    def _read(self, number: int) -> Prediction | Example:
        if number in self._kept:
            return self._kept[number]
        item = self.source[number]
        cost = sum(maps.nbytes for maps in _maps_of(item).values())
        if cost <= self.memory:
            self.memory -= cost
            self._kept[number] = item
        return item


def collate(items: Sequence[Prediction | Example]) -> Batch:
    """Return predictions, or examples, of one size as a batch.

    :param items: one or more, all predictions or all examples.
    :raises ShapeError: they differ in size, classes or channels.
    """
    columns = [_maps_of(item) for item in items]
    for item, maps in zip(items, columns, strict=True):
        if _sizes(maps) != _sizes(columns[0]):
            raise ShapeError(
                f"image {item.key!r}: expected {_sizes(columns[0])}, like image {items[0].key!r} of the same batch; "
                f"got {_sizes(maps)}. Give a crop that fits all images, or train on one image a batch."
            )
    most = max(len(maps["labels"]) for maps in columns)
    labels = [_filled_up(maps["labels"], most) for maps in columns]
    logits, image = (
        torch.stack([maps[name] for maps in columns]).float() if name in columns[0] else None
        for name in ("logits", "image")
    )
    return Batch(logits, torch.stack(labels).long(), image)


def _maps_of(item: Prediction | Example) -> dict[str, Tensor]:
    """The tensors over space of one image, by name; those that it has."""
    found = {name: getattr(item, name, None) for name in ("logits", "labels", "image")}
    return {name: maps for name, maps in found.items() if maps is not None}


def _sizes(maps: dict[str, Tensor]) -> str:
    """The sizes that must be alike in a batch, in words; the number of annotators need not be."""
    scores = [f"{name} {shape_of(each)}" for name, each in maps.items() if name != "labels"]
    return ", ".join([*scores, f"labels over {tuple(maps['labels'].shape[1:])}"])


def _filled_up(labels: Int[Tensor, "a *s"], count: int) -> Int[Tensor, "b *s"]:
    """Labels with maps of ``IGNORE`` for annotators that there are not."""
    return torch.cat([labels, labels.new_full((count - len(labels), *labels.shape[1:]), IGNORE)])
