"""BDD100K semantic segmentation: the 19 classes of Cityscapes; 7,000 training and 1,000 validation images, 720 x 1280.

Label files hold Cityscapes' training ids, and 255 where nothing counts.
"""

import os
from pathlib import Path

from calibrant._check import check_choice
from calibrant.data.sets._dataset import FileExamples, PictureAndIds, Source, examples_of, same_ids
from calibrant.data.sets.cityscapes import CLASSES

SOURCE = Source(
    "BDD100K",
    "the BDD100K page (bdd-data.berkeley.edu): '10K Images' and 'Semantic Segmentation' labels",
    """bdd100k/
       ├── images/10k/{train,val}/7d06fefd-f7be05a6.jpg
       └── labels/sem_seg/masks/{train,val}/7d06fefd-f7be05a6.png""",
    "bdd100k",
)


def bdd100k(path: str | os.PathLike[str], split: str = "val") -> FileExamples:
    """Return the images of a split.

    The first release, with ``seg/images/val/NAME.jpg`` and ``seg/labels/val/NAME_train_id.png``, is read as well.

    :param path: ``bdd100k``, or the folder that holds it.
    :param split: ``train`` or ``val``; the labels of ``test`` are not published.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no split of that name.
    """
    check_choice(split, ("train", "val"), "split of BDD100K")
    root = SOURCE.root(Path(path))
    if (root / "seg").is_dir():
        images, masks, ending = root / "seg" / "images" / split, root / "seg" / "labels" / split, "_train_id.png"
    else:
        images, masks, ending = root / "images/10k" / split, root / "labels/sem_seg/masks" / split, ".png"
    pairs = SOURCE.paired(
        SOURCE.files(images, ".jpg", "images"), SOURCE.files(masks, ending, "label masks"), masks, ending
    )
    return examples_of(SOURCE, split, pairs, CLASSES, "255, void", PictureAndIds(SOURCE.name, same_ids(19, 255)))
