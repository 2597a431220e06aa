"""Testing as segmentation models are tested: in sliding windows, at several scales, mirrored.

Where windows overlap, *logits* are averaged; over scales and mirror images, *probabilities* are. Both are the practice
of the field, in mmsegmentation (``EncoderDecoder.slide_inference``, ``SegTTAModel``) as in MONAI
(``sliding_window_inference``). A mean of probabilities comes back as its logarithm, whose softmax it is.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError
from calibrant.models._answer import answer_of
from calibrant.predictions import resized

Model = Callable[[Tensor], Any]
"""Images ``n k *s`` to logits ``n c *t``, or to what is known to hold them."""


def slide(
    model: Model, images: Float[Tensor, "n k *s"], *, crop: int | Sequence[int], overlap: float = 1 / 3
) -> Float[Tensor, "n c *s"]:
    """Run a model in windows and return the mean of their logits in each pixel, in float32.

    Windows lie as :func:`window_starts` says. The answer to each is upsampled linearly to the window first.

    :param model: any callable from images to logits.
    :param images: the images, of one size.
    :param crop: the size of windows along each axis of space. An axis that is shorter is taken whole, not padded.
    :param overlap: the share of a window that the next one repeats, at least; 1/3 is usual for images, 1/4 for volumes.
    :raises InputError: no such windows.
    :raises ShapeError, LogitsError: the model returns no logits.

    >>> model = nn.Conv2d(3, 5, 1)
    >>> images = torch.rand(2, 3, 20, 31)
    >>> torch.allclose(slide(model, images, crop=8), model(images), atol=1e-6)
    True
    """
    space = images.shape[2:]
    crops = crop_for(crop, len(space))
    if not 0 <= overlap < 1:
        raise InputError(f"expected an overlap of at least 0 and below 1, a share of the window; got {overlap:g}.")
    lengths = [min(size, length) for size, length in zip(space, crops, strict=True)]
    total, count = torch.zeros(()), torch.zeros(space, device=images.device)
    starts = (window_starts(size, length, overlap=overlap) for size, length in zip(space, lengths, strict=True))
    for corner in itertools.product(*starts):
        window = (..., *(slice(start, start + length) for start, length in zip(corner, lengths, strict=True)))
        logits = resized(answer_of(model, images[window]), tuple(lengths)).float()
        if total.ndim == 0:
            total = logits.new_zeros(*logits.shape[:2], *space)
        total[window] += logits
        count[window] += 1
    return total / count


def window_starts(size: int, crop: int, *, overlap: float) -> list[int]:
    """Return where windows start along an axis: in equal steps from 0, and the last one flush with the end.

    The step is the part of a window that is not repeated, rounded down to whole pixels, and at least one.

    :param size: pixels along the axis.
    :param crop: pixels of a window along it.
    :param overlap: the part of a window that the next repeats, from 0 to less than 1.

    >>> window_starts(9, 4, overlap=0.5)
    [0, 2, 4, 5]
    >>> window_starts(3, 4, overlap=0.5)
    [0]
    """
    step = max(1, math.floor(crop * (1 - overlap) + 1e-9))
    return [*range(0, max(0, size - crop), step), max(0, size - crop)]


def mean_of_views(
    model: Model, images: Float[Tensor, "n k *s"], *, scales: Sequence[float] = (1.0,), flip: bool = False
) -> Float[Tensor, "n c *t"]:
    """Run a model on images at several sizes, and mirrored, and return the logarithm of the mean probability.

    Images are resized linearly, without low-pass filter, as OpenCV does for those who train. The answers are brought
    back to the image's size before the softmax. With one scale and no mirroring the model's answer is returned as it
    is, logits at its own resolution. One channel is taken for a sigmoid head's, and becomes two.

    :param model: any callable from images to logits.
    :param images: the images, of one size.
    :param scales: factors on each side of the image; mmsegmentation's are 0.5, 0.75, 1, 1.25, 1.5 and 1.75.
    :param flip: mirror the last axis, left to right, too.
    :raises InputError: no scales.
    :raises ShapeError, LogitsError: the model returns no logits.
    """
    if not scales or min(scales) <= 0:
        raise InputError(f"expected factors on the size of the image, above 0; got {', '.join(map(str, scales))}.")
    if len(scales) == 1 and not flip:
        return answer_of(model, scaled(images, scales[0]))
    total, count = None, 0
    for probability in _log_probabilities(model, images, scales, flip):
        total = probability if total is None else torch.logaddexp(total, probability)
        count += 1
    assert total is not None
    return total - math.log(count)


def _log_probabilities(model: Model, images: Tensor, scales: Sequence[float], flip: bool) -> Iterator[Tensor]:
    for scale in scales:
        seen = scaled(images, scale)
        for mirrored in (False, True) if flip else (False,):
            logits = answer_of(model, seen.flip(-1) if mirrored else seen)
            logits = resized(logits.flip(-1) if mirrored else logits, images.shape[2:]).float()
            if logits.shape[1] == 1:
                logits = torch.cat([torch.zeros_like(logits), logits], 1)
            yield F.log_softmax(logits, 1)


def scaled(images: Float[Tensor, "n k *s"], scale: float) -> Float[Tensor, "n k *t"]:
    """Return images with each side multiplied by ``scale``, rounded to whole pixels.

    :param images: (n, k, *s).
    :param scale: factor on each side.
    """
    return resized(images, tuple(max(1, round(size * scale)) for size in images.shape[2:]))


def crop_for(crop: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """Return one length for each axis of space.

    :param crop: one length for all axes, or one for each.
    :param dims: the number of axes of space.
    :raises InputError: there are others, or none.
    """
    lengths = (crop,) * dims if isinstance(crop, int) else tuple(crop)
    if len(lengths) == 1:
        lengths = lengths * dims
    if len(lengths) != dims or min(lengths) < 1:
        raise InputError(
            f"expected the size of windows as one number, or {dims}, of pixels; got {', '.join(map(str, lengths))}."
        )
    return lengths


class InViews(nn.Module):
    """A model that is tested in windows, at several scales, mirrored; itself a model from images to logits.

    The three compose: each scaled or mirrored image is run in windows of its own.

    :param model: any callable from images to logits.
    :param crop: the size of windows along each axis of space; None for the whole image at once.
    :param overlap: the share of a window that the next one repeats, at least.
    :param scales: factors on each side of the image.
    :param flip: whether to mirror the last axis, left to right, too.
    :param shorter_side: resize images to this first, keeping their proportions, whatever size they have.

    >>> InViews(nn.Conv2d(3, 5, 1), crop=8, flip=True)(torch.rand(1, 3, 20, 31)).shape
    torch.Size([1, 5, 20, 31])
    """

    def __init__(
        self,
        model: Model,
        *,
        crop: int | Sequence[int] | None = None,
        overlap: float = 1 / 3,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        shorter_side: int | None = None,
    ):
        super().__init__()
        self.model, self.crop, self.overlap = model, crop, overlap
        self.scales, self.flip, self.shorter_side = tuple(scales), flip, shorter_side

    @property
    def scores(self) -> str | None:
        """What the model inside says that its answers are."""
        return getattr(self.model, "scores", None)

    def first_run(self, images: Float[Tensor, "n k *s"]) -> tuple[Model, Float[Tensor, "n k *t"]]:
        """Return the model inside, and what it is run on first: the first window of the images at their first size.

        :param images: the images, of one size.
        """
        base = 1.0 if self.shorter_side is None else self.shorter_side / min(images.shape[2:])
        seen = scaled(images, base * self.scales[0])
        if self.crop is None:
            return self.model, seen
        lengths = crop_for(self.crop, len(seen.shape[2:]))
        return self.model, seen[(..., *(slice(0, length) for length in lengths))]

    def forward(self, images: Float[Tensor, "n k *s"]) -> Float[Tensor, "n c *t"]:
        """Return logits of images.

        :param images: the images, of one size.
        """
        base = 1.0 if self.shorter_side is None else self.shorter_side / min(images.shape[2:])
        scales = [base * scale for scale in self.scales]
        return mean_of_views(self._once, images, scales=scales, flip=self.flip)

    def _once(self, images: Tensor) -> Tensor:
        if self.crop is None:
            return answer_of(self.model, images)
        return slide(self.model, images, crop=self.crop, overlap=self.overlap)
