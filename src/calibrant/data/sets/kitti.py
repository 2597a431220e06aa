"""KITTI semantic segmentation: 200 labelled frames with Cityscapes' label ids, about 375 x 1242.

KITTI gives no split, and the labels of its 200 test frames are not published.
"""

import os
from pathlib import Path

from calibrant._check import check_choice
from calibrant._shapes import IGNORE
from calibrant.data.sets._dataset import FileExamples, PictureAndIds, Source, examples_of, same_ids
from calibrant.data.sets.camvid import CLASSES as CAMVID_CLASSES
from calibrant.data.sets.cityscapes import CLASSES, FROM_LABEL_IDS, IGNORED

_CAMVID = {
    "Sky": (23,),
    "Building": (11,),
    "Pole": (17, 18),
    "Road": (7,),
    "Pavement": (8,),
    "Tree": (21,),
    "SignSymbol": (19, 20),
    "Fence": (13,),
    "Car": (26, 27, 28),
    "Pedestrian": (24,),
    "Bicyclist": (25, 33),
}
TO_CAMVID = dict.fromkeys(range(34), IGNORE) | {
    number: CAMVID_CLASSES.index(name) for name, numbers in _CAMVID.items() for number in numbers
}
"""The class of CamVid, or ``IGNORE``, for each label id: terrain, walls, motorcycles and the like have none."""

SOURCE = Source(
    "KITTI semantic segmentation",
    "the KITTI page (www.cvlibs.net/datasets/kitti/eval_semseg.php), file data_semantics.zip",
    """data_semantics/training/
       ├── image_2/000000_10.png
       └── semantic/000000_10.png""",
    "data_semantics",
)


def kitti(path: str | os.PathLike[str], *, classes: str = "cityscapes19") -> FileExamples:
    """Return the 200 frames.

    Also read: ``images/NAME.jpg`` with ``labels_cityscapes19/NAME.png`` and ``labels_camvid11/NAME.png``, of which 255
    is void.

    :param path: ``data_semantics``, or the folder that holds it.
    :param classes: ``cityscapes19``, or ``camvid11``: merged into CamVid's, terrain, walls and so on left out.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no classes of that name.
    """
    tables = {
        "cityscapes19": (CLASSES, FROM_LABEL_IDS, IGNORED),
        "camvid11": (CAMVID_CLASSES, TO_CAMVID, "what CamVid has no class for"),
    }
    check_choice(classes, tables, "set of classes for KITTI")
    root = SOURCE.root(Path(path))
    names, table, ignore = tables[classes]
    if (root / "images").is_dir():
        images, labels, ending = root / "images", root / f"labels_{classes}", ".jpg"
        table = same_ids(len(names), 255)
    else:
        images, labels, ending = root / "training" / "image_2", root / "training" / "semantic", ".png"
    pairs = SOURCE.paired(
        SOURCE.files(images, ending, "images"), SOURCE.files(labels, ".png", "labels"), labels, ".png"
    )
    return examples_of(SOURCE, classes, pairs, names, ignore, PictureAndIds("KITTI", table))
