"""Predictions from arrays and tensors in memory, and from probabilities and sigmoid scores; checked here, once."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from calibrant._encoding.label_coding import UNLABELLED
from calibrant._encoding.to_probabilities import to_probabilities
from calibrant._encoding.value_domain import LOGITS, LOOKED_AT, PROBABILITIES, SCORES, check_said, count_values
from calibrant._input.checks import check_choice, check_finite, check_scores_shape, shape_of
from calibrant._shapes import IGNORE, Float, Tensor
from calibrant.errors import LabelError, ShapeError
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
    return _logarithm(to_probabilities(probs, PROBABILITIES, name))


def _logarithm(probs: Tensor) -> Tensor:
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
    scores: str | None = None,
    annotators: bool | None = None,
) -> Sequence[Prediction]:
    """Return predictions from arrays or tensors in memory, checked.

    :param logits: (n, c, *s), or one (c, *s) an image if sizes differ; one channel is a sigmoid head's.
    :param labels: (n, *s), or (n, a, *s) with several annotators, or one of these an image.
    :param images: (n, k, *s), or one an image.
    :param keys: the names of the images, all different; 0000, 0001, … if None.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
    :param scores: what the scores are: logits, probabilities, percent, bytes or sigmoid; None for logits, and an error
        if their values look like something else.
    :param annotators: whether labels have an axis of annotators; None if their number of axes says so.
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
    made = [
        prediction_from(
            name,
            logits[i],
            labels[i],
            image=None if images is None else images[i],
            ignore_index=ignore_index,
            scores=scores,
            annotators=annotators,
        )
        for i, name in enumerate(names)
    ]
    if ignore_index == UNLABELLED:
        _check_masks(made, labels)
    return made


def prediction_from(
    key: str,
    logits: Any,
    labels: Any,
    *,
    image: Any = None,
    ignore_index: int | None = 255,
    scores: str | None = None,
    annotators: bool | None = None,
) -> Prediction:
    """Return one checked prediction from arrays or tensors; every reader calls this.

    A label map without an annotator axis gets one; one channel of logits becomes two; ``ignore_index`` becomes
    ``IGNORE``; float64 becomes float32. Where nothing is labelled, scores that are not finite become zeros. Labels of
    one annotator and unlike size are named in the error.

    :param key: names the image.
    :param logits: (c, *s); one channel is a sigmoid head's.
    :param labels: (*s), or (a, *s) with several annotators.
    :param image: (k, *s), if there is one.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
    :param scores: what the scores are: logits, probabilities, percent, bytes or sigmoid; None for logits, and an error
        if their values look like something else.
    :param annotators: whether labels have an axis of annotators; None if their number of axes says so.
    :raises ShapeError, LogitsError, LabelError: naming the image, what was expected, what came, what to do.
    """
    name = f"image {key!r}"
    if scores is not None:
        check_choice(scores, SCORES, "kind of scores")
    values, maps = _tensor(logits, name, "logits"), _tensor(labels, name, "labels")
    if values.dtype == torch.float64:
        values = values.float()
    if scores == LOGITS and not values.is_floating_point():
        values = values.float()
    maps = _with_annotators(values, maps, annotators, name)
    if scores in (None, LOGITS) and values.is_floating_point():
        check_scores_shape(values, maps, name)
    elif values.ndim == maps.ndim and values.shape[1:] == maps.shape[1:] and scores is None:
        check_said(count_values(values), name)
    check_scores_shape(values if scores in (None, LOGITS) else values.float(), maps, name)
    if maps.is_floating_point():
        raise LabelError(f"{name}: expected integer labels; got {maps.dtype}. Convert them: labels.astype('int64').")
    maps = maps.long()
    if ignore_index is not None:
        maps = torch.where(maps == ignore_index, IGNORE, maps)
    picture = None if image is None else _tensor(image, name, "image").float()
    made = _logits(values, scores, name, (maps == IGNORE).all(0))
    return Prediction(key, made, maps, picture).checked()


def _logits(values: Tensor, scores: str | None, name: str, unlabelled: Tensor) -> Tensor:
    """Return logits of what was declared; NaN where nothing is labelled becomes zero in all classes."""
    if scores not in (None, LOGITS):
        return _logarithm(to_probabilities(values, scores, name, unlabelled))
    if not torch.isfinite(values.sum(dtype=torch.float32)):
        values = torch.where(~torch.isfinite(values).all(0) & unlabelled, 0, values)
    check_finite(values, name)
    if scores is None:
        counts = count_values(values, every=max(1, values[0].numel() // LOOKED_AT))
        check_said(counts, name, python="calibrant.predictions.from_probabilities, or scores={}")
    return from_sigmoid(values) if values.shape[0] == 1 else values


def _with_annotators(scores: Tensor, labels: Tensor, annotators: bool | None, name: str) -> Tensor:
    """Return labels with an axis of annotators; where scores and labels have one shape, that must be plain."""
    if annotators is not None:
        return labels if annotators else labels[None]
    if labels.ndim == scores.ndim - 1:
        return labels[None]
    if labels.shape != scores.shape or labels.shape[0] == 1:
        return labels
    shape = tuple(scores.shape)
    if labels.ndim == 2:
        raise ShapeError(
            f"{name}: expected logits (classes, *space); got {shape}, the shape of the labels: they have no axis of "
            "classes. One channel of a sigmoid is logits[None], (1, *space); labels of several annotators over a line "
            "need annotators=True."
        )
    if bool(((labels == 0) | (labels == 1) | (labels == IGNORE) | (labels == UNLABELLED)).all()):
        one_hot = bool((labels.sum(0) == 1).all())
        raise LabelError(
            f"{name}: expected label maps of class numbers; got labels of 0 and 1 in the shape of the logits, {shape}, "
            + (
                "which are one-hot. Pass class numbers: labels.argmax(0), of one image."
                if one_hot
                else "which may be overlapping classes (sigmoid), which are not a softmax, or volumes beside logits "
                "without an axis of classes, logits[None]. If they are maps of several annotators: annotators=True."
            )
        )
    return labels


def _check_masks(made: Sequence[Prediction], labels: Any) -> None:
    """Raise if two classes were labelled 0 and 255, and 255 was taken for unlabelled."""
    if not made or any(p.num_classes != 2 for p in made):
        return
    found = {int(value) for p in made for value in torch.unique(p.labels)}
    if found == {0, IGNORE} and any(bool((torch.as_tensor(each) == UNLABELLED).any()) for each in labels):
        raise LabelError(
            "expected labels 0 and 1 of two classes; got 0 and 255 alone. If 255 is the foreground, pass labels // "
            "255; if it is unlabelled, put calibrant.IGNORE there."
        )


def _tensor(array: Any, name: str, what: str) -> Tensor:
    try:
        tensor = torch.as_tensor(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(
            f"{name}: expected {what} as one array of numbers; got {type(array).__name__} ({error}). "
            "Images of unlike sizes go in as a list with one array each."
        ) from error
    return tensor
