"""Calibrated adversarial refinement behind any black box and any calibrator (Kassapis et al., ICCV 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from calibrant._shapes import Float, Int, Tensor
from calibrant._storage.origin import digest_of_bytes
from calibrant.calibrators import Calibrator, calibrated
from calibrant.errors import FitError, InputError, ShapeError
from calibrant.networks import Discriminator, RefinementUNet
from calibrant.predictions import Mapped, Prediction, Predictions, keys_of, with_logits
from calibrant.samplers._fields import largest
from calibrant.samplers.recipe import RefinementRecipe
from calibrant.samplers.sampler import Sampler, check_request, gaussian
from calibrant.samplers.training import RefinementTraining
from calibrant.training import Batches, Devices, Standardise, Watch, network_input, reproducible, train

_NUMBERS = 2**22
"""Numbers of one block of samples at full resolution: 16 MB of float32, which a processor's cache holds."""


class RefinementSampler(Sampler):
    """Draw label maps by a network G that refines probabilities, and the image if it was trained with one.

    The encoder of G runs once an image, its decoder once a sample. Marginals are as near to the probabilities as
    training has brought them.

    :param network: G; on its moving average after a fit.
    :param standardise: makes images as G knows them; None for a G that sees probabilities alone.
    :param notes: what the fit had to say.
    """

    def __init__(
        self, network: RefinementUNet, standardise: Standardise | None = None, *, notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(notes=notes)
        self.network, self.standardise = network, standardise
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "RefinementSampler":
        """Stay in evaluation mode: what differs between samples is their noise alone.

        :param mode: has no effect.
        """
        return super().train(False)

    @torch.no_grad()
    def sample(
        self,
        logits: Float[Tensor, "n c *s"],
        image: Float[Tensor, "n k *s"] | None = None,
        *,
        num_samples: int,
        generator: torch.Generator,
    ) -> Int[Tensor, "m n *s"]:
        """Return label maps, each from a noise vector of its own.

        :param logits: scores of each pixel, calibrated already if they are to be.
        :param image: the images; needed if the sampler was trained with images.
        :param num_samples: how many label maps to draw of each image, m.
        :param generator: where all random numbers come from; the same state gives the same maps.
        :raises ShapeError: classes or channels are not those of the training, or the image is missing.
        """
        check_request(logits, num_samples)
        condition = network_input(image, self.standardise, logits.float().softmax(1))
        if condition.shape[1] != self.network.in_channels:
            raise ShapeError(
                f"expected {self.network.num_classes} classes and an image as in training, {self.network.in_channels} "
                f"channels in all; got {logits.shape[1]} classes, {condition.shape[1]} channels. "
                "Pass the model and the images that it was trained behind."
            )
        noise = gaussian((num_samples, len(logits), self.network.noise_size), generator, logits.device)
        levels = self.network.encode(condition)
        block = max(1, _NUMBERS // (32 * logits[:, 0].numel()))
        maps = [largest(self.network.decode(levels, part, logits.shape[2:])) for part in noise.split(block)]
        return torch.cat(maps)

    def arguments(self) -> dict[str, Any]:
        """Return network and standardisation."""
        return {"network": self.network, "standardise": self.standardise}

    @classmethod
    def fit(
        cls,
        predictions: Predictions,
        calibrator: Calibrator | None = None,
        *,
        recipe: RefinementRecipe | None = None,
        num_samples: int | None = None,
        network: RefinementUNet | None = None,
        discriminator: Discriminator | None = None,
        use_image: bool = True,
        seed: int = 0,
        checkpoint_path: str | Path | None = None,
        made_from: Mapping[str, str] | None = None,
        devices: Devices | None = None,
        watch: Watch | None = None,
    ) -> "RefinementSampler":
        """Train G against a discriminator, behind a black box and a calibrator that stay as they are.

        ``predictions`` may be stored or made as they are read; the calibrator is F of the paper, or any other, or
        None. To give G the true distribution (the paper's control), pass predictions whose logits are its logarithm.

        :param predictions: with labels of one annotator or more; images of unlike sizes need a recipe with a crop.
        :param calibrator: F of the paper, or any other, which stays as it is; None takes the logits as they are.
        :param recipe: by default ``RefinementRecipe.small()``, for two cores; ``RefinementRecipe()`` is the paper's.
        :param num_samples: how many samples the calibration loss averages, instead of the recipe's number.
        :param network: G; by default ``RefinementUNet.small``. The paper's: ``RefinementUNet(channels, classes)``.
        :param discriminator: D; by default ``Discriminator.small``. The paper's: ``Discriminator(channels)``.
        :param use_image: G and D see the image, if the predictions have one.
        :param seed: the seed of the first weights and of all that is drawn.
        :param checkpoint_path: the folder for checkpoints; the same call goes on from there, and returns at once when
            the training is done.
        :param made_from: what predictions and calibrator are, by name: a checkpoint of others is refused. By default
            the number of images and their names alone are compared.
        :param devices: from :func:`~calibrant.training.open_fabric`, or ``SingleDevice("cuda")``;
            by default the processor.
        :param watch: called with the step and the mean losses since the last call.
        :raises FitError: there is nothing to train on, or the training diverged.
        """
        if len(predictions) == 0:
            raise FitError("expected images to train on; got none. Check the folder or the split.")
        recipe = RefinementRecipe.small() if recipe is None else recipe
        recipe = recipe if num_samples is None else replace(recipe, num_samples=num_samples)
        standardise = Standardise.of(predictions) if use_image else None
        first = predictions[0]
        dims = first.logits.ndim - 1
        channels = first.num_classes + (0 if standardise is None else len(standardise.mean))
        with reproducible(seed, "weights"):
            if network is None:
                network = RefinementUNet.small(channels, first.num_classes, dims=dims)
            if discriminator is None:
                discriminator = Discriminator.small(channels, dims=dims)
        if network.in_channels != channels or network.num_classes != first.num_classes:
            raise InputError(
                f"expected a network of {channels} channels (classes and image) and {first.num_classes} classes; got "
                f"{network.in_channels} and {network.num_classes}. RefinementUNet({channels}, {first.num_classes})."
            )
        seen = Mapped(predictions, _AsInput(calibrator, standardise))
        batches = Batches(seen, recipe.batch_size, recipe.augmentation, seed)
        training = RefinementTraining(network, discriminator, batches, recipe, seed=seed, devices=devices)
        train(
            training,
            num_steps=recipe.num_steps,
            seed=seed,
            identity={
                "training": "refinement network",
                **{field.name: getattr(recipe, field.name) for field in fields(recipe)},
                **{f"network {name}": value for name, value in network.arguments().items()},
                "num_images": len(predictions),
                "names of images": digest_of_bytes(*(key.encode() for key in keys_of(predictions))),
                "seed": seed,
                **(made_from or {}),
            },
            checkpoint_path=checkpoint_path,
            watch=watch,
            devices=devices,
        )
        return cls(training.average.cpu(), standardise)


@dataclass(frozen=True)
class _AsInput:
    """Turns a prediction into what the networks see: calibrated without gradients, its image standardised."""

    calibrator: Calibrator | None
    standardise: Standardise | None

    def __call__(self, prediction: Prediction) -> Prediction:
        image = None
        if self.standardise is not None and prediction.image is not None:
            image = self.standardise(prediction.image[None])[0]
        return replace(with_logits(prediction, calibrated(prediction, self.calibrator)), image=image)
