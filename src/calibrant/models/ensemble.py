"""Several sources of predictions as one: the mean of their probabilities (Lakshminarayanan et al., NeurIPS 2017)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch

from calibrant._input.checks import check_finite, shape_of
from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError, LabelError, ShapeError
from calibrant.predictions import Prediction, Predictions, known_keys


@dataclass(frozen=True)
class EnsemblePredictions:
    """The predictions of several models, or several runs of one, together: the log of the mean of their probabilities.

    One image of every source is in memory at a time. Labels and image are those of the first source. Runs of one model
    at other scales, or flipped, are sources too: :class:`~calibrant.models.ModelPredictions` brings logits to the
    labels' size, and a flip is undone where the model is called (multi-scale testing, as mmsegmentation does it).

    Every image is checked when it is read: the sources must agree on its name, size, classes and labels. The names of
    sources that have ``keys`` are checked at once.

    :param sources: two or more, of the same images in the same order.
    :raises InputError: there is no source, or they hold other images.
    :raises ShapeError, LabelError, LogitsError: on reading, naming the image and the source.

    >>> from calibrant.models import ModelPredictions
    >>> from calibrant.predictions import Example
    >>> model = torch.nn.Conv2d(3, 5, 3, padding=1)
    >>> examples = [Example("a", torch.rand(3, 8, 12), torch.zeros(1, 8, 12, dtype=torch.long))]
    >>> as_it_is = ModelPredictions(model, examples)
    >>> flipped = ModelPredictions(lambda x: model(x.flip(-1)).flip(-1), examples)
    >>> half = ModelPredictions(lambda x: model(x[..., ::2, ::2]), examples)
    >>> ensemble = EnsemblePredictions([as_it_is, flipped, half])
    >>> mean = (as_it_is[0].logits.softmax(0) + flipped[0].logits.softmax(0) + half[0].logits.softmax(0)) / 3
    >>> torch.allclose(ensemble[0].logits.exp(), mean, atol=1e-6)
    True
    """

    sources: Sequence[Predictions]

    def __post_init__(self) -> None:
        if not self.sources:
            raise InputError("expected one source of predictions or more; got none. Pass a list of them.")
        counts = [len(source) for source in self.sources]
        if len(set(counts)) > 1:
            raise InputError(
                f"expected sources of the same images; got {', '.join(map(str, counts))} images. "
                "Leave images out of all sources alike."
            )
        known = [(number, keys) for number, keys in enumerate(map(known_keys, self.sources)) if keys is not None]
        for number, keys in known[1:]:
            for mine, theirs in zip(known[0][1], keys, strict=True):
                _check_key(mine, theirs, known[0][0], number)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images, without reading any if a source has ``keys``."""
        known = (keys for keys in map(known_keys, self.sources) if keys is not None)
        return next(known, None) or tuple(prediction.key for prediction in self.sources[0])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.sources[0])

    def __iter__(self) -> Iterator[Prediction]:
        """Read the images in order, each source in its own way."""
        return map(self._together, zip(*self.sources, strict=True))

    def __getitem__(self, i: int, /) -> Prediction:
        """Read one image."""
        return self._together(tuple(source[i] for source in self.sources))

    def _together(self, members: tuple[Prediction, ...]) -> Prediction:
        first = members[0]
        for number, member in enumerate(members):
            _check_member(first, member, number)
        # logaddexp is exact where the likeliest member is: no class of tiny probability is lost on the way.
        logits = reduce(torch.logaddexp, map(_log_probabilities, members))
        return replace(first, logits=logits - math.log(len(members)))


def _log_probabilities(member: Prediction) -> Float[Tensor, "c *s"]:
    return member.logits.float().log_softmax(0)


def _check_member(first: Prediction, member: Prediction, number: int) -> None:
    """Raise unless a member says something of the same image."""
    _check_key(first.key, member.key, 0, number)
    name = f"image {first.key!r}, source {number}"
    if member.num_classes != first.num_classes:
        raise ShapeError(
            f"{name}: expected logits of {first.num_classes} classes, as in source 0; got {member.num_classes}. "
            "Bring the models to one label space first."
        )
    if member.logits.shape != first.logits.shape:
        raise ShapeError(
            f"{name}: expected logits {shape_of(first.logits)}, as in source 0; got {shape_of(member.logits)}. Bring a "
            "run at another scale to the labels' size, as ModelPredictions does, before it is added."
        )
    check_finite(member.logits, name)
    if member.labels.shape != first.labels.shape or not torch.equal(member.labels.cpu(), first.labels.cpu()):
        raise LabelError(
            f"{name}: expected the labels of source 0; got others. Make all sources from the same labels, and undo "
            "flips and crops of the logits, not of the labels."
        )


def _check_key(mine: str, theirs: str, first: int, number: int) -> None:
    if mine != theirs:
        raise InputError(
            f"image {mine!r}: expected the same image at the same place in every source; got {theirs!r} in source "
            f"{number}, where source {first} has {mine!r}. Sort the sources alike."
        )
