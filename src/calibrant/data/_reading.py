"""Single files of other people's making: arrays of scores, label maps, pictures.

Nothing is unpickled, no label map goes through colours, and every trouble names its file.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from calibrant._check import needs
from calibrant._shapes import Float, Tensor
from calibrant.errors import CalibrantError, DataError, LabelError

SCORE_SUFFIXES = (".npz", ".npy", ".safetensors", ".nii.gz", ".nii", ".tiff", ".tif")
LABEL_SUFFIXES = (".png", ".npy", ".npz", ".nii.gz", ".nii", ".tiff", ".tif")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
NIFTI_SUFFIXES = (".nii.gz", ".nii")
PROBABILITIES = ("probabilities", "softmax", "probs")
"""Names, of folders and of arrays in files, that say that the numbers are probabilities."""
_NAMES = ("logits", *PROBABILITIES, "arr_0")


def split_name(path: Path, suffixes: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the stem and the suffix of a file with one of these suffixes, else None."""
    for suffix in suffixes:
        if path.name.lower().endswith(suffix) and not path.name.startswith("."):
            return path.name[: -len(suffix)], suffix
    return None


def read_scores(path: Path) -> tuple[np.ndarray | Tensor, str]:
    """Return an array of scores as it is in the file, and the name it has there ("" if none).

    NIfTI comes with its axes turned round, (c, z, y, x), which is how nnU-Net and PyTorch have them.
    """
    suffix = (split_name(path, SCORE_SUFFIXES) or ("", ""))[1]
    with reading(path):
        if suffix == ".npz":
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                name = _pick(path, {name: None for name in arrays.files})
                return _native(arrays[name]), name
        if suffix == ".npy":
            return _native(np.load(path, allow_pickle=False)), ""
        if suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="pt") as file:
                name = _pick(path, {name: None for name in file.keys()})  # noqa: SIM118
                return file.get_tensor(name), name
        if suffix in NIFTI_SUFFIXES:
            return _read_nifti(path), ""
        return _read_tiff(path), ""


def read_labels(path: Path) -> np.ndarray:
    """Return a label map as integers."""
    suffix = (split_name(path, LABEL_SUFFIXES) or ("", ""))[1]
    with reading(path):
        if suffix == ".png":
            with Image.open(path) as image:
                if image.mode not in ("L", "P", "1", "I", "I;16", "I;16B", "I;16L"):
                    raise LabelError(
                        f"{path}: expected label numbers, a PNG of mode L, P or I;16; got mode {image.mode}, which "
                        "holds colours. Turn the colours into class numbers first."
                    )
                return _native(np.array(image)).astype(np.int64)
        if suffix in NIFTI_SUFFIXES or suffix in (".tif", ".tiff"):
            labels = _read_nifti(path) if suffix in NIFTI_SUFFIXES else _read_tiff(path)
        else:
            labels, _ = read_scores(path)
            labels = np.asarray(labels)
        return _whole_numbers(labels, path)


def read_picture(path: Path, size: tuple[int, int]) -> Float[Tensor, "3 h w"]:
    """Return an 8-bit picture as RGB in [0, 1], resized (bilinear, antialiased) to (h, w) if need be."""
    with reading(path), Image.open(path) as image:
        if image.mode not in ("RGB", "L", "P", "RGBA", "LA", "1", "CMYK", "YCbCr"):
            raise DataError(
                f"{path}: expected a picture of eight bits a channel; got mode {image.mode}. Save it as 8-bit RGB."
            )
        picture = image.convert("RGB")
        if picture.size != size[::-1]:
            picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(picture)).movedim(2, 0).float() / 255


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


def _pick(path: Path, names: Mapping[str, Any]) -> str:
    known = [name for name in _NAMES if name in names]
    if len(names) == 1 or len(known) == 1:
        return known[0] if known else next(iter(names))
    raise DataError(
        f"{path}: expected one array, or one of the names {', '.join(_NAMES)}; got "
        f"{', '.join(sorted(names)) or 'nothing'}. Save the scores alone, or under one of these names."
    )


def _read_nifti(path: Path) -> np.ndarray:
    nibabel = needs("nibabel", "reads such files", name=str(path))
    return _native(np.asanyarray(nibabel.load(path).dataobj)).T


def _read_tiff(path: Path) -> np.ndarray:
    return _native(needs("tifffile", "reads such files", name=str(path)).imread(path))


def _native(array: np.ndarray) -> np.ndarray:
    """Return the array in this machine's byte order, which is all that torch takes."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _whole_numbers(labels: np.ndarray, path: Path) -> np.ndarray:
    """Return labels as integers; NIfTI and TIFF often hold whole numbers as floating-point ones."""
    whole = labels.astype(np.int64)
    if labels.dtype.kind == "f" and not np.array_equal(whole, labels):
        raise LabelError(
            f"{path}: expected whole numbers as labels; got fractions. If this file holds scores, give the label maps."
        )
    return whole


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn whatever a reader raises over a damaged file into one sentence with the file's name."""
    try:
        yield
    except (CalibrantError, MemoryError):
        raise
    except Exception as error:  # readers of broken files raise nearly anything
        if "allow_pickle" in str(error):
            what, do = "it holds Python objects, which are never unpickled", "Save it again as one array of numbers"
        else:
            what, do = f"it cannot be read ({error or type(error).__name__})", "It may be cut off: copy it again"
        raise DataError(f"{path}: expected a whole file of numbers; {what}. {do}.") from error
