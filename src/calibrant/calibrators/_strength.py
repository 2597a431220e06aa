"""How strongly to regularise, chosen by leaving images out; and when not to trust a fit at all.

A map with many parameters may fit every pixel of a few images and be worse than nothing on the next. Only images that
a fit has not seen can tell.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from calibrant._shapes import Float, Tensor
from calibrant._statistics.left_out import Gain, folds
from calibrant.calibrators._likelihood import nll_by_image
from calibrant.calibrators._notes import warn_and_note
from calibrant.calibrators.calibrator import Calibrator
from calibrant.calibrators.pixels import Pixels
from calibrant.calibrators.temperature import TemperatureScaling, minimum_over_temperatures
from calibrant.predictions import Predictions

log = logging.getLogger("calibrant")

FOLDS = 5

PIXELS = 30_000
"""Pixels to choose on, shared alike among the images, at least 100 of each."""

P = TypeVar("P")


@dataclass(frozen=True)
class Choice(Generic[P]):
    """What leaving images out showed.

    :param strength: the best; None if there was no image to leave out.
    :param gain: by how much it lowers the negative log-likelihood of left-out images under temperature scaling's.
    :param start: where the fit without the last fold ended at that strength.
    """

    strength: float | None
    gain: Gain | None
    start: P | None

    @property
    def is_real(self) -> bool:
        """Whether the fit beats temperature scaling on left-out images by more than chance would explain."""
        return self.gain is not None and self.gain.is_real

    def __str__(self) -> str:
        if self.gain is None:
            return "a single image, so that none can be left out"
        return f"NLL of images left out {self.gain} than by temperature scaling (strength {self.strength:g})"


def choose(
    strengths: Sequence[float],
    fit: Callable[[Pixels, float, float, P | None], P],
    build: Callable[[P], Calibrator],
    predictions: Predictions | Pixels,
    *,
    seed: int,
) -> Choice[P]:
    """Return the strength that is best on left-out images, in five folds over the images.

    :param strengths: from the strongest to the weakest. The search stops after two in a row without improvement.
    :param fit: from pixels, their best temperature, a strength, and where the fit at the strength before ended.
    :param build: the calibrator of a fit.
    :param predictions: images, or pixels drawn from them.
    :param seed: of the folds, and of the pixels drawn.
    """
    pixels = sample(predictions, seed)
    numbers = torch.unique(pixels.image)
    if len(numbers) < 2:
        return Choice(None, None, None)
    left_out = [torch.isin(pixels.image, numbers[fold]) for fold in folds(len(numbers), FOLDS, seed=seed)]
    kept, held = [pixels.where(~fold) for fold in left_out], [pixels.where(fold) for fold in left_out]
    # An image's share of the mean over all pixels, times the number of images: their mean is the mean over pixels.
    scale = len(numbers) / len(pixels)
    temperatures = [best_temperature(part, seed=seed) for part in kept]
    to_beat = scale * _by_image([TemperatureScaling(temperature) for temperature in temperatures], held)
    ends: list[P | None] = [None] * len(held)
    best: Choice[P] = Choice(None, None, None)
    worse = 0
    for strength in strengths:
        fitted = [fit(part, t, strength, start) for part, t, start in zip(kept, temperatures, ends, strict=True)]
        ends = list(fitted)
        gain = Gain.of(to_beat.tolist(), (scale * _by_image([build(end) for end in fitted], held)).tolist())
        log.info("strength %g: NLL of images left out %s than by temperature scaling", strength, gain)
        if best.gain is None or gain.mean > best.gain.mean:
            best, worse = Choice(strength, gain, fitted[-1]), 0
        elif (worse := worse + 1) == 2:
            break
    return best


def _by_image(calibrators: Sequence[Calibrator], parts: Sequence[Pixels]) -> Float[Tensor, " n"]:
    """The summed negative log-likelihood of each image, each part through its calibrator."""
    return torch.cat([nll_by_image(calibrator, part) for calibrator, part in zip(calibrators, parts, strict=True)])


def best_temperature(source: Predictions | Pixels, *, seed: int) -> float:
    """Return the temperature with the smallest mean negative log-likelihood."""
    return 1 / float(minimum_over_temperatures(source, seed=seed).point)


def fallen_back(name: str, choice: Choice[P]) -> str:
    """Return the note that a fit was given up for temperature scaling, and why."""
    return warn_and_note(
        f"{name} falls back to temperature scaling: {choice}. Fit on more images, or pass safe=False to have it anyhow."
    )


def num_classes(source: Predictions | Pixels) -> int:
    """Return the number of classes; 0 where there is no image, which the fit itself complains of."""
    if isinstance(source, Pixels):
        return source.logits.shape[0]
    return next((prediction.num_classes for prediction in source), 0)


def sample(predictions: Predictions | Pixels, seed: int) -> Pixels:
    """Return pixels to choose on: few of each image where there are many images."""
    if not isinstance(predictions, Pixels):
        return Pixels.draw(predictions, per_image=max(100, PIXELS // max(1, len(predictions))), seed=seed)
    every = max(1, len(predictions) // max(PIXELS, 100 * int(predictions.image.max() + 1)))
    if every == 1:
        return predictions
    at = torch.randperm(len(predictions), generator=torch.Generator().manual_seed(seed))[: len(predictions) // every]
    at = at.sort().values.to(predictions.labels.device)
    return Pixels(predictions.logits[:, at], predictions.labels[at], predictions.image[at])
