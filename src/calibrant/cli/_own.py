"""Calibrators from a folder on the command line, and the classes of one's own that they may need."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from calibrant.calibrators import Calibrator

Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kinds",
        help="A class of your own that the calibrator or sampler was saved with, module:Class or "
        "path/to/file.py:Class, or a module for all of its classes. Naming it lets its code run. May be given several "
        "times.",
    ),
]
"""The option that names classes of one's own."""

Trust = Annotated[bool, typer.Option("--trust", help="Let code of your own that is named, module:name, run.")]
"""The option that lets a named fit or score run."""


def open_calibrator(path: str | os.PathLike[str], kinds: Iterable[str] | None) -> "Calibrator":
    """Return the calibrator in a folder.

    :param path: the folder, as ``calibrant fit`` made it.
    :param kinds: what ``--kinds`` named.
    :raises DataError: there is no such calibrator or no such class.
    """
    from calibrant.calibrators import load

    return load(path, kinds=named_classes(kinds))


def described(calibrator: "Calibrator") -> str:
    """Return a calibrator in one line, without its parts: its class and what its ``extra_repr`` says."""
    return f"{type(calibrator).__name__}({calibrator.extra_repr()})"


def drawn_back(calibrator: "Calibrator", predictions: Any) -> str:
    """Return which images lie outside the range of a stacked scaling's fit, in words; empty for other calibrators.

    :param calibrator: what is applied.
    :param predictions: to what.
    """
    import torch

    from calibrant.calibrators import StackedScaling
    from calibrant.calibrators.storage import KINDS

    if not isinstance(calibrator, StackedScaling) or calibrator.gate is None:
        return ""
    shares = {}
    with torch.no_grad():
        for each in predictions:
            image = None if each.image is None else each.image[None]
            shares[each.key] = float(calibrator.shares(each.logits[None], image))
    back = {key: share for key, share in shares.items() if share < 1}
    kind = type(calibrator.anchor)
    anchor = next((name for name, known in KINDS.items() if known is kind), kind.__name__)
    if not back:
        return f"all {len(shares)} images lie within the range of those of the fit"
    listed = ", ".join(f"{key} ({share:.2f})" for key, share in sorted(back.items(), key=lambda item: item[1])[:20])
    more = f" and {len(back) - 20} more" if len(back) > 20 else ""
    return (
        f"{len(back)} of {len(shares)} images lie outside of the range of those of the fit, and were drawn back to "
        f"{anchor}; what was learnt has this share there: {listed}{more}"
    )


def named_classes(kinds: Iterable[str] | None) -> dict[str, type]:
    """Return classes of the user's own by the names that they are stored under.

    :param kinds: what ``--kinds`` named.
    :raises DataError: there is no such class.
    """
    return {name: kind for each in kinds or () for name, kind in _classes(each).items()}


def _classes(name: str) -> dict[str, type]:
    """The classes that a name stands for, by the names that they are stored under."""
    from calibrant._input.own_code import import_module, import_named, names_code
    from calibrant._storage.kinds import Storable, kind_of
    from calibrant.errors import DataError

    if names_code(name):
        found = import_named(name)
        if not isinstance(found, type):
            raise DataError(
                f"--kinds {name}: expected a class; got {type(found).__name__}. Name the class of your own."
            )
        return {kind_of(found): found}
    try:
        module = import_module(name)
    except (ImportError, OSError) as error:
        raise DataError(
            f"--kinds {name}: expected a Python module, or module:Class; {error}. Run the command from the folder that "
            "holds the module, or write the path of its file: path/to/file.py:Class."
        ) from error
    own = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    return {kind_of(each): each for each in own if issubclass(each, Storable)}
