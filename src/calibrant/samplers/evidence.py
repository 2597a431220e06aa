"""Training of networks with latents by a bound of the likelihood of annotators' maps: what such losses share.

The negative evidence lower bound of one map y of an image x, in nats, summed over the labelled pixels of the image:

.. math:: E_{q(z \\mid x, y)} [-\\log p(y \\mid x, z)] + \\beta\\,\\mathrm{KL}(q(z \\mid x, y)\\,\\|\\,p(z \\mid x))

The cross-entropy is a sum, not a mean over pixels: with the mean, beta would count as many times as there are pixels,
and the latent would say nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import torch

from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.errors import InputError
from calibrant.samplers.learnt_sampler import Moment
from calibrant.samplers.losses import label_planes
from calibrant.samplers.sampler import gaussian
from calibrant.training import chosen_annotator

DEAD = 0.05
"""A divergence, in nats an image, below which samples cannot differ: the latents say nothing about label maps."""


class Reconstructed(NamedTuple):
    """Annotators' maps that went through the latents, and what is needed to score them.

    :param logits: those of each level that has an output, (a, n, c, *s), the finest last.
    :param divergences: those of each level of latents, the coarsest first, in nats, (a, n).
    :param numbers: how many numbers each level has.
    :param labels: the maps, ``IGNORE`` where unlabelled.
    :param weights: the weight of each map, adding up to 1 an image; 0 for one without a labelled pixel.
    """

    logits: list[Float[Tensor, "a n c *s"]]
    divergences: list[Float[Tensor, "a n"]]
    numbers: list[int]
    labels: Int[Tensor, "a n *s"]
    weights: Float[Tensor, "a n"]

    def mean(self, of_maps: Float[Tensor, "a n"]) -> Float[Tensor, ""]:
        """Return the mean over images, and over the annotators of each, of what is known of each map.

        :param of_maps: a number of each map.
        """
        return (of_maps * self.weights).sum() / self.weights.sum().clamp_min(1)


def reconstructed(
    network: Any,
    seen: Float[Tensor, "n k *s"],
    labels: Int[Tensor, "n a *s"],
    generator: torch.Generator,
    *,
    all_annotators: bool,
) -> Reconstructed:
    """Return annotators' maps through the latents, one draw of the posterior each.

    :param network: whose forward takes planes of label maps.
    :param seen: what the network is given.
    :param labels: one map per annotator; ``IGNORE`` where unlabelled.
    :param generator: where latents, and the choice of an annotator, come from.
    :param all_annotators: take all annotators of an image, and not one drawn anew.
    """
    maps = labels.movedim(1, 0) if all_annotators else chosen_annotator(labels, generator)[None]
    planes = torch.stack([label_planes(each, network.num_classes) for each in maps])
    latents = gaussian((*maps.shape[:2], network.latent_size(seen.shape[2:])), generator, seen.device)
    there = (maps != IGNORE).flatten(2).any(2)
    weights = there.float() / there.sum(0).clamp_min(1)
    return Reconstructed(*network(seen, latents, planes), maps, weights)


def pixel_entropies(logits: Float[Tensor, "a n c *s"], labels: Int[Tensor, "a n *s"]) -> Float[Tensor, "a n *s"]:
    """Return the cross-entropy of each pixel with its label, in nats; 0 where unlabelled.

    :param logits: scores of each pixel.
    :param labels: one map an annotator; ``IGNORE`` where unlabelled.
    """
    picked = logits.float().log_softmax(2).gather(2, labels.clamp_min(0)[:, :, None])[:, :, 0]
    return -picked * (labels != IGNORE)


@dataclass(frozen=True)
class EvidenceLoss:
    """The negative evidence lower bound of annotators' maps, which networks with latents are trained by.

    :param beta: the weight of the divergence.
    :param warm_up: the share of the steps in which that weight rises from 0, so that latents are of use before they
        cost; published without (0).
    :param balanced: levels of latents count as if each had as many numbers as the finest, as in PHiSeg.
    :param all_annotators: learn from all annotators of an image in each step, and not from one drawn anew.
    :raises InputError: a weight below 0, or a warm-up that is not from 0 to below 1.
    """

    _: KW_ONLY
    beta: float = 1.0
    warm_up: float = 0.1
    balanced: bool = False
    all_annotators: bool = False

    def __post_init__(self) -> None:
        if self.beta < 0 or not 0 <= self.warm_up < 1:
            raise InputError(
                "expected a weight of the divergence of 0 or more, and a warm-up from 0 to below 1; got "
                f"beta={self.beta}, warm_up={self.warm_up}."
            )

    def __call__(
        self,
        network: Any,
        seen: Float[Tensor, "n k *s"],
        labels: Int[Tensor, "n a *s"],
        generator: torch.Generator,
        moment: Moment,
    ) -> Mapping[str, Tensor]:
        """Return the bound, and its parts.

        :param network: whose forward takes planes of label maps.
        :param seen: what the network is given.
        :param labels: one map per annotator; ``IGNORE`` where unlabelled.
        :param generator: where latents come from.
        :param moment: how much of the training is done.
        """
        found = reconstructed(network, seen, labels, generator, all_annotators=self.all_annotators)
        return self.figures(found, moment)

    def figures(self, found: Reconstructed, moment: Moment) -> dict[str, Tensor]:
        """Return the bound, and its parts, of maps that went through the latents.

        Where a network has an output at several levels, each is compared with the map.

        :param found: the maps.
        :param moment: how much of the training is done.
        """
        of_levels = [found.mean(pixel_entropies(each, found.labels).flatten(2).sum(2)) for each in found.logits]
        entropy = torch.stack(of_levels).sum()
        apart = torch.stack([found.mean(each) for each in found.divergences])
        factors = apart.new_tensor([max(found.numbers) / number if self.balanced else 1.0 for number in found.numbers])
        beta = self.beta * (min(moment.done / self.warm_up, 1.0) if self.warm_up > 0 else 1.0)
        return {
            "loss": entropy + beta * (factors * apart).sum(),
            "cross-entropy of a map": entropy,
            **{f"divergence {number + 1}": each for number, each in enumerate(apart)},
            "weight of the divergence": apart.new_tensor(beta),
        }

    def complaints(self, figures: Mapping[str, float]) -> Iterable[str]:
        """Return what looks wrong in figures.

        :param figures: means of the figures over some steps, by name.
        """
        return dead_latents(figures) if figures.get("weight of the divergence") == self.beta else ()


def dead_latents(figures: Mapping[str, float]) -> Iterable[str]:
    """Return a sentence if all divergences are so small that samples cannot differ.

    :param figures: means of the figures over some steps, by name.
    """
    apart = [value for name, value in figures.items() if name.startswith("divergence ")]
    if max(apart) < DEAD:
        yield (
            f"the latents say nothing about label maps: their divergence is {max(apart):.3g} nats an image at most, so "
            "samples will be all alike. Train anew with another seed, or with a smaller weight of the divergence."
        )
