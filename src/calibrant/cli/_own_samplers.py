"""Samplers on the command line: from a folder, or fitted by a function of the user's own, ``module:function``."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from calibrant.cli._own import named_classes

if TYPE_CHECKING:
    from calibrant.samplers import Sampler


def open_sampler(path: str | os.PathLike[str], kinds: Iterable[str] | None) -> "Sampler":
    """Return the sampler in a folder.

    :param path: the folder, as ``calibrant refine`` made it.
    :param kinds: what ``--kinds`` named.
    :raises DataError: there is no such sampler or no such class.
    """
    from calibrant.samplers import load_sampler

    return load_sampler(path, kinds=named_classes(kinds))


def named_sampler_fit(
    name: str, asked: Mapping[str, Any], seed: int, *, trust: bool
) -> Callable[[Any, Any], "Sampler"]:
    """Return the fit of a sampler of the user's own, from predictions and a calibrator or None, with what was asked.

    :param name: ``module:function`` or ``path/to/file.py:Class.fit``.
    :param asked: options by the names that its keywords have; None for those that were not given.
    :param seed: what it is given where it takes a seed.
    :param trust: whether its code may run.
    :raises InputError: the code may not run, or has no such keyword.
    :raises MethodError: it is no fit of a sampler.
    :raises DataError: there is no such code.
    """
    from calibrant._input.own_code import must_trust
    from calibrant.errors import InputError, MethodError
    from calibrant.samplers import Sampler

    if not trust:
        raise must_trust(name, "it names the fit of a sampler in Python code")
    fit, keywords = _fit_and_keywords(name)
    given = {key: value for key, value in asked.items() if value is not None}
    if unknown := sorted(given.keys() - keywords):
        option = unknown[0].replace("_", "-")
        raise InputError(f"{name}: expected options that it takes; got --{option}. Leave it out, or add the keyword.")
    given |= {"seed": seed} if "seed" in keywords else {}

    def fitted(predictions: Any, calibrator: Any) -> Sampler:
        sampler = fit(predictions, calibrator, **given)
        if not isinstance(sampler, Sampler):
            raise MethodError(
                f"{name}: expected a fit that returns a calibrant.samplers.Sampler; it returned "
                f"{type(sampler).__name__}. Subclass Sampler, and check it: calibrant.testing.check_sampler."
            )
        return sampler

    return fitted


def _fit_and_keywords(name: str) -> tuple[Callable[..., Any], set[str]]:
    """The function of a name, and the parameters after its first two.

    :raises MethodError: it has not two parameters, or needs more.
    """
    import inspect

    from calibrant._input.own_code import import_named
    from calibrant.errors import MethodError

    fit = import_named(name)
    takes = [] if isinstance(fit, type) or not callable(fit) else list(inspect.signature(fit).parameters.values())
    needed = [each for each in takes[2:] if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if len(takes) < 2 or needed:
        got = ", ".join(each.name for each in takes) or type(fit).__name__
        raise MethodError(
            f"{name}: expected a function from predictions and a calibrator or None, its first two parameters, to a "
            f"sampler, with defaults for others; got {got}. Name the fit of a class: module:Class.fit."
        )
    return fit, {each.name for each in takes[2:]}
