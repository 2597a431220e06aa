"""QUBIQ 2020 and 2021: slices and volumes of magnetic resonance and CT, with two to seven annotators.

Each of its data sets has one structure or more to be outlined (tasks), each a mask of two classes; every pixel is
labelled. Reading needs nibabel: ``pip install 'calibrant[medical]'``.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from calibrant._input.checks import check_choice
from calibrant.data.sets._annotators import ScanAndMasks
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples
from calibrant.errors import InputError

TASKS: Mapping[str, int] = {
    "brain-growth": 1,
    "brain-tumor": 3,
    "kidney": 1,
    "prostate": 2,
    "pancreas": 1,
    "pancreatic-lesion": 1,
}
"""How many tasks each data set has."""

QUBIQ = DataSet(
    "QUBIQ",
    "the challenge's page (qubiq21.grand-challenge.org), after registration",
    """training_data_v3_QC/{brain-growth,brain-tumor,kidney,prostate}/Training/case01/
       ├── image.nii.gz
       └── task01_seg01.nii.gz, task01_seg02.nii.gz, …   (TASK and ANNOTATOR)
       training_data_v3_QC/{pancreas,pancreatic-lesion}/case1-1/ alike""",
    class_names=("background", "structure"),
    table={0: 0, 1: 1},
    ignore="nothing",
)


def qubiq(
    path: str | os.PathLike[str], dataset: str = "brain-growth", *, task: int = 1, part: str = "Training"
) -> FileExamples:
    """Return the cases of one task, with a map of each annotator; keys are ``case01``.

    Images are (k, h, w), of pancreas (k, d, h, w), in [0, 1]; brain tumours have a channel for each modality. Labels
    are (annotators, h, w); cases that one annotator left out have a map less.

    :param path: the folder that holds the folders of the data sets.
    :param dataset: brain-growth, brain-tumor, kidney, prostate, pancreas or pancreatic-lesion.
    :param task: which of the structures of the data set, from 1.
    :param part: ``Training`` or ``Validation``; where the data set has no such folders, all cases are read.
    :raises DataError: files are missing or misplaced, or nibabel is not installed.
    :raises MethodError: no data set or part of that name.
    :raises InputError: the data set has no such task.
    """
    check_choice(dataset, TASKS, "data set of QUBIQ")
    check_choice(part, ("Training", "Validation"), "part of QUBIQ")
    if not 1 <= task <= TASKS[dataset]:
        raise InputError(f"expected a task of {dataset} from 1 to {TASKS[dataset]}; got {task}.")
    root = QUBIQ.root(path) / dataset
    if not root.is_dir():
        raise QUBIQ.missing(root, "the folder")
    root = root if not any((root / each).is_dir() for each in ("Training", "Validation")) else root / part
    scans = QUBIQ.files(root, "*/image.nii.gz", "images")
    pairs = tuple((key, (scan, _masks(scan, task))) for key, scan in sorted(scans.items()))
    return QUBIQ.of(pairs, f"{dataset} {task}", read=ScanAndMasks(QUBIQ.name, QUBIQ.table))


def _masks(scan: Path, task: int) -> tuple[Path, ...]:
    masks = tuple(sorted(scan.parent.glob(f"task{task:02d}_seg*.nii.gz")))
    if not masks:
        raise QUBIQ.missing(scan.parent / f"task{task:02d}_seg01.nii.gz", f"a mask of {scan.parent.name}")
    return masks
