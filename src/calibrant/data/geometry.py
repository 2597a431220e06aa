"""Where the pixels of an image lie: read from NIfTI and GeoTIFF, kept in stores, and written again."""

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import hypot, prod
from pathlib import Path
from typing import Any

import numpy as np

from calibrant._input.checks import needs
from calibrant.data._formats.names import split_name
from calibrant.data._formats.reading import NIFTI_SUFFIXES, reading
from calibrant.data._formats.tiff import TIFF_SUFFIXES
from calibrant.errors import DataError, PackageError
from calibrant.predictions import known_keys

NIFTI, GEOTIFF = "nifti", "geotiff"
KEPT = ("nodata", "tiled", "blockxsize", "blockysize", "compress", "interleave")
"""What is kept of the profile of a GeoTIFF, in the words of rasterio, beside its size, CRS and transform."""

_MILLIMETRES = {"mm": 1.0, "meter": 1000.0, "micron": 0.001, "unknown": 1.0}


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of one image lie, as a file says it.

    :param kind: nifti or geotiff.
    :param shape: the sizes of the axes of space as arrays here have them: (z, y, x), or rows and columns.
    :param affine: the rows of the matrix from numbers of pixels to coordinates: 3 x 4 of NIfTI, from x, y, z; 2 x 3 of
        GeoTIFF, from column and row.
    :param unit: the unit of the coordinates, a length; empty if they are none (degrees), or nobody says.
    :param factor: how many millimetres (NIfTI) or metres (GeoTIFF) the unit has; 0 if it is no length.
    :param crs: the coordinate reference system of a GeoTIFF, as WKT; empty for none.
    :param profile: what else is kept of a GeoTIFF, in the words of rasterio.
    :param header: the header of NIfTI, in base64; empty of others.
    """

    kind: str
    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]
    unit: str = ""
    factor: float = 0.0
    crs: str = ""
    profile: Mapping[str, Any] = field(default_factory=dict)
    header: str = ""

    def __post_init__(self) -> None:
        """Make lists, as JSON has them, tuples.

        :raises ValueError: the numbers are no geometry.
        """
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        object.__setattr__(self, "affine", tuple(tuple(float(n) for n in row) for row in self.affine))
        rows = 3 if self.kind == NIFTI else 2
        if self.kind not in (NIFTI, GEOTIFF) or [len(row) for row in self.affine] != [rows + 1] * rows:
            raise ValueError(f"there is no geometry {self.kind} of {len(self.affine)} rows")

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {**asdict(self), "shape": list(self.shape), "affine": [list(row) for row in self.affine]}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Geometry":
        """Read what :meth:`as_json` returned.

        :param found: the mapping.
        :raises ValueError, TypeError, KeyError: something is missing or of the wrong kind.
        """
        if set(found) != {f.name for f in fields(cls)}:
            raise ValueError(f"a geometry says {', '.join(map(str, found))}")
        return cls(**found)

    @property
    def pixel_size(self) -> tuple[float, str] | None:
        """The area or volume of a pixel and its unit: mm³ or mm² of NIfTI, m² of GeoTIFF; None if no length is known.

        >>> Geometry(NIFTI, (2, 3, 4), ((2, 0, 0, 9), (0, 1, 0, 9), (0, 0, 5, 9)), "mm", 1.0).pixel_size
        (10.0, 'mm³')
        """
        if not self.factor:
            return None
        square = np.array([row[:-1] for row in self.affine], np.float64)
        if self.kind == GEOTIFF:
            (a, b), (c, d) = square.tolist()
            return abs(a * d - b * c) * self.factor**2, "m²"
        if len(self.shape) == 3:
            return float(abs(np.cross(square[0], square[1]) @ square[2])) * self.factor**3, "mm³"
        return prod(hypot(*square[:, axis]) for axis in (0, 1)) * self.factor**2, "mm²"


def places_in(examples: Any) -> tuple[dict[str, Geometry], tuple[str, ...]]:
    """Return where the pixels of examples that name their files lie, by key, and what is to be said about it.

    :param examples: a source with ``keys`` and ``files``, which name an image file and perhaps a label file; of others
        nothing is known.
    """
    found: dict[str, Geometry] = {}
    keys, files = known_keys(examples) or (), getattr(examples, "files", ())
    for key, paths in zip(keys, files, strict=False):
        named = [path for path in paths if isinstance(path, Path)] if isinstance(paths, tuple) else []
        try:
            places = [place for place in map(geometry_of, named) if place is not None]
        except PackageError as error:
            return {}, (f"where pixels lie is not kept: {error}",)
        if places:
            found[key] = places[0]
    return found, (f"where pixels lie is kept, of {len(found)} of {len(keys)} images",) if found else ()


def geometry_of(path: Path) -> Geometry | None:
    """Return where the pixels of a file lie, without reading them; None if it does not say.

    :param path: any file.
    :raises DataError: it is damaged, or needs a package that is not there.
    """
    if split_name(path, NIFTI_SUFFIXES):
        with reading(path):
            return _of_nifti(path)
    if split_name(path, TIFF_SUFFIXES):
        with reading(path):
            return _of_geotiff(path)
    return None


def _of_nifti(path: Path) -> Geometry | None:
    image = needs("nibabel", "reads such files", name=str(path)).load(path)
    header = image.header
    if not (int(header.get("sform_code", 1)) or int(header.get("qform_code", 1))):
        return None
    unit = header.get_xyzt_units()[0]
    affine = np.asarray(image.affine, np.float64)[:3]
    code = base64.b64encode(header.binaryblock).decode()
    return Geometry(NIFTI, image.shape[:3][::-1], affine.tolist(), unit, _MILLIMETRES.get(unit, 0.0), header=code)


def _of_geotiff(path: Path) -> Geometry | None:
    """What a TIFF says of its place on the earth, and of its missing data."""
    with needs("tifffile", "reads such files", name=str(path)).TiffFile(path) as file:
        tags = file.pages[0].tags
        if not any(code in tags for code in (33550, 34264, 34735, 42113)):
            return None
    rasterio = needs("rasterio", "reads where the pixels of a GeoTIFF lie", name=str(path))
    with rasterio.open(path) as found:
        unit, factor = "", 0.0
        if found.crs is not None and found.crs.is_projected:
            unit, factor = found.crs.linear_units_factor
        if found.gcps[0] or found.rpcs:
            raise DataError(
                f"{path}: expected a GeoTIFF with a transform; it has control points or RPCs, which are not kept. "
                "Warp it onto a grid first: gdalwarp."
            )
        profile = {name: found.profile[name] for name in KEPT if found.profile.get(name) is not None}
        if isinstance(profile.get("nodata"), float) and np.isnan(profile["nodata"]):
            profile["nodata"] = "nan"  # which JSON cannot hold
        wkt = "" if found.crs is None else found.crs.to_wkt()
        numbers, shape = tuple(map(float, found.transform)), (found.height, found.width)
    return Geometry(GEOTIFF, shape, (numbers[:3], numbers[3:6]), unit, factor, wkt, profile)
