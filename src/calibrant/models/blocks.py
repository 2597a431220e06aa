"""A model run over fixed blocks of images, so that where a run was interrupted leaves no trace in its numbers."""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import torch

from calibrant._input.checks import check_choice
from calibrant._shapes import Tensor
from calibrant.models.blackbox import ModelPredictions, prediction_of
from calibrant.predictions import Example, Examples, Prediction, StridedPrediction, prediction_from, resized

RESOLUTIONS = ("network", "label")


class BlockPredictions:
    """Predictions that are made in blocks of ``batch_size`` consecutive images, the same ones whichever is asked for.

    The last bits of what a network computes depend on what else is in its batch. Here an image's batch follows from its
    number alone, so any image read again, in another run, has the same logits (on one machine, and on a GPU as far as
    its kernels are deterministic). The block last used is kept: reading in order runs each image once.

    :param model: any callable from images ``n k *s`` to logits ``n c *t``.
    :param examples: the images, read by number; they need not be of one size.
    :param batch_size: the number of images in a block; those of one size go through the model together.
    :param resolution: what :meth:`strided` returns: ``network``, logits as the model answered, or ``label``, logits
        upsampled linearly to the labels.
    :param device: where images are sent; by default where the first parameter of the model lives.
    :param precision: ``32-true``, the precision of the weights of the model; or ``bf16-mixed`` or ``16-mixed``,
        autocast.
    :raises MethodError, InputError: no such resolution, precision or size.

    >>> from torch import nn
    >>> examples = [Example(key, torch.rand(3, 4, 6), torch.zeros(1, 4, 6, dtype=torch.long)) for key in "abc"]
    >>> predictions = BlockPredictions(nn.Conv2d(3, 5, 1, stride=2), examples, batch_size=2)
    >>> predictions[2].logits.shape, predictions.strided(2).logits.shape
    (torch.Size([5, 4, 6]), torch.Size([5, 2, 3]))
    """

    def __init__(
        self,
        model: Callable[[Tensor], Any],
        examples: Examples,
        *,
        batch_size: int = 1,
        resolution: str = "network",
        device: torch.device | str | None = None,
        precision: str = "32-true",
    ):
        check_choice(resolution, RESOLUTIONS, "resolution")
        self.resolution = resolution
        self._source = ModelPredictions(model, examples, batch_size=batch_size, device=device, precision=precision)
        self._keys = self._source.keys
        self._block, self._answers = -1, list[StridedPrediction]()

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images, without running the model."""
        return self._keys

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._source)

    def __iter__(self) -> Iterator[Prediction]:
        """Run the model over the images in order."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int, /) -> Prediction:
        """Return one image's prediction at the labels' size."""
        answer = self._answer(i)
        logits = resized(answer.logits[None], tuple(answer.labels.shape[1:]))[0]
        return prediction_of(answer, logits)

    def prove_steady(self) -> None:
        """Run the model on the first image twice, and behind another one, unless that was done.

        :raises InputError: its answers differ: it is random, or depends on the other images of a batch.
        :raises LogitsError: it answers with no logits, or says the same everywhere.
        """
        self._source.prove_steady()

    def strided(self, index: int) -> StridedPrediction | Prediction:
        """Return one image's prediction with logits at the ``resolution``: what a store keeps.

        :param index: the number of the image.
        """
        return self._answer(index) if self.resolution == "network" else self[index]

    def _answer(self, i: int) -> StridedPrediction:
        number = range(len(self))[i]
        size = self._source.batch_size
        if number // size != self._block:
            first = number // size * size
            examples = [self._source.examples[j] for j in range(first, min(first + size, len(self)))]
            runs = (list(run) for _, run in groupby(examples, key=lambda example: example.image.shape))
            self._answers = [answer for run in runs for answer in self._run(run)]
            self._block = number // size
        return self._answers[number % size]

    def _run(self, batch: list[Example]) -> Iterator[StridedPrediction]:
        for example, logits in zip(batch, self._source.answers(batch), strict=True):
            # Checked here, as a smaller map: labels of another size are looked at when they are stored.
            blank = torch.zeros(logits.shape[1:], dtype=torch.long)
            scores = prediction_from(example.key, logits.cpu(), blank, ignore_index=None, scores="logits").logits
            yield StridedPrediction(example.key, scores, example.labels, example.image)
