"""Names of calibration methods on the command line: one literal dict, and how to compose them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from calibrant._check import check_choice
from calibrant.calibrators import Calibrator, Identity, SelectiveScaling, TemperatureScaling, VectorScaling
from calibrant.errors import MethodError
from calibrant.predictions import Predictions


@dataclass(frozen=True)
class Method:
    """A way to make a calibrator.

    :param title: how tables name it.
    :param fit: from predictions to a calibrator, with keywords.
    """

    title: str
    fit: Callable[..., Calibrator]


METHODS: dict[str, Method] = {
    "uncalibrated": Method("uncalibrated", lambda predictions, **_: Identity()),
    "temperature": Method("temperature scaling", TemperatureScaling.fit),
    "temperature-published": Method("temperature scaling, as published", TemperatureScaling.fit_as_published),
    "vector": Method("vector scaling", VectorScaling.fit),
    "selective": Method("selective scaling, validated", SelectiveScaling.fit),
    "selective-published": Method("selective scaling, as published", SelectiveScaling.fit_as_published),
}


def parse_methods(text: str) -> dict[str, Method]:
    """Return methods by title from ``all`` or names with commas.

    A name may carry options, ``selective:base=temperature``; an option that names a method passes its fit.

    :raises MethodError: there is no such method or option.

    >>> list(parse_methods("temperature,selective:base=temperature"))
    ['temperature scaling', 'selective scaling, validated (base: temperature)']
    """
    names = list(METHODS) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise MethodError(
            f"expected methods with commas between, or all; got {text!r}. There are: {', '.join(METHODS)}."
        )
    methods = [parse_method(name) for name in names]
    return {method.title: method for method in methods}


def parse_method(text: str) -> Method:
    """Return one method; see ``parse_methods``."""
    name, _, rest = text.partition(":")
    check_choice(name, METHODS, "method")
    method = METHODS[name]
    options: dict[str, Any] = {}
    for option in filter(None, rest.split(";")):
        key, equals, value = option.partition("=")
        if not equals:
            raise MethodError(f"expected an option like base=temperature after {name!r}; got {option!r}.")
        options[key] = METHODS[value].fit if value in METHODS else _number(value, name, key)
    if not options:
        return method
    title = f"{method.title} ({', '.join(option.replace('=', ': ') for option in rest.split(';'))})"
    return Method(title, partial(method.fit, **options))


def _number(value: str, name: str, key: str) -> float | int:
    try:
        return int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        raise MethodError(
            f"expected a number or a method for {key!r} of {name!r}; got {value!r}. Methods: {', '.join(METHODS)}."
        ) from None


def fit_method(method: Method, predictions: Predictions, **keywords: Any) -> Calibrator:
    """Return the fitted calibrator.

    :raises MethodError: the method has no such option.
    """
    try:
        return method.fit(predictions, **keywords)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise MethodError(f"{method.title}: {error}. Leave that option out.") from error
