"""Which files of a folder are data, and what an image is called: one rule for all readers.

Passed over are files and folders whose names begin with a dot (``._street.png`` and ``.DS_Store`` of macOS,
``.ipynb_checkpoints`` of Jupyter, temporary files), and those in :data:`NOT_DATA`. Endings count in any case of
letters. Names are compared as Unicode composes them (NFC), since macOS takes letters and accents apart (NFD).
"""

import unicodedata
from pathlib import Path

NOT_DATA = ("__MACOSX", "Thumbs.db", "desktop.ini")
"""Names that file managers leave."""


def is_data(path: Path, folder: Path) -> bool:
    """Tell whether a file in a folder, at any depth, is nobody's leftover.

    >>> [is_data(Path(name), Path("x")) for name in ("x/a.png", "x/._a.png", "x/.ipynb_checkpoints/a.png")]
    [True, False, False]
    """
    return not any(part.startswith(".") or part in NOT_DATA for part in path.relative_to(folder).parts)


def split_name(path: Path, suffixes: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the stem (composed, NFC) and the suffix of a file with one of these suffixes, else None.

    >>> split_name(Path("street.TIF"), (".tiff", ".tif"))
    ('street', '.tif')
    """
    for suffix in suffixes:
        if path.name.lower().endswith(suffix) and not path.name.startswith("."):
            return composed(path.name[: -len(suffix)]), suffix
    return None


def composed(name: str) -> str:
    """Return a name as Unicode composes it (NFC)."""
    return unicodedata.normalize("NFC", name)


def key_of(path: Path, folder: Path, suffix: str) -> str:
    """Return the path of a file in a folder without its suffix, composed (NFC)."""
    return composed(path.relative_to(folder).as_posix()[: -len(suffix)])


def passed_over(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Return the names of the files in a folder, not deeper, that are no data, or of other kinds, sorted."""
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    return [path.name for path in files if split_name(path, suffixes) is None or not is_data(path, folder)]
