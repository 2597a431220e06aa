"""Label maps of colours: which colour is which class."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from calibrant._shapes import IGNORE
from calibrant.errors import DataError, LabelError

Palette = Mapping[str, tuple[int, int, int]]
"""The colour (red, green, blue in 0..255) of every class, by name, in the order of the classes."""

UNLABELLED_NAME = "unlabelled"
"""The name, in a palette, of the colour of unlabelled pixels, which is no class."""


def read_palette(path: str | os.PathLike[str]) -> Palette:
    """Return the palette in a text file.

    :param path: lines of a name, red, green and blue, with commas between, in the order of the classes; a line of the
        name ``unlabelled`` is no class.
    :raises DataError: there is no such file, or a line is something else.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "palette.csv").write_text("road,128,64,128\\nunlabelled,0,0,0\\n")
    ...     read_palette(Path(folder) / "palette.csv")
    {'road': (128, 64, 128), 'unlabelled': (0, 0, 0)}
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [[part.strip() for part in row] for row in csv.reader(file) if any(part.strip() for part in row)]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a palette, a text file of name,red,green,blue; {error}.") from error
    found: dict[str, tuple[int, int, int]] = {}
    for row in rows:
        if len(row) != 4 or not all(part.isdecimal() and int(part) < 256 for part in row[1:]) or row[0] in found:
            raise DataError(
                f"{path}: expected a name and three numbers of 0..255 on each line, with commas between, each name "
                f"once; got {','.join(row)!r}. Write lines such as road,128,64,128."
            )
        found[row[0]] = (int(row[1]), int(row[2]), int(row[3]))
    check_palette(found, str(path))
    return found


def check_palette(palette: Palette, name: str) -> None:
    """Raise unless a palette has classes, each of a colour of its own.

    :param palette: by name.
    :param name: which palette, for errors.
    :raises DataError: it has none, or two of one colour.
    """
    if not classes_in(palette):
        raise DataError(
            f"{name}: expected the colours of one class or more; got none. Write lines name,red,green,blue."
        )
    names: dict[tuple[int, int, int], str] = {}
    for each, colour in palette.items():
        if colour in names:
            raise DataError(
                f"{name}: expected a colour of its own for each class; {names[colour]} and {each} share one."
            )
        names[colour] = each


def classes_in(palette: Palette) -> tuple[str, ...]:
    """Return the names of the classes of a palette, in order.

    :param palette: by name.
    """
    return tuple(name for name in palette if name != UNLABELLED_NAME)


def numbers_of(colours: np.ndarray, palette: Palette, path: Path) -> np.ndarray:
    """Return the class of every pixel, ``IGNORE`` where it has the colour of unlabelled ones.

    :param colours: (h, w, 3), of eight bits.
    :param palette: the colour of every class.
    :param path: the file, for errors.
    :raises LabelError: a pixel has another colour.
    """
    code = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    known = {UNLABELLED_NAME: IGNORE} | {name: number for number, name in enumerate(classes_in(palette))}
    numbers = np.full(code.shape, IGNORE, np.int64)
    found = np.zeros(code.shape, bool)
    for name, (red, green, blue) in palette.items():
        here = code == (red << 16) + (green << 8) + blue
        numbers[here], found = known[name], found | here
    if not found.all():
        strange = np.unique(code[~found])
        shown = ", ".join(str((int(c) >> 16, int(c) >> 8 & 255, int(c) & 255)) for c in strange[:3])
        raise LabelError(
            f"{path}: expected colours of the palette; got {shown}{', …' if len(strange) > 3 else ''} in "
            f"{int((~found).sum())} of {found.size} pixels. Add them to the palette (unlabelled,R,G,B for pixels that "
            "do not count), or save the masks without smoothing, as PNG."
        )
    return numbers
