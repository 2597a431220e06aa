"""Scans in NIfTI with a mask from each annotator in a file of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from calibrant._shapes import Float, Tensor
from calibrant.data._formats.nifti import read_volume
from calibrant.data._formats.reading import read_labels, reading
from calibrant.data.sets._examples import classes_of
from calibrant.errors import DataError


@dataclass(frozen=True)
class ScanAndMasks:
    """Reads a scan and the masks of its annotators, voxel by voxel: where files say that voxels lie is not looked at.

    Axes of one voxel are left out, so that a slice in a file of three axes is flat.

    :param name: the name of the data set, for messages.
    :param table: the class of every id that the data set has, or ``IGNORE``.
    :param window: the values that become 0 and 1; None takes the 0.5th and the 99.5th percentile of each channel.
    """

    name: str
    table: Mapping[int, int]
    window: tuple[float, float] | None = None

    def __call__(self, files: tuple[Path, tuple[Path, ...]]) -> tuple[Float[Tensor, "k *s"], np.ndarray]:
        """Return the scan, with its channels first, and the maps of all annotators.

        :param files: that of the scan, and those of the masks.
        :raises DataError: a mask is of another size than the scan, or a file is damaged.
        """
        scan_file, mask_files = files
        with reading(scan_file):
            scan = np.squeeze(np.asarray(read_volume(scan_file).values, np.float32))
        masks = [classes_of(np.squeeze(read_labels(file)), self.table, file, self.name) for file in mask_files]
        channels = scan if scan.ndim == masks[0].ndim + 1 else scan[None]
        for file, mask in zip(mask_files, masks, strict=True):
            if mask.shape != channels.shape[1:]:
                raise DataError(
                    f"{file}: expected a mask as large as {scan_file.name}, {channels.shape[1:]}; got {mask.shape}. "
                    "Take both from the same release."
                )
        return torch.from_numpy(np.stack([self._scaled(each) for each in channels])), np.stack(masks)

    def _scaled(self, channel: np.ndarray) -> np.ndarray:
        low, high = np.percentile(channel, (0.5, 99.5)) if self.window is None else self.window
        return np.clip((channel - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
