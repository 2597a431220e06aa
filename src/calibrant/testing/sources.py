"""What every source of predictions promises."""

from dataclasses import replace

import torch

from calibrant._shapes import Tensor
from calibrant.errors import InputError
from calibrant.predictions import Prediction, Predictions, keys_of


def check_predictions(predictions: Predictions) -> None:
    """Raise unless a source of predictions keeps the promises of the library.

    All images are read three times: keep the source small. It is held to: a length, which is that of what is read in
    order; the same images each time, and no image overwritten when the next is read; the same images by number as in
    order, to rounding; names of images that all differ, and are those of ``keys`` if there are any; and of each image:
    finite logits that are no probabilities, integer labels of these classes or ``IGNORE``, one size of logits, labels
    and image, and the same number of classes in all.

    :param predictions: a list, stored predictions, a model run lazily, or a source of your own.
    :raises AssertionError: a promise is broken; the message says which.

    >>> from calibrant.testing import toy_predictions
    >>> check_predictions(toy_predictions())
    """
    assert isinstance(predictions, Predictions), "expected a length, reading in order and reading by number"
    number = len(predictions)
    assert number > 0, "expected one image or more; got none"
    read, copies = [], []
    for prediction in predictions:
        read.append(prediction)
        copies.append(_copied(prediction))
    assert len(read) == number, f"expected as many images as the length says, {number}; got {len(read)}"
    for prediction, copy in zip(read, copies, strict=True):
        _check_same(copy, prediction, "an image that was read was overwritten later", exact=True)
    _check_names(predictions, [prediction.key for prediction in copies])
    _check_contents(copies)
    again = list(predictions)
    assert len(again) == number, f"read a second time, there are {len(again)} images, not {number}"
    for i, (copy, prediction) in enumerate(zip(copies, again, strict=True)):
        _check_same(copy, prediction, "read a second time, an image differs", exact=True)
        _check_same(copy, predictions[i], f"read by number, image {i} differs", exact=False)


def _copied(prediction: Prediction) -> Prediction:
    image = None if prediction.image is None else prediction.image.clone()
    return replace(prediction, logits=prediction.logits.clone(), labels=prediction.labels.clone(), image=image)


def _check_names(predictions: Predictions, names: list[str]) -> None:
    assert all(isinstance(name, str) for name in names), f"expected keys that are strings; got {names[:3]}"
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"expected a key of its own for each image; got some twice: {twice[:3]}"
    keys = keys_of(predictions)
    assert list(keys) == names, f"expected keys to be those of the images in order, {names[:3]}; got {keys[:3]}"


def _check_contents(predictions: list[Prediction]) -> None:
    for prediction in predictions:
        try:
            prediction.checked()
        except InputError as error:
            raise AssertionError(str(error)) from error
    counts = {prediction.num_classes for prediction in predictions}
    assert len(counts) == 1, f"expected the same classes in all images; got {sorted(counts)} of them"


def _check_same(one: Prediction, other: Prediction, what: str, *, exact: bool) -> None:
    assert one.key == other.key, f"{what}: expected {one.key!r}; got {other.key!r}"
    assert torch.equal(one.labels, other.labels), f"{what}: {one.key!r}, labels"
    same = torch.equal if exact else _close
    for name, first, second in (("logits", one.logits, other.logits), ("image", one.image, other.image)):
        alike = second is first if first is None or second is None else same(first, second)
        assert alike, f"{what}: {one.key!r}, {name}"


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.float(), other.float(), rtol=1e-4, atol=1e-4)
