"""Folders of arrays and label maps that somebody else wrote, read as predictions.

=====================================  =============================================================================
scores                                 read as
=====================================  =============================================================================
``logits/NAME.npy``, ``.npz``          (c, \\*s); of several arrays the one named logits, softmax, probabilities, probs
``logits/NAME.safetensors``            the same
``logits/NAME.tif``                    the same; pages or samples are the classes
nnU-Net's ``NAME.npz``                 (c, z, y, x) as nnU-Net writes it; (c, 1, y, x) with flat labels is (c, y, x)
nnU-Net's results as they lie          with ``dataset.json``: all cases of ``fold_0/validation``, …, each out of fold
``NAME.nii.gz`` of four axes           (x, y, z, c), turned round to (c, z, y, x), and as the affine of the labels says
``NAME_0000.nii.gz``, ``_0001``, …     one file for each class, turned round to (c, z, y, x)
=====================================  =============================================================================

The folder may also be called ``probabilities``, ``softmax`` or ``probs``. Labels are matched by name:
``labels/NAME.png`` (numbers, never colours), ``.npy``, ``.npz``, ``.nii.gz``, ``.tif``; several annotators have a
folder each, ``labels/ANNOTATOR/NAME.png``, or a file each, ``labels/NAME_ANNOTATOR.nii.gz``, or share a file with an
axis for them (``label_axis="annotators"``). Pictures, if there are any, are ``images/NAME.png`` or ``.jpg``.

What the numbers and the axes stand for is inferred from the whole folder, declared, or asked for
(``FolderPredictions``).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from calibrant._encoding.label_coding import IgnoreIndex
from calibrant._encoding.value_domain import SCORES
from calibrant._input.checks import check_choice
from calibrant._shapes import Tensor
from calibrant.data._formats.palette import Palette, check_palette, classes_in
from calibrant.data._formats.reading import PROBABILITIES, read_picture
from calibrant.data.folder._file_group import FileGroup, ImageFiles
from calibrant.data.folder._layouts import Matched, match, score_folder
from calibrant.data.folder._nnunet import results_in
from calibrant.data.folder._pair import LABEL_AXES, ORDERS, Declared, is_at_stride
from calibrant.data.folder._places import places_of
from calibrant.data.folder._regions import Region
from calibrant.data.folder._survey import Survey, survey
from calibrant.data.geometry import Geometry
from calibrant.errors import DataError, InputError, ShapeError
from calibrant.predictions import Prediction, StridedPrediction, prediction_from


def open_folder(
    path: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    has_labels: bool = True,
    images: str | os.PathLike[str] | None = None,
    ignore_index: IgnoreIndex = "auto",
    first_label: int | None = None,
    scores: str | None = None,
    probabilities: bool | None = None,
    class_axis: int | None = None,
    label_axis: str | None = None,
    array_order: str | None = None,
    same_grid: bool = False,
    array: str | None = None,
    label_array: str | None = None,
    class_names: Sequence[str] = (),
    upsample: bool = False,
    region: Region | None = None,
    palette: Palette | None = None,
) -> "FolderPredictions":
    """Return the predictions of a folder; names are matched now, files are read when asked for.

    :param path: the folder of scores, or the one that holds ``logits/`` and ``labels/``.
    :param labels: the folder of labels, if it is not ``labels`` in ``path``.
    :param has_labels: False if there are no labels: every pixel is then unlabelled, and the classes are on the first
        axis (the last of NIfTI) unless said.
    :param images: the folder of pictures, if it is not ``images`` in ``path``; they are resized to the labels.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled. By default 255, or what the
        labels of the folder show: a negative number; 255 is the foreground where two classes are 0 and 255 alone.
    :param first_label: the label of class 0, if it is not 0: with 1, label k is class k - 1.
    :param scores: what the scores are: logits, probabilities, percent, bytes (0..255) or sigmoid (independent channels
        of exclusive classes, which are divided by their sum). If None they are logits, and values that look like
        something else raise an error.
    :param probabilities: True for scores="probabilities", False for scores="logits"; one channel is that of the
        foreground. Must be said if the folder or the array is called so.
    :param class_axis: where score files hold the classes, counted as in the file; if None the first axis, and the last
        of NIfTI.
    :param label_axis: what an axis of label files beside those of space holds: annotators, or classes (one-hot).
    :param array_order: the order of the axes of space in arrays beside NIfTI: zyx or xyz; needed where both fit.
    :param same_grid: voxels of scores and labels belong together whatever the affines of NIfTI say.
    :param array: the name of the array of scores, in files of several arrays.
    :param label_array: the name of the array of labels, in files of several arrays.
    :param class_names: one name a class, in order; empty if nobody says.
    :param upsample: logits smaller than the labels are at the network's own stride: they are upsampled (bilinear,
        ``align_corners=False``) when read, and stored as they are by :func:`write_store`.
    :param region: which of several overlapping regions is read, as a binary problem of its own: see
        :func:`regions_in`; None for classes that exclude each other.
    :param palette: the colour (red, green, blue) of every class by name, if label files are PNGs of colours; the name
        ``unlabelled`` is no class. None for numbers.
    :raises DataError: no files are found, or some are missing.

    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
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
    said = _said(scores, probabilities)
    for value, choices, what in ((label_axis, LABEL_AXES, "label axis"), (array_order, ORDERS, "order of axes")):
        if value is not None:
            check_choice(value, choices, what)
    results = results_in(root)
    if results is not None:
        said, class_names = said or "probabilities", class_names or results.class_names
        ignore_index = results.ignore if ignore_index == "auto" and results.ignore is not None else ignore_index
        if results.regions and region is None:
            raise DataError(_overlapping(root, results.regions))
    if palette is not None:
        check_palette(palette, "palette")
        ignore_index, first_label, class_names = None, 0, class_names or classes_in(palette)
    if region is not None:
        ignore_index, first_label, class_names = None, 0, class_names or (f"not {region.name}", region.name)
    matched = match(root, labels, images, has_labels=has_labels, results=results)
    name = score_folder(root).name
    if said is None and name.lower() in PROBABILITIES:
        raise DataError(_ask(str(score_folder(root)), name))
    axes = Declared(class_axis, label_axis, array_order, upsample)
    group = FileGroup(matched.files, axes, array, label_array, same_grid, region, palette)
    return FolderPredictions(str(root), matched, group, said, ignore_index, first_label, tuple(class_names))


