"""Calibrated adversarial refinement, one step at a time: what is detached, averaged and stepped, and when.

F is whatever made the logits of the predictions: it ran in inference mode, without gradients, before a batch is made.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from calibrant._shapes import IGNORE, Float, Tensor
from calibrant.networks import Discriminator, RefinementUNet, with_channels_last
from calibrant.samplers.losses import (
    adversarial_loss,
    calibration_loss,
    discriminator_loss,
    label_planes,
    r1_penalty,
    spread,
)
from calibrant.samplers.recipe import RefinementRecipe
from calibrant.samplers.sampler import gaussian
from calibrant.training import (
    Batches,
    Devices,
    SingleDevice,
    annotator_cross_entropy,
    chosen_annotator,
    move_average,
    restore_states,
    seeded,
    set_rate,
    states_of,
)


class RefinementTraining:
    """G, D and their optimisers, and the steps that train them.

    :param refinement: G, from (n, k + c, *s) and noise (m, n, d) to logits (m, n, c, *s).
    :param discriminator: D, from (n, k + c, *s) to logits (n,).
    :param batches: of calibrated predictions; images as the networks are to see them.
    :param recipe: sizes, rates and weights of the training.
    :param seed: seed of all that is drawn.
    :param devices: where it runs, and in how many processes.
    """

    def __init__(
        self,
        refinement: RefinementUNet,
        discriminator: Discriminator,
        batches: Batches,
        recipe: RefinementRecipe,
        *,
        seed: int,
        devices: Devices | None = None,
    ) -> None:
        self.recipe, self.batches, self.seed = recipe, batches, seed
        self.devices = SingleDevice() if devices is None else devices
        self.plain, self.plain_discriminator = refinement, discriminator
        self.refinement, self.optimiser = self._set_up(refinement, recipe.refinement_rate)
        self.discriminator, self.discriminator_optimiser = self._set_up(discriminator, recipe.discriminator_rate)
        self.average = deepcopy(refinement).eval().requires_grad_(False)
        self.accuracy = 0.0
        self._parts = {
            "refinement": self.plain,
            "discriminator": self.plain_discriminator,
            "average": self.average,
            "optimiser": self.optimiser,
            "discriminator optimiser": self.discriminator_optimiser,
        }

    def _set_up(self, network: nn.Module, rate: float) -> tuple[nn.Module, torch.optim.Optimizer]:
        recipe = self.recipe
        optimiser = torch.optim.Adam(
            network.parameters(), lr=rate, betas=recipe.betas, weight_decay=recipe.weight_decay
        )
        return self.devices.setup(with_channels_last(network.train()), optimiser)

    def step(self, number: int) -> Mapping[str, Tensor]:
        """Take one step of G, and one of D if it is its turn, on the same samples.

        :param number: the number of the step, from 0.
        """
        rank, device = self.devices.global_rank, self.devices.device
        generator = seeded(self.seed, "draws", number, rank)
        batch = self.batches.draw(number, part=rank, parts=self.devices.world_size).to(device)
        assert batch.logits is not None
        target = batch.logits.softmax(1)
        seen = [] if batch.image is None else [batch.image]
        labels = chosen_annotator(batch.labels, generator)
        known = (labels != IGNORE).float()[:, None]  # where nothing is known, D sees neither a label nor a sample
        self._set_rates(number)

        # G: m samples of each image, folded into one batch.
        shape = (self.recipe.num_samples, len(target), self.plain.noise_size)
        noise = gaussian(shape, generator, device)
        with self.devices.autocast():
            samples = self.refinement(torch.cat([*seen, target], 1), noise).softmax(2)
            m, n = samples.shape[:2]
            fakes = self._fakes(samples, seen, known)
            self.plain_discriminator.requires_grad_(False)
            adversarial = adversarial_loss(self.plain_discriminator(fakes))
            self.plain_discriminator.requires_grad_(True)
            calibration = calibration_loss(samples, target)
            loss = self.recipe.adversarial_weight * adversarial + self.recipe.calibration_weight * calibration
            if self.recipe.cross_entropy_weight > 0:
                log_samples = samples.clamp_min(1e-11).log().flatten(0, 1)
                said = labels.expand(m, *labels.shape).flatten(0, 1)[:, None]
                loss = loss + self.recipe.cross_entropy_weight * annotator_cross_entropy(log_samples, said)
        self.optimiser.zero_grad()
        self.devices.backward(loss)
        self.optimiser.step()
        move_average(self.average, self.plain, keep=self.recipe.average, step=number)
        figures = {"adversarial loss": adversarial.detach(), "calibration loss": calibration.detach()}
        if m > 1:
            figures["spread"] = spread(samples.detach(), target)

        # D: one annotator and the first sample, as it was before G's step.
        if self.recipe.discriminator_turn(number):
            real = torch.cat([*seen, label_planes(labels, target.shape[1])], 1)
            figures |= self._step_discriminator(real, fakes[:n].detach())
        return figures

    def _fakes(
        self,
        samples: Float[Tensor, "m n c *s"],
        seen: Sequence[Float[Tensor, "n k *s"]],
        known: Float[Tensor, "n 1 *s"],
    ) -> Float[Tensor, "b j *s"]:
        """Return what D judges: the first samples of each image, blank where nothing is known, beside the image."""
        judged = samples[: self.recipe.judged_samples]
        shown = [each.expand(len(judged), *each.shape).flatten(0, 1) for each in seen]
        return torch.cat([*shown, (judged * known).flatten(0, 1)], 1)

    def _step_discriminator(self, real: Float[Tensor, "n k *s"], fake: Float[Tensor, "n k *s"]) -> dict[str, Tensor]:
        learns = self.accuracy < self.recipe.accuracy_cap
        penalised = learns and self.recipe.r1_weight > 0
        real.requires_grad_(penalised)
        with self.devices.autocast(), torch.set_grad_enabled(learns):
            judged, judged_fake = self.discriminator(torch.cat([real, fake])).split(len(real))
            loss = discriminator_loss(judged, judged_fake)
            if penalised:
                penalty = r1_penalty(judged, real, of_probability=self.recipe.r1_of_probability)
                loss = loss + self.recipe.r1_weight * penalty
        if learns:
            self.discriminator_optimiser.zero_grad()
            self.devices.backward(loss)
            self.discriminator_optimiser.step()
        right = torch.cat([judged > 0, judged_fake < 0]).float().mean()
        self.accuracy = float(self.devices.all_reduce(right))
        return {"discriminator loss": loss.detach(), "discriminator accuracy": right}

    def _set_rates(self, number: int) -> None:
        factor = self.recipe.rate_factor(number)
        set_rate(self.optimiser, factor * self.recipe.refinement_rate)
        set_rate(self.discriminator_optimiser, factor * self.recipe.discriminator_rate)

    def complaints(self, figures: Mapping[str, float]) -> Iterable[str]:
        """Say what looks wrong: samples that are all alike, or a discriminator that cannot be fooled.

        :param figures: mean losses since the last call, by name.
        """
        if figures.get("spread", 1.0) < 0.1:
            yield (
                f"samples have collapsed: they vary by {figures['spread']:.1%} of what the probabilities ask for. "
                "Give the calibration loss more weight or more samples, or the discriminator a lower rate."
            )
        if figures.get("discriminator accuracy", 0.0) > 0.98 and figures["adversarial loss"] > 3:
            yield (
                f"the discriminator is saturated: it tells {figures['discriminator accuracy']:.0%} of the maps rightly "
                "and gives the samples no direction. Lower its rate or accuracy_cap, or raise r1_weight."
            )

    def state(self) -> dict[str, Any]:
        """Return everything that the next step needs; random numbers follow from the seed."""
        return {**states_of(self._parts), "accuracy": self.accuracy}

    def restore(self, state: dict[str, Any]) -> None:
        """Take a state back.

        :param state: what :meth:`state` returned.
        """
        restore_states(self._parts, state)
        self.accuracy = state["accuracy"]
