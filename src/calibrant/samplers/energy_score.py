"""A sampler trained by its own proper score, the energy score of its label maps against the annotators'."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch

from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Int, Tensor
from calibrant.errors import InputError
from calibrant.networks import BasisUNet
from calibrant.samplers.energy_losses import MEAN_SCORES, energy_score, scale_score
from calibrant.samplers.learnt_sampler import LearntSampler, Moment, SampleLoss
from calibrant.samplers.orientations import OrientedBasis
from calibrant.samplers.recipe import SamplerRecipe
from calibrant.samplers.sampler import gaussian
from calibrant.training import chosen_annotator


@dataclass(frozen=True)
class EnergyScoreLoss:
    """What :class:`EnergyScoreSampler` is trained by: the energy score, and a score of the mean of the samples.

    :param num_samples: how many samples are drawn of each image in a step; the score is unbiased from two on.
    :param classes: those whose overlap counts, such as ``(1,)`` for the foreground; None counts all.
    :param mean_weight: the weight of the score of the mean of the samples; 0 leaves it out.
    :param mean_score: "cross-entropy", or "brier", which is unbiased: see
        :mod:`~calibrant.samplers.energy_losses`.
    :param smoothing: pixels that an area is enlarged by in the distance; see
        :func:`~calibrant.samplers.energy_losses.energy_score`. With many classes a larger one keeps a few stray pixels
        of a rare class from weighing as much as a road.
    :param exponent: the power that the distance of two maps is raised to; below 1 the score sees which classes change
        together. None is 1 where one class counts or there are two, and 1/2 otherwise.
    :param scale_weight: the weight of the score of maps averaged over cells,
        :func:`~calibrant.samplers.energy_losses.scale_score`; 0 leaves it out.
    :param one_annotator: learn from one annotator drawn anew for each image, and not from all of them.
    :raises InputError: fewer than two samples, a smoothing of 0 or less, or an exponent that is not above 0 and at
        most 1.
    """

    _: KW_ONLY
    num_samples: int = 6
    classes: tuple[int, ...] | None = None
    mean_weight: float = 1.0
    mean_score: str = "cross-entropy"
    smoothing: float = 1.0
    exponent: float | None = None
    scale_weight: float = 0.0
    one_annotator: bool = False

    def __post_init__(self) -> None:
        if self.num_samples < 2 or self.smoothing <= 0 or not (self.exponent is None or 0 < self.exponent <= 1):
            raise InputError(
                "expected 2 samples or more, which can differ from each other, a smoothing above 0 pixels, and an "
                f"exponent above 0 and at most 1; got num_samples={self.num_samples}, smoothing={self.smoothing}, "
                f"exponent={self.exponent}."
            )
        check_choice(self.mean_score, MEAN_SCORES, "score of the mean of samples")

    def __call__(
        self,
        network: Any,
        seen: Float[Tensor, "n k *s"],
        labels: Int[Tensor, "n a *s"],
        generator: torch.Generator,
        moment: Moment,
    ) -> Mapping[str, Tensor]:
        """Return the loss, and its parts.

        :param network: makes logits (m, n, c, *s) of latents (m, n, d).
        :param seen: what the network is given.
        :param labels: one map per annotator; ``IGNORE`` where unlabelled.
        :param generator: where latents come from.
        :param moment: how much of the training is done; the loss is the same throughout.
        """
        latents = gaussian((self.num_samples, len(seen), network.latent_size(seen.shape[2:])), generator, seen.device)
        samples = network(seen, latents).float().softmax(2)
        if self.one_annotator:
            labels = chosen_annotator(labels, generator)[:, None]
        how = {"classes": self.classes, "smoothing": self.smoothing, "exponent": self.exponent}
        score = energy_score(samples, labels, **how)
        of_mean = MEAN_SCORES[self.mean_score](samples, labels)
        loss = score + self.mean_weight * of_mean
        figures = {"energy score": score, f"{self.mean_score} of the mean": of_mean}
        if self.scale_weight > 0:
            figures["score over cells"] = scale_score(samples, labels)
            loss = loss + self.scale_weight * figures["score over cells"]
        return {"loss": loss, **figures}


class EnergyScoreSampler(LearntSampler):
    """Draw label maps by a network that was trained by the energy score (Gneiting and Raftery, 2007).

    The network runs once an image and gives a mean map and a basis of maps; a sample is one matrix product
    (:class:`~calibrant.networks.BasisUNet`). It is trained so that its maps are as far from the annotators' as the
    annotators' are from each other: by the score whose estimate is GED, unbiased, on soft maps.

    :param network: a :class:`~calibrant.networks.BasisUNet`, on its moving average after a fit; or an
        :class:`~calibrant.samplers.orientations.OrientedBasis` around it.
    :param standardise: makes images as the network knows them; None for one that sees probabilities alone.
    :param inputs: "both", "image" or "probabilities": what the network is given.
    :param window: images larger than this are decoded in windows, with one latent over all of them; None takes every
        image whole.
    :param draws: "independent", or "spread": latents of a set that fill space more evenly than chance, of up to 256
        numbers those of a scrambled Sobol sequence. Each map has the same law; the maps of a set are not independent.
    :param notes: what the fit had to say.

    >>> sampler = EnergyScoreSampler(BasisUNet(3, 3, width=4, depth=1), inputs="probabilities")
    >>> sampler.sample(torch.zeros(1, 3, 8, 9), num_samples=4, generator=torch.Generator()).shape
    torch.Size([4, 1, 8, 9])
    """

    network_class = BasisUNet
    recipe = SamplerRecipe(num_steps=3800)

    @classmethod
    def loss(cls) -> SampleLoss:
        """Return the energy score with its defaults."""
        return EnergyScoreLoss()

    def in_orientations(self, orientations: str) -> "EnergyScoreSampler":
        """Return the sampler that sees each image in several orientations, and draws the mean of what it sees.

        For one that was trained on images in these orientations. The network runs once for each of them.

        :param orientations: "one"; "left-right" (2); "all" flips and quarter turns of the last two axes (8).
        :raises MethodError: no such orientations.

        >>> sampler = EnergyScoreSampler(BasisUNet(3, 3, width=4, depth=1), inputs="probabilities")
        >>> sampler.in_orientations("all").network.orientations
        'all'
        """
        inner = self.network.network if isinstance(self.network, OrientedBasis) else self.network
        arguments: dict[str, Any] = self.arguments() | {"notes": self.notes}
        arguments["network"] = inner if orientations == "one" else OrientedBasis(inner, orientations)
        return EnergyScoreSampler(**arguments)
