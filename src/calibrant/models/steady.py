"""Proof that a model answers an image alike twice, and whatever else is in its batch: that it is in evaluation mode.

A module is put in evaluation mode, but a traced or exported graph keeps the mode it was made in, and dropout without
``training=`` is never off. So one image is run twice, and once more behind another one.
"""

from collections.abc import Callable
from typing import Any

import torch

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError, LogitsError
from calibrant.models._answer import answer_of, check_first

MOST_BETWEEN_RUNS = 1e-3
"""So much may a probability differ between two runs; rounding on a GPU is a hundred times smaller."""
MOST_BETWEEN_BATCHES = 2e-2
"""So much between batches, which are computed in other orders, in half precision too."""


def check_steady(model: Callable[[Tensor], Any], image: Float[Tensor, "1 k *s"], name: str) -> None:
    """Run a model on an image twice, and behind another image, and raise if its answers differ.

    :param model: from images to logits, as it is run.
    :param image: the first image.
    :param name: which model, for errors.
    :raises InputError: the answers differ.
    :raises LogitsError: the answer is no logits, or the same in every pixel of both images.
    """
    answer = answer_of(model, image, name)
    check_first(answer, model, name)
    first, again = _probabilities(answer), _probabilities(answer_of(model, image, name))
    if (apart := float((first - again).abs().max())) > MOST_BETWEEN_RUNS:
        raise InputError(
            f"{name}: expected a model that answers an image alike twice; two runs over one image differ by up to "
            f"{apart:.2g} in a probability: the model is random, as with dropout in training mode. A traced or "
            "exported model keeps the mode it was saved in: call model.eval() before torch.jit.trace or the export, "
            "and save it again."
        )
    other = _unlike(image)
    try:
        both = _probabilities(answer_of(model, torch.cat([other, image])))
    except (InputError, RuntimeError, ValueError):
        return  # it takes one image at a time, so there is no batch to depend on
    if (apart := float((first - both[1:]).abs().max())) > MOST_BETWEEN_BATCHES:
        raise InputError(
            f"{name}: expected a model whose answer to an image does not depend on others in its batch; behind another "
            f"image it differs by up to {apart:.2g} in a probability, as with batch normalisation in training mode. "
            "Call model.eval() before torch.jit.trace or the export, and save it again."
        )
    flat = both.movedim(1, 0).flatten(1)
    if flat.shape[1] > 3 and bool((flat.amax(1) - flat.amin(1) < 1e-7).all()):
        raise LogitsError(
            f"{name}: expected answers that differ between pixels; all of them are equal, in both images tried: a "
            "model that says the same everywhere. Its weights may not have been loaded, or its training has collapsed."
        )


def _unlike(image: Tensor) -> Tensor:
    """Return an image that differs from one, and from pixel to pixel, even if that one is black."""
    pattern = torch.arange(image.numel(), device=image.device).mul(0.618034).remainder(1).reshape(image.shape)
    return (0.5 * image.flip(-1) + 0.5 * pattern).to(image.dtype)


def _probabilities(logits: Float[Tensor, "n c *t"]) -> Tensor:
    logits = logits.float()
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
