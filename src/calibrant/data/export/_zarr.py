"""Maps of an image as a group of Zarr 3 arrays, which xarray and napari open, chunk by chunk."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from calibrant._input.checks import needs
from calibrant.data.geometry import NIFTI, Geometry

FIRST = {"probabilities": "class", "hypotheses": "sample"}
"""What the first axis of a map is where it is none of space."""
CHUNKS = {1: (2**18,), 2: (512, 512), 3: (64, 128, 128)}
"""The sizes of a chunk along the axes of space, at most; it holds one class or sample."""


def write_zarr(folder: Path, maps: Mapping[str, np.ndarray], place: Geometry | None, num_classes: int) -> None:
    """Write a group, an array for each map, with the names of their axes; one that is there is replaced.

    :param folder: where it goes.
    :param maps: by name.
    :param place: where the pixels lie; None if nobody knows.
    :param num_classes: how many classes there are.
    :raises PackageError: zarr is not installed.
    """
    zarr = needs("zarr", "writes such files", name=str(folder))
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        group = zarr.create_group(new, zarr_format=3, attributes=_about(place, num_classes))
        for name, values in maps.items():
            space = values.ndim - (name in FIRST)
            chunks = (1,) * (values.ndim - space) + CHUNKS[space]
            axes = ([FIRST[name]] if name in FIRST else []) + ["z", "y", "x"][3 - space :]
            sizes = tuple(map(min, chunks, values.shape))
            group.create_array(name, data=np.ascontiguousarray(values), chunks=sizes, dimension_names=axes)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _about(place: Geometry | None, num_classes: int) -> dict[str, object]:
    """What the group says of itself: the number of classes, and where the pixels lie."""
    if place is None:
        return {"num_classes": num_classes}
    known = {"affine": [list(row) for row in place.affine], "unit": place.unit, "crs": place.crs}
    order = "x, y, z" if place.kind == NIFTI else "column, row"
    return {"num_classes": num_classes, "affine_of": order} | {name: value for name, value in known.items() if value}
