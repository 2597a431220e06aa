"""The numbers of trainings: of samplers with one network, and of the refinement network with the paper's controls."""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import torch
from torch import nn

from calibrant.errors import InputError
from calibrant.training import Augmentation, one_cycle


@dataclass(frozen=True)
class SamplerRecipe:
    """How a sampler with one network is trained, whatever its loss. Defaults are for half an hour of one core.

    They are those of a trial on the train patients of LIDC-IDRI, judged on its val patients.

    :param num_steps: how many steps of AdamW.
    :param batch_size: images a step, of each process.
    :param learning_rate: the largest; it rises from a 25th of that and falls to zero, each along half a cosine.
    :param warm_up: the share of the steps in which it rises.
    :param weight_decay: the weight decay of AdamW.
    :param clip: the norm that a step's gradient is shortened to where it is longer.
    :param average: how much of the moving average of the weights stays each step; 0 keeps the last weights.
    :param contrast: images are multiplied by one plus a normal number of this standard deviation.
    :param brightness: a normal number of this many standard deviations of the images is added to each.
    :param augmentation: drawn for each image of each step; images of unlike sizes need a crop.
    :raises InputError: there is no step or no image in a step, or a share is not from 0 to below 1.
    """

    _: KW_ONLY
    num_steps: int = 2400
    batch_size: int = 32
    learning_rate: float = 3e-3
    warm_up: float = 0.15
    weight_decay: float = 1e-2
    clip: float = 1.0
    average: float = 0.999
    contrast: float = 0.1
    brightness: float = 0.1
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.batch_size < 1 or not (0 <= self.average < 1 and 0 <= self.warm_up < 1):
            raise InputError(
                "expected 1 step or more, 1 image a step or more, and an average and a warm-up from 0 to below 1; got "
                f"num_steps={self.num_steps}, batch_size={self.batch_size}, average={self.average}, "
                f"warm_up={self.warm_up}."
            )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step.

        :param step: its number, from 0.
        """
        return self.learning_rate * one_cycle(step, self.num_steps, warm_up=self.warm_up)

    def optimiser(self, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return AdamW over the weights.

        :param weights: those of the network.
        """
        return torch.optim.AdamW(weights, lr=self.learning_rate, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class RefinementRecipe:
    """How G and D are trained. Defaults are those of the released code for LIDC, where the paper does not differ.

    The paper does not give lambda, its length or all weights in its main text; those here are the code's. Where they
    differ the paper is followed: 20 samples (code: 5) and a learning rate that falls linearly to zero (code: halved at
    three epochs). Neither had augmentation at work or a moving average.

    :param num_steps: how many steps G takes. The released training ended after five days, not after a number of steps.
    :param batch_size: images a step, of each process.
    :param num_samples: how many samples G draws for each image, m of the calibration loss (eq. 6).
    :param judged_samples: how many of these samples D judges for the adversarial loss of G; None for all, as released.
        Fewer leave the mean of the loss as it is, with more noise, and save most of a step's time: D costs more than G.
    :param adversarial_weight: weight of the adversarial loss (eq. 3).
    :param calibration_weight: weight of the calibration loss (eq. 6); lambda is this over ``adversarial_weight``.
    :param cross_entropy_weight: weight of the cross-entropy of each sample with an annotator, for the control.
    :param refinement_rate: learning rate of G.
    :param discriminator_rate: learning rate of D.
    :param betas: decay rates of Adam's two moving averages, of G and of D.
    :param weight_decay: weight decay of Adam, for G and for D.
    :param discriminator_steps: D is updated in the first ``discriminator_steps`` of every ``discriminator_cycle``
        steps of G.
    :param discriminator_cycle: the length of a cycle, in steps of G.
    :param accuracy_cap: D is updated only if its last accuracy, the fraction of maps that it classified
        rightly, was below this.
    :param r1_weight: weight of the penalty on D's gradient (R1; Mescheder et al., 2018).
    :param r1_of_probability: penalise D's probability, as released, and not its logit.
    :param average: how much of the moving average of G's weights stays each step; 0 keeps the last weights.
    :param augmentation: drawn for each image of each step.
    """

    _: KW_ONLY
    num_steps: int = 100_000
    batch_size: int = 32
    num_samples: int = 20
    judged_samples: int | None = None
    adversarial_weight: float = 10.0
    calibration_weight: float = 5.0
    cross_entropy_weight: float = 0.0
    refinement_rate: float = 2e-4
    discriminator_rate: float = 1e-5
    betas: tuple[float, float] = (0.5, 0.99)
    weight_decay: float = 5e-4
    discriminator_steps: int = 50
    discriminator_cycle: int = 250
    accuracy_cap: float = 0.85
    r1_weight: float = 10.0
    r1_of_probability: bool = True
    average: float = 0.999
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.num_samples < 1 or not 0 <= self.average < 1:
            raise InputError(
                "expected 1 step or more, 1 sample or more, and an average from 0 to below 1; got "
                f"num_steps={self.num_steps}, num_samples={self.num_samples}, average={self.average}."
            )
        if self.judged_samples is not None and not 1 <= self.judged_samples <= self.num_samples:
            raise InputError(
                f"expected 1 to {self.num_samples} judged samples, of those drawn; got {self.judged_samples}. "
                "None judges all."
            )
        if self.calibration_weight > 0 and self.num_samples < 2:
            raise InputError(
                "expected 2 samples or more, whose mean the calibration loss compares to the probabilities; got 1. "
                "One sample alone would be drawn to the mean of all, which is what the paper warns of."
            )

    @classmethod
    def small(cls, **changes: Any) -> "RefinementRecipe":
        """Return one for two cores and minutes: a few thousand quick steps, D at every other one.

        The released weight of the calibration loss, half of the adversarial one, is too small for so few steps, and its
        penalty on D's gradient too strong: here they are 20 times the adversarial weight and a hundredth
        (``experiments.car.lidc`` is what they were chosen on).
        """
        preset = cls(
            num_steps=3600,
            batch_size=8,
            num_samples=10,
            judged_samples=1,
            calibration_weight=200.0,
            refinement_rate=3e-3,
            discriminator_rate=2e-3,
            discriminator_steps=1,
            discriminator_cycle=2,
            r1_weight=0.1,
            weight_decay=0.0,
            average=0.99,
        )
        return replace(preset, **changes)

    def without_calibration(self) -> "RefinementRecipe":
        """Return the control without the calibration loss, lambda 0: a plain conditional adversarial network."""
        return replace(self, calibration_weight=0.0)

    def with_cross_entropy(self) -> "RefinementRecipe":
        """Return the paper's control cGAN + cross-entropy, in the place and at the weight of the calibration loss.

        The weight that the paper used for it is not recorded.
        """
        return replace(self, calibration_weight=0.0, cross_entropy_weight=self.calibration_weight)

    def rate_factor(self, step: int) -> float:
        """Return what is left of the learning rates at a step: they fall linearly to zero.

        :param step: the number of the step, from 0.
        """
        return 1 - step / self.num_steps

    def discriminator_turn(self, step: int) -> bool:
        """Return whether it is D's turn at a step; it then learns if its last accuracy was below the cap.

        :param step: the number of the step, from 0.
        """
        return step % self.discriminator_cycle < self.discriminator_steps
