"""A model nobody opens, run over examples when its predictions are asked for."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._check import shape_of
from calibrant._shapes import Tensor
from calibrant.errors import InputError, LogitsError, ShapeError
from calibrant.predictions import Example, Examples, Prediction, prediction_from


@dataclass(frozen=True)
class ModelPredictions:
    """What a model says of examples: run lazily, without gradients, in eval mode, one image or one batch at a time.

    The model is any callable from images ``n k *s`` to logits ``n c *t``. An answer that is an object with ``.logits``
    (Hugging Face) or a mapping with ``"logits"`` or ``"out"`` (torchvision) is opened; one channel is taken for a
    sigmoid head's. Logits are upsampled linearly to the labels' size, before any softmax. A module is put in eval
    mode while it runs and left as it was. Predictions lie on the CPU.

    :param examples: read by number; images need not be of one size.
    :param batch_size: so many consecutive images of one size go through the model together.
    :param device: where images are sent; by default where the model's first parameter lives.
    :raises ShapeError: the model returns something else than such logits.
    :raises LogitsError, LabelError: the model returns no finite logits, or labels lie outside its classes.

    >>> examples = [Example("a", torch.rand(3, 4, 6), torch.zeros(1, 4, 6, dtype=torch.long))]
    >>> predictions = ModelPredictions(nn.Conv2d(3, 5, 1, stride=2), examples)
    >>> predictions[0].logits.shape, predictions.keys
    (torch.Size([5, 4, 6]), ['a'])
    """

    model: Callable[[Tensor], Any]
    examples: Examples
    _: KW_ONLY
    batch_size: int = 1
    device: torch.device | str | None = None

    def __post_init__(self):
        if self.batch_size < 1:
            raise InputError(f"expected a batch of one image or more; got batch_size={self.batch_size}.")

    @property
    def keys(self) -> list[str]:
        """The names of the images, without running the model (nor reading images, if the examples have ``keys``)."""
        keys = getattr(self.examples, "keys", None)
        return [self.examples[i].key for i in range(len(self))] if keys is None else list(keys)

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
        parameter = next(self.model.parameters(), None) if isinstance(self.model, nn.Module) else None
        device = self.device if parameter is None or self.device is not None else parameter.device
        dtype = parameter.dtype if parameter is not None and parameter.is_floating_point() else torch.float32
        images = torch.stack([example.image for example in batch]).to(device, dtype)
        # Tensors made in inference mode could not be fitted on later; without gradients they can.
        with _evaluating(self.model), torch.no_grad():
            answer = _opened(self.model(images))
            _check_answer(answer, images, batch)
            answers = [_resized(answer[i], example.labels.shape[1:]) for i, example in enumerate(batch)]
        for example, logits in zip(batch, answers, strict=True):
            yield prediction_from(example.key, logits.cpu(), example.labels, image=example.image, ignore_index=None)


@contextmanager
def _evaluating(model: Any) -> Generator[None]:
    training = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _opened(output: Any) -> Any:
    if isinstance(output, Mapping):
        return next((output[key] for key in ("logits", "out") if key in output), output)
    return getattr(output, "logits", output)


def _check_answer(answer: Any, images: Tensor, batch: list[Example]) -> None:
    name = f"image {batch[0].key!r}"
    wanted = f"expected the model to return logits ({len(batch)}, classes, *space) for images {shape_of(images)}; got "
    if not isinstance(answer, Tensor):
        keys = f" with the keys {', '.join(map(repr, answer))}" if isinstance(answer, Mapping) else ""
        raise ShapeError(f"{name}: {wanted}{type(answer).__name__}{keys}. Wrap it: lambda images: model(images)[...].")
    if not answer.is_floating_point():
        raise LogitsError(
            f"{name}: {wanted}{answer.dtype}. Return scores before the softmax or argmax, not label maps."
        )
    if answer.ndim != images.ndim or len(answer) != len(batch):
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


def _resized(tensor: Tensor, space: tuple[int, ...]) -> Tensor:
    if tensor.shape[1:] == space:
        return tensor
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(space)]
    return F.interpolate(tensor[None].float(), tuple(space), mode=mode)[0]
