"""The files of each image of a folder, read as declared: scores with the classes first, labels with the annotators."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calibrant._shapes import IGNORE, Tensor
from calibrant.data._formats.nifti import Affine, moved
from calibrant.data._formats.palette import Palette
from calibrant.data._formats.pictures import picture_size
from calibrant.data._formats.reading import (
    ARRAY,
    NIFTI_SUFFIXES,
    PROBABILITIES,
    VOLUME,
    Stored,
    affine_of,
    read_label_file,
    read_scores,
)
from calibrant.data.folder._axes import alone, placed
from calibrant.data.folder._layouts import Files
from calibrant.data.folder._pair import Declared
from calibrant.data.folder._regions import Region
from calibrant.errors import DataError, InputError, ShapeError


@dataclass(frozen=True)
class ImageFiles:
    """The arrays of one image.

    :param files: where they were read.
    :param scores: (c, *s), as stored numbers; (1, *s) of a sigmoid.
    :param labels: (a, *s), as stored numbers; ``IGNORE`` where they were NaN.
    :param one_hot: the labels are classes already.
    :param missing: how many labels were NaN.
    :param nodata: what the label file says to stand for missing data.
    :param notes: what was assumed.
    """

    files: Files
    scores: Tensor
    labels: np.ndarray
    one_hot: bool
    missing: int
    nodata: float | None
    notes: tuple[str, ...]

    @contextmanager
    def named(self) -> Generator[None]:
        """Add the names of the files to errors."""
        with _named(self.files):
            yield


@dataclass(frozen=True)
class FileGroup:
    """The files of all images, and how they are to be read.

    :param files: of each image.
    :param axes: what the user said of the axes.
    :param array: the name of the array of scores, in files of several.
    :param label_array: the name of the array of labels, in files of several.
    :param same_grid: affines are not looked at.
    :param region: which of several overlapping regions is read; None for classes that exclude each other.
    :param palette: the colour of every class in label files; None for numbers.
    """

    files: Sequence[Files]
    axes: Declared
    array: str | None
    label_array: str | None
    same_grid: bool
    region: Region | None = None
    palette: Palette | None = None

    def read(self, i: int, said: str | None) -> ImageFiles:
        """Read the files of one image.

        :param said: what the scores were said to be; None if nothing was, which a name may make necessary.
        """
        files = self.files[i]
        if not files.labels:
            return self._without_labels(files, said)
        labels, label, notes = self._labels(files)
        scores, source, more = self._scores(files, label.affine, said)
        axes = replace(self.axes, label_axis="annotators") if len(files.labels) > 1 else self.axes
        with _named(files):
            found = placed(scores, source, labels, label, axes, f"image {files.key!r}")
            scores = self._own(found.scores, files)
        _check_own_map(files, source, scores)
        return ImageFiles(
            files,
            scores,
            found.labels,
            found.one_hot,
            label.missing,
            label.nodata,
            tuple(dict.fromkeys((*notes, *more, *found.notes))),
        )

    def _without_labels(self, files: Files, said: str | None) -> ImageFiles:
        """Read scores alone; every pixel is unlabelled."""
        scores, source, notes = self._scores(files, None, said)
        with _named(files):
            found, space = alone(scores, source, self.axes, f"image {files.key!r}")
            found = self._own(found, files)
            if self.axes.upsample:
                if files.image is None:
                    raise ShapeError(
                        f"image {files.key!r}: expected pictures, whose size is that of the result, to upsample to "
                        "without labels; got none. Name their folder: images=… (command line: --images)."
                    )
                space = picture_size(files.image)
        _check_own_map(files, source, found)
        blank = np.full((1, *space), IGNORE, np.int64)
        return ImageFiles(files, found, blank, False, 0, None, tuple(dict.fromkeys(notes)))

    def _own(self, scores: Tensor, files: Files) -> Tensor:
        """Return the channel of the region that is read, or all scores."""
        return scores if self.region is None else self.region.own_logits(scores, f"image {files.key!r}")

    def labels_of(self, i: int) -> Stored:
        """Read the labels of one image alone, those of several annotators stacked."""
        labels, label, _ = self._labels(self.files[i])
        return replace(label, values=labels)

    def _labels(self, files: Files) -> tuple[np.ndarray, Stored, list[str]]:
        stored = [read_label_file(path, self.label_array, self.palette) for path in files.labels]
        if self.region is not None:
            stored = [replace(each, values=self.region.mask(each.values)) for each in stored]
        first, notes = stored[0], []
        maps = [first.values]
        for path, other in zip(files.labels[1:], stored[1:], strict=True):
            values, note = self._moved(other, first.affine, path, files.labels[0])
            maps.append(values)
            notes += [f"labels {note}"] if note else []
        if len({one.shape for one in maps}) > 1:
            raise ShapeError(
                f"image {files.key!r}: expected label maps of one size from all annotators; got "
                f"{' and '.join(sorted({str(one.shape) for one in maps}))}. Resize them, nearest neighbour."
            )
        missing = sum(each.missing for each in stored)
        return maps[0] if len(maps) == 1 else np.stack(maps), replace(first, missing=missing), notes

    def _scores(self, files: Files, there: Affine | None, said: str | None) -> tuple[Tensor, Stored, list[str]]:
        parts, notes = [], []
        source = Stored(None, ARRAY)
        for path in files.scores:
            source = read_scores(path, self.array)
            if said is None and source.name.lower() in PROBABILITIES:
                raise DataError(
                    f"{path}: expected a declaration whether these are probabilities, since {source.name!r} says so; "
                    "nothing was said. Pass probabilities=True (command line: --probabilities), or False if they are "
                    "logits all the same."
                )
            axis, dims = self.axes.class_axis, source.values.ndim
            if len(files.scores) == 1 and axis is not None and not -dims <= axis < dims:
                raise ShapeError(
                    f"{path}: expected an array with a class axis {axis}; got {tuple(source.values.shape)}. Set "
                    "class_axis (command line: --class-axis)."
                )
            source = _of_nnunet(path, source)
            values, note = self._moved(source, there, path, *files.labels[:1])
            notes += [f"scores {note}"] if note else []
            parts.append(torch.as_tensor(values))
        if len(parts) > 1:
            if len({part.shape for part in parts}) > 1:
                raise ShapeError(
                    f"image {files.key!r}: expected class maps of one size; got "
                    f"{', '.join(sorted({str(tuple(part.shape)) for part in parts}))} in {names_of(files.scores)}."
                )
            return torch.stack(parts), source, notes
        return parts[0], source, notes

    def _moved(self, stored: Stored, there: Affine | None, path: Path, *reference: Path) -> tuple[Any, str]:
        """Return an array with its voxels where the labels have theirs."""
        values = stored.values
        if stored.affine is None or there is None or self.same_grid or self._classes_between(stored):
            return values, ""
        space = min(values.ndim, 3)
        return moved(np.asarray(values), stored.affine, there, space, " and ".join(map(str, (path, *reference))))

    def _classes_between(self, stored: Stored) -> bool:
        """Tell whether the axes of space are not the first three of the NIfTI file, as its affine takes them to be."""
        said, dims = self.axes.class_axis, stored.values.ndim
        return stored.kind == VOLUME and dims == 4 and said is not None and said not in (-1, dims - 1)


def names_of(paths: Sequence[Path]) -> str:
    """Return names of files for an error."""
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} … {paths[-1].name}"


@contextmanager
def _named(files: Files) -> Generator[None]:
    try:
        yield
    except InputError as error:
        where = f"(Read from {' and '.join(names_of(each) for each in (files.scores, files.labels) if each)}.)"
        raise type(error)(f"{error} {where}") from error


def own_map(path: Path) -> Path | None:
    """Return the label map that nnU-Net writes beside its probabilities, as NIfTI."""
    stem = path.name[: -len(path.suffix)]
    return next((own for suffix in NIFTI_SUFFIXES if (own := path.with_name(stem + suffix)).is_file()), None)


def _of_nnunet(path: Path, source: Stored) -> Stored:
    """Return nnU-Net's .npz with what the files beside it say: axes z, y, x, where its own label map lies."""
    if path.suffix.lower() != ".npz" or source.name.lower() not in PROBABILITIES:
        return source
    own = own_map(path)
    if own is None and not path.with_suffix(".pkl").is_file():
        return source
    return replace(source, turned=True, affine=None if own is None else affine_of(own))


def _check_own_map(files: Files, source: Stored, scores: Tensor) -> None:
    """Raise if nnU-Net's own label map is not what its probabilities say: another run, or other axes."""
    own = own_map(files.scores[0]) if source.turned and len(files.scores) == 1 else None
    if own is None or own in files.labels or len(scores) < 2:
        return
    kept = read_label_file(own).values
    said = np.asarray(torch.as_tensor(source.values).squeeze().argmax(0))
    if kept.squeeze().shape == said.shape and (kept.squeeze() != said).mean() > 0.02:
        raise DataError(
            f"{files.scores[0]}: expected probabilities whose largest is the label map {own.name} beside them; they "
            f"differ in {float((kept.squeeze() != said).mean()):.1%} of the voxels. They are of different runs, or the "
            "axes are not z, y, x: export them again, or move the label map away."
        )
