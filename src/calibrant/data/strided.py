"""A prediction at the network's own stride: small logits over full-size labels."""

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F

from calibrant._check import check_are_logits, check_finite, check_labels, shape_of
from calibrant._shapes import Float, Int, Tensor
from calibrant.errors import ShapeError
from calibrant.predictions import Prediction

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
"""The upsampling of one, two and three dimensions of space, as ``torch.nn.functional.interpolate`` names it."""


@dataclass(frozen=True)
class StridedPrediction:
    """What a model said before its last upsampling: logits over ``*t``, labels over ``*s``.

    Many networks score every fourth pixel and upsample linearly at the very end. Kept as they were before that step,
    logits take a sixteenth of the room, and the step can be repeated exactly.

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
    align_corners: bool = False

    @classmethod
    def of(cls, item: Any) -> "StridedPrediction":
        """Return a record with ``key``, ``logits``, ``labels`` and ``image``, a ``Prediction`` say, as one of these."""
        if isinstance(item, cls):
            return item
        return cls(item.key, item.logits, item.labels, item.image, getattr(item, "align_corners", False))

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
        if self.upsampling["mode"] == "none":
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
        logits = self.logits
        how = self.upsampling
        if how["mode"] != "none":
            logits = F.interpolate(logits[None].float(), size=tuple(self.labels.shape[1:]), **how)[0]
        return Prediction(self.key, logits, self.labels, self.image)
