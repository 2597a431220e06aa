"""Samplers with one network that a loss trains: what they share, from the first weights to the fitted sampler."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn

from calibrant._input.checks import check_choice
from calibrant._shapes import IGNORE, Tensor
from calibrant._storage.origin import digest_of_bytes
from calibrant.calibrators import Calibrator, calibrated
from calibrant.errors import FitError, InputError
from calibrant.predictions import Mapped, Prediction, Predictions, keys_of, with_logits
from calibrant.samplers.network_sampler import INPUTS, NetworkSampler
from calibrant.samplers.recipe import SamplerRecipe
from calibrant.training import (
    Batch,
    Batches,
    Devices,
    NetworkTraining,
    SingleDevice,
    Standardise,
    Watch,
    reproducible,
    seeded,
    train,
)
from calibrant.training.network import no_complaints


@dataclass(frozen=True)
class Moment:
    """Where in which training a loss is asked for.

    :param done: the share of the steps that were taken, from 0 to below 1.
    :param num_images: how many images the training has.
    """

    done: float
    num_images: int


SampleLoss = Callable[[Any, Tensor, Tensor, torch.Generator, Moment], Mapping[str, Tensor]]
"""From a network, what it sees (n, k, *s), labels (n, a, *s), a generator and the moment to figures; the first is made
smaller. A frozen dataclass says in its fields, which a checkpoint records, which loss it is; its ``complaints``, if it
has them, say what looks wrong in figures."""


class LearntSampler(NetworkSampler):
    """A sampler with one network that a loss trains: its subclasses name the network and the loss.

    :param network: a :class:`SampleNetwork`; on its moving average after a fit.
    :param standardise: makes images as the network knows them; None for one that sees probabilities alone.
    :param inputs: "both", "image" or "probabilities": what the network is given.
    :param window: images larger than this are decoded in windows, with one latent over all of them; None takes every
        image whole.
    :param draws: "independent", or "spread": latents of a set that fill space more evenly than chance.
    :param notes: what the fit had to say.
    """

    network_class: ClassVar[Any]
    """The network; its ``small`` makes the usual one."""

    recipe: ClassVar[SamplerRecipe] = SamplerRecipe()
    """How it is trained if no other recipe is passed."""

    in_windows: ClassVar[bool] = True
    """Whether images larger than those of the training are decoded in windows of that size after a fit."""

    @classmethod
    @abstractmethod
    def loss(cls) -> SampleLoss:
        """Return the loss that it is trained by if none is passed: a frozen dataclass."""

    def arguments(self) -> dict[str, Any]:
        """Return network, standardisation, what the network sees, its windows, and how latents are drawn."""
        names = ("network", "standardise", "inputs", "window", "draws")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def fit(
        cls,
        predictions: Predictions,
        calibrator: Calibrator | None = None,
        *,
        inputs: str | None = None,
        loss: SampleLoss | None = None,
        recipe: SamplerRecipe | None = None,
        make: Callable[..., nn.Module] | None = None,
        draws: str = "independent",
        seed: int = 0,
        checkpoint_path: str | Path | None = None,
        made_from: Mapping[str, str] | None = None,
        devices: Devices | None = None,
        watch: Watch | None = None,
    ) -> Self:
        """Train the network behind a black box and a calibrator that stay as they are.

        :param predictions: with labels of one annotator or more; images of unlike sizes need a recipe with a crop.
        :param calibrator: makes the probabilities that the network sees; None takes the logits as they are.
        :param inputs: "both", "image" or "probabilities"; by default both, or what there is.
        :param loss: by default that of the class, :meth:`loss`.
        :param recipe: by default that of the class, :attr:`recipe`.
        :param make: makes the network from its input channels and classes (and ``dims``); by default ``small`` of the
            class's network.
        :param draws: how the fitted sampler draws, "independent" or "spread"; in training draws are independent.
        :param seed: the seed of the first weights and of all that is drawn.
        :param checkpoint_path: the folder for checkpoints; the same call goes on from there, and returns at once when
            the training is done.
        :param made_from: what predictions and calibrator are, by name: a checkpoint of others is refused.
        :param devices: from :func:`~calibrant.training.open_fabric`, or ``SingleDevice("cuda")``; by default the
            processor.
        :param watch: called with the step and the mean figures since the last call.
        :raises FitError: there is nothing to train on, or the training diverged.
        """
        if len(predictions) == 0:
            raise FitError("expected images to train on; got none. Check the folder or the split.")
        loss, recipe, notes = loss or cls.loss(), recipe or cls.recipe, label_notes(predictions)
        inputs = inputs or ("probabilities" if predictions[0].image is None else "both")
        check_choice(inputs, INPUTS, "input of a sampler's network")
        standardise = None if inputs == "probabilities" else Standardise.of(predictions)
        if standardise is None and inputs != "probabilities":
            raise InputError(f"expected images for inputs={inputs!r}; got predictions without them. Store them too.")
        network = made_network(make or cls.network_class.small, predictions[0], inputs, standardise, seed)
        devices = SingleDevice() if devices is None else devices
        seen = Mapped(predictions, AsInput(calibrator, standardise))
        training = NetworkTraining(
            network,
            recipe.optimiser(network.parameters()),
            Batches(seen, recipe.batch_size, recipe.augmentation, seed),
            _Step(loss, inputs, recipe, seed, devices.global_rank, len(predictions)),
            learning_rate=recipe.rate,
            devices=devices,
            average=recipe.average,
            clip=recipe.clip,
            complaints=getattr(loss, "complaints", no_complaints),
        )
        identity = {
            "training": cls.__name__,
            "inputs": inputs,
            "loss": loss,
            **training_identity(network, recipe, predictions, seed),
            **(made_from or {}),
        }
        train(
            training,
            num_steps=recipe.num_steps,
            seed=seed,
            identity=identity,
            checkpoint_path=checkpoint_path,
            watch=watch,
            devices=devices,
        )
        whole = tuple(predictions[0].logits.shape[1:])
        window = (recipe.augmentation.crop or whole) if cls.in_windows else None
        return cls(training.average.cpu(), standardise, inputs=inputs, window=window, draws=draws, notes=notes)


def label_notes(predictions: Predictions) -> tuple[str, ...]:
    """Return what a trainer of samplers should know of the labels.

    :param predictions: what a sampler is trained on; read until there is nothing more to say.
    :raises FitError: no pixel is labelled.
    """
    classes, most = set[int](), 0
    for prediction in predictions:
        seen = [each[each != IGNORE].unique().tolist() for each in prediction.labels]
        classes.update(*seen)
        most = max(most, sum(map(bool, seen)))
        if most > 1 and len(classes) > 1:
            return ()
    if not classes:
        raise FitError("expected labels to learn from; no pixel of any image has one. Import the label maps, too.")
    notes = []
    if most == 1:
        notes.append(
            "no image has more than one annotator: how often a map is drawn follows from how labels differ between "
            "images that look alike, not from annotators who disagree"
        )
    if len(classes) == 1:
        notes.append(f"every labelled pixel is of class {classes.pop()}: samples will show no other")
    return tuple(notes)


def made_network(
    make: Callable[..., Any], first: Prediction, inputs: str, standardise: Standardise | None, seed: int
) -> Any:
    """Return a network for predictions like one, its first weights drawn.

    :param make: makes it from the channels of its input and the number of classes, and ``dims``.
    :param first: a prediction as they all are.
    :param inputs: "both", "image" or "probabilities": what the network is given.
    :param standardise: of the images; None if the network sees none.
    :param seed: the seed of the weights.
    """
    channels = (inputs != "image") * first.num_classes + (0 if standardise is None else len(standardise.mean))
    with reproducible(seed, "weights"):
        return make(channels, first.num_classes, dims=first.logits.ndim - 1)


@dataclass(frozen=True)
class AsInput:
    """Turns a prediction into what networks see: calibrated without gradients, its image standardised.

    :param calibrator: what the logits go through; None leaves them as they are.
    :param standardise: makes images as the network knows them; None drops them.
    """

    calibrator: Calibrator | None
    standardise: Standardise | None

    def __call__(self, prediction: Prediction) -> Prediction:
        """Return the prediction as networks see it.

        :param prediction: as it was stored or made.
        """
        image = None
        if self.standardise is not None and prediction.image is not None:
            image = self.standardise(prediction.image[None])[0]
        return replace(with_logits(prediction, calibrated(prediction, self.calibrator)), image=image)


def training_identity(network: Any, recipe: Any, predictions: Predictions, seed: int) -> dict[str, object]:
    """Return what says which training this is, setting by setting.

    :param network: with the ``arguments()`` of its constructor.
    :param recipe: a dataclass.
    :param predictions: whose number and names count.
    :param seed: the seed of all that is drawn.
    """
    return {
        **{field.name: getattr(recipe, field.name) for field in fields(recipe)},
        **{f"network {name}": value for name, value in network.arguments().items()},
        "num_images": len(predictions),
        "names of images": digest_of_bytes(*(key.encode() for key in keys_of(predictions))),
        "seed": seed,
    }


@dataclass(frozen=True)
class _Step:
    """What a step does with a batch: images a little lighter or darker, then the loss."""

    loss: SampleLoss
    inputs: str
    recipe: SamplerRecipe
    seed: int
    rank: int
    num_images: int

    def __call__(self, network: nn.Module, batch: Batch, number: int) -> Mapping[str, Tensor]:
        assert batch.logits is not None
        generator = seeded(self.seed, "draws", number, self.rank)
        maps = [] if self.inputs == "image" else [batch.logits.softmax(1)]
        if batch.image is not None:
            image = batch.image
            shape = (2, len(image), *[1] * (image.ndim - 1))
            gain, offset = torch.randn(shape, generator=generator).to(image.device)
            maps.insert(0, image * (1 + self.recipe.contrast * gain) + self.recipe.brightness * offset)
        seen = torch.cat(maps, 1)
        if seen.ndim == 4:
            seen = seen.contiguous(memory_format=torch.channels_last)
        moment = Moment(number / self.recipe.num_steps, self.num_images)
        return self.loss(network, seen, batch.labels, generator, moment)
