"""Calibrated adversarial refinement behind any black box and any calibrator (Kassapis et al., ICCV 2021)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from calibrant.calibrators import Calibrator
from calibrant.errors import FitError, InputError
from calibrant.networks import Discriminator, RefinementUNet
from calibrant.predictions import Mapped, Predictions
from calibrant.samplers.learnt_sampler import AsInput, label_notes, training_identity
from calibrant.samplers.network_sampler import NetworkSampler
from calibrant.samplers.recipe import RefinementRecipe
from calibrant.samplers.training import RefinementTraining
from calibrant.training import Batches, Devices, Standardise, Watch, reproducible, train


class RefinementSampler(NetworkSampler):
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
        inputs = "probabilities" if standardise is None else "both"
        super().__init__(network, standardise, inputs=inputs, notes=notes)

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
        notes = label_notes(predictions)
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
        seen = Mapped(predictions, AsInput(calibrator, standardise))
        batches = Batches(seen, recipe.batch_size, recipe.augmentation, seed)
        training = RefinementTraining(network, discriminator, batches, recipe, seed=seed, devices=devices)
        train(
            training,
            num_steps=recipe.num_steps,
            seed=seed,
            identity={
                "training": "refinement network",
                **training_identity(network, recipe, predictions, seed),
                **(made_from or {}),
            },
            checkpoint_path=checkpoint_path,
            watch=watch,
            devices=devices,
        )
        return cls(training.average.cpu(), standardise, notes=notes)
