"""The Hierarchical Probabilistic U-Net (Kohl et al., 2019), trained by a constraint on its reconstruction."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch

from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant.errors import InputError
from calibrant.networks import HierarchicalUNet
from calibrant.samplers.evidence import dead_latents, pixel_entropies, reconstructed
from calibrant.samplers.learnt_sampler import LearntSampler, Moment, SampleLoss
from calibrant.samplers.recipe import SamplerRecipe


@dataclass(frozen=True)
class ConstrainedLoss:
    """The divergence of latents, under a constraint on the reconstruction (GECO; Rezende and Viola, 2018).

    .. math:: \\lambda\\,(\tilde C - \\kappa\\,n) + \\sum_l \\mathrm{KL}_l

    C is the cross-entropy, summed over n pixels of an image that are drawn with chances in proportion to it (without
    replacement, as the largest of its logarithms plus Gumbel noise); its value is a moving average, its gradient that
    of the step. The multiplier lambda rises while C is above its target and falls while it is below.

    :param target: kappa, that of the cross-entropy of a pixel that was drawn, in nats.
    :param hard: the share of an image's pixels that are drawn.
    :param keep: how much of the moving average stays each step.
    :param speed: what ``raw`` of the multiplier, softplus(raw) squared, moves in a step at most: as much as C differs
        from the target, in shares of it. Released, the optimiser moves it.
    :param all_annotators: learn from all annotators of an image in each step, and not from one drawn anew.
    :raises InputError: a number out of its range.
    """

    _: KW_ONLY
    target: float = 0.05
    hard: float = 0.02
    keep: float = 0.99
    speed: float = 0.02
    all_annotators: bool = False

    def __post_init__(self) -> None:
        if not (self.target > 0 and 0 < self.hard <= 1 and 0 <= self.keep < 1 and self.speed > 0):
            raise InputError(
                "expected a target and a speed above 0, a share of pixels above 0 and up to 1, and an average from 0 "
                f"to below 1; got target={self.target}, speed={self.speed}, hard={self.hard}, keep={self.keep}."
            )

    def __call__(
        self,
        network: Any,
        seen: Float[Tensor, "n k *s"],
        labels: Int[Tensor, "n a *s"],
        generator: torch.Generator,
        moment: Moment,
    ) -> Mapping[str, Tensor]:
        """Return the loss, and its parts; moves the multiplier.

        :param network: a :class:`~calibrant.networks.HierarchicalUNet`, whose multiplier it is.
        :param seen: what the network is given.
        :param labels: one map per annotator; ``IGNORE`` where unlabelled.
        :param generator: where latents and pixels come from.
        :param moment: how much of the training is done; the loss is the same throughout.
        """
        found = reconstructed(network, seen, labels, generator, all_annotators=self.all_annotators)
        entropies = pixel_entropies(found.logits[-1], found.labels).flatten(2)
        known = (found.labels != IGNORE).flatten(2)
        drawn = hard_pixels(entropies.detach(), known, self.hard, generator, of_batch=network.released)
        now, number = found.mean((entropies * drawn).sum(2)), found.mean(drawn.float().sum(2))
        apart = torch.stack([found.mean(each) for each in found.divergences])
        multiplier = network.multiplier
        average = multiplier.observe(now.detach(), keep=self.keep)
        over = average - self.target * number
        factor = multiplier()
        loss = factor.detach() * (over + now - now.detach()) + apart.sum()
        if network.released:
            loss = loss - (factor - factor.detach()) * over  # the optimiser takes it up, not down
        else:
            share = over / (self.target * number.clamp_min(1))
            multiplier.move(self.speed * share.clamp(-1, 1))
        return {
            "loss": loss,
            "cross-entropy of a hard pixel": average / number.clamp_min(1),
            **{f"divergence {level + 1}": each for level, each in enumerate(apart)},
            "multiplier": factor.detach(),
        }

    def complaints(self, figures: Mapping[str, float]) -> Iterable[str]:
        """Return what looks wrong in figures.

        :param figures: means of the figures over some steps, by name.
        """
        if figures["multiplier"] > 900:
            yield (
                f"hard pixels stay at {figures['cross-entropy of a hard pixel']:.3g} nats, above the target of "
                f"{self.target}, however much they weigh: the latents cost next to nothing. Set a larger target."
            )
        yield from dead_latents(figures)


def hard_pixels(
    entropies: Float[Tensor, "a n p"],
    known: Bool[Tensor, "a n p"],
    share: float,
    generator: torch.Generator,
    *,
    of_batch: bool,
) -> Bool[Tensor, "a n p"]:
    """Return pixels drawn without replacement, each next one with a chance in proportion to its cross-entropy.

    :param entropies: the cross-entropy of each pixel with its label.
    :param known: the labelled pixels; others are not drawn.
    :param share: how much of the pixels of a map is drawn, rounded up; all that are known if there are fewer.
    :param generator: where the random numbers come from.
    :param of_batch: draw that share of all maps together, as released: maps with easy pixels then have few or none.

    >>> entropies = torch.tensor([[[1e-9, 1.0, 1e-9, 2.0]]])
    >>> hard_pixels(entropies, entropies > 0, 0.5, torch.Generator(), of_batch=False)
    tensor([[[False,  True, False,  True]]])
    """
    chances = torch.rand(entropies.shape, generator=generator, device=generator.device).to(entropies.device)
    rank = entropies.clamp_min(1e-30).log() - chances.clamp(1e-12, 1 - 1e-7).log().neg().log()
    rank = rank.masked_fill(~known, -torch.inf)
    flat = rank.flatten()[None] if of_batch else rank.flatten(0, 1)
    number = max(1, math.ceil(share * flat.shape[1]))
    chosen = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, flat.topk(number, 1).indices, True)
    return chosen.reshape(rank.shape) & known


class HierarchicalSampler(LearntSampler):
    """Draw label maps from a Hierarchical Probabilistic U-Net: latents at the coarse levels of a U-Net's way up.

    The way down runs once an image, the way up once a sample. The rate is that of small networks; published was a tenth
    of it, with 240,000 steps. Unlike the released code, the multiplier has a speed of its own, and hard pixels are
    drawn image by image; ``HierarchicalUNet(..., released=True)`` trains as released.

    :param network: a :class:`~calibrant.networks.HierarchicalUNet`; on its moving average after a fit.
    :param standardise: makes images as the network knows them; None for one that sees probabilities alone.
    :param inputs: "both", "image" or "probabilities": what the network is given; published: the image.
    :param window: images larger than this are decoded in windows, with one latent over all of them; None takes every
        image whole.
    :param draws: "independent", or "spread" for latents that fill space more evenly than chance.
    :param notes: what the fit had to say.

    >>> sampler = HierarchicalSampler(HierarchicalUNet.small(3, 3), inputs="probabilities")
    >>> sampler.sample(torch.zeros(1, 3, 8, 9), num_samples=4, generator=torch.Generator()).shape
    torch.Size([4, 1, 8, 9])
    """

    network_class = HierarchicalUNet
    recipe = SamplerRecipe(learning_rate=1e-3)

    @classmethod
    def loss(cls) -> SampleLoss:
        """Return the divergence under a constraint on the reconstruction."""
        return ConstrainedLoss()
