"""Dubai aerial images (Humans in the Loop, with the Mohammed Bin Rashid Space Centre): 8 tiles of 9 parts, 5 classes.

The published masks hold colours; unlabelled is grey, and some are black. (The set's own ``classes.json`` lists other
colours than the masks have.) Tiles 1 and 3, and 7 and 8, overlap on the ground: keep each pair on one side of a split.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from calibrant._shapes import IGNORE
from calibrant.data._reading import reading
from calibrant.data.sets._dataset import FileExamples, PictureAndIds, Source, examples_of, listed, same_ids

CLASSES = ("Building", "Land", "Road", "Vegetation", "Water")
COLOURS = {0x3C1098: 0, 0x8429F6: 1, 0x6EC1E4: 2, 0xFEDD3A: 3, 0xE2A929: 4, 0x9B9B9B: IGNORE, 0x000000: IGNORE}
"""The class of each colour of the published masks, red in the upper byte."""
SOURCE = Source(
    "Dubai aerial images",
    "the page of Humans in the Loop (humansintheloop.org), semantic segmentation dataset of Dubai",
    """Semantic segmentation dataset/
       ├── Tile 1/images/image_part_001.jpg
       └── Tile 1/masks/image_part_001.png""",
    "Semantic segmentation dataset",
)


def aerial(path: str | os.PathLike[str], split: str = "all") -> FileExamples:
    """Return the parts of tiles; keys are ``Tile 1/image_part_001``. Split them by :func:`tile`.

    Also read: ``images/t1_p1.jpg`` and ``labels/t1_p1.png`` (numbers, 255 unlabelled) with lists ``splits/SPLIT.txt``.

    :param path: ``Semantic segmentation dataset``, or the folder that holds it.
    :param split: ``all``, or the name of a list in ``splits``.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no split of that name.
    """
    root = SOURCE.root(Path(path))
    read = PictureAndIds(SOURCE.name, same_ids(5, 255))
    if split != "all":
        return examples_of(SOURCE, split, listed(SOURCE, root, split, ".jpg"), CLASSES, "255, unlabelled", read)
    if (root / "labels").is_dir():
        images, labels = (
            SOURCE.files(root / "images", ".jpg", "images"),
            SOURCE.files(root / "labels", ".png", "labels"),
        )
        pairs = SOURCE.paired(images, labels, root / "labels", ".png")
        return examples_of(SOURCE, split, pairs, CLASSES, "255, unlabelled", read)
    parts = {key.replace("/images/", "/"): p for key, p in SOURCE.files(root, ".jpg", "images").items()}
    masks = {key.replace("/masks/", "/"): p for key, p in SOURCE.files(root, ".png", "masks").items()}
    pairs = SOURCE.paired(parts, masks, root, ".png in masks")
    return examples_of(SOURCE, split, pairs, CLASSES, "grey and black", PictureAndIds(SOURCE.name, COLOURS, colours))


def tile(key: str) -> str:
    """Return the tile that a part is of.

    >>> tile("t1_p2"), tile("Tile 1/image_part_002")
    ('1', '1')
    """
    return key.removeprefix("Tile ").removeprefix("t").split("/")[0].split("_")[0]


def colours(file: Path) -> np.ndarray:
    """Return colours as numbers, red in the upper byte."""
    with reading(file), Image.open(file) as image:
        red, green, blue = np.array(image.convert("RGB")).astype(np.int64).transpose(2, 0, 1)
    return (red << 16) + (green << 8) + blue
