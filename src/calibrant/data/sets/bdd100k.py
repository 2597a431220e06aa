"""BDD100K semantic segmentation: the 19 classes of Cityscapes; 7,000 training and 1,000 validation images, 720 x 1280.

Label files hold Cityscapes' training ids, and 255 where nothing counts.
"""

import os
from dataclasses import replace

from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples, same_ids
from calibrant.data.sets.cityscapes import CLASSES

BDD100K = DataSet(
    "BDD100K",
    "the BDD100K page (bdd-data.berkeley.edu): '10K Images' and 'Semantic Segmentation' labels",
    """bdd100k/
       ├── images/10k/{train,val}/7d06fefd-f7be05a6.jpg
       └── labels/sem_seg/masks/{train,val}/7d06fefd-f7be05a6.png""",
    images="images/10k/{}/*.jpg",
    labels="labels/sem_seg/masks/{}/*.png",
    class_names=CLASSES,
    table=same_ids(19, 255),
    ignore="255, void",
    splits={"train": ("train",), "val": ("val",)},
    folder_name="bdd100k",
)
FIRST_RELEASE = replace(BDD100K, images="seg/images/{}/*.jpg", labels="seg/labels/{}/*_train_id.png")


def bdd100k(path: str | os.PathLike[str], split: str = "val") -> FileExamples:
    """Return the images of a split.

    The first release, with ``seg/images/val/NAME.jpg`` and ``seg/labels/val/NAME_train_id.png``, is read as well.

    :param path: ``bdd100k``, or the folder that holds it.
    :param split: ``train`` or ``val``; the labels of ``test`` are not published.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no split of that name.
    """
    first = (BDD100K.root(path) / "seg").is_dir()
    return (FIRST_RELEASE if first else BDD100K).examples(path, split)
