r"""Correctness scaling, the default calibrator of version 0.1.0: a temperature for each pixel from its surroundings.

It is not fitted any more: stacked scaling is better in-domain and holds back after a shift, see ``stacked/stacked.py``.
What was stored opens, and answers as it did.

Given logits z of an image that went through a base which keeps the label map; w = argmax z; margins m = z - z_w <= 0:

(1) features        φ = what the margins and the label map show in and around the pixel; standardised over the fit and
                    cut at 6 standard deviations, φ̂. ``features.py``
(2) temperature     log s = clip(a · silu(W φ̂ + U_w + V_r + b) + c, -4, 3), r the class with the second largest logit;
                    p = softmax(s m). ``parts.py``, as all that follows
(3) mistakes        q_k ∝ exp(α_k m_k + β_k + C_wk) for k ≠ w;
                    p_w stays, p_k = min(p_w, λ q_k) with λ such that Σ p = 1.
(4) pool            p ← (p + softmax D(m)) / 2, D Dirichlet scaling that keeps the label map
                    (linear opinion pool: Stone, Annals of Mathematical Statistics 32, 1961).
(5) recalibration   p_w ← ρ(p_w), ρ the accuracy observed at this confidence; p_k = min(p_w, λ p_k) with λ as in (3);
                    unless several classes share the largest logit
                    (a linear pool needs it: Ranjan and Gneiting, JRSS B 72, 2010).
(6) keep labels     where rounding lets another class win, w is put a step of float32 above it. ``../_projections.py``

What is None is left out.
"""

from collections.abc import Sequence
from typing import Any

import torch

from calibrant._input.checks import check_classes_as_fitted
from calibrant._shapes import Float, Tensor
from calibrant.calibrators._projections import first_zero, keep_labels
from calibrant.calibrators.calibrator import Calibrator, by_pixel_blocks
from calibrant.calibrators.correctness.features import features_of
from calibrant.calibrators.correctness.parts import (
    MistakeModel,
    Recalibration,
    TemperatureNetwork,
    pooled,
    redistributed,
)
from calibrant.errors import InputError


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
        None for no pool.
    :param recalibration: (5), from the pool's confidence to the observed accuracy; None for no recalibration.
    :param notes: what the fit found.
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
            out = redistributed(out, self.mistake_model(margins, first_zero(margins)[:, 0]), winners)
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
