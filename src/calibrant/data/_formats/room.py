"""How much memory a file asks for, which its header says, looked at before any is taken.

A file of some kilobytes may say that it holds terabytes, by mistake or on purpose.
"""

import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from calibrant.errors import DataError, InputError

LIMIT = "CALIBRANT_MAX_GIB"
"""The environment variable with the most memory that one array of one file may take, in GiB."""

DEFAULT = 16.0
"""GiB, where the variable says nothing: 19 classes over 220 megapixels in float32."""

_BLOCK = 2**20


def limit() -> float:
    """Return the most bytes that one array of one file may take.

    :raises InputError: the environment says no positive number.
    """
    said = os.environ.get(LIMIT, "")
    try:
        gib = float(said) if said else DEFAULT
    except ValueError:
        gib = math.nan
    if not gib > 0:
        raise InputError(
            f"expected {LIMIT} to be a positive number of GiB; got {said!r}. Leave it out for {DEFAULT:g}."
        )
    return gib * 2**30


def check_room(path: Path, shape: Sequence[int], itemsize: int, what: str = "an array") -> None:
    """Raise if an array would take more memory than one file may.

    :param path: the file.
    :param shape: of the array, as the header says.
    :param itemsize: bytes of a number.
    :param what: what the file says that it holds.
    :raises DataError: it would; naming the file, the size and how to allow it.
    """
    size, most = math.prod(map(int, shape)) * itemsize, limit()
    if size > most:
        raise DataError(
            f"{path}: expected {what} of {most / 2**30:.4g} GiB at most; its header says "
            f"{' x '.join(map(str, shape))}, which is {size / 2**30:.4g} GiB. If it is right, and there is room, allow "
            f"it: {LIMIT}={math.ceil(size / 2**30)}."
        )


DEFLATE_AT_MOST = 1032
"""So many bytes may one byte of a deflated stream stand for."""


def check_deflated(path: Path, places: Iterable[tuple[int, int]], size: int) -> None:
    """Raise if a deflated part of a file would unpack to more than its header says, and that is too much.

    Parts that cannot take too much memory, however they were made, are not looked at.

    :param path: the file.
    :param places: where the parts begin, and how many bytes each has.
    :param size: bytes that the header says a part unpacks to at most.
    :raises DataError: one would; the header was made to hide it.
    """
    most = limit()
    with path.open("rb") as stream:
        for begin, length in places:
            if length * DEFLATE_AT_MOST <= max(size, most):
                continue
            stream.seek(begin)
            unpacked, left, unpacker = 0, stream.read(length), zlib.decompressobj()
            while left and unpacked <= max(size, most):
                unpacked += len(unpacker.decompress(left, _BLOCK))
                left = unpacker.unconsumed_tail
            if unpacked > max(size, most):
                raise DataError(
                    f"{path}: expected {size} bytes in a compressed part, as its header says; it unpacks to more than "
                    f"{most / 2**30:.4g} GiB. The file is damaged, or was made to fill memory."
                )


def check_npy(path: Path) -> None:
    """Raise if the array of a ``.npy`` file would take too much memory; damage is left to the reader.

    :param path: the file.
    """
    with path.open("rb") as stream:
        _check_header(path, stream)


def check_npz(path: Path, name: str) -> None:
    """Raise if an array of a ``.npz`` file would take too much memory; damage is left to the reader.

    :param path: the file.
    :param name: of the array.
    """
    with zipfile.ZipFile(path) as archive:
        member = f"{name}.npy" if f"{name}.npy" in archive.namelist() else name
        with archive.open(member) as stream:
            _check_header(path, stream)


def _check_header(path: Path, stream: IO[bytes] | zipfile.ZipExtFile) -> None:
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(npy.read_magic(stream))
    if read is not None:
        shape, _, dtype = read(stream)
        check_room(path, shape, np.dtype(dtype).itemsize)
