"""Values of options: what each may be, said once. A value that cannot be is one sentence and exit code 2."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import typer

MAX_WHOLE = 2**31 - 1
"""No count of anything, and no label, is larger."""

MAX_SEED = 2**63 - 1
"""The largest seed that torch takes."""

MAX_BINS = 10_000
"""Bins of the confidence; a million pixels in more of them say nothing about any."""

MAX_SCALE = 16.0
"""An image is tested at no more than this many times its size along each axis."""

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
"""Number formats of computations, as Lightning names them."""


def seed(help: str) -> Any:
    """Return the option of a seed.

    :param help: what is drawn from it.
    """
    return typer.Option(min=0, max=MAX_SEED, help=help)


def count(help: str, *, least: int = 1, most: int = MAX_WHOLE) -> Any:
    """Return the option of a whole number.

    :param help: what is counted.
    :param least: the smallest number that can be.
    :param most: the largest.
    """
    return typer.Option(min=least, max=most, help=help)


def label(help: str) -> Any:
    """Return the option of a label, of which -1 may stand for none.

    :param help: what the label says.
    """
    return typer.Option(min=-MAX_WHOLE, max=MAX_WHOLE, help=help)


def fraction(help: str, *, positive: bool = False) -> Any:
    """Return the option of a number from 0 to below 1.

    :param help: what it is a part of.
    :param positive: whether 0 is refused, too.
    """
    if positive:
        return typer.Option(help=help, callback=_checked(lambda value: 0 < value < 1, "a number between 0 and 1"))
    return typer.Option(help=help, callback=_checked(lambda value: 0 <= value < 1, "a number from 0 to below 1"))


def number(help: str, *, least: float, most: float) -> Any:
    """Return the option of a number.

    :param help: what it says.
    :param least: the smallest that can be.
    :param most: the largest.
    """
    return typer.Option(help=help, callback=_checked(lambda value: least <= value <= most, f"{least:g} to {most:g}"))


def numbers(help: str, kind: type, *, least: float, most: float) -> Any:
    """Return the option of numbers with commas (or x) between, which stays text: :func:`numbers_in` reads it.

    :param help: what the numbers are.
    :param kind: int or float.
    :param least: the smallest number that can be.
    :param most: the largest.
    """
    what = "whole numbers" if kind is int else "numbers"
    expected = f"{what} from {least:g} to {most:g} with commas between"

    def within(text: str) -> bool:
        return all(least <= number <= most for number in numbers_in(text, kind))

    return typer.Option(help=help, callback=_checked(within, expected))


def numbers_in(text: str, kind: type) -> tuple[Any, ...]:
    """Return the numbers of a text; none of an empty one.

    :param text: numbers with commas (or x) between.
    :param kind: int or float.
    :raises ValueError: a part is no such number.

    >>> numbers_in("512x1024", int), numbers_in("", int)
    ((512, 1024), ())
    """
    return tuple(kind(part) for part in text.replace("x", ",").split(",")) if text else ()


def one_of(choices: Sequence[str], help: str, *names: str) -> Any:
    """Return the option of a word.

    :param choices: the words that can be.
    :param help: what is chosen.
    :param names: how it is called; after the parameter if nothing is said.
    """
    return typer.Option(
        *names, help=help, callback=_checked(lambda value: value in choices, f"one of {', '.join(choices)}")
    )


def device(help: str) -> Any:
    """Return the option of a device, which is asked for when the command runs: see :func:`check_device`.

    :param help: what runs there.
    """
    return typer.Option(help=help)


def check_device(name: str) -> None:
    """Raise unless a device is there.

    :param name: such as cpu, cuda, cuda:1, mps.
    :raises InputError: there is no such device, or no such device here.
    """
    import torch

    from calibrant.errors import InputError

    try:
        torch.empty(1, device=torch.device(name)).add_(1).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        there += ["mps"] if torch.backends.mps.is_available() else []
        raise InputError(
            f"expected a device that is there, one of {', '.join(there)}; got --device {name!r}. Choose another."
        ) from error


def _checked(holds: Callable[[Any], bool], expected: str) -> Callable[[Any], Any]:
    """What typer calls with a value: it is given back, or refused."""

    def check(value: Any) -> Any:
        try:
            right = value is None or (holds(value) and not (isinstance(value, float) and math.isnan(value)))
        except (ValueError, OverflowError):
            right = False
        if not right:
            raise typer.BadParameter(f"expected {expected}; got {value!r}.")
        return value

    return check
