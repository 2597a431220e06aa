"""Single images: an example, a prediction, and a prediction at the network's own stride."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch.nn.functional as F

from calibrant._input.checks import check_are_logits, check_finite, check_labels, check_scores_shape, shape_of
from calibrant._shapes import Float, Int, Tensor
from calibrant.errors import ShapeError

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
"""Linear interpolation over one, two and three axes of space, as ``torch.nn.functional.interpolate`` names it."""


@dataclass(frozen=True)
class Example:
    """An image and what annotators said of it: what a data set holds and a model is run on.

    :param key: the name of the image.
    :param image: its channels, as the model takes them (for pictures red, green and blue in [0, 1]).
    :param labels: one map per annotator; ``IGNORE`` where unlabelled.
    """

    key: str
    image: Float[Tensor, "k *s"]
    labels: Int[Tensor, "a *s"]


@dataclass(frozen=True)
class Prediction:
    """What a model said about one image.

    :param key: the name of the image.
    :param logits: unnormalised log-probabilities, class axis first.
    :param labels: one map per annotator; ``IGNORE`` where unlabelled.
    :param image: the image itself, for methods and figures that look at it.

    >>> import torch
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


def with_logits(prediction: Prediction, logits: Float[Tensor, "c *s"]) -> Prediction:
    """Return the prediction with other logits: what a calibrator makes of it.

    :param prediction: keeps its key, labels and image.
    :param logits: take the place of its own.
    """
    return replace(prediction, logits=logits)


def resized(
    scores: Float[Tensor, "n c *t"], space: tuple[int, ...], *, align_corners: bool = False
) -> Float[Tensor, "n c *s"]:
    """Return scores interpolated linearly over another space, in float32; as they are if it is theirs already.

    :param scores: a batch of maps over one, two or three axes of space.
    :param space: the size wanted, in pixels.
    :param align_corners: whether the middles of corner pixels stay in place (True) or the corners of the whole do.

    >>> import torch
    >>> resized(torch.tensor([[[0.0, 1.0]]]), (4,))
    tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    if scores.shape[2:] == tuple(space):
        return scores
    return F.interpolate(scores.float(), tuple(space), mode=MODES[len(space)], align_corners=align_corners)


@dataclass(frozen=True)
class StridedPrediction:
    """What a model said before its last upsampling: logits over ``*t``, labels over ``*s``.

    Many networks score every fourth pixel and upsample linearly at the very end. Kept as they were before that step,
    logits take a sixteenth of the space, and the step can be repeated exactly.

    :param key: the name of the image.
    :param logits: unnormalised log-probabilities over the space that the network answers in, class axis first.
    :param labels: one map per annotator, ``IGNORE`` where unlabelled.
    :param image: the image over the space of the labels, if it is kept.
    :param align_corners: how the network upsamples, in the words of ``torch.nn.functional.interpolate``.

    >>> import torch
    >>> small = StridedPrediction("a", torch.randn(3, 2, 2), torch.zeros(1, 8, 8, dtype=torch.long))
    >>> small.upsampled().logits.shape
    torch.Size([3, 8, 8])
    """

    key: str
    logits: Float[Tensor, "c *t"]
    labels: Int[Tensor, "a *s"]
    image: Float[Tensor, "k *s"] | None = None
    align_corners: bool = field(default=False, kw_only=True)

    @classmethod
    def of(cls, item: Any) -> "StridedPrediction":
        """Return a record with ``key``, ``logits``, ``labels`` and ``image``, a ``Prediction`` say, as one of these.

        :param item: what has the four attributes; ``align_corners`` is False if it has none.
        """
        if isinstance(item, cls):
            return item
        return cls(item.key, item.logits, item.labels, item.image, align_corners=getattr(item, "align_corners", False))

    @property
    def upsampling(self) -> dict[str, Any]:
        """How the logits become as large as the labels: ``{"mode": "none"}``, or the mode and ``align_corners``."""
        if self.logits.shape[1:] == self.labels.shape[1:]:
            return {"mode": "none"}
        return {"mode": MODES[self.logits.ndim - 1], "align_corners": self.align_corners}

    def checked(self) -> "StridedPrediction":
        """Return this prediction, having looked at every number in it.

        :raises ShapeError, LogitsError, LabelError: naming the image, what was expected, what came, what to do.
        """
        if self.logits.shape[1:] == self.labels.shape[1:]:
            Prediction(self.key, self.logits, self.labels, self.image).checked()
            return self
        name = f"image {self.key!r}"
        if self.labels.ndim != self.logits.ndim or self.logits.ndim - 1 not in MODES:
            raise ShapeError(
                f"{name}: expected logits (classes, *space) and labels (annotators, *space) with equally many axes; "
                f"got logits {shape_of(self.logits)} and labels {shape_of(self.labels)}."
            )
        check_finite(self.logits, name)
        check_are_logits(self.logits, name)
        check_labels(self.labels, self.logits.shape[0], name)
        if self.image is not None and self.image.shape[1:] != self.labels.shape[1:]:
            raise ShapeError(
                f"{name}: expected the image over the space of the labels, {tuple(self.labels.shape[1:])}; "
                f"got {shape_of(self.image)} (channels first). Resize the image to the labels."
            )
        return self

    def upsampled(self) -> Prediction:
        """Return the prediction at the size of its labels; logits that had to grow come back in float32."""
        space = tuple(self.labels.shape[1:])
        logits = resized(self.logits[None], space, align_corners=self.align_corners)[0]
        return Prediction(self.key, logits, self.labels, self.image)
