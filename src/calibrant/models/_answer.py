"""What a model answers: finding the logits in it, and checking their shape."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import Any

from torch import nn

from calibrant._encoding.value_domain import LOOKED_AT, SIGMOID, ValueCounts, check_said, count_values, domain_of
from calibrant._input.checks import shape_of
from calibrant._shapes import Float, Tensor
from calibrant.errors import LogitsError, ShapeError

RAISED = "the model raised this, given images"
"""How the note begins that an error of a model carries: the error itself reaches who calls it as it is."""


def logits_in(output: Any) -> Any:
    """Return the logits in what a model answers: under ``logits`` or ``out``, first in a tuple, or the answer itself.

    :param output: a tensor, a mapping, an object with an attribute ``logits``, or a tuple that begins with the logits.
    """
    if hasattr(output, "logits"):
        return output.logits
    if isinstance(output, tuple) and output:
        return output[0]
    if isinstance(output, Mapping):
        return next((output[key] for key in ("logits", "out") if key in output), output)
    return output


def answer_of(
    model: Callable[[Tensor], Any],
    images: Float[Tensor, "n k *s"],
    name: str = "the model",
    *,
    scores: str | None = None,
) -> Float[Tensor, "n c *t"]:
    """Return the logits that a model gives to images, over a space of the same proportions.

    :param name: whose answer it is; put in front of error messages.
    :param scores: what the answer was declared to be; if None, values that look like no logits are refused, unless
        the model itself has a word ``scores`` on it.
    :raises ShapeError, LogitsError: it gives something else.
    """
    try:
        answer = logits_in(model(images))
    except Exception as error:
        error.add_note(f"{name}: {RAISED} {shape_of(images)}")
        raise
    _check(answer, images, name)
    owner = getattr(model, "__self__", model)  # a method says what its object says
    if scores is None and getattr(owner, "scores", None) is None:
        _check_logits(answer, name)
    return answer


@contextmanager
def evaluating(model: Any) -> Generator[None]:
    """Put a module in eval mode, and back as it was."""
    training = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _check_logits(answer: Tensor, name: str) -> None:
    """Raise if the answers of a batch look like probabilities: averaged as logits, they would be wrong."""
    counts = reduce(add, [count_values(one, every=max(1, one[0].numel() // LOOKED_AT)) for one in answer])
    if domain_of(counts) != SIGMOID:  # so may few logits be; a whole image of a data set is looked at more strictly
        check_declared(counts, name)


def check_first(answer: Float[Tensor, "n c *t"], model: Callable[[Tensor], Any], name: str) -> None:
    """Raise if the answer to the first image of a set must be declared, sigmoids included.

    :param answer: to one image or more.
    :param model: is not looked at if it says itself what it answers with.
    :param name: whose answer it is.
    :raises LogitsError: saying how.
    """
    if getattr(model, "scores", None) is None:
        check_declared(count_values(answer[0], every=max(1, answer[0, 0].numel() // LOOKED_AT)), name)


def check_declared(counts: ValueCounts, name: str) -> None:
    """Raise if a model's answers must be declared, saying how."""
    python = "calibrant.models.DeclaredScores(model, {})"
    check_said(counts, name, python=python)


def _check(answer: Any, images: Tensor, name: str) -> None:
    count = len(images)
    wanted = f"expected the model to return logits ({count}, classes, *space) for images {shape_of(images)}; got "
    if not isinstance(answer, Tensor):
        keys = f" with the keys {', '.join(map(repr, answer))}" if isinstance(answer, Mapping) else ""
        raise ShapeError(f"{name}: {wanted}{type(answer).__name__}{keys}. Wrap it: lambda images: model(images)[...].")
    if not answer.is_floating_point():
        raise LogitsError(
            f"{name}: {wanted}{answer.dtype}. Return scores before the softmax or argmax, not label maps."
        )
    if answer.ndim != images.ndim or len(answer) != count:
        raise ShapeError(f"{name}: {wanted}{shape_of(answer)}. Keep the axis of images and the axis of classes.")
    space, given = answer.shape[2:], images.shape[2:]
    if space != given and answer.shape[1:-1] == given:
        raise ShapeError(
            f"{name}: {wanted}{shape_of(answer)}, with the classes last. Move them: logits.movedim(-1, 1)."
        )
    # A stride may round each side by a pixel; anything more means that the model pads, crops or mixes up its axes.
    shares = [mine / theirs for mine, theirs in zip(space, given, strict=True)]
    if max(shares) - min(shares) > sum(1 / theirs for theirs in given):
        raise ShapeError(
            f"{name}: {wanted}{shape_of(answer)}, of another aspect ratio. Crop away what the model padded, "
            "so that the logits cover the image."
        )
