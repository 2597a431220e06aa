"""Stochastic segmentation networks (Monteiro et al., NeurIPS 2020): a Gaussian law of low rank over all logits."""

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch

from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.errors import InputError
from calibrant.networks import StochasticUNet
from calibrant.samplers.learnt_sampler import LearntSampler, Moment, SampleLoss
from calibrant.samplers.sampler import gaussian
from calibrant.training import chosen_annotator


@dataclass(frozen=True)
class MonteCarloLikelihood:
    """What :class:`StochasticSegmentationSampler` is trained by: the likelihood of whole label maps, from samples.

    :param num_samples: how many samples of logits the likelihood of a map is the mean over.
    :raises InputError: there is none.
    """

    _: KW_ONLY
    num_samples: int = 20

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise InputError(f"expected 1 sample or more; got num_samples={self.num_samples}.")

    def __call__(
        self,
        network: Any,
        seen: Float[Tensor, "n k *s"],
        labels: Int[Tensor, "n a *s"],
        generator: torch.Generator,
        moment: Moment,
    ) -> Mapping[str, Tensor]:
        """Return the loss, with one annotator drawn for each image.

        :param network: makes logits (m, n, c, *s) of latents (m, n, d).
        :param seen: what the network is given.
        :param labels: one map per annotator; ``IGNORE`` where unlabelled.
        :param generator: where latents come from.
        :param moment: how much of the training is done; the loss is the same throughout.
        """
        one = chosen_annotator(labels, generator)
        latents = gaussian((self.num_samples, len(seen), network.latent_size(seen.shape[2:])), generator, seen.device)
        return {"negative log-likelihood": map_likelihood(network(seen, latents).float(), one)}


def map_likelihood(logits: Float[Tensor, "m n c *s"], labels: Int[Tensor, "n *s"]) -> Float[Tensor, ""]:
    """Return the negative logarithm of the mean over samples of the probability of a whole map, the mean over images.

    .. math:: -\\log \\tfrac1M \\sum_m \\exp \\sum_i \\log p(y_i \\mid \\eta^{(m)}_i)

    In nats an image: the sum is over its labelled pixels (eq. 5 of the paper).

    :param logits: of each sample.
    :param labels: one map an image; ``IGNORE`` where unlabelled.

    >>> map_likelihood(torch.zeros(3, 1, 2, 4), torch.zeros(1, 4, dtype=torch.long)) / 4
    tensor(0.6931)
    """
    known = labels != IGNORE
    picked = logits.log_softmax(2).gather(2, labels.clamp_min(0).expand(len(logits), *labels.shape)[:, :, None])
    of_maps = (picked[:, :, 0] * known).flatten(2).sum(2)
    return (math.log(len(logits)) - of_maps.logsumexp(0)).mean()


class StochasticSegmentationSampler(LearntSampler):
    """Draw label maps from a Gaussian law of logits, of low rank, that a network makes (Monteiro et al., NeurIPS 2020).

    The network runs once an image. As released for LIDC: independent draws, one annotator drawn for each image and
    step, noise of each pixel drawn besides.

    :param network: a :class:`~calibrant.networks.StochasticUNet`; on its moving average after a fit.
    :param standardise: makes images as the network knows them; None for one that sees probabilities alone.
    :param inputs: "both", "image" or "probabilities": what the network is given; published: the image.
    :param window: images larger than this are decoded in windows; None, as after a fit, takes every image whole.
    :param draws: "independent", or "spread" for latents that fill space more evenly than chance.
    :param notes: what the fit had to say.

    >>> sampler = StochasticSegmentationSampler(StochasticUNet.small(3, 3), inputs="probabilities")
    >>> sampler.sample(torch.zeros(1, 3, 8, 9), num_samples=4, generator=torch.Generator()).shape
    torch.Size([4, 1, 8, 9])
    """

    network_class = StochasticUNet
    in_windows = False

    @classmethod
    def loss(cls) -> SampleLoss:
        """Return the likelihood of whole maps, from 20 samples."""
        return MonteCarloLikelihood()
