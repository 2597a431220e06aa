"""DAVIS 2016 at 480p: 50 sequences, one moving object each, 3,455 frames of 480 x 854.

Background and object; every pixel is labelled. In label files 0 is background and 255 the object. The published parts
are whole sequences, 30 of ``train`` and 20 of ``val``. The halves cut every sequence in the middle by frame, for a
shift in time (Wang et al., CVPR 2023, Section 6).
"""

import os
from pathlib import Path

from calibrant._check import check_choice
from calibrant.data.sets._dataset import FileExamples, PictureAndIds, Source, examples_of, listed
from calibrant.data.splits import halves_in_time

CLASSES = ("background", "object")
SPLITS = ("train", "val", "trainval", "first_half", "second_half")
SOURCE = Source(
    "DAVIS 2016",
    "the DAVIS page (davischallenge.org), file DAVIS-data.zip of the 2016 challenge",
    """DAVIS/
       ├── JPEGImages/480p/bear/00000.jpg
       ├── Annotations/480p/bear/00000.png
       └── ImageSets/480p/{train,val,trainval}.txt""",
    "DAVIS",
)
_READ = PictureAndIds("DAVIS 2016", {0: 0, 1: 1, 255: 1})


def davis(path: str | os.PathLike[str], split: str = "val") -> FileExamples:
    """Return the frames of a split; keys are ``bear/00000``.

    Also read: ``images/SEQUENCE/NAME.jpg`` and ``labels/SEQUENCE/NAME.png`` with lists ``splits/SPLIT.txt``. There,
    ``first_half`` and ``second_half`` are the lists ``temporal_first_half``, …, and any other list can be named.

    :param path: ``DAVIS``, or the folder that holds it.
    :param split: ``train``, ``val``, ``trainval``; ``first_half`` or ``second_half`` of every sequence.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no split of that name.
    """
    root = SOURCE.root(Path(path))
    if (root / "splits").is_dir():
        name = f"temporal_{split}" if split in ("first_half", "second_half") else split
        return examples_of(SOURCE, split, listed(SOURCE, root, name, ".jpg"), CLASSES, "nothing", _READ)
    check_choice(split, SPLITS, "split of DAVIS 2016")
    part = "trainval" if split.endswith("half") else split
    frames, masks = root / "JPEGImages" / "480p", root / "Annotations" / "480p"
    list_file = root / "ImageSets" / "480p" / f"{part}.txt"
    if not list_file.is_file():
        raise SOURCE.missing(list_file, "the list of frames")
    keys = [line.split()[0].removeprefix("/JPEGImages/480p/").removesuffix(".jpg") for line in _lines(list_file)]
    images = {k: p for k, p in SOURCE.files(frames, ".jpg", "frames").items() if k in set(keys)}
    if missing := [key for key in keys if key not in images]:
        raise SOURCE.missing(frames / f"{missing[0]}.jpg", f"a frame listed in {list_file.name}")
    labels = {k: p for k, p in SOURCE.files(masks, ".png", "annotations").items() if k in images}
    examples = examples_of(SOURCE, split, SOURCE.paired(images, labels, masks, ".png"), CLASSES, "nothing", _READ)
    if split == part:
        return examples
    halves = halves_in_time(examples, group=sequence)
    return halves[0] if split == "first_half" else halves[1]


def sequence(key: str) -> str:
    """Return the sequence that a frame is of.

    >>> sequence("bear/00000")
    'bear'
    """
    return key.split("/")[0]


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line.strip()]
