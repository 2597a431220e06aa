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
from calibrant.predictions import Predictions, PredictionsLike
from calibrant.predictions.parts import GRID

BLOCK = 2**18
"""Most numbers in a block that stays in a processor's cache (a megabyte of float32)."""

MIN_EXPONENT = -80.0
"""exp(x) is negligible beside 1 below this; below -87 it is denormal, which makes processors ten times slower."""


class Calibrator(nn.Module, ABC):
    """A fitted map from logits to logits.

    A subclass, or an instance, says by ``keeps_labels`` whether it never changes the label map, by ``reach`` how many
    pixels around a pixel its result depends on along each axis (0 for none: pixel by pixel; None for the whole image),
    and by :meth:`arguments` what its constructor needs, which is all that is stored. An image that is too large for
    memory is calibrated in parts, with as many rows more as the reach says, and whole if there is none.

    :param notes: what the fit found, for people to read.
    """

    keeps_labels: bool = False
    reach: int | None = None

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


class Identity(Calibrator):
    """No calibration: the logits as they are, in float32.

    :param notes: what the fit found, for people to read.

    >>> Identity()(torch.tensor([[1.0, 2.0]]).half().unsqueeze(2)).dtype
    torch.float32
    """

    keeps_labels = True
    reach = 0

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
    def fit(cls, predictions: PredictionsLike, labels: Any = None) -> "Identity":
        """Return the identity, whatever the predictions.

        :param predictions: have no effect.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        """
        return cls()


def num_classes_of(calibrator: Calibrator) -> int | None:
    """Return how many classes a calibrator was fitted on, as it or its parts say; None if none of them says so.

    >>> from calibrant.calibrators import MetaCal, TemperatureScaling, VectorScaling
    >>> vector = VectorScaling(torch.ones(3), torch.zeros(3))
    >>> num_classes_of(MetaCal(0.5, vector)), num_classes_of(TemperatureScaling(1.5))
    (3, None)
    """
    said = (getattr(part, "num_classes", None) for part in calibrator.modules())
    known = {number for number in said if isinstance(number, int)}
    return known.pop() if len(known) == 1 else None


def exponentiated(margins: Float[Tensor, "*s"], factor: float | Tensor | None = None) -> Float[Tensor, "*s"]:
    """Write ``exp(factor * margins)`` over margins, exponents at least :data:`MIN_EXPONENT`; return it.

    Torch's exp2 would take half of the time, but it gives other bits where a row ends, so that what a pixel gets would
    depend on how an image is cut.

    >>> exponentiated(torch.tensor([0.0, -1.0, -100.0]))
    tensor([1.0000e+00, 3.6788e-01, 1.8049e-35])
    """
    scaled = margins if factor is None else margins.mul_(factor)
    return scaled.clamp_min_(MIN_EXPONENT).exp_()


def is_unasked(values: Tensor) -> bool:
    """Return whether code must not ask for values: in an export, and on an accelerator, which would have to wait.

    :param values: any tensor.
    """
    return torch.compiler.is_compiling() or values.device.type != "cpu"


def widest(*reaches: int | None) -> int | None:
    """Return the reach of several calibrators in a row or side by side: that of the one that looks farthest."""
    return None if None in reaches else max(reach for reach in reaches if reach is not None)


def block_width(num_classes: int) -> int:
    """Return the number of pixels in a block: a power of two, which divides ``predictions.parts.GRID``.

    >>> block_width(19), block_width(1)
    (8192, 65536)
    """
    return min(GRID, 1 << (max(1, BLOCK // num_classes).bit_length() - 1))


def by_pixel_blocks(
    function: Callable[..., Shaped[Tensor, "n o p"]], logits: Float[Tensor, "n c *s"], *maps: Shaped[Tensor, "n ..."]
) -> Shaped[Tensor, "n o *s"]:
    """Return ``function(logits, *maps)`` of a function that works on each pixel alone, computed in cache-sized blocks.

    It is called with float32 logits ``(n, c, p)`` and maps ``(n, k, p)`` and returns ``(n, o, p)``, with any number o,
    of any type.
    Blocks begin at multiples of :func:`block_width`, so that a part of an image that begins there has the same blocks.
    Where blocks do not help (on an accelerator, in an export, or when gradients are wanted) it is called once, over
    all pixels.

    :param function: from logits (n, c, p) and the maps (n, k, p) to (n, o, p); each pixel depends on itself alone.
    :param logits: (n, c, *s), class axis second, in any floating-point type.

    >>> z = torch.arange(12.0).reshape(1, 2, 2, 3)
    >>> torch.equal(by_pixel_blocks(lambda z: z * 2, z), z * 2)
    True
    """
    return maps_by_pixel_blocks(lambda *block: (function(*block),), logits, *maps)[0]


def maps_by_pixel_blocks(
    function: Callable[..., tuple[Shaped[Tensor, "n o p"], ...]],
    logits: Float[Tensor, "n c *s"],
    *maps: Shaped[Tensor, "n ..."],
) -> tuple[Shaped[Tensor, "n o *s"], ...]:
    """Return the same as :func:`by_pixel_blocks` for a function that returns several maps.

    :param function: from logits (n, c, p) and the maps (n, k, p) to maps (n, o, p), each of any number o and any type.
    :param logits: (n, c, *s), class axis second, in any floating-point type.
    """
    n, c, *space = logits.shape
    if torch.compiler.is_compiling() or logits.requires_grad or logits.device.type != "cpu" or 0 in logits.shape:
        found = function(logits.flatten(2).float(), *(m.flatten(2) for m in maps))
        return tuple(each.reshape(n, each.shape[1], *space) for each in found)
    source, maps = logits.flatten(2), tuple(m.flatten(2) for m in maps)
    pixels = source.shape[2]
    width = min(pixels, block_width(c))
    images = max(1, BLOCK // (c * width))
    if n <= images and pixels <= width:
        found = function(source.float(), *maps)
        return tuple(each.reshape(n, each.shape[1], *space) for each in found)
    results: tuple[Tensor, ...] = ()
    for i in range(0, n, images):
        for start in range(0, pixels, width):
            at = (slice(i, i + images), slice(None), slice(start, start + width))
            parts = function(source[at].float(), *(m[at] for m in maps))
            results = results or tuple(part.new_empty(n, part.shape[1], pixels) for part in parts)
            for result, part in zip(results, parts, strict=True):
                result[at] = part
    return tuple(result.reshape(n, -1, *space) for result in results)
