"""KITTI semantic segmentation: 200 labelled frames with Cityscapes' label ids, about 375 x 1242.

KITTI gives no split, and the labels of its 200 test frames are not published.
"""

import os
from dataclasses import replace

from calibrant._input.checks import check_choice
from calibrant._shapes import IGNORE
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples
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

KITTI = DataSet(
    "KITTI semantic segmentation",
    "the KITTI page (www.cvlibs.net/datasets/kitti/eval_semseg.php), file data_semantics.zip",
    """data_semantics/training/
       ├── image_2/000000_10.png
       └── semantic/000000_10.png""",
    images="training/image_2/*.png",
    labels="training/semantic/*.png",
    class_names=CLASSES,
    table=FROM_LABEL_IDS,
    ignore=IGNORED,
    folder_name="data_semantics",
)
SPACES = {
    "cityscapes19": KITTI,
    "camvid11": replace(KITTI, class_names=CAMVID_CLASSES, table=TO_CAMVID, ignore="what CamVid has no class for"),
}
"""KITTI in terms of other data sets' classes."""


def kitti(path: str | os.PathLike[str], *, classes: str = "cityscapes19") -> FileExamples:
    """Return the 200 frames.

    :param path: ``data_semantics``, or the folder that holds it.
    :param classes: ``cityscapes19``, or ``camvid11``: merged into CamVid's, terrain, walls and so on left out.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no classes of that name.
    """
    check_choice(classes, SPACES, "set of classes for KITTI")
    chosen = SPACES[classes]
    return chosen.of(chosen.pairs(chosen.root(path)), classes)
