"""What a model said about images: the one currency of the library.

Conventions
-----------
* The class axis of logits comes first, ``(c, *s)``, and is never guessed. ``*s`` is ``h w`` or ``d h w``.
* Labels keep their annotators, ``(a, *s)``; usually a = 1. Unlabelled pixels hold ``IGNORE``.
* Logits are the currency. Probabilities and one-channel sigmoid scores are turned into logits here, by name, and
  never detected from their values.
* A source of predictions is anything with a length that can be read more than once: a list will do.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch

from calibrant._check import (
    check_are_logits,
    check_are_probabilities,
    check_finite,
    check_labels,
    check_scores_shape,
    shape_of,
)
from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.errors import FitError, LabelError, LogitsError, ShapeError

__all__ = [
    "IGNORE",
    "Example",
    "Examples",
    "Prediction",
    "Predictions",
    "Subset",
    "from_arrays",
    "from_probabilities",
    "from_sigmoid",
    "prediction_from",
    "split",
    "with_logits",
]


@dataclass(frozen=True)
class Example:
    """An image and what annotators said of it: what a data set holds and a model is run on."""

    key: str
    image: Float[Tensor, "k *s"]
    labels: Int[Tensor, "a *s"]


@runtime_checkable
class Examples(Protocol):
    """A source of examples, read by number: a list, or what reads files when asked."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, i: int, /) -> Example:
        """Read one image and its labels."""
        ...


@dataclass(frozen=True)
class Prediction:
    """What a model said about one image.

    :param key: names the image.
    :param logits: unnormalised log-probabilities, class axis first.
    :param labels: one map per annotator; ``IGNORE`` where unlabelled.
    :param image: the image itself, for methods and figures that look at it.

    >>> prediction = Prediction("a", torch.zeros(3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.long))
    >>> prediction.num_classes
    3
    """

    key: str
    logits: Float[Tensor, "c *s"]
    labels: Int[Tensor, "a *s"]
    image: Float[Tensor, "k *s"] | None = None

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self.logits.shape[0]

    def checked(self) -> "Prediction":
        """Return this prediction, having looked at every number in it.

        :raises ShapeError, LogitsError, LabelError: naming the image, what was expected, what came, what to do.
        """
        name = f"image {self.key!r}"
        check_scores_shape(self.logits, self.labels, name)
        check_finite(self.logits, name)
        check_are_logits(self.logits, name)
        check_labels(self.labels, self.num_classes, name)
        if self.image is not None and self.image.shape[1:] != self.logits.shape[1:]:
            raise ShapeError(
                f"{name}: expected the image over the space of the logits, {tuple(self.logits.shape[1:])}; "
                f"got {shape_of(self.image)} (channels first). Resize the image to the labels."
            )
        return self


@runtime_checkable
class Predictions(Protocol):
    """A source of predictions: one image at a time, more than once if asked."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __iter__(self) -> Iterator[Prediction]:
        """Read the images in order."""
        ...

    def __getitem__(self, i: int, /) -> Prediction:
        """Read one image."""
        ...


@dataclass(frozen=True)
class Subset:
    """Some images of a source, by number, read when asked for.

    >>> predictions = [Prediction(key, torch.zeros(2, 1), torch.zeros(1, 1, dtype=torch.long)) for key in "abc"]
    >>> [p.key for p in Subset(predictions, (2, 0))]
    ['c', 'a']
    """

    predictions: Predictions
    numbers: Sequence[int]

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images, without reading any if the source has ``keys``."""
        keys = getattr(self.predictions, "keys", None)
        return tuple(self[i].key if keys is None else keys[n] for i, n in enumerate(self.numbers))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.numbers)

    def __iter__(self) -> Iterator[Prediction]:
        """Read the images in order."""
        return (self.predictions[i] for i in self.numbers)

    def __getitem__(self, i: int, /) -> Prediction:
        """Read one image."""
        return self.predictions[self.numbers[i]]


def split(predictions: Predictions, share: float, *, seed: int) -> tuple[Subset, Subset]:
    """Split the images at random into two parts, the first with ``share`` of them.

    :raises FitError: one part would be empty.
    """
    count = round(share * len(predictions))
    if not 0 < count < len(predictions):
        raise FitError(
            f"expected a share that leaves images on both sides; got {share:g} of {len(predictions)} images. "
            "Add images or change the share."
        )
    order = torch.randperm(len(predictions), generator=torch.Generator().manual_seed(seed)).tolist()
    return Subset(predictions, sorted(order[:count])), Subset(predictions, sorted(order[count:]))


