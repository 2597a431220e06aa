"""BraTS 2017: brain tumours in magnetic resonance volumes of 155 layers of 240 x 240; 285 labelled patients.

Each layer is an image. Labels 0, 1, 2 and 4 become background and three tumour classes; every pixel is labelled.
Layers are numbered from 1. Reading needs nibabel: ``pip install 'calibrant[medical]'``.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Tensor
from calibrant.data._formats.reading import read_nifti_layer
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples, classes_of
from calibrant.errors import DataError, InputError

CLASSES = ("background", "necrotic and non-enhancing core", "oedema", "enhancing tumour")
FROM_LABEL_IDS = {0: 0, 1: 1, 2: 2, 4: 3}
MODALITIES = ("flair", "t1", "t1ce", "t2")
BRATS = DataSet(
    "BraTS 2017",
    "the BraTS page (www.med.upenn.edu/sbia/brats2017/data.html), after registration",
    """Brats17TrainingData/{HGG,LGG}/Brats17_TCIA_105_1/
       ├── Brats17_TCIA_105_1_{flair,t1,t1ce,t2}.nii.gz
       └── Brats17_TCIA_105_1_seg.nii.gz""",
    class_names=CLASSES,
    table=FROM_LABEL_IDS,
    ignore="nothing",
    folder_name="Brats17TrainingData",
)


def brats(
    path: str | os.PathLike[str], *, layers: Sequence[int] = (75,), modalities: Sequence[str] = MODALITIES
) -> FileExamples:
    """Return some layers of every patient; keys are ``Brats17_TCIA_105_1/075``.

    Images are (modalities, h, w): each modality of a layer divided by the 99.5th percentile of its positive values
    there, and cut off at 1. Rows run along the volume's second axis.

    :param path: ``Brats17TrainingData``, or the folder that holds it.
    :param layers: from 1; Wang et al. (CVPR 2023) fit on the 75th and test on the 100th.
    :param modalities: which of flair, t1, t1ce and t2 are the channels.
    :raises DataError: files are missing or misplaced, or nibabel is not installed.
    :raises MethodError: no modality of that name.
    :raises InputError: no layer, or one below 1.
    """
    for modality in modalities:
        check_choice(modality, MODALITIES, "modality of BraTS 2017")
    if not layers or min(layers) < 1:
        raise InputError(f"expected layers numbered from 1, at least one; got {list(layers)}.")
    root = BRATS.root(path)
    ending = next((e for e in (".nii.gz", ".nii") if any(root.rglob(f"*_seg{e}"))), ".nii.gz")
    segmentations = BRATS.files(root, f"*_seg{ending}", "segmentations")
    pairs = []
    for labels in segmentations.values():
        patient = labels.name.removesuffix(f"_seg{ending}")
        volumes = tuple(labels.with_name(f"{patient}_{modality}{ending}") for modality in modalities)
        for volume in volumes:
            if not volume.is_file():
                raise BRATS.missing(volume, f"a volume of patient {patient}")
        pairs += [(f"{patient}/{layer:03d}", (volumes, labels, layer)) for layer in layers]
    return BRATS.of(tuple(sorted(pairs)), read=read_layer)


def read_layer(files: tuple[tuple[Path, ...], Path, int]) -> tuple[Float[Tensor, "k h w"], np.ndarray]:
    """Return a layer of all modalities, and its classes.

    :param files: the volumes of the modalities, that of the labels, and the number of the layer, from 1.
    """
    volumes, label_file, layer = files
    labels = read_nifti_layer(label_file, layer - 1)
    channels = np.stack([_scaled(read_nifti_layer(volume, layer - 1)) for volume in volumes])
    if channels.shape[1:] != labels.shape:
        raise DataError(
            f"{label_file}: expected labels as large as the volumes, {channels.shape[1:]}; got {labels.shape}."
        )
    classes = classes_of(labels.astype(np.int64), FROM_LABEL_IDS, label_file, BRATS.name)
    return torch.from_numpy(channels), classes


def _scaled(layer: np.ndarray) -> np.ndarray:
    layer = layer.astype(np.float32)
    positive = layer[layer > 0]
    return np.clip(layer / np.percentile(positive, 99.5), 0, 1) if positive.size else np.zeros_like(layer)
