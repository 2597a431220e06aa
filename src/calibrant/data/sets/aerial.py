"""Dubai aerial images (Humans in the Loop, with the Mohammed Bin Rashid Space Centre): 8 tiles of 9 parts, 5 classes.

The published masks hold colours; unlabelled is grey, and some are black. (The set's own ``classes.json`` lists other
colours than the masks have.) Tiles 1 and 3, and 7 and 8, overlap on the ground: keep each pair on one side of a split.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from calibrant._shapes import IGNORE
from calibrant.data._formats.pictures import FORMATS
from calibrant.data._formats.reading import reading
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples

CLASSES = ("Building", "Land", "Road", "Vegetation", "Water")
COLOURS = {0x3C1098: 0, 0x8429F6: 1, 0x6EC1E4: 2, 0xFEDD3A: 3, 0xE2A929: 4, 0x9B9B9B: IGNORE, 0x000000: IGNORE}
"""The class of each colour of the published masks, red in the upper byte."""


def colours(file: Path) -> np.ndarray:
    """Return colours as numbers, red in the upper byte.

    :param file: a picture of label colours, eight bits a channel.
    """
    with reading(file), Image.open(file, formats=FORMATS) as image:
        red, green, blue = np.array(image.convert("RGB")).astype(np.int64).transpose(2, 0, 1)
    return (red << 16) + (green << 8) + blue


AERIAL = DataSet(
    "Dubai aerial images",
    "the page of Humans in the Loop (humansintheloop.org), semantic segmentation dataset of Dubai",
    """Semantic segmentation dataset/
       ├── Tile 1/images/image_part_001.jpg
       └── Tile 1/masks/image_part_001.png""",
    images="*/images/*.jpg",
    labels="*/masks/*.png",
    class_names=CLASSES,
    table=COLOURS,
    ignore="grey and black",
    folder_name="Semantic segmentation dataset",
    ids=colours,
)


def aerial(path: str | os.PathLike[str]) -> FileExamples:
    """Return the parts of tiles; keys are ``Tile 1/image_part_001``. Split them by :func:`tile`.

    :param path: ``Semantic segmentation dataset``, or the folder that holds it.
    :raises DataError: files are missing or misplaced.
    """
    return AERIAL.examples(path)


def tile(key: str) -> str:
    """Return the tile that a part is of.

    :param key: the key of a part.

    >>> tile("Tile 1/image_part_002")
    'Tile 1'
    """
    return key.split("/")[0]
