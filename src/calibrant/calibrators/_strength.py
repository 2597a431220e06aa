"""How strongly to regularise, chosen by leaving images out; and when not to trust a fit at all.

Pixels of one image are not independent, so a map with many parameters may fit every pixel of a few images and be worse
than nothing on the next. Only images that a fit has not seen can tell.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from scipy.special import stdtrit

from calibrant._shapes import Float, Tensor
from calibrant.calibrators.calibrator import Calibrator, by_pixel_blocks, remark
from calibrant.calibrators.pixels import Pixels
from calibrant.calibrators.temperature import TemperatureScaling, minimum_over_temperatures
from calibrant.predictions import Predictions

log = logging.getLogger("calibrant")

FOLDS = 5
PIXELS = 30_000
"""Pixels to choose on, shared alike among the images, at least 100 of each."""

LIKELY = 0.84
"""How sure a gain has to be: one standard error, where there are many images."""

P = TypeVar("P")


@dataclass(frozen=True)
class Choice(Generic[P]):
    """What leaving images out showed.

    :param strength: the best; None if there was no image to leave out.
    :param gain: by how much it lowers the mean NLL of left-out pixels under temperature scaling's.
    :param doubt: its standard error over images, times what Student's distribution asks for so few of them.
    :param start: where the fit of the last fold at that strength ended.
    """

    strength: float | None
    gain: float
    doubt: float
    start: P | None

    @property
    def sound(self) -> bool:
        """Whether the fit beats temperature scaling on left-out images by more than the doubt."""
        return self.strength is not None and self.gain > self.doubt

    def __str__(self) -> str:
        if self.strength is None:
            return "a single image, so that none can be left out"
        found = f"left-out NLL {-self.gain:+.4f} ± {self.doubt:.4f} against temperature scaling"
        return f"{found} (strength {self.strength:g})"


def choose(
    strengths: Sequence[float],
    fit: Callable[[Pixels, float, float, P | None], P],
    build: Callable[[P], Calibrator],
    predictions: Predictions | Pixels,
    *,
    seed: int,
) -> Choice[P]:
    """Return the strength that is best on left-out images, in five folds over the images.

    :param strengths: from the strongest to the weakest. The way is left where two in a row do not gain.
    :param fit: from pixels, their best temperature, a strength, and where the fit at the strength before ended.
    :param build: the calibrator of a fit.
    """
    pixels = sample(predictions, seed)
    numbers = torch.unique(pixels.image)
    if len(numbers) < 2:
        return Choice(None, 0.0, 0.0, None)
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(seed)).to(numbers.device)
    folds = [torch.isin(pixels.image, part) for part in numbers[order].tensor_split(min(FOLDS, len(numbers)))]
    kept = [pixels.where(~fold) for fold in folds]
    left = [pixels.where(fold) for fold in folds]
    temperatures = [best_temperature(each, seed=seed) for each in kept]
    to_beat = _by_image([TemperatureScaling(each) for each in temperatures], left)
    starts: list[P | None] = [None] * len(folds)
    best: Choice[P] = Choice(None, -torch.inf, 0.0, None)
    worse = 0
    for strength in strengths:
        ended = [fit(p, t, strength, start) for p, t, start in zip(kept, temperatures, starts, strict=True)]
        starts = list(ended)
        # A sum over images of differences between two maps on the same pixels, in units of all pixels.
        gains = (to_beat - _by_image([build(each) for each in ended], left)) / len(pixels)
        gain = float(gains.sum())
        doubt = float(gains.std() * len(gains) ** 0.5 * stdtrit(len(gains) - 1, LIKELY))
        log.info("strength %g: left-out NLL %+.5f ± %.5f against temperature scaling", strength, -gain, doubt)
        if gain > best.gain:
            best, worse = Choice(strength, gain, doubt, ended[-1]), 0
        elif (worse := worse + 1) == 2:
            break
    return best


def best_temperature(source: Predictions | Pixels, *, seed: int) -> float:
    """Return the temperature with the smallest NLL."""
    return 1 / float(minimum_over_temperatures(source, seed=seed).point)


def fallen_back(name: str, choice: Choice[P]) -> str:
    """Say that a fit was given up for temperature scaling, and why."""
    return remark(
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


def mean_nll(calibrator: Calibrator, pixels: Pixels) -> float:
    """Return the mean negative log-likelihood of pixels through a calibrator."""
    return float(_by_image([calibrator], [pixels]).sum()) / len(pixels)


@torch.no_grad()
def _by_image(calibrators: Sequence[Calibrator], parts: Sequence[Pixels]) -> Float[Tensor, " n"]:
    """The summed negative log-likelihood of each image, each part through its calibrator."""
    sums = []
    for calibrator, part in zip(calibrators, parts, strict=True):
        z = calibrator(part.logits[None])[0]
        loss = -(
            z.gather(0, part.labels[None])[0] - by_pixel_blocks(lambda z: z.logsumexp(1, keepdim=True), z[None])[0, 0]
        )
        _, image = torch.unique(part.image, return_inverse=True)
        total = torch.zeros(int(image.max()) + 1, dtype=torch.float64, device=loss.device)
        sums.append(total.index_add_(0, image, loss.double()).cpu())
    return torch.cat(sums)
