"""Supervised uncertainty quantification (Hu et al., MICCAI 2019), over a Probabilistic U-Net with drawn weights."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch

from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.errors import InputError
from calibrant.networks import WeightNoiseUNet
from calibrant.samplers.evidence import EvidenceLoss, reconstructed
from calibrant.samplers.learnt_sampler import LearntSampler, Moment, SampleLoss
from calibrant.samplers.losses import label_planes
from calibrant.samplers.recipe import SamplerRecipe
from calibrant.samplers.sampler import gaussian


@dataclass(frozen=True)
class SupervisedLoss:
    """The evidence lower bound of annotators' maps and of drawn weights, and how often annotators gave each class.

    :param agreement: the weight of the cross-entropy, summed over pixels, of the mean of samples with the mean of the
        annotators.
    :param num_samples: how many samples of the prior that mean is over.
    :param of_weights: the weight of the divergence of the law of the weights from a standard normal one, over the
        number of images.
    :param warm_up: the share of the steps in which the weight of the latent's divergence rises from 0.
    :param all_annotators: the bound is of all annotators of an image, and not of one drawn anew.
    :param released: weigh as in the released code: the bound is a sum over annotators, while the mean of samples is
        compared as a mean over pixels, in bits; so that comparison weighs next to nothing.
    :raises InputError: a weight below 0, or no sample.
    """

    _: KW_ONLY
    agreement: float = 1.0
    num_samples: int = 4
    of_weights: float = 1.0
    warm_up: float = 0.1
    all_annotators: bool = True
    released: bool = False

    def __post_init__(self) -> None:
        if min(self.agreement, self.of_weights) < 0 or self.num_samples < 1:
            raise InputError(
                "expected weights of 0 or more, and 1 sample or more; got "
                f"agreement={self.agreement}, of_weights={self.of_weights}, num_samples={self.num_samples}."
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

        :param network: a :class:`~calibrant.networks.WeightNoiseUNet`.
        :param seen: what the network is given.
        :param labels: one map per annotator; ``IGNORE`` where unlabelled.
        :param generator: where latents and weights come from.
        :param moment: how much of the training is done, and of how many images.
        """
        found = reconstructed(network, seen, labels, generator, all_annotators=self.all_annotators)
        figures = self._bound.figures(found, moment)
        loss = figures["loss"] * (len(found.labels) if self.released else 1)
        if self.of_weights > 0:
            loss = loss + self.of_weights * network.weight_divergence() / moment.num_images
        if self.agreement > 0:
            shape = (self.num_samples, len(seen), network.latent_size(seen.shape[2:]))
            samples = network(seen, gaussian(shape, generator, seen.device)).float().softmax(2)
            figures["cross-entropy of the mean"] = self._compared(samples, labels)
            loss = loss + self.agreement * figures["cross-entropy of the mean"]
        return figures | {"loss": loss}

    def complaints(self, figures: Mapping[str, float]) -> Iterable[str]:
        """Return what looks wrong in figures.

        :param figures: means of the figures over some steps, by name.
        """
        return self._bound.complaints(figures)

    @property
    def _bound(self) -> EvidenceLoss:
        return EvidenceLoss(warm_up=self.warm_up, all_annotators=self.all_annotators)

    def _compared(self, samples: Float[Tensor, "m n c *s"], labels: Int[Tensor, "n a *s"]) -> Float[Tensor, ""]:
        entropies = mean_entropies(samples, labels)
        return entropies.mean() / math.log(2) if self.released else entropies.flatten(1).sum(1).mean()


def mean_entropies(samples: Float[Tensor, "m n c *s"], labels: Int[Tensor, "n a *s"]) -> Float[Tensor, "n *s"]:
    """Return in each pixel the cross-entropy, in nats, of the mean of samples with the mean of the annotators.

    :param samples: probabilities of each sample.
    :param labels: one map per annotator; ``IGNORE`` where unlabelled; where all are, the result is 0.
    """
    planes = torch.stack([label_planes(each, samples.shape[2]) for each in labels.unbind(1)]).sum(0)
    shares = planes / (labels != IGNORE).sum(1, keepdim=True).clamp_min(1)
    return -(shares * samples.mean(0).clamp_min(1e-6).log()).sum(1)


class SupervisedUncertaintySampler(LearntSampler):
    """Draw label maps from a Probabilistic U-Net with drawn weights, which was shown how often annotators differ.

    A sample takes a latent from the prior and the weights of one convolution from their law. It is trained by the
    evidence lower bound of all annotators' maps, and by how far the mean of its samples is from the mean of the
    annotators. That is what the paper means; in its released code both additions do next to nothing:
    ``SupervisedLoss(released=True)`` and ``WeightNoiseUNet(..., released=True)`` are as there.

    :param network: a :class:`~calibrant.networks.WeightNoiseUNet`; on its moving average after a fit.
    :param standardise: makes images as the network knows them; None for one that sees probabilities alone.
    :param inputs: "both", "image" or "probabilities": what the network is given; published: the image.
    :param window: images larger than this are decoded in windows, with one latent over all of them; None takes every
        image whole.
    :param draws: "independent", or "spread" for latents that fill space more evenly than chance.
    :param notes: what the fit had to say.

    >>> sampler = SupervisedUncertaintySampler(WeightNoiseUNet.small(3, 3), inputs="probabilities")
    >>> sampler.sample(torch.zeros(1, 3, 8, 9), num_samples=4, generator=torch.Generator()).shape
    torch.Size([4, 1, 8, 9])
    """

    network_class = WeightNoiseUNet
    recipe = SamplerRecipe(learning_rate=1e-3)

    @classmethod
    def loss(cls) -> SampleLoss:
        """Return the bound of all annotators with the comparison of means."""
        return SupervisedLoss()
