"""Any model, run as a black box over examples when its predictions are asked for."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError
from calibrant.models._answer import answer_of, check_first, evaluating
from calibrant.models.steady import check_steady
from calibrant.models.windows import InViews
from calibrant.predictions import (
    Example,
    Examples,
    Prediction,
    StridedPrediction,
    examples_of,
    keys_of,
    prediction_from,
    resized,
)

PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""What a network's layers are computed in, if not in the precision of its weights."""


def prediction_of(example: Example | StridedPrediction, logits: Float[Tensor, "c *s"]) -> Prediction:
    """Return the prediction of an example from logits that were looked at as the model answered.

    :param example: has the key, the labels and the image.
    :param logits: at the size of the labels.
    """
    return prediction_from(
        example.key,
        logits,
        example.labels,
        image=example.image,
        ignore_index=None,
        scores="logits",
        annotators=True,
    )


@dataclass(frozen=True)
class ModelPredictions:
    """What a model says of examples: run lazily, without gradients, in eval mode, one image or one batch at a time.

    The model is any callable from images ``n k *s`` to logits ``n c *t``. An answer that is an object with ``.logits``
    (Hugging Face) or a mapping with ``"logits"`` or ``"out"`` (torchvision) is opened; one channel is taken for a
    sigmoid head's. Logits are upsampled linearly to the labels' size, before any softmax. A module is put in eval
    mode while it runs and left as it was. Predictions lie on the CPU.

    :param model: any callable from images ``n k *s`` to logits ``n c *t``.
    :param examples: read by number; images need not be of one size. A loader, or a data set, of pairs of images and
        labels will do: see :func:`~calibrant.predictions.examples_of`.
    :param batch_size: so many consecutive images of one size go through the model together.
    :param device: where images are sent; by default where the model's first parameter lives.
    :param precision: ``32-true``, the precision of the model's weights; or ``bf16-mixed`` or ``16-mixed``, autocast.
    :param ignore_index: the label of unlabelled pixels in pairs; examples have ``IGNORE`` there already.
    :raises ShapeError: the model returns something else than such logits.
    :raises LogitsError, LabelError: the model returns no finite logits, or labels lie outside its classes.
    :raises MethodError: no such precision.

    >>> examples = [Example("a", torch.rand(3, 4, 6), torch.zeros(1, 4, 6, dtype=torch.long))]
    >>> predictions = ModelPredictions(nn.Conv2d(3, 5, 1, stride=2), examples)
    >>> predictions[0].logits.shape, predictions.keys
    (torch.Size([5, 4, 6]), ('a',))
    """

    model: Callable[[Tensor], Any]
    examples: Examples
    _: KW_ONLY
    batch_size: int = 1
    device: torch.device | str | None = None
    precision: str = "32-true"
    ignore_index: int | None = 255

    def __post_init__(self):
        object.__setattr__(self, "examples", examples_of(self.examples, ignore_index=self.ignore_index))
        check_choice(self.precision, PRECISIONS, "precision")
        if self.batch_size < 1:
            raise InputError(f"expected a batch of one image or more; got batch_size={self.batch_size}.")

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images, without running the model (nor reading images, if the examples have ``keys``)."""
        return keys_of(self.examples)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.examples)

    def __iter__(self) -> Iterator[Prediction]:
        """Run the model over the images in order."""
        batch: list[Example] = []
        for i in range(len(self)):
            example = self.examples[i]
            if batch and (len(batch) == self.batch_size or batch[0].image.shape != example.image.shape):
                yield from self._run(batch)
                batch = []
            batch.append(example)
        if batch:
            yield from self._run(batch)

    def __getitem__(self, i: int, /) -> Prediction:
        """Run the model on one image."""
        return next(self._run([self.examples[i]]))

    def _run(self, batch: list[Example]) -> Iterator[Prediction]:
        answers = self.answers(batch)
        for i, example in enumerate(batch):
            logits = resized(answers[i : i + 1], tuple(example.labels.shape[1:]))[0]
            yield prediction_of(example, logits.cpu())

    def answers(self, batch: list[Example]) -> Float[Tensor, "n c *t"]:
        """Run the model over images of one size, and return what it answers at its own resolution.

        :param batch: examples whose images are of one size.
        :raises InputError: a scripted or traced model answers one image in two ways.
        """
        if isinstance(self.model, nn.Module) and any(
            isinstance(m, torch.jit.ScriptModule) for m in self.model.modules()
        ):
            self.prove_steady()
        images = self._images(batch)
        with self._running(images):
            answer = answer_of(self.model, images, f"image {batch[0].key!r}")
        if not (self._looked_at or isinstance(self.model, InViews)):  # whose runs are looked at one by one
            check_first(answer, self.model, f"image {batch[0].key!r}")
            self._looked_at.append(True)
        return answer

    def prove_steady(self) -> None:
        """Run the model on the first image twice, and behind another one, unless that was done.

        :raises InputError: its answers differ: it is random, or depends on the other images of a batch.
        :raises LogitsError: it says the same everywhere.
        """
        if not self._proven:
            model, images = self.model, self._images([self.examples[0]])
            with self._running(images):
                if isinstance(model, InViews):
                    model, images = model.first_run(images)
                check_steady(model, images, "the model")
            self._proven.append(True)

    @cached_property
    def _proven(self) -> list[bool]:
        return []

    @cached_property
    def _looked_at(self) -> list[bool]:
        return []

    def _images(self, batch: list[Example]) -> Tensor:
        parameter = next(self.model.parameters(), None) if isinstance(self.model, nn.Module) else None
        device = self.device if parameter is None or self.device is not None else parameter.device
        dtype = parameter.dtype if parameter is not None and parameter.is_floating_point() else torch.float32
        return torch.stack([example.image for example in batch]).to(device, dtype)

    @contextmanager
    def _running(self, images: Tensor) -> Generator[None]:
        lower = PRECISIONS[self.precision]
        autocast = nullcontext() if lower is None else torch.autocast(images.device.type, lower)
        # Tensors made in inference mode could not be fitted on later; without gradients they can.
        with evaluating(self.model), torch.no_grad(), autocast:
            yield
