"""A model that was opened from files, and what is known about it."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from calibrant._input.checks import shape_of
from calibrant._shapes import Tensor
from calibrant.errors import InputError, ShapeError
from calibrant.models._answer import evaluating
from calibrant.models._normalise import Normalisation, Normalise


@dataclass(frozen=True)
class OpenedModel:
    """A callable from images ``n k *s`` in [0, 1] to logits ``n c *t``, and what is known about it.

    :param run: the model, normalisation included; a module, so that its device and mode can be seen.
    :param description: which model, with which weights, and how images are scaled; for ``Provenance``.
    :param class_names: in the order of the logits, as the model has them; empty if it does not say.
    :param num_classes: None if it does not say.
    :param answers: at what resolution it answers, if there is more to say than "its own".
    """

    run: nn.Module
    description: str
    _: KW_ONLY
    class_names: tuple[str, ...] = ()
    num_classes: int | None = None
    answers: str = ""

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits of images, in eval mode."""
        with evaluating(self.run):
            return self.run(images)


class Scaled(nn.Module):
    """A model behind its normalisation, whose failures are raised as errors that say what to do.

    :param model: any callable; a module's parameters are seen.
    :param name: which model, for errors.
    :param hint: what may help if it cannot run on an image.
    :param how: the normalisation that images go through first.
    """

    def __init__(self, model: Callable[[Tensor], Any], how: Normalisation, *, name: str, hint: str = ""):
        super().__init__()
        self.model, self.normalise, self.name, self.hint = model, Normalise(how), name, hint

    def forward(self, images: Tensor) -> Any:
        """Return what the model answers.

        :param images: images (n, k, *s) in [0, 1].
        """
        images = self.normalise(images)
        try:
            return self.model(images)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"{self.name}: expected enough memory for images {shape_of(images)}; {error}. "
                "Give fewer at once (--batch), or windows (--crop)."
            ) from error
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise ShapeError(
                f"{self.name}: expected a model that runs on images {shape_of(images)}; it fails: {first[0]} "
                f"{self.hint or 'If it takes images of one size only, give windows of that size: --crop.'}"
            ) from error


def digest(files: Iterable[Path]) -> str:
    """Return the first twelve digits of the SHA-256 of files, one after the other: which weights these are.

    :param files: the files of the weights, in their order.
    """
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()[:12]
