"""Predictions from arrays and tensors in memory, and from probabilities and sigmoid scores; checked here, once."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from calibrant._check import check_are_probabilities, check_finite, check_scores_shape, shape_of
from calibrant._shapes import IGNORE, Float, Tensor
from calibrant.errors import LabelError, LogitsError, ShapeError
from calibrant.predictions.prediction import Prediction


def from_probabilities(probs: Float[Tensor, "c *s"], *, name: str = "probabilities") -> Float[Tensor, "c *s"]:
    """Return logits whose softmax is ``probs``, of one image; zeros become the smallest normal float32.

    :param probs: the probabilities of one image, class axis first.
    :param name: what error messages call them.
    :raises LogitsError: the numbers are provably no probabilities.

    >>> from_probabilities(torch.tensor([[0.5], [0.25], [0.25]])).softmax(0).squeeze(1)
    tensor([0.5000, 0.2500, 0.2500])
    """
    check_finite(probs, name, "probabilities")
    check_are_probabilities(probs, name)
    return probs.float().clamp_min(torch.finfo(torch.float32).tiny).log()


def from_sigmoid(scores: Float[Tensor, "1 *s"]) -> Float[Tensor, "2 *s"]:
    """Return two logits, background and foreground, for the one channel of a sigmoid head (before the sigmoid).

    :param scores: the scores of one image before the sigmoid, one channel.

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
    :param keys: the names of the images, all different; 0000, 0001, … if None.
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

    :param key: the name of the image.
    :param logits: an array or tensor (c, *s); one channel is taken for the head of a sigmoid.
    :param labels: an array or tensor of integers, (*s) or (a, *s).
    :param image: an array or tensor (k, *s), if there is one.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
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


def _tensor(array: Any, name: str, what: str) -> Tensor:
    try:
        tensor = torch.as_tensor(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(
            f"{name}: expected {what} as one array of numbers; got {type(array).__name__} ({error}). "
            "Images of unlike sizes go in as a list with one array each."
        ) from error
    return tensor
