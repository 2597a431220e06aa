r"""Correctness scaling: a temperature for each pixel, from how likely its label is to be right there.

It generalises selective scaling (Wang et al., CVPR 2023): instead of a binary flag and one large temperature, a small
network predicts a temperature for each pixel from its logits and its surroundings, trained by proper scores.

Given logits z of an image that went through a base which keeps the label map; w = argmax z; margins m = z - z_w <= 0:

(1) features        φ = what the margins and the label map show in and around the pixel; standardised over the fit and
                    cut at 6 standard deviations, φ̂. The 30 features: ``features.py``.
(2) temperature     log s = clip(a · silu(W φ̂ + U_w + V_r + b) + c, -4, 3), r the class with the second largest logit;
                    p = softmax(s m). Several networks: clip the mean of their log s. ``temperature_network.py``;
                    trained by ``temperature_training.py``
(3) mistakes        q_k ∝ exp(α_k m_k + β_k + C_wk) for k ≠ w;
                    p_w stays, p_k = min(p_w, λ q_k) with λ such that Σ p = 1. ``mistakes.py``
(4) pool            p ← (p + softmax D(m)) / 2, D Dirichlet scaling that keeps the label map. ``pool.py``
                    (linear opinion pool: Stone, Annals of Mathematical Statistics 32, 1961)
(5) recalibration   p_w ← ρ(p_w), ρ the accuracy observed at this confidence; p_k = min(p_w, λ p_k) with λ as in (3);
                    unless several classes share the largest logit. ``pool.py``
                    (a linear pool needs it: Ranjan and Gneiting, JRSS B 72, 2010)
(6) keep labels     where rounding lets another class win, w is put a step of float32 above it. ``../_projections.py``

The fit (``fit.py``) goes through (3), (4), (2), (5) in this order. A stage is kept only if it lowers the negative
log-likelihood of images that it has not seen by more than the standard error of that gain; (5) if it costs no more than
a tenth of what was gained before it. What is not kept is None, and its line is left out.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from calibrant._input.checks import check_classes_as_fitted
from calibrant._shapes import Float, Tensor
from calibrant.calibrators._notes import inner_fits, warn_and_note
from calibrant.calibrators._projections import first_true, keep_labels
from calibrant.calibrators.calibrator import Calibrator, Fit, by_pixel_blocks
from calibrant.calibrators.correctness.features import features_of
from calibrant.calibrators.correctness.fit import (
    fit_stages,
    propose_mistakes,
    propose_recalibration,
    propose_second_member,
    propose_temperatures,
)
from calibrant.calibrators.correctness.mistakes import MistakeModel, redistributed
from calibrant.calibrators.correctness.pool import Recalibration, pooled
from calibrant.calibrators.correctness.sample import SampledImage, sample_images
from calibrant.calibrators.correctness.temperature_network import TemperatureNetwork
from calibrant.calibrators.correctness.temperature_training import Recipe
from calibrant.calibrators.temperature import TemperatureScaling
from calibrant.errors import InputError
from calibrant.predictions import PredictionsLike, predictions_of


class CorrectnessScaling(Calibrator):
    """Give every pixel its own temperature, by how likely it is to be right; the label map stays.

    A pixel's temperature depends on its surroundings: this calibrator is *not* pixel by pixel. Give it whole images
    (crops see less), at the resolution it was fitted at. Each image is calibrated on its own, whatever else is in the
    batch. The equations are at the top of ``calibrators/correctness/correctness.py``.

    Memory beside the logits: some 40 numbers a pixel. No gradient flows through the temperatures.

    :param base: calibrates first; must keep the label map.
    :param temperature_network: (2), the factor on the margins; None for 1 at every pixel.
    :param mistake_model: (3), the probabilities of the other classes; None for those of the base. With neither this
        nor a second member the order of all classes is the base's.
    :param second_member: (4), the second member of the pool, applied to the base's margins; must keep the label map.
        A fit makes it Dirichlet scaling. None for no pool.
    :param recalibration: (5), from the pool's confidence to the observed accuracy; None for no recalibration.
    :param notes: what a fit found.
    :raises InputError: the base or the second member does not keep the label map.

    >>> from calibrant.calibrators import TemperatureScaling
    >>> CorrectnessScaling(TemperatureScaling(2.0), None)(torch.tensor([[[[1.0]], [[3.0]]]])).flatten()
    tensor([0.5000, 1.5000])
    """

    keeps_labels = True

    def __init__(
        self,
        base: Calibrator,
        temperature_network: TemperatureNetwork | None,
        mistake_model: MistakeModel | None = None,
        second_member: Calibrator | None = None,
        recalibration: Recalibration | None = None,
        *,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(notes=notes)
        for name, part in {"base": base, "second_member": second_member}.items():
            if part is not None and not part.keeps_labels:
                raise InputError(
                    f"expected {name} to keep the label map; got {type(part).__name__}. "
                    "Vector and Dirichlet scaling keep it with keep_labels=True."
                )
        self.base, self.temperature_network, self.mistake_model = base, temperature_network, mistake_model
        self.second_member, self.recalibration = second_member, recalibration

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return logits minus the largest of their pixel, at the pixel's temperature, with the argmax of the input.

        :param logits: logits of the model that it was fitted to.
        :param image: passed on to the base.
        :raises ShapeError: there are more or fewer classes than in the fit.
        """
        z = self.base(logits, image)
        if all(part is None for name, part in self.arguments().items() if name != "base"):
            return z
        for part in (self.temperature_network, self.mistake_model):
            if part is not None:
                check_classes_as_fitted(logits, part.num_classes)
        return by_pixel_blocks(self._equations_2_to_6, z, *self._factor(z))

    def _factor(self, z: Float[Tensor, "n c *s"]) -> Sequence[Float[Tensor, "n 1 p"]]:
        """The factor of each pixel, (1) and (2), as a list of one; of none without a network."""
        if self.temperature_network is None:
            return []
        whole = torch.compiler.is_compiling() or len(z) == 0
        parts = [z] if whole else z.split(1)  # the features of one image in memory at a time
        return [torch.cat([self.temperature_network(features_of(part.detach())) for part in parts])]

    def _equations_2_to_6(self, z: Float[Tensor, "n c p"], factor: Float[Tensor, "n 1 p"] | None = None) -> Tensor:
        margins = z - z.amax(1, keepdim=True)
        winners = margins == 0
        out = margins if factor is None else factor * margins
        if self.mistake_model is not None:
            out = redistributed(out, self.mistake_model(margins, first_true(winners)[:, 0]), winners)
        if self.second_member is not None:
            out = pooled(out.log_softmax(1), self.second_member(margins).log_softmax(1))
        if self.recalibration is not None:
            out = self.recalibration(out.log_softmax(1), winners)
        # Where another class is as likely as the winner in both members, their mean may round in its favour.
        return keep_labels(z, out, lift=self.second_member is not None)

    def arguments(self) -> dict[str, Any]:
        """Return base, temperature_network, mistake_model, second_member and recalibration."""
        names = ("base", "temperature_network", "mistake_model", "second_member", "recalibration")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def fit(
        cls,
        predictions: PredictionsLike,
        labels: Any = None,
        *,
        base: Fit = TemperatureScaling.fit,
        keep_order: bool = False,
        pixels_per_image: int | None = 10_000,
        num_networks: int = 8,
        hidden: int = 6,
        num_epochs: int = 10,
        image_weight: float = 5.0,
        level_weight: float = 4.0,
        seed: int = 0,
    ) -> "CorrectnessScaling":
        """Return correctness scaling with the stages that images left out gain by; with none of them its base alone.

        The notes say, stage by stage, how much was gained. Reads the predictions once, after the base has read them;
        memory does not grow with their number.

        :param predictions: two labelled images or more; with fewer the result is the base alone.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param base: a fit for what comes first; what it returns must keep the label map.
        :param keep_order: keep the order of all classes, not of the first alone: no mistake model, no pool.
        :param pixels_per_image: pixels kept of each image, None for all; fewer where there are many images or classes.
        :param num_networks: number of networks, at most as many as images; each is trained without one part of them.
        :param hidden: width of the hidden layer of each network.
        :param num_epochs: training epochs of each network, of 15 batches of 8 images.
        :param image_weight: weight, in the loss, of the squared gap between mean confidence and accuracy of each image.
        :param level_weight: weight, in the loss, of the calibration error of each image at ten levels of confidence:
            more lowers the image-wise calibration error and raises the negative log-likelihood.
        :param seed: seed of everything that is drawn: pixels, folds, networks, batches.
        :raises FitError: there is no labelled pixel.
        """
        predictions = predictions_of(predictions, labels)
        with inner_fits():
            first = base(predictions)
        images = sample_images(predictions, first, pixels_per_image, seed=seed)
        if why_not := _reason_not_to_fit(images):
            return cls(first, None, notes=(_falls_back(why_not),))
        recipe = Recipe(hidden, num_epochs, image_weight, level_weight)
        temperatures = partial(propose_temperatures, recipe=recipe, num_networks=num_networks, seed=seed)
        others = (partial(propose_mistakes, seed=seed), partial(propose_second_member, seed=seed))
        order = [temperatures] if keep_order else [*others, temperatures, propose_recalibration]
        fitted = fit_stages(images, order)
        if not fitted.parts:
            return cls(first, None, notes=(*fitted.notes, _falls_back("no stage lowers the NLL of images left out.")))
        return cls(first, **{"temperature_network": None, **fitted.parts}, notes=fitted.notes)


def _reason_not_to_fit(images: Sequence[SampledImage]) -> str:
    """Why nothing can be learnt from these images; empty if something can."""
    if len(images) < 2:
        return "there is only one labelled image, and none to leave out. Add images to the fit."
    right = sum(int(image.is_right.sum()) for image in images)
    if right in (0, sum(map(len, images))):
        return f"all pixels of the fit are {'right' if right else 'mistakes'}. Fit on images that hold both."
    return ""


def _falls_back(why: str) -> str:
    return warn_and_note(f"correctness scaling falls back to its base alone: {why}")
