"""NIfTI: arrays with their axes turned round, (z, y, x), and where their voxels lie in space."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibrant._input.checks import needs
from calibrant.data._formats.room import check_room
from calibrant.errors import ShapeError

Affine = np.ndarray
"""From numbers of voxels (x, y, z, 1) to millimetres."""


@dataclass(frozen=True)
class Volume:
    """An array of a NIfTI file.

    :param values: with its axes turned round: (z, y, x), or (c, z, y, x).
    :param affine: where the voxels lie; None if the file does not say.
    """

    values: np.ndarray
    affine: Affine | None


def read_volume(path: Path) -> Volume:
    """Return the array and the affine of a NIfTI file; stored numbers are scaled as the header says."""
    image = needs("nibabel", "reads such files", name=str(path)).load(path)
    check_room(path, image.shape, np.dtype(np.float64).itemsize, "a volume")  # as scaled numbers are read
    return Volume(np.asanyarray(image.dataobj).T, _affine(image))


def read_affine(path: Path) -> Affine | None:
    """Return the affine of a NIfTI file without reading its array."""
    return _affine(needs("nibabel", "reads such files", name=str(path)).load(path))


def _affine(image: Any) -> Affine | None:
    header = image.header
    coded = int(header.get("sform_code", 1)) or int(header.get("qform_code", 1))
    return np.asarray(image.affine, np.float64) if coded else None


def moved(values: np.ndarray, here: Affine, there: Affine, space: int, what: str) -> tuple[np.ndarray, str]:
    """Return an array with its axes of space flipped and exchanged as another's lie, and what was done.

    :param values: (…, z, y, x).
    :param here: the affine of ``values``.
    :param there: the affine that the result has.
    :param space: how many axes of space, the last ones, there are: 2 or 3.
    :param what: names the files, for errors.
    :raises ShapeError: no flip and no exchange of axes does it.
    """
    if np.allclose(here, there, rtol=0, atol=1e-6):
        return values, ""
    from nibabel import orientations

    turned = values.T
    turned = turned.reshape(*turned.shape[:2], 1, *turned.shape[2:]) if space == 2 else turned
    change = orientations.ornt_transform(orientations.io_orientation(here), orientations.io_orientation(there))
    made = here @ orientations.inv_ornt_aff(change, turned.shape[:3])
    if space == 2 and change[2, 0] != 2:
        raise ShapeError(_apart(what, here, there))
    result = orientations.apply_orientation(turned, change)
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in result.shape[:3]])).reshape(3, -1)
    corners = np.concatenate([corners, np.ones((1, corners.shape[1]))])
    voxel = np.linalg.norm(there[:3, :3], axis=0).min()
    if np.abs((made - there) @ corners).max() > 0.05 * voxel + 1e-3:
        raise ShapeError(_apart(what, here, there))
    plain = np.array_equal(change, [[0, 1], [1, 1], [2, 1]])
    names = "".join(orientations.aff2axcodes(here)), "".join(orientations.aff2axcodes(there))
    result = result.reshape(*result.shape[:2], *result.shape[3:]) if space == 2 else result
    return np.ascontiguousarray(result.T), "" if plain else f"turned from {names[0]} to {names[1]}, as the affines say"


def _apart(what: str, here: Affine, there: Affine) -> str:
    shift = np.abs(here[:3, 3] - there[:3, 3]).max()
    sizes = [" x ".join(f"{size:.4g}" for size in np.linalg.norm(a[:3, :3], axis=0)) for a in (here, there)]
    return (
        f"{what}: expected NIfTI files over the same voxels; their affines differ by more than flips and exchanged "
        f"axes: voxels of {sizes[0]} and {sizes[1]} mm, origins up to {shift:.4g} mm apart. Resample the scores onto "
        "the grid of the labels; if their voxels belong together all the same, say so: same_grid=True "
        "(command line: --same-grid)."
    )
