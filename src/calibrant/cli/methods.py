"""Names of calibration methods on the command line: one literal dict, and how to set and compose them.

A method is its name, or its name with settings: ``selective:mistaken=temperature;others=vector-kept``. A setting is a
keyword of the method's fit; one that is a fit itself takes a method, with settings of its own in brackets:
``correctness:base=[vector-kept:strength=0.1]``.
"""

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import NoneType, UnionType
from typing import Any, get_args

from calibrant._check import check_choice
from calibrant.calibrators import (
    CalibrationNetwork,
    Calibrator,
    CorrectnessScaling,
    DirichletScaling,
    Fit,
    Identity,
    IsotonicScaling,
    LocalTemperatureScaling,
    MetaCal,
    SelectiveScaling,
    TemperatureScaling,
    VectorScaling,
)
from calibrant.errors import MethodError
from calibrant.predictions import Predictions

REJECTED = ("uniform", "softened")


@dataclass(frozen=True)
class Method:
    """A way to make a calibrator.

    :param title: how tables name it.
    :param fit: from predictions to a calibrator, with keywords.
    :param settings: keywords that were chosen; a method stands for its fit.
    """

    title: str
    fit: Callable[..., Calibrator]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """What can be set: the keywords of the fit."""
        found = inspect.signature(self.fit).parameters
        return {name: each for name, each in found.items() if each.kind is each.KEYWORD_ONLY}

    def bound(self, **keywords: Any) -> Fit:
        """Return the fit with its settings; of the keywords, which settings overrule, it and those within take theirs.

        So a base is fitted on the pixels and with the seed that its method is fitted with.
        """
        given = {**keywords, **self.settings}
        chosen = {}
        for name, parameter in self.parameters.items():
            value = given.get(name, parameter.default)
            if isinstance(value, Method):
                chosen[name] = value.bound(**keywords)
            elif Fit in _kinds(parameter) and callable(value) and name not in given:
                chosen[name] = Method(name, value).bound(**keywords)
            elif name in given:
                chosen[name] = value
        return partial(self.fit, **chosen)


def _meta_cal(
    predictions: Predictions,
    *,
    rejected: str = "uniform",
    alpha: float = 0.05,
    accuracy: float | None = None,
    base: Fit = TemperatureScaling.fit,
    max_aside: int = 500,
    pixels_per_image: int | None = 10_000,
    seed: int = 0,
) -> MetaCal:
    """Meta-Cal, whose rejected pixels become uniform (class 0 everywhere), or merely soft, with their label (the *)."""
    check_choice(rejected, REJECTED, "form of rejected pixels")
    return MetaCal.fit(
        predictions,
        alpha=alpha,
        accuracy=accuracy,
        keep_labels=rejected == "softened",
        base=base,
        max_aside=max_aside,
        pixels_per_image=pixels_per_image,
        seed=seed,
    )


METHODS: dict[str, Method] = {
    "uncalibrated": Method("uncalibrated", Identity.fit),
    "temperature": Method("temperature scaling", TemperatureScaling.fit),
    "temperature-published": Method("temperature scaling, as published", TemperatureScaling.fit_as_published),
    "vector": Method("vector scaling", VectorScaling.fit),
    "vector-kept": Method("vector scaling, label map kept", VectorScaling.fit, {"keep_labels": True}),
    "vector-published": Method("vector scaling, as published", VectorScaling.fit_as_published),
    "dirichlet": Method("Dirichlet scaling", DirichletScaling.fit),
    "dirichlet-kept": Method("Dirichlet scaling, label map kept", DirichletScaling.fit, {"keep_labels": True}),
    "dirichlet-without-odir": Method("Dirichlet scaling without ODIR", DirichletScaling.fit, {"strength": 0.0}),
    "dirichlet-published": Method("Dirichlet scaling, as published", DirichletScaling.fit_as_published),
    "meta-cal": Method("Meta-Cal", _meta_cal),
    "meta-cal-star": Method("Meta-Cal*", _meta_cal, {"rejected": "softened"}),
    "local": Method("local temperature scaling", LocalTemperatureScaling.fit),
    "local-published": Method("local temperature scaling, as published", LocalTemperatureScaling.fit_as_published),
    "isotonic": Method("isotonic scaling", IsotonicScaling.fit, {"pixels_per_image": None}),
    "isotonic-all": Method(
        "isotonic scaling, classes together", IsotonicScaling.fit, {"pixels_per_image": None, "by_class": False}
    ),
    "selective": Method("selective scaling, validated", SelectiveScaling.fit),
    "selective-published": Method("selective scaling, as published", SelectiveScaling.fit_as_published),
    "correctness": Method("correctness scaling", CorrectnessScaling.fit),
    "network": Method("calibration network", CalibrationNetwork.fit),
}

