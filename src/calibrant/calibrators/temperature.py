"""Temperature scaling: one number that softens (or sharpens) every pixel alike (Guo et al., ICML 2017)."""

from typing import Any

import torch

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators import _newton
from calibrant.calibrators._descend import published
from calibrant.calibrators._newton import Taylor
from calibrant.calibrators._notes import stopped_short, warn_and_note
from calibrant.calibrators._projections import divided
from calibrant.calibrators.calibrator import MIN_EXPONENT, Calibrator, by_pixel_blocks
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import InputError
from calibrant.predictions import Predictions, PredictionsLike, predictions_of

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 1e3
"""Bounds of fitted temperatures."""


class TemperatureScaling(Calibrator):
    """Divide the logits by a temperature: above 1 softens, below 1 sharpens, the label map stays.

    :param temperature: a positive number.
    :param notes: what a fit had to say.
    :raises InputError: the temperature is not a positive number.

    >>> TemperatureScaling(2.0)(torch.tensor([[[1.0], [3.0]]])).squeeze()
    tensor([0.5000, 1.5000])
    """

    keeps_labels = True
    reach = 0
    divisor: Tensor

    def __init__(self, temperature: float, *, notes: tuple[str, ...] = ()) -> None:
        super().__init__(notes=notes)
        if not 0 < temperature < float("inf"):
            raise InputError(f"expected a positive temperature; got {temperature}. 1 changes nothing, 2 softens.")
        self.register_buffer("divisor", torch.tensor(float(temperature), dtype=torch.float32))

    @property
    def temperature(self) -> float:
        """The temperature."""
        return float(self.divisor)

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return the logits over the temperature, in float32, with the argmax of the input.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: not used.
        """
        return by_pixel_blocks(lambda z: divided(z, self.divisor), logits)

    def arguments(self) -> dict[str, Any]:
        """Return the temperature."""
        return {"temperature": self.temperature}

    def extra_repr(self) -> str:
        """Show the temperature."""
        return f"temperature={self.temperature:.4g}"

    @classmethod
    def fit(
        cls, predictions: PredictionsLike, labels: Any = None, *, pixels_per_image: int | None = 10_000, seed: int = 0
    ) -> "TemperatureScaling":
        """Return the temperature with the smallest negative log-likelihood, to its optimum.

        The fit is convex in 1 / T and has one optimum. Where every pixel is right it lies at T = 0 and the fit ends
        at 1/1000, or where float32 no longer tells the loss from 0; where the logits say less than a uniform guess it
        lies at infinity and the fit ends at 1000. Both are noted.

        :param predictions: labelled predictions to fit on.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param pixels_per_image: pixels drawn of each image; None for all of them, streamed.
        :param seed: decides which pixels are drawn.
        :raises FitError: there is no labelled pixel.
        """
        predictions = predictions_of(predictions, labels)
        found = minimum_over_temperatures(predictions, pixels_per_image=pixels_per_image, seed=seed)
        temperature = 1 / float(found.point)
        notes = stopped_short("temperature scaling", found.evaluations, found.converged)
        if temperature > 0.999 * MAX_TEMPERATURE:
            notes += (
                warn_and_note(
                    f"temperature scaling ended at its upper bound, {MAX_TEMPERATURE:g}: on these pixels the logits "
                    "say less than a uniform guess. Check that labels and classes belong together."
                ),
            )
        elif temperature < 1.001 * MIN_TEMPERATURE or found.value < 1e-6:
            notes += (
                warn_and_note(
                    f"no temperature is too small for these pixels, nearly all are right; ended at {temperature:.3g}. "
                    "Fit on images the model has not been trained on."
                ),
            )
        return cls(min(MAX_TEMPERATURE, max(MIN_TEMPERATURE, temperature)), notes=notes)

    @classmethod
    def fit_as_published(
        cls,
        predictions: PredictionsLike,
        labels: Any = None,
        *,
        pixels_per_image: int | None = 56 * 56,
        num_epochs: int = 40,
        seed: int = 0,
    ) -> "TemperatureScaling":
        """Return the temperature that the recipe of Wang et al. (CVPR 2023, Supp. Table 1) ends with.

        AdamW, learning rate 1e-3, weight decay 1e-6, 40 epochs of batches of 20 maps, from T = 1; the state with the
        lowest NLL on a fifth of the images, held out, is kept. Some 200 steps of 1e-3 cannot take T further than 0.2
        from 1: this is far from the optimum unless the optimum is near 1. It is here to be compared with.

        :param predictions: labelled predictions to fit on.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param pixels_per_image: pixels in a map; the paper's maps are 56 x 56.
        :param num_epochs: passes over the images; the state of the best is kept.
        :param seed: decides which pixels are drawn, which images are held out, and the order of the batches.
        """
        predictions = predictions_of(predictions, labels)
        pixels = Pixels.draw(predictions, per_image=pixels_per_image, seed=seed)
        temperature = torch.ones(1, device=pixels.logits.device, requires_grad=True)
        published([temperature], lambda z: z / temperature, pixels, num_epochs=num_epochs, seed=seed)
        return cls(max(MIN_TEMPERATURE, float(temperature.detach())))


def minimum_over_temperatures(
    source: Predictions | Pixels, *, pixels_per_image: int | None = None, seed: int = 0
) -> _newton.Minimum:
    """Return the minimum of the mean negative log-likelihood over 1 / T.

    :param source: labelled predictions, or pixels in memory.
    :param pixels_per_image: pixels drawn of each image; None for all.
    :param seed: seed of the pixels that are drawn.
    """
    return _newton.fit(
        _negative_log_likelihood,
        torch.ones(1, dtype=torch.float64),
        source,
        pixels_per_image=pixels_per_image,
        seed=seed,
        bounds=(1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE),
    )


def _negative_log_likelihood(
    logits: Float[Tensor, "c p"], labels: Int[Tensor, " p"], point: Float[Tensor, "1"]
) -> Taylor:
    """The sums over pixels of -log softmax(z t)_y and its two derivatives in t = 1 / T: E z - z_y and Var z.

    Logits count from their largest, d = z - max z, which changes none of the three and keeps float32 exact enough.
    """
    inverse = float(point)
    margins = logits - logits.amax(0)
    weight = (margins * inverse).clamp_min_(MIN_EXPONENT).exp_()
    total = weight.sum(0)
    at_label = margins.gather(0, labels[None]).squeeze(0)
    weight.mul_(margins)
    mean = weight.sum(0) / total
    square = weight.mul_(margins).sum(0) / total
    value = (total.log() - inverse * at_label).sum(dtype=torch.float64)
    gradient = (mean - at_label).sum(dtype=torch.float64)
    # Where one class has all the weight the difference is rounding alone, of either sign.
    hessian = (square - mean * mean).clamp_min_(0).sum(dtype=torch.float64)
    return Taylor(value, gradient[None], hessian[None, None])
