"""Checks of what comes in, each with one wording. Behind them, tensors are trusted.

``name`` says which image or file is meant; it is put in front of every message.
"""

import importlib
from collections.abc import Iterable
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import torch

from calibrant._encoding.value_domain import LOOKED_AT, UNITS, count_values, describe, domain_of, question, saying
from calibrant._shapes import IGNORE, Tensor
from calibrant.errors import FitError, LabelError, LogitsError, MethodError, PackageError, ShapeError, StoreError

EXTRAS = {
    "datasets": "hf",
    "lightning_fabric": "train",
    "monai": "monai",
    "nibabel": "medical",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "pandas": "frames",
    "rasterio": "geo",
    "tifffile": "tiff",
    "transformers": "hf",
    "zarr": "zarr",
}
"""Packages that only some functions need, and the extra of calibrant that brings each."""


def shape_of(tensor: Tensor) -> str:
    """Return a shape as people write it.

    >>> shape_of(torch.zeros(19, 256, 512))
    '(19, 256, 512)'
    """
    return str(tuple(tensor.shape))


def about(name: str, sentence: str) -> str:
    """Return a sentence, with the name of what it is about before it if there is one.

    >>> about("image 'a'", "expected logits."), about("", "expected logits.")
    ("image 'a': expected logits.", 'expected logits.')
    """
    return f"{name}: {sentence}" if name else sentence


def check_scores_shape(scores: Tensor, labels: Tensor, name: str, what: str = "logits") -> None:
    """Raise unless scores are (c, *s) and labels (a, *s), with the class axis first.

    :raises ShapeError: an axis is missing, the class axis is not the first, or the sizes differ.
    """
    if not scores.is_floating_point():
        raise LogitsError(
            f"{name}: expected {what} as floating-point numbers; got {scores.dtype}. If these are probabilities "
            "stored as whole numbers, say so: scores='probabilities' (command line: --scores probabilities); if they "
            "are label maps, pass the model's scores instead."
        )
    if scores.ndim < 2 or labels.ndim != scores.ndim:
        raise ShapeError(
            f"{name}: expected {what} (classes, *space) and labels (annotators, *space) with equally many axes; "
            f"got {what} {shape_of(scores)} and labels {shape_of(labels)}."
        )
    if 0 in scores.shape or 0 in labels.shape:
        raise ShapeError(
            f"{name}: expected arrays with pixels; got an array without a pixel, {what} {shape_of(scores)} and labels "
            f"{shape_of(labels)}. Leave such images out."
        )
    space = tuple(labels.shape[1:])
    if tuple(scores.shape[1:]) == space:
        return
    for axis in range(1, scores.ndim):
        if tuple(scores.movedim(axis, 0).shape[1:]) == space:
            raise ShapeError(
                f"{name}: expected the class axis of the {what} first, (classes, *space) with space {space}; got "
                f"{shape_of(scores)}, where axis {axis} ({scores.shape[axis]} long) seems to hold the classes. "
                f"Move it: logits.movedim({axis}, 0) (command line: --class-axis {axis})."
            )
    raise ShapeError(
        f"{name}: expected {what} and labels of the same size; got {what} {shape_of(scores)} over space "
        f"{tuple(scores.shape[1:])} and labels over space {space}. Resize the {what} to the labels "
        "(bilinear, before the softmax), or say how a store is to upsample them."
    )


def check_finite(scores: Tensor, name: str, what: str = "logits") -> None:
    """Raise if any number is NaN or infinite.

    :raises LogitsError: naming the image and how many numbers are not finite.
    """
    # One sum is enough to find trouble, and a false alarm (an overflow) is recognised below.
    if torch.isfinite(scores.sum(dtype=torch.float32)):
        return
    bad = ~torch.isfinite(scores)
    if not bad.any():
        return
    nan = int(torch.isnan(scores).sum())
    sentence = (
        f"expected finite {what}; got {nan} NaN and {int(bad.sum()) - nan} infinite of {bad.numel()} numbers. "
        "Clamp infinite scores to a large finite value, and look for a division by zero or a float16 overflow."
    )
    raise LogitsError(about(name, sentence))


