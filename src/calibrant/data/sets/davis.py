"""DAVIS 2016 at 480p: 50 sequences, one moving object each, 3,455 frames of 480 x 854.

Background and object; every pixel is labelled. In label files 0 is background and 255 the object. The published parts
are whole sequences, 30 of ``train`` and 20 of ``val``. The halves cut every sequence in the middle by frame, for a
shift in time (Wang et al., CVPR 2023, Section 6).
"""

import os
from pathlib import Path

from calibrant._input.checks import check_choice
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples
from calibrant.data.splits import halves_in_time

CLASSES = ("background", "object")
SPLITS = ("train", "val", "trainval", "first_half", "second_half")
DAVIS = DataSet(
    "DAVIS 2016",
    "the DAVIS page (davischallenge.org), file DAVIS-data.zip of the 2016 challenge",
    """DAVIS/
       ├── JPEGImages/480p/bear/00000.jpg
       ├── Annotations/480p/bear/00000.png
       └── ImageSets/480p/{train,val,trainval}.txt""",
    images="JPEGImages/480p/*.jpg",
    labels="Annotations/480p/*.png",
    class_names=CLASSES,
    table={0: 0, 1: 1, 255: 1},
    ignore="nothing",
    folder_name="DAVIS",
)


def davis(path: str | os.PathLike[str], split: str = "val") -> FileExamples:
    """Return the frames of a split; keys are ``bear/00000``.

    :param path: ``DAVIS``, or the folder that holds it.
    :param split: ``train``, ``val``, ``trainval``; ``first_half`` or ``second_half`` of every sequence.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no split of that name.
    """
    check_choice(split, SPLITS, "split of DAVIS 2016")
    root = DAVIS.root(path)
    part = "trainval" if split.endswith("half") else split
    keys = _listed(root / "ImageSets" / "480p" / f"{part}.txt")
    frames, masks = DAVIS.files(root, DAVIS.images, "frames"), DAVIS.files(root, DAVIS.labels, "labels")
    if lost := [key for key in keys if key not in frames]:
        raise DAVIS.missing(root / DAVIS.images.replace("*", lost[0]), f"a frame listed in {part}.txt")
    images = {key: frames[key] for key in keys}
    labels = {key: masks[key] for key in keys if key in masks}
    examples = DAVIS.of(DAVIS.paired(images, labels, root, DAVIS.labels), split)
    if split == part:
        return examples
    halves = halves_in_time(examples, group=sequence)
    return halves[0] if split == "first_half" else halves[1]


def sequence(key: str) -> str:
    """Return the sequence that a frame is of.

    :param key: the name of the frame, ``sequence/number``.

    >>> sequence("bear/00000")
    'bear'
    """
    return key.split("/")[0]


def _listed(file: Path) -> list[str]:
    """Return the keys of the frames in a list of image and label files."""
    if not file.is_file():
        raise DAVIS.missing(file, "the list of frames")
    lines = (line for line in file.read_text().splitlines() if line.strip())
    return [line.split()[0].removeprefix("/JPEGImages/480p/").removesuffix(".jpg") for line in lines]
