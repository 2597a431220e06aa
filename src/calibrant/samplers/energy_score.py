"""A sampler trained by its own proper score, the energy score of its label maps against the annotators'."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch

from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Int, Tensor
from calibrant.errors import InputError
from calibrant.networks import Basis, BasisUNet
from calibrant.samplers.energy_losses import energy_score, mean_score, scale_score
from calibrant.samplers.learnt_sampler import LearntSampler, Moment, SampleLoss
from calibrant.samplers.sampler import gaussian
from calibrant.training import Augmentation, Standardise, chosen_annotator

ORIENTATIONS: Mapping[str, Augmentation] = {
    "one": Augmentation(),
    "left-right": Augmentation.of_scenes(),
    "all": Augmentation.of_scans(),
}
"""In which orientations an image is looked at, by name: as it is; also from left to right; flipped and turned."""


@dataclass(frozen=True)
class EnergyScoreLoss:
    """What :class:`EnergyScoreSampler` is trained by: the energy score, and a score of the mean of the samples.

    :param num_samples: how many samples are drawn of each image in a step; the score is unbiased from two on.
    :param classes: those whose overlap counts, such as ``(1,)`` for the foreground; None counts all.
    :param mean_weight: the weight of the cross-entropy of the mean of the samples with the annotators.
    :param smoothing: pixels that an area is enlarged by in the distance; see
        :func:`~calibrant.samplers.energy_losses.energy_score`. With many classes a larger one keeps a few stray pixels
        of a rare class from weighing as much as a road.
    :param scale_weight: the weight of the score of maps averaged over cells,
        :func:`~calibrant.samplers.energy_losses.scale_score`; 0 leaves it out.
    :param one_annotator: learn from one annotator drawn anew for each image, and not from all of them.
    :raises InputError: fewer than two samples, or a smoothing of 0 or less.
    """

    _: KW_ONLY
    num_samples: int = 6
    classes: tuple[int, ...] | None = None
    mean_weight: float = 1.0
    smoothing: float = 1.0
    scale_weight: float = 0.0
    one_annotator: bool = False

    def __post_init__(self) -> None:
        if self.num_samples < 2 or self.smoothing <= 0:
            raise InputError(
                "expected 2 samples or more, which can differ from each other, and a smoothing above 0 pixels; got "
                f"num_samples={self.num_samples}, smoothing={self.smoothing}."
            )

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
        score = energy_score(samples, labels, classes=self.classes, smoothing=self.smoothing)
        entropy = mean_score(samples, labels)
        loss = score + self.mean_weight * entropy
        figures = {"energy score": score, "cross-entropy of the mean": entropy}
        if self.scale_weight > 0:
            figures["score over cells"] = scale_score(samples, labels)
            loss = loss + self.scale_weight * figures["score over cells"]
        return {"loss": loss, **figures}


class EnergyScoreSampler(LearntSampler):
    """Draw label maps by a network that was trained by the energy score (Gneiting and Raftery, 2007).

    The network runs once an image and gives a mean map and a basis of maps; a sample is one matrix product
    (:class:`~calibrant.networks.BasisUNet`). It is trained so that its maps are as far from the annotators' as the
    annotators' are from each other: by the score whose estimate is GED, unbiased, on soft maps.

    :param network: a :class:`~calibrant.networks.BasisUNet`; on its moving average after a fit.
    :param standardise: makes images as the network knows them; None for one that sees probabilities alone.
    :param inputs: "both", "image" or "probabilities": what the network is given.
    :param window: images larger than this are decoded in windows, with one latent over all of them; None takes every
        image whole.
    :param draws: "independent", or "spread": latents of a set from a scrambled Sobol sequence, which leave less to
        chance. Each map has the same law; the maps of a set are not independent.
    :param orientations: "one": images are looked at as they are. "left-right" and "all": also flipped from left to
        right, or in all flips and quarter turns of the last two axes, with the same latent, and a sample is the mean of
        the logits: two and eight passes of the network an image. For what was trained on images in these orientations.
    :param notes: what the fit had to say.
    :raises MethodError: no such orientations.
    :raises InputError: as :class:`~calibrant.samplers.network_sampler.NetworkSampler` says.

    >>> sampler = EnergyScoreSampler(BasisUNet(3, 3, width=4, depth=1), inputs="probabilities")
    >>> sampler.sample(torch.zeros(1, 3, 8, 9), num_samples=4, generator=torch.Generator()).shape
    torch.Size([4, 1, 8, 9])
    """

    network_class = BasisUNet

    def __init__(
        self,
        network: Any,
        standardise: Standardise | None = None,
        *,
        inputs: str = "both",
        window: Sequence[int] | None = None,
        draws: str = "independent",
        orientations: str = "one",
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(network, standardise, inputs=inputs, window=window, draws=draws, notes=notes)
        check_choice(orientations, tuple(ORIENTATIONS), "set of orientations")
        self.orientations = orientations

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs: that of every sampler with one network, and the orientations."""
        return super().arguments() | {"orientations": self.orientations}

    def bases(self, seen: Float[Tensor, "n k *s"]) -> list[Basis]:
        """Return what all samples of an image share, one for each orientation, turned back.

        :param seen: what the network is given.
        """
        found = []
        for each in ORIENTATIONS[self.orientations].orientations(seen.ndim - 2):
            mean, maps, pooled = self.network.encode(each.of(seen))
            found.append(Basis(each.undone(mean), each.undone(maps), pooled))
        return found

    def _encoded(self, seen: Float[Tensor, "n k *s"]) -> list[Basis]:
        return self.bases(seen)

    def _decoded(
        self, shared: list[Basis], latents: Float[Tensor, "m n d"], space: Sequence[int]
    ) -> Float[Tensor, "m n c *s"]:
        total = self.network.decode(shared[0], latents, space)
        for basis in shared[1:]:
            total += self.network.decode(basis, latents, space)
        return total if len(shared) == 1 else total.div_(len(shared))

    @classmethod
    def loss(cls) -> SampleLoss:
        """Return the energy score with its defaults."""
        return EnergyScoreLoss()
