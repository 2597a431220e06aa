"""Pictures without labels: what a model is run on where its answers are wanted and cannot be judged."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibrant._encoding.label_coding import NO_LABELS
from calibrant._shapes import IGNORE, Float, Tensor
from calibrant.data._formats.names import is_data, split_name
from calibrant.data._formats.reading import LABEL_SUFFIXES, PICTURE_SUFFIXES
from calibrant.data._formats.tiff import TIFF_SUFFIXES
from calibrant.data.sets._examples import FileExamples, picture_for
from calibrant.errors import DataError

IMAGE_SUFFIXES = (*PICTURE_SUFFIXES, *TIFF_SUFFIXES)
"""Endings of pictures that a model may be run on."""

USUAL = ("labels", "masks", "mask", "annotations", "ann_dir", "gt", "labelsTr", "annotation", "segmentation")
"""Names of folders that hold labels, as people have them."""


@dataclass(frozen=True)
class PictureAlone:
    """Reads a picture; every pixel of it is unlabelled.

    :param divide_by: what numbers of TIFFs are divided by; None if nobody said.
    """

    divide_by: float | None = None

    taken_for = ("labels: none, so that nothing can be fitted or measured",)

    def __call__(self, files: tuple[Path]) -> tuple[Float[Tensor, "k h w"], np.ndarray]:
        """Return the image and its labels: ``IGNORE`` everywhere."""
        image = picture_for(files[0], None, self.divide_by)
        return image, np.full(tuple(image.shape[1:]), IGNORE, np.int64)


def pictures_alone(
    name: str, pictures: dict[str, Path], class_names: tuple[str, ...], divide_by: float | None
) -> FileExamples:
    """Return pictures as examples without a labelled pixel.

    :param name: of the folder.
    :param pictures: by key, in order.
    :param class_names: one name a class; empty if nobody says.
    :param divide_by: what numbers of TIFFs are divided by.
    """
    files = tuple((file,) for file in pictures.values())
    return FileExamples(name, tuple(pictures), class_names, NO_LABELS, files=files, read=PictureAlone(divide_by))


def is_picture(file: Path) -> bool:
    """Tell by its name whether a file is a picture.

    :param file: the file.
    """
    return bool(split_name(file, IMAGE_SUFFIXES)) and file.is_file()


def check_no_other_labels(root: Path, images: Path) -> None:
    """Raise if a folder beside the pictures looks like labels: they are not to be passed over without a word.

    :param root: the folder of the data.
    :param images: the folder of the pictures in it.
    :raises DataError: naming the folder, and how to say what it is.
    """
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path != images and is_data(path, root)):
        if folder.name not in USUAL:
            continue
        inside = next((file for file in sorted(folder.rglob("*")) if split_name(file, LABEL_SUFFIXES)), None)
        if inside is not None:
            raise DataError(
                f"{root / 'labels'}: expected the folder of labels; there is none, but {folder.name} may hold them, "
                f"such as {inside.name}. Name it: labels={folder.name!r} (command line: --labels {folder.name}); if "
                "there are no labels, say so: labels=None (--labels none)."
            )
