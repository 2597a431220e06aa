"""The calibration network F of calibrated adversarial refinement (Kassapis et al., ICCV 2021), behind a black box."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._input.checks import check_choice, check_labelled
from calibrant._shapes import Float, Tensor
from calibrant.calibrators.calibrator import Calibrator
from calibrant.calibrators.pixels import fittable
from calibrant.errors import InputError
from calibrant.networks import CalibrationHead, with_channels_last
from calibrant.predictions import Mapped, PredictionsLike, predictions_of
from calibrant.training import (
    Augmentation,
    Batch,
    Batches,
    Devices,
    NetworkTraining,
    SingleDevice,
    Standardise,
    Watch,
    annotator_cross_entropy,
    chosen_annotator,
    network_input,
    reproducible,
    seeded,
    train,
)

MODEL_OUTPUTS = ("labels", "probabilities", "nothing")
"""What F can get of the model's output: its label map, one-hot, as published; its probabilities; or nothing."""


@dataclass(frozen=True)
class CalibrationRecipe:
    """How F is trained. Defaults are for minutes on two cores; :meth:`published` is the paper's.

    :param num_steps: how many steps of Adam; the learning rate falls linearly to zero over them.
    :param batch_size: images a step, of each process.
    :param learning_rate: at the first step.
    :param betas: decay of Adam's running means of the gradient and of its square.
    :param weight_decay: an L2 penalty on the weights, as Adam adds it to the gradient.
    :param one_annotator: learn from one annotator drawn anew for each image, and not from all of them.
    :param average: how much of the moving average of F's weights stays each step; 0 keeps the last weights.
    :param augmentation: drawn for each image of each step; images of unlike sizes need a crop.
    :raises InputError: there is no step or no image in a step, or the average is not from 0 to below 1.
    """

    _: KW_ONLY
    num_steps: int = 2000
    batch_size: int = 16
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.5, 0.99)
    weight_decay: float = 5e-4
    one_annotator: bool = False
    average: float = 0.99
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.batch_size < 1 or not 0 <= self.average < 1:
            raise InputError(
                "expected 1 step or more, 1 image a step or more, and an average from 0 to below 1; got "
                f"num_steps={self.num_steps}, batch_size={self.batch_size}, average={self.average}."
            )

    @classmethod
    def published(cls) -> "CalibrationRecipe":
        """Return the recipe of the paper's released code: one annotator, a learning rate of 2e-4, and no average."""
        return cls(learning_rate=2e-4, one_annotator=True, average=0.0)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step.

        :param step: its number, from 0.
        """
        return self.learning_rate * (1 - step / self.num_steps)

    def optimiser(self, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return Adam over the weights.

        :param weights: those of F.
        """
        return torch.optim.Adam(weights, lr=self.learning_rate, betas=self.betas, weight_decay=self.weight_decay)


