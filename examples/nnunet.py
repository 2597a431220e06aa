"""Calibrate results of nnU-Net v2 (needs calibrant[medical]): folds in, .npz for nnUNetv2_ensemble out."""

from pathlib import Path

import nibabel
import numpy as np
import torch

from calibrant.calibrators import TemperatureScaling
from calibrant.data import open_folder

rng = np.random.default_rng(0)  # stand-in data: a network that is three times too sure, and what people have drawn
z, y, x = np.mgrid[:6, :16, :16]
for number in range(6):
    folder = Path("results/test" if number == 5 else "results/fold_0/validation")
    folder.mkdir(parents=True, exist_ok=True)
    Path("labelsTr").mkdir(exist_ok=True)
    lesion = (6 - np.hypot(np.hypot(x - 8, y - 8), 2 * (z - 3)) + rng.normal()) / 2
    scores = torch.as_tensor(np.stack([-lesion, lesion]) / 2, dtype=torch.float32)
    drawn = rng.random(z.shape) < scores.softmax(0)[1].numpy()
    np.savez_compressed(folder / f"case_{number}.npz", probabilities=(3 * scores).softmax(0).numpy())
    nibabel.save(nibabel.Nifti1Image(drawn.T.astype(np.uint8), np.eye(4)), f"labelsTr/case_{number}.nii.gz")

names = ("background", "lesion")
folds = open_folder("results/fold_0/validation", labels="labelsTr", probabilities=True, class_names=names)
calibrator = TemperatureScaling.fit(folds)
print(f"temperature {calibrator.temperature:.2f}, from {len(folds)} cases that the network had not seen")

Path("calibrated").mkdir(exist_ok=True)
for case in open_folder("results/test", has_labels=False, probabilities=True, class_names=names):
    probabilities = calibrator(case.logits[None])[0].softmax(0).numpy()  # no label moves
    np.savez_compressed(f"calibrated/{case.key}.npz", probabilities=probabilities.astype(np.float32))
    print(
        f"{case.key}: {probabilities[1].sum():.0f} voxels of lesion expected, {(probabilities[1] > 0.5).sum()} labelled"
    )
