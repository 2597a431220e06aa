"""SpaceNet 7: monthly satellite mosaics of 60 growing towns, with building footprints; 1,408 images, 1024 x 1024.

Footprints are polygons in pixels, drawn by this reader; holes stay background. Where the image has no data (alpha 0
after the official cloud mask) labels are ``IGNORE``. Wang et al. (CVPR 2023) train with the background but leave it out
of the calibration error: ``without_background=True`` makes its labels ``IGNORE``, for evaluation alone.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from calibrant._shapes import IGNORE, Float, Tensor
from calibrant.data._formats.reading import reading
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples
from calibrant.errors import DataError

CLASSES = ("background", "building")
Polygon = Sequence[Sequence[Sequence[float | int]]]
"""An outline and its holes, each a ring of points (x, y)."""
SPACENET7 = DataSet(
    "SpaceNet 7",
    "the SpaceNet page (spacenet.ai/sn7-challenge), file SN7_buildings_train",
    """train/L15-0331E-1257N_1327_3160_13/
       ├── images_masked/global_monthly_2018_01_mosaic_L15-0331E-1257N_1327_3160_13.tif
       └── labels_match_pix/global_monthly_2018_01_mosaic_L15-0331E-1257N_1327_3160_13_Buildings.geojson""",
    class_names=CLASSES,
    ignore="no data",
    folder_name="train",
)
BUILDINGS = replace(SPACENET7, ignore="no data, and background")


def spacenet7(path: str | os.PathLike[str], *, without_background: bool = False) -> FileExamples:
    """Return all labelled images; keys are ``PLACE/2018_01``, in order of place and month.

    :func:`place` and :func:`~calibrant.data.halves_in_time` split them as the papers do.

    :param path: ``train``, or the folder that holds it; the labels of ``test_public`` are not published.
    :param without_background: only buildings count, as in the paper's error; ``IGNORE`` elsewhere.
    :raises DataError: files are missing or misplaced.
    """
    root = SPACENET7.root(path)
    images = _by_month(SPACENET7.files(root, "*.tif", "images"), "images_masked")
    labels = _by_month(SPACENET7.files(root, "*_Buildings.geojson", "footprints"), "labels_match_pix")
    if not images or not labels:
        what = "images_masked/*.tif" if not images else "labels_match_pix/*_Buildings.geojson, which are in pixels,"
        raise SPACENET7.missing(root, what)
    pairs = SPACENET7.paired(images, labels, root, "*/labels_match_pix/*_Buildings.geojson")
    return (BUILDINGS if without_background else SPACENET7).of(pairs, read=Footprints(without_background))


def place(key: str) -> str:
    """Return the place that an image shows.

    :param key: the name of the image, ``place/year_month``.

    >>> place("L15-0331E-1257N_1327_3160_13/2018_01")
    'L15-0331E-1257N_1327_3160_13'
    """
    return key.split("/")[0]


@dataclass(frozen=True)
class Footprints:
    """Reads an image with alpha, and the polygons on it.

    :param without_background: pixels outside of buildings are unlabelled.
    """

    without_background: bool

    def __call__(self, files: tuple[Path, Path]) -> tuple[Float[Tensor, "3 h w"], np.ndarray]:
        """Return the image and its classes."""
        with reading(files[0]), Image.open(files[0], formats=("TIFF", "PNG")) as image:
            pixels = np.array(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
            raise DataError(
                f"{files[0]}: expected red, green, blue and alpha of eight bits; got {pixels.dtype} {pixels.shape}. "
                "Give the files of images_masked as published."
            )
        labels = drawn(_polygons(files[1]), pixels.shape[:2])
        if self.without_background:
            labels[labels == 0] = IGNORE
        if pixels.shape[2] == 4:
            labels[pixels[..., 3] == 0] = IGNORE
        return torch.from_numpy(pixels[..., :3].copy()).movedim(2, 0).float() / 255, labels


def drawn(polygons: Sequence[Polygon], size: tuple[int, int]) -> np.ndarray:
    """Return 1 in pixels whose middle lies in a polygon and not in its holes, else 0; (0, 0) is the image's corner.

    Each edge adds its sense of rotation to all middles right of it, so that polygons that overlap stay filled.

    :param polygons: rings of (x, y) in pixels, of each polygon the outline first, then its holes.
    :param size: rows and columns.
    """
    edges = []
    for polygon in polygons:
        for number, ring in enumerate(polygon):
            points = np.array([point[:2] for point in ring], dtype=np.float64)
            x, y = points.T
            area = np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)
            points = points if (area > 0) == (number == 0) else points[::-1]
            edges.append(np.hstack([points, np.roll(points, -1, 0)]))
    height, width = size
    turns = np.zeros((height, width + 1), np.int64)
    if edges:
        x0, y0, x1, y1 = np.concatenate(edges).T
        first, end = (np.clip(np.ceil(f(y0, y1) - 0.5), 0, height).astype(int) for f in (np.minimum, np.maximum))
        count = end - first
        row = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
        x0, y0, x1, y1 = (np.repeat(a, count) for a in (x0, y0, x1, y1))
        crossing = x0 + (row + 0.5 - y0) / (y1 - y0) * (x1 - x0)
        np.add.at(turns, (row, np.clip(np.ceil(crossing - 0.5), 0, width).astype(int)), np.where(y1 > y0, -1, 1))
    return (turns.cumsum(1)[:, :width] > 0).astype(np.int64)


def _by_month(files: dict[str, Path], folder: str) -> dict[str, Path]:
    months = {}
    for path in files.values():
        month = re.search(r"global_monthly_(\d{4}_\d{2})_mosaic", path.name)
        if path.parent.name == folder and month:
            months[f"{path.parent.parent.name}/{month[1]}"] = path
    return months


def _polygons(file: Path) -> list[Polygon]:
    try:
        shapes = [feature["geometry"] for feature in json.loads(file.read_text())["features"]]
        polygons = []
        for shape in shapes:
            kind = None if shape is None else shape["type"]
            if kind in ("Polygon", "MultiPolygon"):
                polygons += [shape["coordinates"]] if kind == "Polygon" else shape["coordinates"]
        return [polygon for polygon in polygons if polygon and len(polygon[0]) >= 3]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: expected polygons in GeoJSON; cannot read it ({error!r}). Copy it again.") from error