class CalibrationNetwork(Calibrator):
    """Logits from a network that sees what the black box said and, if it was trained with one, the image.

    It may change the label map: it learns p(y|x) anew, and corrects what can be seen to be wrong.

    :param network: F, from (n, k, *s) to logits (n, c, *s).
    :param model_output: what F gets of the black box: "labels" (one-hot, as published), "probabilities", or "nothing".
    :param standardise: makes images as F knows them; None for an F that sees no image.
    :param notes: what the fit had to say.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        model_output: str = "probabilities",
        standardise: Standardise | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(notes=notes)
        check_choice(model_output, MODEL_OUTPUTS, "form of a model's output")
        self.network, self.model_output, self.standardise = with_channels_last(network), model_output, standardise
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "CalibrationNetwork":
        """Stay in inference mode: a fitted calibrator never changes.

        :param mode: has no effect.
        """
        return super().train(False)

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return what F says.

        :param logits: what the black box said.
        :param image: the images that it saw; needed if F was trained with images.
        :raises ShapeError: the image that was there in training is missing, or has other channels.
        """
        return self.network(_seen(logits, image, self.model_output, self.standardise)).float()

    def arguments(self) -> dict[str, Any]:
        """Return network, what it gets of the model's output, and standardisation."""
        return {"network": self.network, "model_output": self.model_output, "standardise": self.standardise}

    def extra_repr(self) -> str:
        """Show what F sees."""
        return f"model_output={self.model_output!r}, use_image={self.standardise is not None}"

    @classmethod
    def fit(
        cls,
        predictions: PredictionsLike,
        labels: Any = None,
        *,
        make: Callable[..., nn.Module] = CalibrationHead.small,
        model_output: str = "probabilities",
        use_image: bool = True,
        recipe: CalibrationRecipe | None = None,
        seed: int = 0,
        checkpoint_path: str | Path | None = None,
        devices: Devices | None = None,
        watch: Watch | None = None,
    ) -> "CalibrationNetwork":
        """Train F by the cross-entropy with the annotators' labels (eq. 2), on a moving average of its weights.

        As published: ``make=CalibrationHead``, ``model_output="labels"`` and
        ``recipe=CalibrationRecipe.published()``; where the paper has F on images alone, ``make=SegNet`` and
        ``model_output="nothing"``.

        :param predictions: labelled by one annotator or more.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param make: makes F from the number of its input channels and of its classes (and ``dims=3``, for three
            dimensions).
        :param model_output: what F gets of the black box: "labels" (one-hot), "probabilities", or "nothing".
        :param use_image: whether F sees the image, if the predictions have one.
        :param recipe: how to train; by default :class:`CalibrationRecipe` as it stands.
        :param seed: the seed of the first weights and of all that is drawn.
        :param checkpoint_path: the folder for checkpoints; the same call goes on from there.
        :param devices: from :func:`~calibrant.training.open_fabric`, or ``SingleDevice("cuda")``; by default the
            processor.
        :param watch: called with the number of steps done and the mean losses since the last call.
        :raises FitError: nothing is labelled, or the training diverged.
        """
        predictions = predictions_of(predictions, labels)
        check_choice(model_output, MODEL_OUTPUTS, "form of a model's output")
        recipe = CalibrationRecipe() if recipe is None else recipe
        check_labelled(any(bool((p.labels >= 0).any()) for p in predictions), len(predictions))
        standardise = Standardise.of(predictions) if use_image else None
        first = predictions[0]
        predictions = Mapped(predictions, partial(fittable, num_classes=first.num_classes))
        channels = (0 if standardise is None else len(standardise.mean)) + (
            model_output != "nothing"
        ) * first.num_classes
        dims = first.logits.ndim - 1
        with reproducible(seed, "weights"):
            network = make(channels, first.num_classes, **({} if dims == 2 else {"dims": dims}))
        devices = SingleDevice() if devices is None else devices
        rank = devices.global_rank
        placed = None if standardise is None else standardise.to(devices.device)

        def annotators(labels: Tensor, number: int) -> Tensor:
            if not recipe.one_annotator:
                return labels
            return chosen_annotator(labels, seeded(seed, "annotator", number, rank))[:, None]

        def see(logits: Tensor, image: Tensor | None) -> Tensor:
            return _seen(logits, image, model_output, placed)

        training = NetworkTraining(
            network,
            recipe.optimiser(network.parameters()),
            Batches(predictions, recipe.batch_size, recipe.augmentation, seed),
            partial(_loss, see=see, annotators=annotators),
            learning_rate=recipe.rate,
            devices=devices,
            average=recipe.average,
        )
        train(
            training,
            num_steps=recipe.num_steps,
            seed=seed,
            identity={
                "training": "calibration network",
                "network": _name_of(make),
                "model_output": model_output,
                "channels": channels,
                "num_images": len(predictions),
                **{field.name: getattr(recipe, field.name) for field in fields(recipe)},
                "seed": seed,
            },
            checkpoint_path=checkpoint_path,
            watch=watch,
            devices=devices,
        )
        standardise = None if placed is None else placed.cpu()
        return cls(training.average.cpu(), model_output=model_output, standardise=standardise)


def _name_of(make: Any) -> str:
    """What makes the network, in words that are the same in every process: no address of an object."""
    if isinstance(make, partial):
        given = [*map(repr, make.args), *(f"{name}={value!r}" for name, value in sorted(make.keywords.items()))]
        return f"{_name_of(make.func)}({', '.join(given)})"
    return getattr(make, "__qualname__", type(make).__qualname__)


def _loss(
    network: nn.Module,
    batch: Batch,
    number: int,
    *,
    see: Callable[[Tensor, Tensor | None], Tensor],
    annotators: Callable[[Tensor, int], Tensor],
) -> Mapping[str, Tensor]:
    """Return the cross-entropy of F with annotators."""
    assert batch.logits is not None
    logits = network(see(batch.logits, batch.image)).float()
    return {"cross-entropy": annotator_cross_entropy(logits, annotators(batch.labels, number))}


def _seen(
    logits: Float[Tensor, "n c *s"],
    image: Float[Tensor, "n k *s"] | None,
    model_output: str,
    standardise: Standardise | None,
) -> Float[Tensor, "n j *s"]:
    """What F is given: the image, if it was trained with one, and what it gets of the black box."""
    if model_output == "probabilities":
        maps = [logits.float().softmax(1)]
    elif model_output == "labels":
        maps = [F.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1).float()]
    else:
        maps = []
    return network_input(image, standardise, *maps)
