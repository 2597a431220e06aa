"""Where the pixels of the images of a folder lie, as their files say."""

from collections.abc import Sequence
from pathlib import Path

from calibrant.data._formats.names import split_name
from calibrant.data._formats.reading import NIFTI_SUFFIXES
from calibrant.data._formats.tiff import TIFF_SUFFIXES
from calibrant.data.folder._file_group import own_map
from calibrant.data.folder._layouts import Files
from calibrant.data.geometry import Geometry, geometry_of
from calibrant.errors import PackageError


def places_of(files: Sequence[Files], *, scores_too: bool) -> tuple[dict[str, Geometry], tuple[str, ...]]:
    """Return where the pixels of images lie, by key, and what is to be said about it.

    Scores are brought onto the grid of the labels when they are read, so the label file is asked first.

    :param files: of each image.
    :param scores_too: whether score files are on the grid of the result.
    """
    found: dict[str, Geometry] = {}
    for each in files:
        path = _asked(each, scores_too=scores_too)
        try:
            place = None if path is None else geometry_of(path)
        except PackageError as error:
            return {}, (f"where pixels lie is not kept: {error}",)
        if place is not None:
            found[each.key] = place
    return found, (f"where pixels lie is kept, of {len(found)} of {len(files)} images",) if found else ()


def _asked(files: Files, *, scores_too: bool) -> Path | None:
    """The file of an image that may say where its pixels lie."""
    candidates = [*files.labels[:1]]
    if scores_too:
        candidates += [own for own in [own_map(files.scores[0])] if own is not None]
        candidates += files.scores[:1]
    return next((path for path in candidates if split_name(path, (*NIFTI_SUFFIXES, *TIFF_SUFFIXES))), None)
