"""Methods named in a line of text, with options: how the command line, the experiments and the benchmarks name them."""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

from calibrant._input.checks import check_choice
from calibrant._input.own_code import import_named, must_trust, names_code
from calibrant.calibrators import Fit
from calibrant.errors import MethodError
from calibrant.methods.method import Method, kinds_of
from calibrant.methods.table import GROUPS, METHODS


def parse_method(text: str, *, trust_code: bool = False) -> Method:
    """Return the method that a text names, with its options.

    :param text: a name, with options if wanted, as :mod:`calibrant.methods` describes.
    :param trust_code: allow the code of ``module:function`` to run.
    :raises MethodError: there is no such method or option, or an option cannot be what it is given.
    :raises InputError: the text names code, which is not allowed to run.
    :raises DataError: there is no such code.

    >>> method = parse_method("meta-cal-star:alpha=0.1,base=vector-kept")
    >>> method.title
    'Meta-Cal* (alpha: 0.1, base: vector-kept)'
    >>> method.options["alpha"]
    0.1
    """
    name, options = _name_and_options(text.strip())
    return with_options(_named(name, trust_code), options, trust_code=trust_code)


def with_options(method: Method, options: str, *, trust_code: bool = False) -> Method:
    """Return a method with options set, which its title shows.

    :param method: one with a fit that takes the options as keywords.
    :param options: ``key=value`` with commas between, or nothing.
    :param trust_code: allow the code of ``base=module:function`` to run.
    :raises MethodError, InputError, DataError: as of :func:`parse_method`.

    >>> with_options(METHODS["vector"], "strength=0.1,safe=false").title
    'vector scaling (strength: 0.1, safe: false)'
    """
    given = [each.strip() for each in options.split(",") if each.strip()]
    if not given:
        return method
    try:
        chosen = dict(_option(each, method.parameters, trust_code) for each in given)
    except MethodError as error:
        raise MethodError(f"{method.title}: {error}") from error
    shown = ", ".join(each.replace("=", ": ", 1) for each in given)
    return Method(f"{method.title} ({shown})", partial(method.fit, **chosen))


def parse_methods(text: str, *, trust_code: bool = False) -> dict[str, Method]:
    """Return the methods of a text by title: methods and groups with commas between.

    A part such as ``num_epochs=5`` belongs to the method before it.

    :param text: names of methods, with options if wanted, and of :data:`GROUPS`.
    :param trust_code: allow the code of ``module:function`` to run.
    :raises MethodError, InputError, DataError: as of :func:`parse_method`.

    >>> list(parse_methods("temperature,selective:base=vector-kept,num_epochs=5,isotonic"))
    ['temperature scaling', 'selective scaling, validated (base: vector-kept, num_epochs: 5)', 'isotonic scaling']
    >>> len(parse_methods("all,published"))
    15
    """
    texts: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if texts and "=" in part and ":" not in part.partition("=")[0]:
            texts[-1] += f",{part}"
        elif part:
            texts.extend(GROUPS.get(part, (part,)))
    if not texts:
        raise MethodError(
            f"expected methods with commas between, or {' or '.join(GROUPS)}; got {text!r}. "
            f"There are: {', '.join(METHODS)}."
        )
    methods = [parse_method(each, trust_code=trust_code) for each in texts]
    return {method.title: method for method in methods}


def _name_and_options(text: str) -> tuple[str, str]:
    """Return the name of a method, or of code, and what follows its colon."""
    name, _, rest = text.partition(":")
    attribute, _, options = rest.partition(":")
    if name not in METHODS and attribute and "=" not in attribute:
        return f"{name}:{attribute}", options
    return name, rest


def _named(name: str, trust_code: bool) -> Method:
    """The method of a name in the table, or of code."""
    if not names_code(name):
        check_choice(name, METHODS, "method")
        return METHODS[name]
    if not trust_code:
        raise must_trust(name, "it names a fit in Python code")
    fit = import_named(name)
    if isinstance(fit, type) or not callable(fit):
        raise MethodError(
            f"{name}: expected a function from predictions to a calibrator; got {type(fit).__name__}. Name the fit of "
            "a class: module:Class.fit."
        )
    where, _, attribute = name.rpartition(":")
    method = Method(f"{Path(where).stem if where.endswith('.py') else where}:{attribute}", fit)
    missing = [key for key, each in method.parameters.items() if each.default is each.empty]
    if missing:
        raise MethodError(
            f"{name}: expected a fit that needs predictions alone; it also needs {', '.join(missing)}. Give each a "
            "default."
        )
    return method


def _option(text: str, parameters: Mapping[str, inspect.Parameter], trust_code: bool) -> tuple[str, Any]:
    """The name and the value of one option."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not parameters:
        raise MethodError(f"expected no option; got {text!r}. Leave it out.")
    if not equals:
        raise MethodError(
            f"expected options such as {next(iter(parameters))}=…; got {text!r}. There are: {', '.join(parameters)}."
        )
    check_choice(key, parameters, "keyword")
    return key, _value(value, parameters[key], trust_code)


def _value(text: str, parameter: inspect.Parameter, trust_code: bool) -> Any:
    """The value of an option, as its annotation says."""
    kinds = kinds_of(parameter)
    if NoneType in kinds and text == "none":
        return None
    if bool in kinds and text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                continue
    if str in kinds:
        return text
    if Fit in kinds:
        return _named(text, trust_code).fit
    if Sequence[Fit] in kinds:
        return tuple(_named(part.strip(), trust_code).fit for part in text.split("+"))
    words = {bool: "true or false", int: "a whole number", float: "a number", NoneType: "none"}
    expected = " or ".join(word for kind, word in words.items() if kind in kinds)
    raise MethodError(f"expected {expected or 'an option that is set in Python'} for {parameter.name!r}; got {text!r}.")
