"""Calibrators, and models with a calibrator behind them, as ONNX files that give calibrated probabilities."""

import contextlib
import logging
import os
import warnings
from collections.abc import Generator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from calibrant._input.checks import needs
from calibrant._shapes import Float, Int, Tensor
from calibrant._storage.files import replacing
from calibrant.calibrators.calibrator import Calibrator
from calibrant.errors import StoreError
from calibrant.models._answer import logits_in
from calibrant.predictions import MARGIN, resized, with_margin


class _Probabilities(nn.Module):
    """From what the file takes to what it gives."""

    def __init__(self, calibrator: Calibrator, model: nn.Module | None, margin: float) -> None:
        super().__init__()
        self.calibrator, self.model, self.margin = calibrator, model, margin
        self.smaller = False

    def looked_at(self, example: Float[Tensor, "n k *s"]) -> "_Probabilities":
        """Note whether the model answers at another size than that of the image."""
        if self.model is not None:
            with torch.no_grad():
                self.smaller = logits_in(self.model(example)).shape[2:] != example.shape[2:]
        return self

    def forward(self, given: Float[Tensor, "n k *s"]) -> tuple[Float[Tensor, "n c *s"], Int[Tensor, "n *s"]]:
        if self.model is None:
            logits = self.calibrator(given)
        else:
            answer = _with_background(logits_in(self.model(given)))
            logits = self.calibrator(resized(answer, tuple(given.shape[2:])) if self.smaller else answer, given)
        apart = with_margin(logits, self.margin)  # the largest is 0
        # Not softmax: onnxruntime's over axis 1 is ten times slower than its parts.
        weight = apart.exp()
        return weight / weight.sum(1, keepdim=True), logits.argmax(1)


def _with_background(logits: Float[Tensor, "n c *s"]) -> Float[Tensor, "n c *s"]:
    """The logits of a model; one channel, of a sigmoid head, becomes two."""
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def export_onnx(
    calibrator: Calibrator,
    path: str | os.PathLike[str],
    *,
    num_classes: int,
    model: nn.Module | None = None,
    example: Tensor | None = None,
    spatial_dims: int = 2,
    margin: float = MARGIN,
    any_size: bool = True,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a calibrator, alone or behind a model, as one ONNX file (opset 20) with any batch size and spatial size.

    Outputs are ``probabilities`` (n, c, *s) and ``labels`` (n, *s), which are the argmax of the calibrated logits and,
    because of the margin, of the probabilities, in float16 too.

    :param calibrator: the calibrator to be exported.
    :param path: the file to be written.
    :param num_classes: the number of classes of its logits.
    :param model: from images to logits, alone, under ``logits`` or ``out``; smaller ones are upsampled to the image,
        bilinear, before they are calibrated, and one channel is that of a sigmoid head, of two classes. The file then
        takes ``image``, and ``logits`` otherwise.
    :param example: an input to trace with, (n, k, *s); by default of 2 x c x 32 x 48, and of
        2 x 3 x 256 x 320 for a model.
    :param spatial_dims: 2 for images, 3 for volumes.
    :param margin: how far below the largest logit every smaller one is brought at least, in nats; see
        :func:`calibrant.predictions.with_margin`. With 0 the argmax of the probabilities may be another label.
    :param any_size: False for images of the size of the example alone, as some models need.
    :param metadata: words that the file says of itself, by name.
    :raises PackageError: the extra ``onnx`` is not installed.
    :raises StoreError: the file cannot be written.
    """
    if example is None:
        space = (8, 16, 24) if spatial_dims == 3 else (32, 48) if model is None else (256, 320)
        example = torch.zeros(2, num_classes if model is None else 3, *space)
    write_onnx(
        _Probabilities(calibrator, model, margin).eval().looked_at(example),
        {"logits" if model is None else "image": example},
        path,
        outputs=("probabilities", "labels"),
        any_size=any_size,
        metadata=metadata,
    )


def probabilities_and_labels(
    calibrator: Calibrator, model: nn.Module | None, given: Float[Tensor, "n k *s"], *, margin: float = MARGIN
) -> tuple[Float[Tensor, "n c *s"], Int[Tensor, "n *s"]]:
    """Return what a file of :func:`export_onnx` gives, computed by torch.

    :param calibrator: the calibrator in the file.
    :param model: the model in front of it; None if logits are given.
    :param given: images, or logits.
    :param margin: as in the file.
    """
    wrapped = _Probabilities(calibrator, model, margin).eval()
    with torch.no_grad():
        return wrapped.looked_at(given)(given)


def write_onnx(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    *,
    outputs: Sequence[str],
    channels: Mapping[str, int] = MappingProxyType({}),
    any_size: bool = True,
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a module as one ONNX file (opset 20), whole or not at all.

    :param module: takes the inputs in order, and returns a tensor, or several, in the order of their names.
    :param inputs: examples by the names that the file gives them.
    :param path: the file to be written.
    :param outputs: the names of what it returns.
    :param channels: by input, the axis that keeps the size it has, if it is another than 1; all others may have any.
    :param any_size: whether they may; if not, only the first axis, which counts the images, may.
    :param metadata: words that the file says of itself, by name.
    :raises PackageError: the extra ``onnx`` is not installed.
    :raises StoreError: the file cannot be written.
    """
    for package in ("onnx", "onnxscript"):
        needs(package, "torch's ONNX exporter uses")
    free = torch.export.Dim.DYNAMIC
    dynamic = tuple(
        {axis: free for axis in range(each.ndim) if axis == 0 or (any_size and axis != channels.get(name, 1))}
        for name, each in inputs.items()
    )
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                dynamo=True,
                opset_version=20,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=dynamic,
                custom_translation_table={torch.ops.aten._adaptive_avg_pool2d.default: _adaptive_mean},
                verbose=False,
            )
        assert program is not None  # dynamo=True returns one
        program.model.metadata_props.update(metadata)
        with replacing(path) as temporary:
            program.save(temporary)
    except OSError as error:
        raise StoreError(f"{path}: expected to write an ONNX file; {error}. Choose another folder.") from error


def _adaptive_mean(given: Any, sizes: Sequence[int]) -> Any:
    """In ONNX's operators, torch's adaptive average pooling of images of any size: as two matrix products.

    Torch's own translation holds for the size of the example alone.
    """
    from onnxscript import opset20

    op: Any = opset20  # its hints leave out the numbers and lists that it takes
    given_shape = op.Shape(given)
    for axis, size in ((-2, sizes[0]), (-1, sizes[1])):
        extent = op.Gather(given_shape, op.Constant(value_int=axis))
        cell = op.Unsqueeze(op.Constant(value_ints=list(range(size))), [1])
        start = op.Div(op.Mul(cell, extent), size)
        end = op.Div(op.Add(op.Mul(op.Add(cell, 1), extent), size - 1), size)
        place = op.Unsqueeze(op.Range(0, extent, 1), [0])
        inside = op.CastLike(op.And(op.GreaterOrEqual(place, start), op.Less(place, end)), given)
        mean = op.Div(inside, op.CastLike(op.Sub(end, start), given))
        given = op.MatMul(mean, given) if axis == -2 else op.MatMul(given, op.Transpose(mean, perm=[1, 0]))
    return given


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Silence torch's exporter, which warns of packages it does not need here and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
