"""Formats of files that maps are written into, with where their pixels lie."""

import base64
import gzip
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from calibrant._input.checks import needs
from calibrant._storage.files import replacing
from calibrant.data.export._zarr import write_zarr
from calibrant.data.geometry import GEOTIFF, NIFTI, Geometry
from calibrant.errors import DataError

Maps = Mapping[str, np.ndarray]
Write = Callable[[Path, str, np.ndarray, Geometry | None, int], None]
"""Writes one map: into which file, which map, its numbers, where its pixels lie, and how many classes there are."""
WriteAll = Callable[[Path, Maps, Geometry | None, int], None]
"""Writes all maps of an image, whole or not at all: into which file or folder, and as above."""


@dataclass(frozen=True)
class Format:
    """How maps become files.

    :param suffix: the ending of a file.
    :param maps: the names of maps that it holds.
    :param dims: of how many axes of space.
    :param place: the kind of geometry without which nothing can be written; empty if none is needed.
    :param write: writes one map; None if all maps of an image go into one place.
    :param write_all: writes all maps of an image; None if each has its own file.
    """

    suffix: str
    maps: tuple[str, ...]
    dims: tuple[int, ...]
    place: str
    write: Write | None = None
    write_all: WriteAll | None = None


def write_image(folder: Path, key: str, kind: str, maps: Maps, place: Geometry | None, num_classes: int) -> list[Path]:
    """Write the maps of one image, each file whole or not at all, and return the files (of zarr, the folder).

    :param folder: where they go.
    :param key: the name of the image; its parts become folders.
    :param kind: one of ``FORMATS``.
    :param maps: by name.
    :param place: where its pixels lie; None if nobody knows.
    :param num_classes: how many classes there are.
    :raises DataError: the format cannot hold such maps, or where the pixels lie is not known and has to be.
    """
    form = FORMATS[kind]
    for name, values in maps.items():
        check_fits(form, kind, name, _space(name, values), place, key)
    if kind == "nnunet":
        return _write_nnunet(folder, key, maps, place, num_classes)
    if form.write_all is not None:
        path = path_of(folder, key, form.suffix)
        form.write_all(path, maps, place, num_classes)
        return [path]
    paths, write = [], form.write
    assert write is not None
    for name, values in maps.items():
        path = path_of(folder / name, key, form.suffix)
        with replacing(path) as temporary:
            write(temporary, name, values, place, num_classes)
        paths.append(path)
    return paths


def path_of(folder: Path, key: str, suffix: str) -> Path:
    """Return the file of an image: its key, whose parts are quoted as in a URL.

    >>> path_of(Path("maps"), "north/../a:1", ".png").as_posix()
    'maps/north/%2E%2E/a%3A1.png'
    """
    parts = [quote(part, safe=" ", errors="surrogatepass") for part in key.split("/") if part] or ["_"]
    safe = [part.replace(".", "%2E") if set(part) == {"."} else part for part in parts]
    return folder.joinpath(*safe[:-1], safe[-1] + suffix)


def check_fits(form: Format, kind: str, name: str, space: tuple[int, ...], place: Geometry | None, key: str) -> None:
    """Raise unless a format can hold a map.

    :param form: the format.
    :param kind: its name.
    :param name: of the map.
    :param space: its sizes.
    :param place: where its pixels lie; None if nobody knows.
    :param key: the name of the image, for errors.
    :raises DataError: saying what can be done.
    """
    if name not in form.maps:
        others = ", ".join(each for each, other in FORMATS.items() if name in other.maps)
        raise DataError(
            f"image {key!r}: expected maps that {kind} holds, {', '.join(form.maps)}; got {name}. Use {others}."
        )
    if len(space) not in form.dims:
        raise DataError(
            f"image {key!r}: expected a map of {' or '.join(map(str, form.dims))} axes of space for {kind}; got "
            f"{len(space)}. Use npy, npz, zarr or nifti."
        )
    if form.place and (place is None or place.kind != form.place):
        raise DataError(
            f"image {key!r}: expected a store that says where the pixels lie, to write {kind}; this one does not, as "
            f"it was not made from {form.place} files. Import or predict from such files, or write npy."
        )
    if form.place and place is not None and math.prod(place.shape) != math.prod(space):
        raise DataError(
            f"image {key!r}: expected a map over the grid that its file had, {place.shape}; got {space}. Import the "
            "scores again, at the size of the labels."
        )


def _space(name: str, values: np.ndarray) -> tuple[int, ...]:
    return tuple(values.shape[1:] if name in ("probabilities", "hypotheses") else values.shape)


