"""What a calibrator is, and the one place where the label map is protected from rounding.

Conventions
-----------
* Logits come and go as ``(n, c, *s)``, class axis second; ``image`` is ``(n, k, *s)`` and ignored where not needed.
* Whatever comes in, float16, bfloat16, float32 or float64, is computed and returned in float32.
* There is no unfitted calibrator: build one from known parameters or with its ``fit``.
* ``keeps_labels`` promises that ``calibrator(z).argmax(1)`` equals ``z.argmax(1)`` bit for bit, for float16, bfloat16
  and float32, with ties, and whatever the temperature. Rounding breaks this for a plain ``z / T``: two logits one step
  apart may become equal, and then the first of them wins. ``_projections.keep_labels`` mends it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from calibrant._shapes import Float, Shaped, Tensor
from calibrant.predictions import Prediction, Predictions

BLOCK = 2**18
"""Numbers in a block that stays in a processor's cache (a megabyte of float32); smaller blocks only add calls."""

MIN_EXPONENT = -80.0
"""exp(x) is negligible beside 1 below this; below -87 it is denormal, which makes processors ten times slower."""


class Calibrator(nn.Module, ABC):
    """A fitted map from logits to logits.

    A subclass, or an instance, says by ``keeps_labels`` whether it never changes the label map, and by
    :meth:`arguments` what its constructor needs, which is all that is stored.

    :param notes: what the fit found, for people to read.
    """

    keeps_labels: bool = False

    def __init__(self, *, notes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.notes = tuple(notes)

    @abstractmethod
    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return calibrated logits, in float32.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: the images, for calibrators that need them; others ignore them.
        """

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this calibrator again: numbers, tensors, calibrators, selectors."""


Fit = Callable[[Predictions], Calibrator]
"""Anything that makes a calibrator from labelled predictions: ``TemperatureScaling.fit``, say."""


def calibrated(prediction: Prediction, calibrator: Calibrator | None) -> Float[Tensor, "c *s"]:
    """Return the logits of one image, as they are or through a calibrator.

    :param prediction: one image, with its logits.
    :param calibrator: what to send the logits through; None leaves them as they are.
    """
    if calibrator is None:
        return prediction.logits
    image = None if prediction.image is None else prediction.image[None]
    with torch.no_grad():
        return calibrator(prediction.logits[None], image)[0]


class Identity(Calibrator):
    """No calibration: the logits as they are, in float32.

    :param notes: what the fit found, for people to read.

    >>> Identity()(torch.tensor([[1.0, 2.0]]).half().unsqueeze(2)).dtype
    torch.float32
    """

    keeps_labels = True

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return the logits in float32.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: not used.
        """
        return logits.float()

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs: nothing."""
        return {}

    @classmethod
    def fit(cls, predictions: Predictions) -> "Identity":
        """Return the identity, whatever the predictions.

        :param predictions: have no effect.
        """
        return cls()


def by_pixel_blocks(
    function: Callable[..., Float[Tensor, "n o p"]], logits: Float[Tensor, "n c *s"], *maps: Shaped[Tensor, "n ..."]
) -> Float[Tensor, "n o *s"]:
    """Return ``function(logits, *maps)`` of a function that works on each pixel alone, computed in cache-sized blocks.

    It is called with float32 logits ``(n, c, p)`` and maps ``(n, k, p)`` and returns ``(n, o, p)``, any number o.
    Where blocks do not help (on an accelerator, in an export, or when gradients are wanted) it is called once, over
    all pixels.

    :param function: from logits (n, c, p) and the maps (n, k, p) to (n, o, p); each pixel depends on itself alone.
    :param logits: (n, c, *s), class axis second, in any floating-point type.

    >>> z = torch.arange(12.0).reshape(1, 2, 2, 3)
    >>> torch.equal(by_pixel_blocks(lambda z: z * 2, z), z * 2)
    True
    """
    n, c, *space = logits.shape
    if torch.compiler.is_compiling() or logits.requires_grad or logits.device.type != "cpu" or 0 in logits.shape:
        flat = function(logits.flatten(2).float(), *(m.flatten(2) for m in maps))
        return flat.reshape(n, flat.shape[1], *space)
    source, maps = logits.flatten(2), tuple(m.flatten(2) for m in maps)
    pixels = source.shape[2]
    width = min(pixels, max(1, BLOCK // c))
    images = max(1, BLOCK // (c * width))
    result = None
    for i in range(0, n, images):
        for start in range(0, pixels, width):
            at = (slice(i, i + images), slice(None), slice(start, start + width))
            part = function(source[at].float(), *(m[at] for m in maps))
            if result is None:
                result = part.new_empty(n, part.shape[1], pixels)
            result[at] = part
    assert result is not None  # no axis is empty
    return result.reshape(n, -1, *space)
