"""CURVAS 2024: CT volumes of the abdomen, in which three radiologists outlined pancreas, kidneys and liver.

Volumes are read whole; every voxel is labelled, once by each annotator. Masks belong to the volume voxel by voxel:
where a file says that its voxels lie is not looked at, since one of the published masks is wrong about it.
Reading needs nibabel: ``pip install 'calibrant[medical]'``.
"""

import os

from calibrant._input.checks import check_choice
from calibrant.data.sets._annotators import ScanAndMasks
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples

CURVAS = DataSet(
    "CURVAS",
    "the challenge's page (curvas.grand-challenge.org), which names the records at Zenodo",
    """training_set/UKCHLL001/
       ├── image.nii.gz
       └── annotation_1.nii.gz, annotation_2.nii.gz, annotation_3.nii.gz""",
    class_names=("background", "pancreas", "kidney", "liver"),
    table={0: 0, 1: 1, 2: 2, 3: 3},
    ignore="nothing",
    splits={"training": ("training_set",), "validation": ("validation_set",), "testing": ("testing_set",)},
)


def curvas(
    path: str | os.PathLike[str], split: str = "training", *, window: tuple[float, float] = (-160.0, 240.0)
) -> FileExamples:
    """Return the volumes of a split, with a map of each annotator; keys are ``UKCHLL001``.

    Images are (1, d, h, w) in [0, 1], labels (annotators, d, h, w).

    :param path: the folder that holds ``training_set``, ``validation_set`` and ``testing_set``.
    :param split: training, validation or testing.
    :param window: Hounsfield units that become 0 and 1; by default those in which soft tissue is looked at.
    :raises DataError: files are missing or misplaced, or nibabel is not installed.
    :raises MethodError: no split of that name.
    """
    check_choice(split, CURVAS.splits, "split of CURVAS")
    root = CURVAS.root(path) / CURVAS.splits[split][0]
    scans = CURVAS.files(root, "*/image.nii.gz", "volumes")
    pairs = []
    for key, scan in sorted(scans.items()):
        masks = tuple(sorted(scan.parent.glob("annotation_*.nii.gz")))
        if not masks:
            raise CURVAS.missing(scan.parent / "annotation_1.nii.gz", f"an annotation of {key}")
        pairs.append((key, (scan, masks)))
    return CURVAS.of(tuple(pairs), split, read=ScanAndMasks(CURVAS.name, CURVAS.table, window))