@dataclass(frozen=True)
class FolderPredictions:
    """The predictions of a folder, read one at a time; made by :func:`open_folder`.

    What the labels stand for is inferred from all label files, and what the scores are from a few score files spread
    over the folder, when the first image is read (:attr:`survey`); every image is held against it.

    :param path: the folder.
    :param matched: the files of each image, and what was left out.
    :param group: reads the files of an image, as declared.
    :param scores: what the scores were said to be; None if nothing was said.
    :param ignore_index: the label of unlabelled pixels, None, or auto.
    :param first_label: the label of class 0, if it was said.
    :param class_names: one name a class; empty if nobody says.
    """

    path: str
    matched: Matched
    group: FileGroup
    scores: str | None
    ignore_index: IgnoreIndex
    first_label: int | None
    class_names: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images, in order; known without reading any."""
        return tuple(files.key for files in self.matched.files)

    @property
    def unused_labels(self) -> int:
        """How many label maps have no scores."""
        return self.matched.unused_labels

    @cached_property
    def survey(self) -> Survey:
        """What the files were taken for.

        :raises DataError: a file is damaged, or must be declared.
        :raises ShapeError, LogitsError, LabelError: more than one reading is possible.
        """
        return survey(self.group, self.scores, self.ignore_index, self.first_label, self.matched)

    @cached_property
    def places(self) -> tuple[Mapping[str, Geometry], tuple[str, ...]]:
        """Where the pixels of images lie, by key, for :func:`write_store`, and what is to be said about it."""
        return places_of(self.matched.files, scores_too=not self.group.axes.upsample)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.matched.files)

    def __iter__(self) -> Iterator[Prediction]:
        """Read the images in order, holding none but the one handed out."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int, /) -> Prediction:
        """Read and check one image.

        :raises DataError: a file is damaged.
        :raises ShapeError, LogitsError, LabelError: naming the image and its files.
        """
        return self.strided(i).upsampled()

    def strided(self, index: int) -> StridedPrediction:
        """Read and check one image, its logits at the size that they have in the files.

        :param index: the number of the image.
        """
        read = self.group.read(index, self.scores)
        with read.named():
            return self._prediction(read)

    def _prediction(self, read: ImageFiles) -> StridedPrediction:
        key, coding = read.files.key, self.survey.coding
        scores = read.scores
        labels = read.labels if read.one_hot else coding.decoded(read.labels)
        maps = torch.from_numpy(labels)
        space = tuple(maps.shape[1:])
        at_stride = self.group.axes.upsample and is_at_stride(tuple(scores.shape[1:]), space)
        image = self._picture(read, space)
        declared = self.survey.scores

        def made(scores: Tensor, maps: Tensor, kind: str, image: Tensor | None = None) -> Prediction:
            return prediction_from(key, scores, maps, image=image, ignore_index=None, scores=kind, annotators=True)

        if at_stride:
            # Checks compare sizes: logits at a stride are checked with blank labels of their own size first.
            blank = torch.zeros((1, *scores.shape[1:]), dtype=torch.long)
            scores = made(scores, blank, declared).logits
            large = StridedPrediction(key, scores, maps).upsampled().logits
            whole = made(large, maps, "logits", image)
        else:
            whole = made(scores, maps, declared, image)
            scores = whole.logits
        if self.class_names and whole.num_classes != len(self.class_names):
            raise ShapeError(
                f"image {key!r}: expected {len(self.class_names)} classes, one for each class name; got "
                f"{whole.num_classes}. Name the classes of the scores, in order, without the unlabelled one."
            )
        return StridedPrediction(key, scores, whole.labels, whole.image)

    def _picture(self, read: ImageFiles, space: tuple[int, ...]) -> Tensor | None:
        file = read.files.image
        if file is None:
            return None
        if len(space) != 2:
            raise ShapeError(
                f"image {read.files.key!r}: expected flat labels for the picture {file}; got space {space}. "
                "Pictures belong to flat labels: move the folder of images away."
            )
        return read_picture(file, space)


def _said(scores: str | None, probabilities: bool | None) -> str | None:
    """Return what the scores were said to be, in either way."""
    if scores is not None:
        check_choice(scores, SCORES, "kind of scores")
    if probabilities is None:
        return scores
    if scores is not None and (scores == "logits") == probabilities:
        raise InputError(
            f"expected one word on what the scores are; got scores={scores!r} and probabilities={probabilities}. "
            "Leave one of them out (command line: --scores, --probabilities)."
        )
    return scores or ("probabilities" if probabilities else "logits")


def _ask(where: str, name: str) -> str:
    return (
        f"{where}: expected a declaration whether these are probabilities, since {name!r} says so; nothing was said. "
        "Pass probabilities=True (command line: --probabilities), or False if they are logits all the same."
    )


def _overlapping(root: Path, regions: Mapping[str, object]) -> str:
    return (
        f"{root}: expected classes that exclude each other; dataset.json says regions that overlap, "
        f"{', '.join(regions)}. Read each as a binary problem: open_folder(path, region=…), for regions_in(path)."
    )
