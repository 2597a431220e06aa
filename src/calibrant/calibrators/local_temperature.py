"""Local temperature scaling: a temperature for every pixel, seen in logits and image (Ding et al., ICCV 2021)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from calibrant._shapes import IGNORE, Float, Tensor
from calibrant._statistics.left_out import kept_and_held
from calibrant.calibrators._descend import descend
from calibrant.calibrators._projections import divided
from calibrant.calibrators._strength import best_temperature
from calibrant.calibrators.calibrator import Calibrator, by_pixel_blocks
from calibrant.calibrators.pixels import Pixels, bounded, fittable
from calibrant.calibrators.temperature import MAX_TEMPERATURE
from calibrant.errors import FitError, ShapeError
from calibrant.networks import TemperatureTree
from calibrant.networks.temperature_tree import REACH
from calibrant.predictions import Prediction, Predictions, PredictionsLike, Subset, predictions_of

MAX_HELD_OUT = 24
"""Most images on which epochs are compared."""

Crop = tuple[int, tuple[float, ...]]
"""The number of an image, and the crop's offset: the fraction of the free range along each axis."""


class LocalTemperatureScaling(Calibrator):
    """Divide the logits of each pixel by a temperature of its own, from a small network; the label map stays.

    :param network: from logits (and image) to temperatures.
    :param notes: what a fit had to say.

    >>> calibrator = LocalTemperatureScaling(TemperatureTree.published(2))
    >>> calibrator(torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)).squeeze()
    tensor([0.5000, 1.5000])
    """

    keeps_labels = True
    reach = REACH

    def __init__(self, network: TemperatureTree, *, notes: tuple[str, ...] = ()) -> None:
        super().__init__(notes=notes)
        self.network = network.requires_grad_(False)

    def temperatures(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n 1 *s"]:
        """Return the temperature of each pixel.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: the images, where the network was trained with them.
        :raises ShapeError: the logits have other classes or other dimensions than those of the fit.
        """
        expected = (self.network.weight.shape[1], self.network.dims)
        if (logits.shape[1], logits.ndim - 2) != expected:
            raise ShapeError(
                f"expected logits of {expected[0]} classes over {expected[1]} dimensions, as fitted; got "
                f"{tuple(logits.shape)}. Fit on predictions of this model."
            )
        return self.network(logits.float(), image).clamp_max(MAX_TEMPERATURE)

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return the logits over their temperatures, in float32, with the argmax of the input.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: the images, where the network was trained with them.
        """
        return by_pixel_blocks(divided, logits, self.temperatures(logits, image))

    def arguments(self) -> dict[str, Any]:
        """Return the network."""
        return {"network": self.network}

    @property
    def num_classes(self) -> int:
        """The number of classes that it was fitted on."""
        return self.network.weight.shape[1]

    def extra_repr(self) -> str:
        """Show what the network takes."""
        use_image = self.network.image_weight is not None
        return f"num_classes={self.num_classes}, dims={self.network.dims}, use_image={use_image}"

    @classmethod
    def fit(
        cls,
        predictions: PredictionsLike,
        labels: Any = None,
        *,
        use_image: bool = True,
        num_epochs: int = 16,
        crop: int = 96,
        crops_per_image: int = 3,
        batch_size: int = 4,
        learning_rate: float = 3e-3,
        pixels_per_image: int | None = 10_000,
        seed: int = 0,
    ) -> "LocalTemperatureScaling":
        """Return the tree trained from temperature scaling on, by mean NLL of crops.

        A fifth of the images is held out, and the epoch best on them is kept: that may be none, which is temperature
        scaling. One batch of crops is in memory at a time.

        :param predictions: labelled predictions to fit on.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param use_image: give the tree its branch for the image, where the predictions have one.
        :param num_epochs: the most passes over the images; training stops after four without improvement.
        :param crop: the longest side of a crop, in pixels; a sixth of it in three dimensions.
        :param crops_per_image: seen in an epoch.
        :param batch_size: crops a step.
        :param learning_rate: AdamW's learning rate at the first step; it falls to zero along a half cosine.
        :param pixels_per_image: pixels drawn of each image for the first temperature; None for all of them.
        :param seed: decides the first weights, the held-out images and the crops.
        :raises FitError: there is no labelled pixel.
        """
        predictions = predictions_of(predictions, labels)
        first = _first(predictions)
        pixels = Pixels.draw(predictions, per_image=pixels_per_image, seed=seed)
        start = min(best_temperature(pixels, seed=seed), 100.0)
        network = TemperatureTree.random(
            first.num_classes,
            first.image.shape[0] if use_image and first.image is not None else 0,
            start=start,
            dims=first.logits.ndim - 1,
            generator=torch.Generator().manual_seed(seed),
        )
        side = crop if first.logits.ndim == 3 else max(16, crop // 6)

        def crops(generator: torch.Generator, count: int) -> list[Crop]:
            order = torch.randperm(count, generator=generator).repeat(crops_per_image).tolist()
            at = torch.rand(len(order), first.logits.ndim - 1, generator=generator).tolist()
            return [(number, tuple(where)) for number, where in zip(order, at, strict=True)]

        def read(prediction: Prediction, where: tuple[float, ...]) -> Prediction:
            return _cropped(prediction, where, side)

        recipe = _Recipe(num_epochs, learning_rate, batch_size, patience=4, anneal=True, judge_whole_maps=True)
        best = _train(network, predictions, crops, read, recipe, seed)
        return cls(network, notes=(f"held-out NLL {best:.4f}, from temperature {start:.3g}",))

    @classmethod
    def fit_as_published(
        cls,
        predictions: PredictionsLike,
        labels: Any = None,
        *,
        side: int | None = 56,
        num_epochs: int = 40,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> "LocalTemperatureScaling":
        """Return the published tree from its initialisation, trained as Wang et al. (CVPR 2023, Supp. Table 1) did.

        AdamW, learning rate 1e-3, weight decay 1e-6, 40 epochs of batches of 20 maps reduced to 56 x 56 (nearest); the
        state with the lowest NLL on a fifth of the images, held out, is kept. (Ding et al. took Adam, 1e-4, 200 epochs
        of batches of 4 whole maps.)

        :param predictions: labelled predictions to fit on.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param side: height and width of the reduced maps; None for whole maps.
        :param num_epochs: passes over the images; the state of the best is kept.
        :param learning_rate: AdamW's learning rate, constant.
        :param seed: decides which pixels are drawn, which images are held out, and the order of the batches.
        """
        predictions = predictions_of(predictions, labels)
        first = _first(predictions)
        network = TemperatureTree.published(
            first.num_classes, 0 if first.image is None else first.image.shape[0], dims=first.logits.ndim - 1
        )

        def maps(generator: torch.Generator, count: int) -> list[Crop]:
            return [(number, ()) for number in torch.randperm(count, generator=generator).tolist()]

        def read(prediction: Prediction, where: tuple[float, ...]) -> Prediction:
            return prediction if side is None else _reduced(prediction, side)

        recipe = _Recipe(num_epochs, learning_rate, batch_size=20, patience=None, anneal=False, judge_whole_maps=False)
        best = _train(network, predictions, maps, read, recipe, seed)
        return cls(network, notes=(f"held-out NLL {best:.4f}",))


@dataclass(frozen=True)
class _Recipe:
    """How to train.

    :param batch_size: crops or maps in a step.
    :param patience: stop after so many epochs without a better held-out loss; None never.
    :param anneal: lower the learning rate along a half cosine.
    :param judge_whole_maps: compare epochs on whole held-out maps, which is what the network will see, and not on maps
        as they are trained on.
    """

    num_epochs: int
    learning_rate: float
    batch_size: int
    patience: int | None
    anneal: bool
    judge_whole_maps: bool


def _first(predictions: Predictions) -> Prediction:
    if len(predictions) == 0:
        raise FitError("expected at least one image to fit on; got none. Check the folder or the split.")
    first = predictions[0]
    if first.logits.ndim not in (3, 4):
        raise ShapeError(
            f"expected logits over two or three dimensions, whose neighbours a network can see; got "
            f"{tuple(first.logits.shape)}."
        )
    return first


def _train(
    network: TemperatureTree,
    predictions: Predictions,
    crops: Callable[[torch.Generator, int], list[Crop]],
    read: Callable[[Prediction, tuple[float, ...]], Prediction],
    recipe: _Recipe,
    seed: int,
) -> float:
    """Train the network in place, with the images of a batch in memory; return the NLL on held-out images."""
    kept, held = predictions, predictions
    if len(predictions) > 1:
        numbers = kept_and_held(len(predictions), 0.8, seed=seed)
        kept, held = (Subset(predictions, part) for part in numbers)
    compared = Subset(held, range(min(len(held), MAX_HELD_OUT)))

    def loss(batch: Sequence[Crop]) -> Tensor:
        parts = [_nll(network, read(kept[number], where)) for number, where in batch]
        return torch.stack([value for value, _ in parts]).sum() / max(1, sum(count for _, count in parts))

    def batches(generator: torch.Generator) -> list[Sequence[Crop]]:
        listed = crops(generator, len(kept))
        return [listed[i : i + recipe.batch_size] for i in range(0, len(listed), recipe.batch_size)]

    def score() -> float:
        parts = [_nll(network, p if recipe.judge_whole_maps else read(p, ())) for p in compared]
        count = sum(count for _, count in parts)
        return float(sum(value for value, _ in parts)) / count if count else math.inf

    return descend(
        list(network.parameters()),
        loss=loss,
        batches=batches,
        score=score,
        num_epochs=recipe.num_epochs,
        learning_rate=recipe.learning_rate,
        anneal=recipe.anneal,
        patience=recipe.patience,
        seed=seed,
        name="local temperature scaling",
    )


def _nll(network: TemperatureTree, prediction: Prediction) -> tuple[Tensor, int]:
    """The sum over labelled pixels, and their number."""
    logits = bounded(fittable(prediction, network.weight.shape[1]).logits[None].float())
    image = None if prediction.image is None or network.image_weight is None else prediction.image[None]
    scaled = logits / network(logits, image)
    labels = prediction.labels.long()
    total = cross_entropy(scaled.expand(len(labels), *scaled.shape[1:]), labels, ignore_index=IGNORE, reduction="sum")
    return total, int((labels != IGNORE).sum())


def _cropped(prediction: Prediction, where: tuple[float, ...], side: int) -> Prediction:
    space = prediction.logits.shape[1:]
    starts = [round(share * max(0, length - side)) for share, length in zip(where, space, strict=True)]
    at = (slice(None), *(slice(start, start + side) for start in starts))
    image = None if prediction.image is None else prediction.image[at]
    return replace(prediction, logits=prediction.logits[at], labels=prediction.labels[at], image=image)


def _reduced(prediction: Prediction, size: int) -> Prediction:
    """A regular subsample of the pixels, in which no side is longer than ``size``."""

    def chosen(tensor: Tensor) -> Tensor:
        for axis in range(1, tensor.ndim):
            length = tensor.shape[axis]
            if length > size:
                at = (torch.arange(size, device=tensor.device) * length) // size
                tensor = tensor.index_select(axis, at)
        return tensor

    image = None if prediction.image is None else chosen(prediction.image)
    return replace(prediction, logits=chosen(prediction.logits), labels=chosen(prediction.labels), image=image)
