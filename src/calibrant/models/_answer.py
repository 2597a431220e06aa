"""What a model answers: finding the logits in it, and checking their shape."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from calibrant._check import shape_of
from calibrant._shapes import Float, Tensor
from calibrant.errors import LogitsError, ShapeError


def answer_of(
    model: Callable[[Tensor], Any], images: Float[Tensor, "n k *s"], name: str = "the model"
) -> Float[Tensor, "n c *t"]:
    """Return the logits that a model gives to images, over a space of the same proportions.

    :param name: what error messages call the model.
    :raises ShapeError, LogitsError: it gives something else.
    """
    output = model(images)
    if isinstance(output, Mapping):
        answer = next((output[key] for key in ("logits", "out") if key in output), output)
    else:
        answer = getattr(output, "logits", output)
    _check(answer, images, name)
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