def _write_png(path: Path, name: str, values: np.ndarray, place: Geometry | None, num_classes: int) -> None:
    """Labels as they are; confidence and entropy in 16 bits, of which 65535 is 1 and log(num_classes)."""
    if name != "labels":
        most = math.log(num_classes) if name == "entropy" else 1.0
        values = np.round(np.clip(values / most, 0, 1) * 65535).astype(np.uint16)
    Image.fromarray(values).save(path, "PNG")


def _write_npy(path: Path, name: str, values: np.ndarray, place: Geometry | None, num_classes: int) -> None:
    np.save(path, values, allow_pickle=False)


def _write_npz(path: Path, maps: Maps, place: Geometry | None, num_classes: int) -> None:
    with replacing(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **dict(maps))


def _write_nifti(path: Path, name: str, values: np.ndarray, place: Geometry | None, num_classes: int) -> None:
    """The grid and the header of the file that the pixels come from; classes or samples are the last axis."""
    assert place is not None
    nibabel = needs("nibabel", "writes such files", name=str(path))
    block = base64.b64decode(place.header)
    image, header = (
        (nibabel.Nifti2Image, nibabel.Nifti2Header)
        if len(block) == 540
        else (nibabel.Nifti1Image, nibabel.Nifti1Header)
    )
    # (c, z, y, x) turned round is (x, y, z, c). A flat map beside a volume of one layer has its axis again.
    array = values.T.reshape(*place.shape[::-1], *values.shape[: values.ndim - len(_space(name, values))])
    about = header(block, check=False)
    about.set_data_dtype(array.dtype)
    about["cal_min"], about["cal_max"], about["scl_slope"], about["scl_inter"] = 0, 0, 1, 0
    made = image(array, None, about)  # the affine is that of the header, to the bit
    path.write_bytes(gzip.compress(made.to_bytes(), 6, mtime=0))  # the same map gives the same bytes


def _write_geotiff(path: Path, name: str, values: np.ndarray, place: Geometry | None, num_classes: int) -> None:
    """The CRS, transform, tiles, compression and, where no value of the map is equal to it, nodata of the source."""
    assert place is not None
    rasterio = needs("rasterio", "writes such files", name=str(path))
    bands = values if values.ndim == 3 else values[None]
    profile = dict(place.profile)
    nodata = float(profile.pop("nodata", "nan"))
    known = "nodata" in place.profile
    most = {"labels": num_classes - 1, "hypotheses": num_classes - 1, "entropy": math.log(num_classes)}.get(name, 1)
    whole = bands.dtype.kind == "u"
    fits = not whole or (nodata.is_integer() and 0 <= nodata <= np.iinfo(bands.dtype).max)
    if known and fits and not 0 <= nodata <= most:
        profile["nodata"] = nodata
    if not profile.get("tiled"):
        profile.pop("blockxsize", None)
    about: dict[str, Any] = {"driver": "GTiff", "dtype": bands.dtype.name, "count": len(bands)}
    about |= {"height": place.shape[0], "width": place.shape[1], "crs": place.crs or None}
    transform = rasterio.Affine(*place.affine[0], *place.affine[1])
    with rasterio.open(path, "w", transform=transform, **about, **profile) as file:
        file.write(bands)


def _write_nnunet(folder: Path, key: str, maps: Maps, place: Geometry | None, num_classes: int) -> list[Path]:
    """Probabilities as nnU-Net keeps them, ``.npz`` of (c, z, y, x), and beside them its label map.

    The label map of a volume is left out where nobody knows where its voxels lie; ensembling does not read it.
    """
    probs = maps["probabilities"]
    path = path_of(folder, key, ".npz")
    with replacing(path) as temporary:
        np.savez_compressed(temporary, probabilities=probs[:, None] if probs.ndim == 3 else probs)
    if place is None and maps["labels"].ndim != 2:
        return [path]
    own = path_of(folder, key, ".nii.gz" if place is not None else ".png")
    with replacing(own) as temporary:
        (_write_png if place is None else _write_nifti)(temporary, "labels", maps["labels"], place, num_classes)
    return [path, own]


_ALL = ("labels", "confidence", "probabilities", "entropy", "hypotheses")
_ANY_DIMS = (1, 2, 3)

FORMATS: dict[str, Format] = {
    "png": Format(".png", ("labels", "confidence", "entropy"), (2,), "", _write_png),
    "npy": Format(".npy", _ALL, _ANY_DIMS, "", _write_npy),
    "npz": Format(".npz", _ALL, _ANY_DIMS, "", write_all=_write_npz),
    "zarr": Format(".zarr", _ALL, _ANY_DIMS, "", write_all=write_zarr),
    "nifti": Format(".nii.gz", _ALL, (2, 3), NIFTI, _write_nifti),
    "geotiff": Format(".tif", _ALL, (2,), GEOTIFF, _write_geotiff),
    "nnunet": Format(".npz", ("labels", "probabilities"), (2, 3), ""),
}
"""Formats by name."""
