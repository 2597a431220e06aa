"""The common corruptions of Hendrycks and Dietterich (ICLR 2019), at their five strengths, for images of any size.

Of their nineteen, these keep every pixel in its place, so that labels stay true, and need no photographs:

=========  ===========================================================================
noise      gaussian_noise, shot_noise, impulse_noise, speckle_noise
blur       defocus_blur, motion_blur, zoom_blur, gaussian_blur
weather    fog, brightness
digital    contrast, saturate, pixelate, jpeg_compression
=========  ===========================================================================

Missing: glass_blur and elastic_transform move pixels away from their labels; frost needs the authors' photographs; snow
and spatter need drawing routines that none of the dependencies has. Strengths are those of the paper; lengths
among them are pixels of images 224 wide. Two corruptions are drawn otherwise: fog as noise with the spectrum of their
fractal, by Fourier transform, and motion blur as a straight trace with Gaussian weights.
"""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError, ShapeError
from calibrant.predictions import Example, Examples, Mapped

Change = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]


def corrupt(
    image: Float[Tensor, "3 h w"], name: str, *, strength: int, generator: np.random.Generator
) -> Float[Tensor, "3 h w"]:
    """Return the image corrupted, in [0, 1].

    :param image: red, green, blue in [0, 1].
    :param name: one of ``CORRUPTIONS``.
    :param strength: from 1 to 5.
    :param generator: draws the noise.
    :raises MethodError: no corruption of that name.
    :raises InputError: another strength, or an image outside [0, 1].
    :raises ShapeError: not three channels.

    >>> grey = torch.full((3, 8, 8), 0.5)
    >>> corrupt(grey, "brightness", strength=1, generator=np.random.default_rng(0))[0, 0, 0]
    tensor(0.6000)
    """
    _check_corruption(name, strength)
    if image.ndim != 3 or image.shape[0] != 3:
        raise ShapeError(f"expected an image (3, h, w), channels first; got {tuple(image.shape)}.")
    if image.min() < 0 or image.max() > 1:
        raise InputError("expected an image in [0, 1]; got numbers outside. Divide eight-bit images by 255.")
    change, strengths = _CHANGES[name]
    changed = change(image.double().cpu().numpy(), strengths[strength - 1], generator)
    return torch.from_numpy(np.clip(changed, 0, 1)).to(image.dtype)


def corrupted(examples: Examples, name: str, *, strength: int, seed: int) -> Mapped[Example]:
    """Return examples with corrupted images; what is drawn for one depends on the seed, its key and ``name`` alone.

    :param examples: with images (3, h, w) in [0, 1].
    :param name: the corruption, one of ``CORRUPTIONS``.
    :param strength: from 1 to 5.
    :param seed: the seed of the noise and of whatever else is drawn.
    :raises MethodError: no corruption of that name.
    :raises InputError: a strength other than 1 to 5.

    >>> grey = Example("a", torch.full((3, 8, 8), 0.5), torch.zeros(1, 8, 8, dtype=torch.long))
    >>> corrupted([grey], "brightness", strength=1, seed=0)[0].image[0, 0, 0]
    tensor(0.6000)
    """
    _check_corruption(name, strength)
    return Mapped(examples, _Corrupt(name, strength, seed))


@dataclass(frozen=True)
class _Corrupt:
    name: str
    strength: int
    seed: int

    def __call__(self, example: Example) -> Example:
        generator = np.random.default_rng([self.seed, zlib.crc32(f"{self.name}\n{example.key}".encode())])
        image = corrupt(example.image, self.name, strength=self.strength, generator=generator)
        return replace(example, image=image)


def _check_corruption(name: str, strength: int) -> None:
    check_choice(name, CORRUPTIONS, "corruption")
    if strength not in range(1, 6):
        raise InputError(f"expected a strength of 1, 2, 3, 4 or 5; got {strength}.")


