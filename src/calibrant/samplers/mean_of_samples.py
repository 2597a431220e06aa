"""A calibrator made of a sampler: the mean of its samples."""

from typing import Any

import torch

from calibrant._shapes import Float, Tensor
from calibrant.calibrators import Calibrator
from calibrant.errors import InputError
from calibrant.samplers.network_sampler import NetworkSampler


class MeanOfSamples(Calibrator):
    """Logits whose probabilities are the mean of a sampler's samples, each the softmax of its scores.

    A sampler that learnt from annotators knows their frequencies; this makes them comparable to those of any other
    calibrator, and calibratable. All images are given the same latents, so nothing is left to chance.

    :param sampler: has scores: one with a network.
    :param num_samples: how many samples the mean is over.
    :param notes: what the fit found, for people to read.
    :raises InputError: the sampler has no scores, or there is no sample.

    >>> from calibrant.networks import BasisUNet
    >>> from calibrant.samplers import EnergyScoreSampler
    >>> free = EnergyScoreSampler(BasisUNet(2, 2, width=4, depth=1), inputs="probabilities")
    >>> MeanOfSamples(free)(torch.zeros(1, 2, 6, 7)).exp().sum(1).round(decimals=5).unique()
    tensor([1.])
    """

    def __init__(self, sampler: NetworkSampler, *, num_samples: int = 128, notes: tuple[str, ...] = ()) -> None:
        super().__init__(notes=notes)
        if not isinstance(sampler, NetworkSampler) or num_samples < 1:
            raise InputError(
                "expected a sampler that scores pixels, such as EnergyScoreSampler, and 1 sample or more; got "
                f"{type(sampler).__name__} and num_samples={num_samples}."
            )
        self.sampler, self.num_samples = sampler, num_samples

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return the logarithm of the mean of the samples.

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
        return torch.cat(means)

    def arguments(self) -> dict[str, Any]:
        """Return the sampler and the number of samples."""
        return {"sampler": self.sampler, "num_samples": self.num_samples}
