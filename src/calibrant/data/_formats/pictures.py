"""PNG and JPEG: pictures, and label maps whose numbers are those stored; nothing is opened as another format."""

import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from calibrant._shapes import Float, Tensor
from calibrant.data._formats.palette import Palette, numbers_of
from calibrant.data._formats.room import check_room
from calibrant.errors import DataError, LabelError

FORMATS = ("PNG", "JPEG")
"""Named to Pillow, which would try all that it knows, PostScript with its programs among them."""
_MODES = ("L", "P", "1", "I", "I;16", "I;16B", "I;16L")


def opened_picture(path: Path, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Return a picture that is not decoded yet.

    :raises DataError: it is of no format that is meant, whatever its name says.
    """
    try:
        image = Image.open(path, formats=formats)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: expected a whole file of numbers or colours, in the format {' or '.join(formats)}; it is of "
            "another format, or damaged. Convert it, or copy it again."
        ) from error
    try:
        check_room(path, image.size, 4 * len(image.getbands()), "a picture")
    except DataError:
        image.close()
        raise
    return image


def picture_size(path: Path) -> tuple[int, int]:
    """Return the rows and columns of a picture as it is seen, turned as EXIF says."""
    with opened_picture(path) as image:
        return _turned(image).size[::-1]


def stored_size(path: Path) -> tuple[int, int]:
    """Return the rows and columns of a picture as it is stored, whatever EXIF says."""
    with opened_picture(path) as image:
        return image.size[::-1]


def read_rgb(path: Path, size: tuple[int, int]) -> Float[Tensor, "3 h w"]:
    """Return an 8-bit picture as RGB in [0, 1], turned as EXIF says, resized to (h, w) if need be."""
    with opened_picture(path) as stored:
        if stored.mode not in ("RGB", "L", "P", "RGBA", "LA", "1", "CMYK", "YCbCr"):
            raise DataError(
                f"{path}: expected a picture of eight bits a channel; got mode {stored.mode}. Save it as 8-bit RGB."
            )
        picture = _turned(stored).convert("RGB")
        if picture.size != size[::-1]:
            picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(picture)).movedim(2, 0).float() / 255


def read_numbers(path: Path, palette: Palette | None = None) -> np.ndarray:
    """Return the numbers of a PNG of one channel, as they are stored, or the classes of its colours.

    :param palette: the colour of every class; None for numbers.
    :raises LabelError: the file holds colours, or others than those of the palette.
    """
    if palette is not None:
        with opened_picture(path, ("PNG",)) as stored:
            return numbers_of(np.array(_turned(stored).convert("RGB")), palette, path)
    depth, kind = _depth_and_kind(path)
    with opened_picture(path, ("PNG",)) as stored:
        if stored.mode not in _MODES:
            raise LabelError(
                f"{path}: expected label numbers, a PNG of mode L, P or I;16; got mode {stored.mode}, which "
                "holds colours. Say which colour is which class: palette=… (command line: --palette FILE)."
            )
        numbers = np.array(_turned(stored)).astype(np.int64)
    # Pillow stretches grey values of two and four bits to 0..255.
    return numbers // (255 // (2**depth - 1)) if kind == 0 and depth in (2, 4) else numbers


def _turned(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) or image


def _depth_and_kind(path: Path) -> tuple[int, int]:
    """Return the bits of a sample and the colour type, which the first chunk of a PNG says; zeros if it is none."""
    with path.open("rb") as stream:
        head = stream.read(26)
    return struct.unpack("BB", head[24:26]) if len(head) == 26 and head[12:16] == b"IHDR" else (0, 0)
