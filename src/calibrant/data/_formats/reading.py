"""Single files of other people's making: arrays of scores, label maps, pictures.

Nothing is unpickled, no label map goes through colours, and every trouble names its file. What a file says of itself
(orientation, scale, missing data, colours) is used, or refused by name.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibrant._input.checks import needs
from calibrant._shapes import IGNORE, Float, Tensor
from calibrant.data._formats.names import split_name
from calibrant.data._formats.nifti import Affine, read_affine, read_volume
from calibrant.data._formats.palette import Palette
from calibrant.data._formats.pictures import read_numbers, read_rgb
from calibrant.data._formats.room import check_npy, check_npz
from calibrant.data._formats.tiff import read_raster
from calibrant.errors import CalibrantError, DataError, LabelError

SCORE_SUFFIXES = (".npz", ".npy", ".safetensors", ".nii.gz", ".nii", ".tiff", ".tif")
LABEL_SUFFIXES = (".png", ".npy", ".npz", ".nii.gz", ".nii", ".tiff", ".tif")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
NIFTI_SUFFIXES = (".nii.gz", ".nii")
PROBABILITIES = ("probabilities", "softmax", "probs")
"""Names, of folders and of arrays in files, that say that the numbers are probabilities."""
_SCORE_NAMES = ("logits", *PROBABILITIES)
_LABEL_NAMES = ("labels", "label", "mask", "seg", "segmentation", "gt", "target")

PNG, ARRAY, TIFF, VOLUME = "PNG", "array", "TIFF", "NIfTI"


@dataclass(frozen=True)
class Stored:
    """An array as a file has it, and what the file says of it.

    :param values: NIfTI comes with its axes turned round, (c, z, y, x), which is how nnU-Net and PyTorch have them.
    :param kind: PNG, array, TIFF or NIfTI.
    :param name: what the array is called in the file; empty if it has no name.
    :param affine: where the voxels lie, of NIfTI that says so.
    :param flat: known to be (h, w): a PNG, or a TIFF of one page and one sample.
    :param nodata: the number that stands for missing data, of a TIFF that says so.
    :param turned: its axes of space are known to be z, y, x.
    :param missing: how many labels were NaN, which are ``IGNORE`` now.
    """

    values: Any
    kind: str
    name: str = ""
    affine: Affine | None = None
    flat: bool = False
    nodata: float | None = None
    turned: bool = False
    missing: int = 0


def read_scores(path: Path, array: str | None = None) -> Stored:
    """Return an array of scores as it is in the file.

    :param path: with one of the endings in ``SCORE_SUFFIXES``.
    :param array: the name of the array, in an archive of several.
    """
    suffix = (split_name(path, SCORE_SUFFIXES) or ("", ""))[1]
    with reading(path):
        if suffix in NIFTI_SUFFIXES:
            volume = read_volume(path)
            return Stored(_numbers(volume.values, path), VOLUME, affine=volume.affine)
        if suffix in (".tif", ".tiff"):
            raster = read_raster(path, labels=False)
            return Stored(_numbers(raster.values, path), TIFF, flat=raster.single, nodata=raster.nodata)
        values, name = _read_array(path, suffix, array, labels=False)
        return Stored(_numbers(values, path) if isinstance(values, np.ndarray) else values, ARRAY, name)


def read_label_file(path: Path, array: str | None = None, palette: Palette | None = None) -> Stored:
    """Return a label map as integers; NaN becomes ``IGNORE``, and fractions are refused.

    :param path: with one of the endings in ``LABEL_SUFFIXES``.
    :param array: the name of the array, in an archive of several.
    :param palette: the colour of every class, of PNGs; None for numbers.
    """
    suffix = (split_name(path, LABEL_SUFFIXES) or ("", ""))[1]
    with reading(path):
        if suffix == ".png":
            return Stored(read_numbers(path, palette), PNG, flat=True)
        if palette is not None:
            raise DataError(f"{path}: expected a PNG of colours, as a palette was named; got {suffix}. Leave it out.")
        if suffix in NIFTI_SUFFIXES:
            volume = read_volume(path)
            values, missing = _whole_numbers(_native(volume.values), path)
            return Stored(values, VOLUME, affine=volume.affine, missing=missing)
        if suffix in (".tif", ".tiff"):
            raster = read_raster(path, labels=True)
            values, missing = _whole_numbers(_native(raster.values), path)
            return Stored(values, TIFF, flat=raster.single, nodata=raster.nodata, missing=missing)
        values, name = _read_array(path, suffix, array, labels=True)
        values, missing = _whole_numbers(np.asarray(values), path)
        return Stored(values, ARRAY, name, missing=missing)


def read_labels(path: Path, palette: Palette | None = None) -> np.ndarray:
    """Return a label map as integers.

    :param palette: the colour of every class, of PNGs; None for numbers.
    """
    return read_label_file(path, palette=palette).values


def read_picture(path: Path, size: tuple[int, int]) -> Float[Tensor, "3 h w"]:
    """Return an 8-bit picture as RGB in [0, 1], turned as EXIF says, resized (bilinear) to (h, w) if need be."""
    with reading(path):
        return read_rgb(path, size)


def read_nifti_layer(path: Path, number: int) -> np.ndarray:
    """Return one layer (y, x) of a volume in NIfTI, numbered from 0 along its last axis; no other is decoded.

    :raises DataError: there is no such layer.
    """
    with reading(path):
        volume = needs("nibabel", "reads such files", name=str(path)).load(path)
        if len(volume.shape) != 3 or not 0 <= number < volume.shape[2]:
            raise DataError(
                f"{path}: expected a volume of three axes with layer {number + 1}; got {volume.shape}. "
                "Layers are numbered from 1."
            )
        return _native(np.asanyarray(volume.dataobj[..., number])).T


def affine_of(path: Path) -> Affine | None:
    """Return where the voxels of a NIfTI file lie, without reading them; None if it does not say."""
    with reading(path):
        return read_affine(path)


def _read_array(path: Path, suffix: str, array: str | None, *, labels: bool) -> tuple[Any, str]:
    if suffix == ".npz":
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if len(arrays.files) == 1 and array is None:
                check_npz(path, arrays.files[0])
                return _native(arrays[arrays.files[0]]), arrays.files[0]
            for name in arrays.files:
                check_npz(path, name)
            kinds = {name: (arrays[name].dtype.kind, arrays[name].shape) for name in arrays.files}
            name = _pick(path, kinds, array, labels=labels)
            return _native(arrays[name]), name
    if suffix == ".npy":
        check_npy(path)
        return _native(np.load(path, allow_pickle=False)), ""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        kinds = {}
        for name in file.keys():  # noqa: SIM118
            part = file.get_slice(name)
            kinds[name] = ("f" if "F" in part.get_dtype() else "i", tuple(part.get_shape()))
        name = _pick(path, kinds, array, labels=labels)
        return file.get_tensor(name), name


def _pick(path: Path, kinds: dict[str, tuple[str, tuple[int, ...]]], array: str | None, *, labels: bool) -> str:
    """Return which of several named arrays is meant: the one asked for, or known by its name, or alone of its sort.

    Fractions of more axes than two are scores, whole numbers are labels; more is not guessed.
    """
    option = "label_array (command line: --label-array" if labels else "array (command line: --array"
    names, shapes = sorted(kinds), [str(kinds[name][1]) for name in sorted(kinds)]
    shown = f"{', '.join(names)} of shapes {', '.join(shapes)}" if names else "nothing"
    if array is not None:
        if array in kinds:
            return array
        raise DataError(f"{path}: expected an array called {array!r}; got {shown}. Name one of these: {option} NAME).")
    if len(kinds) == 1:
        return next(iter(kinds))
    usual = _LABEL_NAMES if labels else _SCORE_NAMES
    known = [name for name in kinds if name.lower() in usual]
    sort = [name for name, (kind, shape) in kinds.items() if (kind in "biu") == labels and len(shape) >= 2]
    for only in (known, sort):
        if len(only) == 1:
            return only[0]
    what = "labels" if labels else "scores"
    raise DataError(
        f"{path}: expected one array, or one of the names {', '.join(usual)}; got {shown}. Name the one that holds the "
        f"{what}: {option} NAME)."
    )


def _numbers(array: np.ndarray, path: Path) -> np.ndarray:
    """Return scores in a number type that torch has."""
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path}: expected scores as real numbers; got {array.dtype}. Save them as float32.")
    return _native(array.astype(np.float64) if array.dtype.itemsize > 8 else array)


def _native(array: np.ndarray) -> np.ndarray:
    """Return the array in this machine's byte order, which is all that torch takes."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _whole_numbers(labels: np.ndarray, path: Path) -> tuple[np.ndarray, int]:
    """Return labels as integers, and how many were NaN; a stored scale may leave 2.9999999 of 3."""
    if labels.dtype.kind in "biu":
        return labels.astype(np.int64), 0
    if labels.dtype.kind != "f":
        raise LabelError(f"{path}: expected whole numbers as labels; got {labels.dtype}. Save them as integers.")
    labels = labels.astype(np.float64)
    if np.isinf(labels).any():
        raise LabelError(
            f"{path}: expected whole numbers as labels; got inf in {int(np.isinf(labels).sum())} of {labels.size} "
            "pixels. Mark unlabelled pixels with NaN or a small whole number."
        )
    missing = np.isnan(labels)
    nearest = np.round(np.where(missing, 0, labels))
    off = np.abs(np.where(missing, 0, labels) - nearest) > 1e-3
    if off.any() or np.abs(nearest).max(initial=0) > 2**31:
        raise LabelError(
            f"{path}: expected whole numbers as labels; got fractions, such as {labels[off][0]:.4g}, in "
            f"{int(off.sum())} of {labels.size} pixels. If this file holds scores, give the label maps."
            if off.any()
            else f"{path}: expected whole numbers as labels; got {labels.flat[np.abs(nearest).argmax()]:.4g}. "
            "Mark unlabelled pixels with NaN or a small whole number."
        )
    return np.where(missing, IGNORE, nearest).astype(np.int64), int(missing.sum())


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn whatever a reader raises over a damaged file into one sentence with the file's name."""
    try:
        yield
    except CalibrantError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{path}: expected an array that fits into memory; it is larger ({error}). Save parts of it, or images, in "
            "files of their own."
        ) from error
    except Exception as error:  # readers of broken files raise nearly anything
        if "allow_pickle" in str(error):
            what, do = "it holds Python objects, which are never unpickled", "Save it again as one array of numbers"
        else:
            what, do = f"it cannot be read ({error or type(error).__name__})", "It may be cut off: copy it again"
        raise DataError(f"{path}: expected a whole file of numbers; {what}. {do}.") from error
