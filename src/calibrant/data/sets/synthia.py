"""SYNTHIA-RAND-CITYSCAPES: 9,400 rendered street scenes, 760 x 1280, 22 classes.

Label files are PNGs of 16 bits a channel; the first channel holds the class from 1, or 0 for void. Files that somebody
reduced to one channel with the same ids are read as well. Parking slots, terrain, trucks and trains never occur.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from calibrant._shapes import IGNORE
from calibrant.data._formats.pictures import FORMATS
from calibrant.data._formats.reading import read_labels, reading
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples
from calibrant.errors import DataError

CLASSES = (
    *("sky", "building", "road", "sidewalk", "fence", "vegetation", "pole", "car", "traffic sign", "pedestrian"),
    *("bicycle", "motorcycle", "parking slot", "road work", "traffic light", "terrain", "rider", "truck", "bus"),
    *("train", "wall", "lane marking"),
)


def first_channel(file: Path) -> np.ndarray:
    """Return the first channel of a PNG, of 16 bits a channel or single.

    Pillow keeps the upper byte of colours of 16 bits; asking for the other byte order gives the lower, which has the
    class.

    :param file: a PNG whose first channel holds the class.
    :raises DataError: the file is broken, or holds colours of eight bits.
    """
    with reading(file), Image.open(file, formats=FORMATS) as image:
        if {tile[3] for tile in image.tile} <= {"RGB;16B", "RGBA;16B"}:
            lower = f"{image.mode};16L"
            # Tiles are plain tuples before Pillow 11, named ones since.
            tiles: list[Any] = [getattr(t, "_make", tuple)((*t[:3], lower)) for t in image.tile]
            image.tile = tiles
            return np.array(image)[..., 0].astype(np.int64)
        single = len(image.getbands()) == 1
    if not single:
        raise DataError(
            f"{file}: expected class numbers, a PNG of 16 bits a channel; got colours of eight bits. "
            "Give the files of GT/LABELS, not those of GT/COLOR."
        )
    return read_labels(file)


SYNTHIA = DataSet(
    "SYNTHIA-RAND-CITYSCAPES",
    "the SYNTHIA page (synthia-dataset.net), file SYNTHIA_RAND_CITYSCAPES of CVPR 2016",
    """RAND_CITYSCAPES/
       ├── RGB/0000000.png
       └── GT/LABELS/0000000.png""",
    images="RGB/*.png",
    labels="GT/LABELS/*.png",
    class_names=CLASSES,
    table={0: IGNORE} | {k + 1: k for k in range(len(CLASSES))},
    ignore="0, void",
    folder_name="RAND_CITYSCAPES",
    ids=first_channel,
)


def synthia(path: str | os.PathLike[str]) -> FileExamples:
    """Return all images; the set has no split of its own (see :func:`calibrant.data.split_by_image`).

    :param path: ``RAND_CITYSCAPES``, or the folder that holds it.
    :raises DataError: files are missing or misplaced.
    """
    return SYNTHIA.examples(path)