def check_are_logits(logits: Tensor, name: str) -> None:
    """Raise if most pixels sum to one, or to 100 or 255, with no number below zero: these are probabilities.

    :raises LogitsError: telling how to hand over probabilities.
    """
    counts = count_values(logits, every=max(1, logits[0].numel() // LOOKED_AT))
    kind = domain_of(counts)
    if kind in UNITS:
        how = "Pass them through calibrant.predictions.from_probabilities (command line: --scores probabilities, "
        raise LogitsError(
            f"{name}: expected logits (before the softmax); got {describe(counts)}, {question(counts)}. "
            + (f"{how}or --probabilities)." if kind == "probabilities" else f"Say so: {saying(kind)}.")
        )


def check_labels(labels: Tensor, num_classes: int, name: str) -> None:
    """Raise unless labels are integers in 0..num_classes - 1 or IGNORE.

    :raises LabelError: naming the values found, with the hint for 255.
    """
    if labels.is_floating_point() or labels.is_complex():
        raise LabelError(about(name, f"expected integer labels; got {labels.dtype}. Convert them: labels.long()."))
    if labels.numel() == 0:
        return
    wrong = (labels != IGNORE) & ((labels < 0) | (labels >= num_classes))
    if not bool(wrong.any()):
        return
    values = torch.unique(labels[wrong]).tolist()
    shown = ", ".join(map(str, values[:5])) + (", …" if len(values) > 5 else "")
    hint = (
        " If 255 marks unlabelled pixels, pass ignore_index=255 (command line: --ignore-index 255)."
        if 255 in values
        else " Check the number of classes, or name the unlabelled value: ignore_index (command line: --ignore-index)."
    )
    sentence = (
        f"expected labels in 0..{num_classes - 1}, or unlabelled; got {shown} "
        f"in {int(wrong.sum())} of {labels.numel()} pixels.{hint}"
    )
    raise LabelError(about(name, sentence))


def check_classes_as_fitted(logits: Tensor, num_classes: int) -> None:
    """Raise unless logits (n, c, *s) have the number of classes that a calibrator was fitted on.

    :raises ShapeError: they have another.

    >>> check_classes_as_fitted(torch.zeros(1, 4, 2, 2), 3)
    Traceback (most recent call last):
    calibrant.errors.ShapeError: expected logits of 3 classes, as fitted, in axis 1; got (1, 4, 2, 2). Fit on ...
    """
    if logits.ndim < 2 or logits.shape[1] != num_classes:
        raise ShapeError(
            f"expected logits of {num_classes} classes, as fitted, in axis 1; got {shape_of(logits)}. "
            "Fit on predictions of this model."
        )


def check_choice(value: str, choices: Iterable[str], what: str) -> None:
    """Raise unless ``value`` is one of ``choices``, naming the nearest.

    >>> check_choice("temprature", ["temperature", "vector"], "method")
    Traceback (most recent call last):
    calibrant.errors.MethodError: expected a method of: ...; got 'temprature'. Did you mean 'temperature'?
    """
    choices = list(choices)
    if value in choices:
        return
    near = get_close_matches(value, choices, n=1, cutoff=0.5)
    raise MethodError(
        f"expected a {what} of: {', '.join(choices)}; got {value!r}." + (f" Did you mean {near[0]!r}?" if near else "")
    )


def needs(module: str, purpose: str, *, name: str = "") -> ModuleType:
    """Import a module of a package that only some functions need.

    :param module: the module, of a package in ``EXTRAS``.
    :param purpose: what the package is for, after "which": "reads such files".
    :param name: names the file or model that needs it.
    :raises PackageError: it is not installed, or cannot be imported; naming the extra that brings it.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        raise PackageError(
            f"{name and f'{name}: '}expected the package {package}, which {purpose}; "
            f"{'it is not installed' if missing else f'importing it fails: {error}'}. "
            f"Install it: pip install 'calibrant[{EXTRAS[package]}]'."
        ) from error


def check_labelled(num_pixels: int | bool, num_images: int | None = None) -> None:
    """Raise unless there are labelled pixels to fit on.

    :param num_pixels: how many pixels are labelled, or whether any is.
    :param num_images: how many images were looked at; None if that is not known.
    :raises FitError: none is labelled.
    """
    if not num_pixels:
        where = "" if num_images is None else f" of the {num_images} images"
        raise FitError(
            f"expected labelled pixels to fit on; all pixels{where} are unlabelled. "
            "Check ignore_index (command line: --ignore-index)."
        )


def check_version(found: Any, version: int, name: str) -> None:
    """Raise unless a file's version is one that this calibrant reads.

    :param found: what the file says.
    :param version: the newest that is read; all older ones are too.
    :param name: names the file.
    :raises StoreError: it says no version, or a newer one.
    """
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise StoreError(
            f"{name}: expected a version number; got {found!r}. The file is damaged or not calibrant's: write it again."
        )
    if found > version:
        raise StoreError(
            f"{name}: expected version {version} or older; got version {found}, written by a newer calibrant. "
            "Upgrade: pip install --upgrade calibrant."
        )