def from_probabilities(probs: Float[Tensor, "c *s"], *, name: str = "probabilities") -> Float[Tensor, "c *s"]:
    """Return logits whose softmax is ``probs``, of one image; zeros become the smallest normal float32.

    :raises LogitsError: the numbers are provably no probabilities.

    >>> from_probabilities(torch.tensor([[0.5], [0.25], [0.25]])).softmax(0).squeeze(1)
    tensor([0.5000, 0.2500, 0.2500])
    """
    check_finite(probs, name, "probabilities")
    check_are_probabilities(probs, name)
    return probs.float().clamp_min(torch.finfo(torch.float32).tiny).log()


def from_sigmoid(scores: Float[Tensor, "1 *s"]) -> Float[Tensor, "2 *s"]:
    """Return two logits, background and foreground, for the one channel of a sigmoid head (before the sigmoid).

    >>> from_sigmoid(torch.tensor([[1.0]])).softmax(0)[1] == torch.tensor(1.0).sigmoid()
    tensor([True])
    """
    if scores.shape[0] != 1:
        raise ShapeError(
            f"expected the one channel of a sigmoid head, (1, *space); got {shape_of(scores)}. "
            "Scores with two or more channels are logits already."
        )
    return torch.cat([torch.zeros_like(scores), scores])


def from_arrays(
    logits: Any,
    labels: Any,
    *,
    images: Any = None,
    keys: Iterable[str] | None = None,
    ignore_index: int | None = 255,
) -> Sequence[Prediction]:
    """Return predictions from arrays or tensors in memory, checked.

    :param logits: (n, c, *s), or one (c, *s) an image if sizes differ; one channel is a sigmoid head's.
    :param labels: (n, *s), or (n, a, *s) with several annotators, or one of these an image.
    :param images: (n, k, *s), or one an image.
    :param keys: names; by default 0000, 0001, …
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
    :raises ShapeError, LogitsError, LabelError: naming the image.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> predictions = from_arrays(rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5)))
    >>> [p.key for p in predictions], predictions[0].labels.shape
    (['0000', '0001'], torch.Size([1, 4, 5]))
    """
    if len(logits) != len(labels):
        raise ShapeError(
            f"expected as many label maps as logit maps; got {len(labels)} and {len(logits)}. "
            "The first axis of both counts the images."
        )
    if images is not None and len(images) != len(logits):
        raise ShapeError(f"expected as many images as logit maps; got {len(images)} and {len(logits)}.")
    names = [f"{i:04d}" for i in range(len(logits))] if keys is None else list(keys)
    if len(names) != len(logits) or len(set(names)) != len(names):
        raise ShapeError(
            f"expected {len(logits)} keys, all different; got {len(names)}, {len(set(names))} of them different."
        )
    return [
        prediction_from(
            name, logits[i], labels[i], image=None if images is None else images[i], ignore_index=ignore_index
        )
        for i, name in enumerate(names)
    ]


def prediction_from(
    key: str, logits: Any, labels: Any, *, image: Any = None, ignore_index: int | None = 255
) -> Prediction:
    """Return one checked prediction from arrays or tensors: the door that every reader goes through.

    A label map without an annotator axis gets one; one channel of logits becomes two; ``ignore_index`` becomes
    ``IGNORE``; float64 becomes float32. Labels of one annotator and unlike size are told by name.

    :raises ShapeError, LogitsError, LabelError: naming the image, what was expected, what came, what to do.
    """
    name = f"image {key!r}"
    scores, maps = _tensor(logits, name, "logits"), _tensor(labels, name, "labels")
    if scores.dtype == torch.float64:
        scores = scores.float()
    if maps.ndim == scores.ndim - 1:
        maps = maps[None]
    check_scores_shape(scores, maps, name)
    if scores.shape[0] == 1:
        check_finite(scores, name)
        low, high = torch.aminmax(scores)
        if low >= 0 and high <= 1:
            raise LogitsError(
                f"{name}: expected one channel of scores before the sigmoid; got numbers in [0, 1], "
                "which look like its output. Pass two channels [1 - p, p] through from_probabilities."
            )
        scores = from_sigmoid(scores)
    if maps.is_floating_point():
        raise LabelError(f"{name}: expected integer labels; got {maps.dtype}. Convert them: labels.astype('int64').")
    maps = maps.long()
    if ignore_index is not None:
        maps = torch.where(maps == ignore_index, IGNORE, maps)
    picture = None if image is None else _tensor(image, name, "image").float()
    return Prediction(key, scores, maps, picture).checked()


def with_logits(prediction: Prediction, logits: Float[Tensor, "c *s"]) -> Prediction:
    """Return the prediction with other logits: what a calibrator makes of it."""
    return replace(prediction, logits=logits)


def _tensor(array: Any, name: str, what: str) -> Tensor:
    try:
        tensor = torch.as_tensor(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(
            f"{name}: expected {what} as one array of numbers; got {type(array).__name__} ({error}). "
            "Images of unlike sizes go in as a list with one array each."
        ) from error
    return tensor
