"""Calibrating one image, whole or in parts.

* A calibrator that is pixel by pixel (``reach`` 0) is given runs of pixels, (1, c, p): the same bits as for the whole.
* One that looks around is given slabs, whole rows (or slices of a volume) with ``reach`` more on either side. What it
  sees of a pixel is the same; convolutions over another size may round in another order.
* One without a reach is given the whole image, which then lies in memory.
"""

from collections.abc import Iterator
from functools import cached_property

import torch

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators.calibrator import Calibrator
from calibrant.predictions import Prediction, PredictionInParts, WholeInParts, with_logits

SLAB = 2**23
"""Logits in a slab: an image of so many is calibrated at once (32 MB of float32)."""


def calibrated(prediction: Prediction, calibrator: Calibrator | None) -> Float[Tensor, "c *s"]:
    """Return the logits of one image, as they are or through a calibrator.

    :param prediction: one image, with its logits.
    :param calibrator: what to send the logits through; None leaves them as they are.
    """
    if calibrator is None:
        return prediction.logits
    return CalibratedInParts(WholeInParts(prediction), calibrator).whole().logits


class CalibratedInParts(PredictionInParts):
    """An image in parts, seen through a calibrator that is applied as parts are asked for.

    :param source: the image.
    :param calibrator: what its logits go through.

    >>> from calibrant.calibrators import TemperatureScaling
    >>> image = WholeInParts(Prediction("a", torch.ones(2, 3, 4), torch.zeros(1, 3, 4, dtype=torch.long)))
    >>> CalibratedInParts(image, TemperatureScaling(2.0)).logits(3, 5)
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """

    def __init__(self, source: PredictionInParts, calibrator: Calibrator) -> None:
        super().__init__(source.key, source.num_classes, source.space)
        self._source, self._calibrator = source, calibrator
        self._slab: tuple[int, Tensor] | None = None

    def logits(self, start: int, stop: int) -> Float[Tensor, "c p"]:
        """Return the calibrated logits of a run of pixels.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """
        if self._calibrator.reach == 0:
            with torch.no_grad():
                image = self._source.image(start, stop)
                return self._calibrator(self._source.logits(start, stop)[None], None if image is None else image[None])[
                    0
                ]
        parts = [slab[:, max(0, start - at) : stop - at] for at, slab in self._slabs(start, stop)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def labels(self, start: int, stop: int) -> Int[Tensor, "a p"]:
        """Return the labels of a run of pixels, ``IGNORE`` where unlabelled.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """
        return self._source.labels(start, stop)

    def image(self, start: int, stop: int) -> Float[Tensor, "k p"] | None:
        """Return the image itself in a run of pixels; None if there is none.

        :param start: the number of the first pixel.
        :param stop: the number of the pixel after the last.
        """
        return self._source.image(start, stop)

    def whole(self) -> Prediction:
        """Return all of it, in memory."""
        found = self._source.whole()
        if self._rows >= self.space[0]:
            image = None if found.image is None else found.image[None]
            with torch.no_grad():
                return with_logits(found, self._calibrator(found.logits[None], image)[0])
        logits = torch.empty(self.num_classes, self.num_pixels)
        for start, stop in self.runs():
            logits[:, start:stop] = self.logits(start, stop)
        return with_logits(found, logits.reshape(self.num_classes, *self.space))

    @cached_property
    def _rows(self) -> int:
        """How many rows a slab has; all of them where the calibrator needs, or memory allows, the whole image."""
        reach, rows = self._calibrator.reach, SLAB // (self.num_classes * self.row)
        if reach is None or self.num_classes * self.num_pixels <= SLAB:
            return self.space[0]
        return max(rows, 2 * reach, 1)

    def _slabs(self, start: int, stop: int) -> Iterator[tuple[int, Tensor]]:
        """The slabs that a run lies in, each with the number of its first pixel; the last is kept for the next run."""
        size = self._rows * self.row
        for number in range(start // size, (stop - 1) // size + 1):
            if self._slab is None or self._slab[0] != number:
                self._slab = None  # before the next is made
                self._slab = number, self._made(number * self._rows)
            yield number * size, self._slab[1]

    def _made(self, first: int) -> Float[Tensor, "c p"]:
        """The slab that begins at a row."""
        last = min(first + self._rows, self.space[0])
        reach = self._calibrator.reach or 0
        before, after = max(0, first - reach), min(last + reach, self.space[0])
        at, space = (before * self.row, after * self.row), (after - before, *self.space[1:])
        z, image = self._source.logits(*at), self._source.image(*at)
        with torch.no_grad():
            found = self._calibrator(
                z.reshape(1, len(z), *space), None if image is None else image.reshape(1, len(image), *space)
            )[0]
        return found[:, first - before : last - before].flatten(1)