GROUPS: dict[str, tuple[str, ...]] = {
    "all": (
        "uncalibrated",
        "temperature",
        "vector",
        "dirichlet",
        "meta-cal-star",
        "local",
        "isotonic",
        "selective",
        "correctness",
    ),
    "published": (
        "temperature-published",
        "vector-published",
        "dirichlet-published",
        "meta-cal",
        "local-published",
        "selective-published",
    ),
}
"""Names for several methods: a paper's table at each method's optimum, and the recipes as published."""


def parse_methods(text: str) -> dict[str, Method]:
    """Return methods by title from names and groups with commas.

    :raises MethodError: there is no such method or setting, or a setting cannot be what it is given.

    >>> list(parse_methods("temperature,selective:base=temperature"))
    ['temperature scaling', 'selective scaling, validated (base: temperature)']
    >>> len(parse_methods("all,published"))
    15
    """
    found = [name.strip() for name in _split(text, ",") if name.strip()]
    if not found:
        raise MethodError(
            f"expected methods with commas between, or {' or '.join(GROUPS)}; got {text!r}. "
            f"There are: {', '.join(METHODS)}."
        )
    methods = [parse_method(name) for each in found for name in GROUPS.get(each, (each,))]
    return {method.title: method for method in methods}


def parse_method(text: str) -> Method:
    """Return one method, with its settings if it has some; see ``parse_methods``.

    >>> parse_method("meta-cal:rejected=softened;alpha=0.1").settings
    {'rejected': 'softened', 'alpha': 0.1}
    """
    name, _, rest = text.partition(":")
    check_choice(name, METHODS, "method")
    method = METHODS[name]
    settings: dict[str, Any] = {}
    given = [each.strip() for each in _split(rest, ";") if each.strip()]
    for each in given:
        key, equals, value = (part.strip() for part in each.partition("="))
        if not equals:
            raise MethodError(f"{name}: expected settings like base=temperature; got {each!r}.")
        parameters = method.parameters
        if not parameters:
            raise MethodError(f"{name}: expected no setting; got {each!r}. Leave it out.")
        with _named(name):
            check_choice(key, parameters, "setting")
            settings[key] = _value(value, parameters[key])
    if not given:
        return method
    shown = ", ".join(": ".join(part.strip() for part in each.split("=", 1)) for each in given)
    return Method(f"{method.title} ({shown})", method.fit, {**method.settings, **settings})


def fit_method(method: Method, predictions: Predictions, **keywords: Any) -> Calibrator:
    """Return the fitted calibrator; keywords that its fit does not know are left out."""
    return method.bound(**keywords)(predictions)


@contextmanager
def _named(name: str) -> Generator[None]:
    """Name the method in front of what is said of its settings."""
    try:
        yield
    except MethodError as error:
        raise MethodError(f"{name}: {error}") from None


def _split(text: str, separator: str) -> list[str]:
    """Split at separators outside of brackets.

    >>> _split("a,b=[c,d],e", ",")
    ['a', 'b=[c,d]', 'e']
    """
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if depth < 0:
            break
        if letter == separator and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    if depth:
        raise MethodError(f"expected as many brackets to close as to open; got {text!r}.")
    return [*parts, text[start:]]


def _kinds(parameter: inspect.Parameter) -> tuple[Any, ...]:
    """What a parameter may be: types, or Fit."""
    annotation = parameter.annotation
    return get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)


def _value(text: str, parameter: inspect.Parameter) -> Any:
    """A setting's value, read as what the parameter may be."""
    kinds = _kinds(parameter)
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
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
        return parse_method(text)
    words = {bool: "true or false", int: "a whole number", float: "a number", NoneType: "none"}
    expected = " or ".join(word for kind, word in words.items() if kind in kinds)
    raise MethodError(
        f"expected {expected or 'the setting to be made in Python'} for {parameter.name!r}; got {text!r}."
    )
