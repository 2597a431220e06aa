"""A calibrator made of a sampler: the mean of its samples."""

from dataclasses import dataclass
from typing import Any

import torch

from calibrant._shapes import Float, Tensor
from calibrant.calibrators import Calibrator, calibrated
from calibrant.calibrators.calibrator import Fit
from calibrant.errors import InputError
from calibrant.predictions import Mapped, Prediction, Predictions, with_logits
from calibrant.samplers.network_sampler import NetworkSampler


class MeanOfSamples(Calibrator):
    """Logits whose probabilities are the mean of a sampler's samples, each the softmax of its scores.

    A sampler that learnt from annotators knows their frequencies; this makes them comparable to those of any other
    calibrator, and calibratable. All images are given the same latents, so nothing is left to chance.

    :param sampler: has scores: one with a network.
    :param calibrator: what the logits of the mean go through, see :meth:`fit`; None leaves them as they are.
    :param num_samples: how many samples the mean is over.
    :param notes: what the fit found, for people to read.
    :raises InputError: the sampler has no scores, or there is no sample.

    >>> from calibrant.networks import BasisUNet
    >>> from calibrant.samplers import EnergyScoreSampler
    >>> free = EnergyScoreSampler(BasisUNet(2, 2, width=4, depth=1), inputs="probabilities")
    >>> MeanOfSamples(free)(torch.zeros(1, 2, 6, 7)).exp().sum(1).round(decimals=5).unique()
    tensor([1.])
    """

    def __init__(
        self,
        sampler: NetworkSampler,
        calibrator: Calibrator | None = None,
        *,
        num_samples: int = 128,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(notes=notes)
        if not isinstance(sampler, NetworkSampler) or num_samples < 1:
            raise InputError(
                "expected a sampler that scores pixels, such as EnergyScoreSampler, and 1 sample or more; got "
                f"{type(sampler).__name__} and num_samples={num_samples}."
            )
        self.sampler, self.calibrator, self.num_samples = sampler, calibrator, num_samples

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return the logarithm of the mean of the samples, calibrated.

        :param logits: what the sampler is given, calibrated already if it was trained behind a calibrator.
        :param image: the images; needed if the sampler looks at them.
        :raises ShapeError: classes or channels are not those of the sampler's training, or the image is missing.
        """
        means = []
        for i in range(len(logits)):
            seen = None if image is None else image[i : i + 1]
            generator = torch.Generator().manual_seed(0)
            means.append(
                self.sampler.mean_logits(logits[i : i + 1], seen, num_samples=self.num_samples, generator=generator)
            )
        mean = torch.cat(means)
        return mean if self.calibrator is None else self.calibrator(mean, image)

    def arguments(self) -> dict[str, Any]:
        """Return the sampler, the calibrator of its mean, and the number of samples."""
        names = ("sampler", "calibrator", "num_samples")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def fit(
        cls, predictions: Predictions, *, sampler: NetworkSampler, calibrate: Fit, num_samples: int = 128
    ) -> "MeanOfSamples":
        """Return the mean of a sampler, calibrated on images that the sampler was not trained on.

        A sampler comes as near to the frequencies of its annotators as its training brings it. Behind
        ``Coupled(sampler, MeanOfSamples.fit(…))`` they are those of the left-out images, and how its maps hang together
        stays its own.

        :param predictions: with labels, as the sampler is given them.
        :param sampler: has scores: one with a network.
        :param calibrate: a fit, such as ``VectorScaling.fit``.
        :param num_samples: how many samples the mean is over.
        :raises InputError: the sampler has no scores, or there is no sample.
        """
        mean = cls(sampler, num_samples=num_samples)
        calibrator = calibrate(Mapped(predictions, _Mean(mean)))
        return cls(sampler, calibrator, num_samples=num_samples, notes=calibrator.notes)


@dataclass(frozen=True)
class _Mean:
    """Puts the mean of a sampler in the place of logits."""

    mean: MeanOfSamples

    @torch.no_grad()
    def __call__(self, prediction: Prediction) -> Prediction:
        return with_logits(prediction, calibrated(prediction, self.mean))