def _gaussian_noise(x: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    return x + rng.normal(scale=sd, size=x.shape)


def _shot_noise(x: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(x * photons) / photons


def _impulse_noise(x: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.random(x.shape) < share, rng.integers(0, 2, x.shape), x)


def _speckle_noise(x: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    return x + x * rng.normal(scale=sd, size=x.shape)


def _gaussian_blur(x: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    return ndimage.gaussian_filter(x, (0, sd, sd), mode="nearest")


def _defocus_blur(x: np.ndarray, lens: tuple[int, float], rng: np.random.Generator) -> np.ndarray:
    radius, soft = lens
    y, z = np.mgrid[-radius - 2 : radius + 3, -radius - 2 : radius + 3]
    return _filtered(x, ndimage.gaussian_filter((y**2 + z**2 <= radius**2).astype(float), soft))


def _motion_blur(x: np.ndarray, trace: tuple[int, float], rng: np.random.Generator) -> np.ndarray:
    radius, sd = trace
    angle = np.deg2rad(rng.uniform(-45, 45))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    for step in np.linspace(0, radius, 4 * radius + 1):
        row, column = radius + round(step * np.sin(angle)), radius + round(step * np.cos(angle))
        kernel[row, column] += np.exp(-(step**2) / (2 * sd**2))
    return _filtered(x, kernel)


def _zoom_blur(x: np.ndarray, zooms: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    factors = np.arange(1, *zooms)
    middle = (np.array(x.shape[1:]) - 1) / 2
    total = x.copy()
    for factor in factors:
        shift = middle * (1 - 1 / factor)
        for channel, out in zip(x, total, strict=True):
            out += ndimage.affine_transform(channel, [1 / factor] * 2, shift, order=1, mode="nearest")
    return total / (len(factors) + 1)


def _fog(x: np.ndarray, fog: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    thickness, decay = fog
    height, width = x.shape[1:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    # Their fractal's noise shrinks by decay squared an octave: an amplitude of about f^-(1 + 2 log2 decay).
    waves = np.fft.rfft2(rng.normal(size=(height, width))) * frequency ** -(1 + 2 * np.log2(decay))
    cloud = np.fft.irfft2(waves, s=(height, width))
    cloud = (cloud - cloud.min()) / max(np.ptp(cloud), 1e-12)
    brightest = x.max()
    return (x + thickness * cloud) * brightest / max(brightest + thickness, 1e-12)


def _brightness(x: np.ndarray, more: float, rng: np.random.Generator) -> np.ndarray:
    """Raise the value of hue, saturation and value; hue and saturation stay: all channels grow by one factor."""
    value = x.max(0)
    raised = np.clip(value + more, 0, 1)
    return np.where(value > 0, x * raised / np.maximum(value, 1e-12), raised)


def _saturate(x: np.ndarray, change: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Scale the saturation: the distance of each channel from the largest, over the largest."""
    value, spread = x.max(0), np.ptp(x, 0)
    saturation = np.divide(spread, value, out=np.zeros_like(value), where=value > 0)
    wanted = np.clip(saturation * change[0] + change[1], 0, 1)
    # A grey has the hue of red, as in the usual conversion of colours.
    hue = np.where(spread > 0, (value - x) / np.maximum(spread, 1e-12), np.array([0.0, 1.0, 1.0])[:, None, None])
    return value - hue * wanted * value


def _contrast(x: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    mean = x.mean((1, 2), keepdims=True)
    return (x - mean) * factor + mean


def _pixelate(x: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    picture = _picture(x)
    small = [max(1, int(size * factor)) for size in picture.size]
    return _array(picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BOX))


def _jpeg(x: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    stream = io.BytesIO()
    _picture(x).save(stream, "JPEG", quality=quality)
    with Image.open(stream, formats=("JPEG",)) as picture:
        return _array(picture)


def _filtered(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    weights = kernel / kernel.sum()
    return np.stack([ndimage.convolve(channel, weights, mode="mirror") for channel in x])


def _picture(x: np.ndarray) -> Image.Image:
    return Image.fromarray((x * 255).round().astype(np.uint8).transpose(1, 2, 0))


def _array(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).transpose(2, 0, 1) / 255


_CHANGES: dict[str, tuple[Change, tuple[Any, ...]]] = {
    "gaussian_noise": (_gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": (_shot_noise, (60.0, 25.0, 12.0, 5.0, 3.0)),
    "impulse_noise": (_impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "speckle_noise": (_speckle_noise, (0.15, 0.2, 0.35, 0.45, 0.6)),
    "defocus_blur": (_defocus_blur, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
    "motion_blur": (_motion_blur, ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0))),
    "zoom_blur": (_zoom_blur, ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))),
    "gaussian_blur": (_gaussian_blur, (1.0, 2.0, 3.0, 4.0, 6.0)),
    "fog": (_fog, ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "saturate": (_saturate, ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))),
    "pixelate": (_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": (_jpeg, (25, 18, 15, 10, 7)),
}
CORRUPTIONS = tuple(_CHANGES)
"""Their names."""
