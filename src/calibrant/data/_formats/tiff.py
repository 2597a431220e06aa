"""TIFF: all pages of a file, and what its tags say of colours, of white, of orientation and of missing data."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from calibrant._input.checks import needs
from calibrant.data._formats.room import check_deflated, check_room
from calibrant.errors import DataError, LabelError

TIFF_SUFFIXES = (".tiff", ".tif")
PLAIN, PALETTE, COLOURS = "plain", "palette", "colours"


@dataclass(frozen=True)
class Raster:
    """An array of a TIFF file.

    :param values: (h, w), (pages, h, w) or (h, w, samples).
    :param nodata: the number that GDAL says to stand for missing data; None if it does not say.
    :param single: one page of one sample, which is (h, w).
    """

    values: np.ndarray
    nodata: float | None
    single: bool


def read_raster(path: Path, *, labels: bool) -> Raster:
    """Return the array of a TIFF file.

    :param labels: label maps hold numbers; colours are refused.
    :raises LabelError: the file holds colours.
    :raises DataError: its pages are of unlike sizes or kinds, or it needs a package that is not there.
    """
    with needs("tifffile", "reads such files", name=str(path)).TiffFile(path) as file:
        pages = [page for page in _pages(file) if not int(getattr(page, "subfiletype", 0)) & 0b101]
        kinds = {(page.shape, str(page.dtype)) for page in pages}
        if len(kinds) != 1:
            raise DataError(
                f"{path}: expected pages of one size and kind; got {', '.join(sorted(f'{s} {d}' for s, d in kinds))}. "
                "Save the page that is meant alone."
            )
        first = pages[0]
        check_room(path, (len(pages), *first.shape), np.dtype(first.dtype or np.uint8).itemsize, "pages")
        for page in pages:
            _check_compressed(path, page)
        photometric = getattr(first.photometric, "name", str(first.photometric))
        if labels:
            _check_numbers(path, first, photometric)
        values = _whole(path, file, pages)
        values = _upright(_black_is_zero(path, values, first, photometric), _tag(first, 274, 1), path)
        single = len(pages) == 1 and first.samplesperpixel == 1 and values.ndim == 2
        return Raster(values, _nodata(first), single)


def read_bands(path: Path, divide_by: float | None) -> np.ndarray:
    """Return all bands of a TIFF of one image, (bands, rows, columns), as float32.

    :param path: the file.
    :param divide_by: what the numbers are divided by; None for 255 of eight bits, and a question for others.
    :raises DataError: it holds several images, missing data, or numbers of which nobody says what is white.
    """
    with needs("tifffile", "reads such files", name=str(path)).TiffFile(path) as file:
        if len(file.series) != 1 or set(file.series[0].axes) - set("YXS"):
            raise DataError(f"{path}: expected a TIFF of one image; got {len(file.pages)} pages. Save one file each.")
        series, first = file.series[0], file.pages[0]
        check_room(path, series.shape, 4, "bands")
        photometric = getattr(first.photometric, "name", str(first.photometric))
        values = _whole(path, file, [first])
        if photometric == "PALETTE" or values.dtype.kind not in "biuf":
            raise DataError(f"{path}: expected bands of numbers; got {photometric} {values.dtype}. Save it as RGB.")
        values = _black_is_zero(path, values, first, photometric)
        axes, nodata = series.axes, _nodata(first)
    bands = values[None] if "S" not in axes else np.moveaxis(values, axes.index("S"), 0)
    if divide_by is None and bands.dtype != np.uint8:
        raise DataError(
            f"{path}: expected pictures in [0, 1], or of eight bits; got {bands.dtype} numbers up to "
            f"{float(np.nanmax(bands)):.4g}. Say what the model divides them by: --divide-by 10000, say, or 1 for "
            "nothing (Python: divide_by=)."
        )
    missing = np.zeros(bands.shape, bool) if nodata is None else bands == nodata
    if bands.dtype.kind == "f":
        missing |= np.isnan(bands)
    scaled = bands.astype(np.float32) / np.float32(255 if divide_by is None else divide_by)
    return np.ascontiguousarray(np.where(missing, 0, scaled), np.float32)


def _pages(file: Any) -> list[Any]:
    return [page for page in file.pages if page is not None]


def _check_compressed(path: Path, page: Any) -> None:
    """Raise if deflated strips or tiles would unpack to far more than their size.

    :raises DataError: they would.
    """
    if getattr(page.compression, "name", "") in ("ADOBE_DEFLATE", "DEFLATE"):
        size = math.prod(page.chunks) * np.dtype(page.dtype or np.uint8).itemsize
        check_deflated(path, zip(page.dataoffsets, page.databytecounts, strict=True), size)


def _check_numbers(path: Path, page: Any, photometric: str) -> None:
    if photometric in ("MINISBLACK", "MINISWHITE", "PALETTE", "MASK") and page.samplesperpixel == 1:
        return
    if photometric in ("MINISBLACK", "MINISWHITE") and page.samplesperpixel > 4:
        return  # one-hot, as samples
    raise LabelError(
        f"{path}: expected label numbers, a TIFF of one sample a pixel; got {page.samplesperpixel} ({photometric}), "
        "which hold colours. Turn the colours into class numbers first."
    )


def _whole(path: Path, file: Any, pages: list[Any]) -> np.ndarray:
    try:
        if len(file.series) == 1 and len(file.series[0].pages) == len(pages):
            return file.series[0].asarray()
        arrays = [page.asarray() for page in pages]
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        arrays = _with_pillow(path, pages, str(error))
    return arrays[0] if len(arrays) == 1 else np.stack(arrays)


def _with_pillow(path: Path, pages: list[Any], reason: str) -> list[np.ndarray]:
    """Decode with Pillow what tifffile needs another package for: LZW and others."""
    first = pages[0]
    if first.samplesperpixel != 1 or first.bitspersample not in (1, 8, 16, 32):
        raise DataError(
            f"{path}: expected a TIFF that tifffile or Pillow can decode; {reason}. "
            "Install it: pip install imagecodecs; or save the file without compression, with 8, 16 or 32 bits."
        )
    arrays = []
    with Image.open(path, formats=("TIFF",)) as image:
        for page in pages:
            image.seek(page.index)
            if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "F"):
                raise DataError(
                    f"{path}: expected numbers; got mode {image.mode}. Install it: pip install imagecodecs."
                )
            array = np.array(image)
            if getattr(page.photometric, "name", "") == "MINISWHITE" and image.mode in ("1", "L"):
                array = ~array if array.dtype == bool else 255 - array  # Pillow has inverted them; it is done below
            arrays.append(array)
    return arrays


def _black_is_zero(path: Path, values: np.ndarray, page: Any, photometric: str) -> np.ndarray:
    """Return what a file shows whose zero is white: the largest number less what is stored."""
    if photometric != "MINISWHITE":
        return values
    if values.dtype.kind not in "bu":
        raise DataError(
            f"{path}: expected a TIFF whose 0 is black; got one whose 0 is white (WhiteIsZero) with {values.dtype} "
            "numbers. Save it with 0 as black (BlackIsZero)."
        )
    if values.dtype.kind == "b":
        return ~values
    return (2 ** int(page.bitspersample) - 1 - values.astype(np.int64)).astype(values.dtype)


def _upright(values: np.ndarray, orientation: int, path: Path) -> np.ndarray:
    if orientation in (0, 1):
        return values
    if values.ndim != 2 or orientation > 8:
        raise DataError(
            f"{path}: expected a TIFF stored upright; its orientation tag is {orientation}. Turn it, "
            "and save it as it is seen."
        )
    turned = values.T if orientation > 4 else values
    return {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a,
        6: lambda a: a[:, ::-1],
        7: lambda a: a[::-1, ::-1],
        8: lambda a: a[::-1],
    }[orientation](turned)


def _nodata(page: Any) -> float | None:
    """Return what GDAL's tag 42113 says."""
    said = _tag(page, 42113, None)
    try:
        return None if said is None else float(str(said).strip("\0 "))
    except ValueError:
        return None


def _tag(page: Any, code: int, default: Any) -> Any:
    tag = page.tags.get(code)
    return default if tag is None else tag.value if not hasattr(tag.value, "value") else tag.value.value
