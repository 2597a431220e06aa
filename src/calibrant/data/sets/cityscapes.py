"""Cityscapes: 19 classes; 2,975 training and 500 validation images with fine annotations, 1024 x 2048.

The official label ids 0..33 become the 19 training ids; what the benchmark leaves out of its evaluation is ``IGNORE``.
"""

import os
from dataclasses import replace

from calibrant._input.checks import check_choice
from calibrant._shapes import IGNORE
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples, same_ids

CLASSES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The official label id of each class."""
FROM_LABEL_IDS = dict.fromkeys(range(34), IGNORE) | {number: k for k, number in enumerate(LABEL_IDS)}
IGNORED = "void, parking, rail track, guard rail, bridge, tunnel, pole group, caravan, trailer"

CITYSCAPES = DataSet(
    "Cityscapes",
    "the Cityscapes page (www.cityscapes-dataset.com): leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
    """cityscapes/
       ├── leftImg8bit/{train,val}/frankfurt/frankfurt_000000_000294_leftImg8bit.png
       └── gtFine/{train,val}/frankfurt/frankfurt_000000_000294_gtFine_labelIds.png""",
    images="leftImg8bit/{}/*_leftImg8bit.png",
    labels="gtFine/{}/*_gtFine_labelIds.png",
    class_names=CLASSES,
    table=FROM_LABEL_IDS,
    ignore=IGNORED,
    splits={"train": ("train",), "val": ("val",)},
)
CODINGS = {
    "labelIds": CITYSCAPES,
    "labelTrainIds": replace(CITYSCAPES, labels="gtFine/{}/*_gtFine_labelTrainIds.png", table=same_ids(19, 255)),
}


def cityscapes(path: str | os.PathLike[str], split: str = "val", *, ids: str = "labelIds") -> FileExamples:
    """Return the images of a split; keys are ``frankfurt/frankfurt_000000_000294``.

    :param path: the folder with ``leftImg8bit`` and ``gtFine``.
    :param split: ``train`` or ``val``; the labels of ``test`` are not published.
    :param ids: which label files to read: ``labelIds`` as published, or ``labelTrainIds`` as the official scripts make.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no split or coding of that name.
    """
    check_choice(ids, CODINGS, "coding of Cityscapes' labels")
    return CODINGS[ids].examples(path, split)
