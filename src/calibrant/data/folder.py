"""Folders of arrays and label maps that somebody else wrote, read as predictions.

=====================================  =============================================================================
scores                                 read as
=====================================  =============================================================================
``logits/NAME.npy``, ``.npz``          (c, \\*s); of several arrays the one named logits, softmax, probabilities, probs
``logits/NAME.safetensors``            the same
``logits/NAME.tif``                    the same; pages or samples are the classes
nnU-Net's ``NAME.npz``                 (c, z, y, x) as nnU-Net writes it; (c, 1, y, x) with flat labels is (c, y, x)
``NAME.nii.gz`` of four axes           (x, y, z, c), turned round to (c, z, y, x)
``NAME_0000.nii.gz``, ``_0001``, …     one file for each class, turned round to (c, z, y, x)
=====================================  =============================================================================

The folder may also be called ``probabilities``, ``softmax`` or ``probs``. Labels are matched by name:
``labels/NAME.png`` (numbers, never colours), ``.npy``, ``.npz``, ``.nii.gz``, ``.tif``; several annotators have a
folder each, ``labels/ANNOTATOR/NAME.png``. Pictures, if there are any, are ``images/NAME.png`` or ``.jpg``.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from calibrant._check import check_scores_shape
from calibrant._shapes import Tensor
from calibrant.data._layouts import Files, match, score_folder
from calibrant.data._reading import NIFTI_SUFFIXES, PROBABILITIES, read_labels, read_picture, read_scores, split_name
from calibrant.errors import DataError, InputError, ShapeError
from calibrant.predictions import Prediction, StridedPrediction, from_probabilities, prediction_from


def open_folder(
    path: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    ignore_index: int | None = 255,
    probabilities: bool | None = None,
    class_axis: int = 0,
    class_names: Sequence[str] = (),
    upsample: bool = False,
) -> "FolderPredictions":
    """Return the predictions of a folder; names are matched now, files are read when asked for.

    :param path: the folder of scores, or the one that holds ``logits/`` and ``labels/``.
    :param labels: the folder of labels, if it is not ``labels`` in ``path``.
    :param images: the folder of pictures, if it is not ``images`` in ``path``; they are resized to the labels.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
    :param probabilities: the numbers are probabilities, not logits; one channel is that of the foreground. They are
        never told from their values, but must be named if the folder or the array says so: True, or False.
    :param class_axis: where array files and TIFFs hold the classes; often 0 or -1. NIfTI has them last.
    :param class_names: one name a class, in the order of the scores; empty if they have none.
    :param upsample: logits smaller than the labels are at the network's own stride: they are upsampled (bilinear,
        ``align_corners=False``) when read, and stored as they are by :func:`write_store`.
    :raises DataError: no files are found, or some are missing.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as name:
    ...     folder = Path(name)
    ...     (folder / "logits").mkdir()
    ...     (folder / "labels").mkdir()
    ...     np.save(folder / "logits" / "street.npy", np.random.default_rng(0).normal(size=(3, 4, 5)))
    ...     np.save(folder / "labels" / "street.npy", np.zeros((4, 5), dtype=np.uint8))
    ...     predictions = open_folder(folder)
    ...     predictions.keys, predictions[0].logits.shape
    (('street',), torch.Size([3, 4, 5]))
    """
    root = Path(path)
    files, unused = match(root, labels, images)
    name = score_folder(root).name
    if probabilities is None and name.lower() in PROBABILITIES:
        raise DataError(_ask(str(score_folder(root)), name))
    return FolderPredictions(
        str(root), tuple(files), ignore_index, probabilities, class_axis, tuple(class_names), upsample, unused
    )


@dataclass(frozen=True)
class FolderPredictions:
    """The predictions of a folder, read one at a time; made by :func:`open_folder`.

    :param path: the folder, as it was given.
    :param files: for each image its files of scores, of labels, and its picture.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
    :param probabilities: whether the numbers are probabilities; None if nobody said.
    :param class_axis: the axis of array files and TIFFs that holds the classes.
    :param class_names: one name a class; empty if there are none.
    :param upsample: whether logits smaller than the labels are upsampled when read.
    :param unused_labels: how many label maps have no scores.
    """

    path: str
    files: tuple[Files, ...]
    ignore_index: int | None
    probabilities: bool | None
    class_axis: int
    class_names: tuple[str, ...]
    upsample: bool
    unused_labels: int

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images, in order; known without reading any."""
        return tuple(files.key for files in self.files)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.files)

    def __iter__(self) -> Iterator[Prediction]:
        """Read the images in order, holding none but the one handed out."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int, /) -> Prediction:
        """Read and check one image.

        :raises DataError: a file is damaged.
        :raises ShapeError, LogitsError, LabelError: naming the image and its files.
        """
        return self.strided(i).upsampled()

    def strided(self, i: int) -> StridedPrediction:
        """Read and check one image, its logits at the size that they have in the files.

        :param i: the number of the image.
        """
        files = self.files[i]
        scores, labels = self._scores(files), self._labels(files)
        try:
            return self._prediction(files, scores, labels)
        except InputError as error:
            raise type(error)(f"{error} (Read from {_names(files.scores)} and {_names(files.labels)}.)") from error

    def _labels(self, files: Files) -> np.ndarray:
        maps = [read_labels(path) for path in files.labels]
        if len({one.shape for one in maps}) > 1:
            raise ShapeError(
                f"image {files.key!r}: expected label maps of one size from all annotators; got "
                f"{' and '.join(sorted({str(one.shape) for one in maps}))}. Resize them, nearest neighbour."
            )
        return maps[0] if len(maps) == 1 else np.stack(maps)

    def _scores(self, files: Files) -> Tensor:
        parts = []
        for path in files.scores:
            part, name = read_scores(path)
            if self.probabilities is None and name in PROBABILITIES:
                raise DataError(_ask(str(path), name))
            parts.append(torch.as_tensor(part))
        if len(parts) > 1:
            if len({part.shape for part in parts}) > 1:
                raise ShapeError(
                    f"image {files.key!r}: expected class maps of one size; got "
                    f"{', '.join(sorted({str(tuple(part.shape)) for part in parts}))} in {_names(files.scores)}."
                )
            return torch.stack(parts)
        if split_name(files.scores[0], NIFTI_SUFFIXES):
            # A fifth axis of NIfTI is that of vectors; the fourth, time, is then one long.
            return parts[0].squeeze(1) if parts[0].ndim == 5 else parts[0]
        if not -parts[0].ndim <= self.class_axis < parts[0].ndim:
            raise ShapeError(
                f"{files.scores[0]}: expected an array with a class axis {self.class_axis}; got "
                f"{tuple(parts[0].shape)}. Set class_axis (command line: --class-axis)."
            )
        return parts[0].movedim(self.class_axis, 0)

    def _prediction(self, files: Files, scores: Tensor, labels: np.ndarray) -> StridedPrediction:
        name = f"image {files.key!r}"
        if scores.ndim == 4 and scores.shape[1] == 1 and labels.ndim == 2:
            scores = scores[:, 0]  # nnU-Net keeps flat images as volumes of one slice
        maps = torch.as_tensor(labels if labels.ndim == scores.ndim else labels[None])
        space = tuple(maps.shape[1:])
        at_stride = self.upsample and _is_at_stride(tuple(scores.shape[1:]), space)
        # The door compares sizes: logits at a stride pass it over blank labels of their own size first.
        over = torch.zeros((1, *scores.shape[1:]), dtype=torch.long) if at_stride else maps
        if self.probabilities:
            check_scores_shape(scores, over, name, "probabilities")
            scores = scores.float()
            if scores.shape[0] == 1:
                scores = torch.cat([1 - scores, scores])
            scores = from_probabilities(scores, name=name)
        if at_stride:
            scores = prediction_from(files.key, scores, over, ignore_index=None).logits
        image = self._picture(files, space)
        large = StridedPrediction(files.key, scores, maps).upsampled().logits if at_stride else scores
        made = prediction_from(files.key, large, maps, image=image, ignore_index=self.ignore_index)
        if self.class_names and made.num_classes != len(self.class_names):
            raise ShapeError(
                f"{name}: expected {len(self.class_names)} classes, one for each class name; got {made.num_classes}. "
                "Name the classes of the scores, in order, without the unlabelled one."
            )
        return StridedPrediction(files.key, scores if at_stride else made.logits, made.labels, made.image)

    def _picture(self, files: Files, space: tuple[int, ...]) -> Tensor | None:
        if files.image is None:
            return None
        if len(space) != 2:
            raise ShapeError(
                f"image {files.key!r}: expected flat labels for the picture {files.image}; got space {space}. "
                "Pictures belong to flat labels: move the folder of images away."
            )
        return read_picture(files.image, space)


def _is_at_stride(small: tuple[int, ...], space: tuple[int, ...]) -> bool:
    """Tell whether one space is another at a stride: smaller, and alike in all axes but for the rounding of sizes."""
    if len(small) != len(space) or small == space or 0 in small:
        return False
    strides = [large / little for little, large in zip(small, space, strict=True)]
    return min(strides) >= 1 and max(strides) <= 1.25 * min(strides)


def _ask(where: str, name: str) -> str:
    return (
        f"{where}: expected to be told whether these are probabilities, since {name!r} says so; nothing was said. "
        "Pass probabilities=True (command line: --probabilities), or False if they are logits all the same."
    )


def _names(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} … {paths[-1].name}"
