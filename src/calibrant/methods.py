"""The calibration methods by name: one literal table, and how to name a method with options in a line of text.

The command line, the experiments, the benchmarks and the tests take methods from :data:`METHODS`. In text a method is

* its name: ``temperature``;
* its name with options: ``selective:base=vector-kept,epochs=5``. An option is a keyword of the method's ``fit``, read
  as its annotation says: a number, ``true`` or ``false``, ``none``, a word, or, where it takes a fit, the name of a
  method without options of its own;
* ``module:function`` or ``path/to/file.py:Class.fit``, a fit of your own, with or without options.

What needs more than this is written in Python: ``partial(SelectiveScaling.fit, others=partial(VectorScaling.fit,
strength=0.1))``.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from calibrant._check import check_choice
from calibrant._own_code import import_named, must_trust, names_code
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

__all__ = ["GROUPS", "METHODS", "Method", "parse_method", "parse_methods", "with_options"]


@dataclass(frozen=True)
class Method:
    """A way to make a calibrator, with the name that tables show.

    :param title: the name in tables and reports.
    :param fit: from predictions to a calibrator; a ``functools.partial`` where keywords are set.

    >>> method = Method("vector scaling, label map kept", partial(VectorScaling.fit, keep_labels=True))
    >>> method.options, list(method.parameters)
    ({'keep_labels': True}, ['strength', 'keep_labels', 'safe', 'pixels_per_image', 'seed'])
    """

    title: str
    fit: Callable[..., Calibrator]

    @property
    def options(self) -> Mapping[str, Any]:
        """The keywords that are set."""
        return _set_in(self.fit)

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The keywords that can be set: all parameters of the fit but the first, the predictions.

        :raises MethodError: the fit has no parameters that can be read, or its annotations name what is not defined.
        """
        try:
            return _parameters(self.fit)
        except (NameError, TypeError, ValueError) as error:
            raise MethodError(
                f"{self.title}: expected a fit whose parameters can be read; {error}. Annotate it with names that are "
                "defined when its module is imported."
            ) from error

    def fitted(self, predictions: Predictions, **defaults: Any) -> Calibrator:
        """Return the fitted calibrator.

        :param predictions: labelled predictions to fit on.
        :param defaults: keywords that the fit gets where it takes them and they are not among its options. A fit that
            it takes, such as ``base``, gets them, too: it is fitted on as many pixels and with the same seed.
        :raises MethodError: a fit of your own returns something else than a calibrator.
        """
        calibrator = _with_defaults(self.fit, defaults)(predictions)
        if not isinstance(calibrator, Calibrator):
            raise MethodError(
                f"{self.title}: expected a fit that returns a calibrant.calibrators.Calibrator; it returned "
                f"{type(calibrator).__name__}. Subclass Calibrator, and check it: calibrant.testing.check_calibrator."
            )
        return calibrator


METHODS: dict[str, Method] = {
    "uncalibrated": Method("uncalibrated", Identity.fit),
    "temperature": Method("temperature scaling", TemperatureScaling.fit),
    "temperature-published": Method("temperature scaling, as published", TemperatureScaling.fit_as_published),
    "vector": Method("vector scaling", VectorScaling.fit),
    "vector-kept": Method("vector scaling, label map kept", partial(VectorScaling.fit, keep_labels=True)),
    "vector-published": Method("vector scaling, as published", VectorScaling.fit_as_published),
    "dirichlet": Method("Dirichlet scaling", DirichletScaling.fit),
    "dirichlet-kept": Method("Dirichlet scaling, label map kept", partial(DirichletScaling.fit, keep_labels=True)),
    "dirichlet-without-odir": Method("Dirichlet scaling without ODIR", partial(DirichletScaling.fit, strength=0.0)),
    "dirichlet-published": Method("Dirichlet scaling, as published", DirichletScaling.fit_as_published),
    "meta-cal": Method("Meta-Cal", MetaCal.fit),
    "meta-cal-star": Method("Meta-Cal*", partial(MetaCal.fit, keep_labels=True)),
    "local": Method("local temperature scaling", LocalTemperatureScaling.fit),
    "local-published": Method("local temperature scaling, as published", LocalTemperatureScaling.fit_as_published),
    "isotonic": Method("isotonic scaling", partial(IsotonicScaling.fit, pixels_per_image=None)),
    "isotonic-all": Method(
        "isotonic scaling, classes together", partial(IsotonicScaling.fit, pixels_per_image=None, by_class=False)
    ),
    "selective": Method("selective scaling, validated", SelectiveScaling.fit),
    "selective-published": Method("selective scaling, as published", SelectiveScaling.fit_as_published),
    "correctness": Method("correctness scaling", CorrectnessScaling.fit),
    "network": Method("calibration network", CalibrationNetwork.fit),
}
"""Every method by its name: ``X`` is fitted to its optimum or validated, ``X-published`` by the published recipe.

Meta-Cal makes the pixels that it rejects uniform; Meta-Cal* keeps their label, at a temperature of 1e10.
"""

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
"""Names for several methods: ``all``, each at its optimum or validated, and ``published``, each as published."""


def parse_method(text: str, *, trust: bool = False) -> Method:
    """Return the method that a text names, with its options.

    :param text: a name, with options if wanted, as the top of this module describes.
    :param trust: allow the code of ``module:function`` to run.
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
    return with_options(_named(name, trust), options, trust=trust)


def with_options(method: Method, options: str, *, trust: bool = False) -> Method:
    """Return a method with options set, which its title shows.

    :param method: one with a fit that takes the options as keywords.
    :param options: ``key=value`` with commas between, or nothing.
    :param trust: allow the code of ``base=module:function`` to run.
    :raises MethodError, InputError, DataError: as of :func:`parse_method`.

    >>> with_options(METHODS["vector"], "strength=0.1,safe=false").title
    'vector scaling (strength: 0.1, safe: false)'
    """
    given = [each.strip() for each in options.split(",") if each.strip()]
    if not given:
        return method
    try:
        chosen = dict(_option(each, method.parameters, trust) for each in given)
    except MethodError as error:
        raise MethodError(f"{method.title}: {error}") from error
    shown = ", ".join(each.replace("=", ": ", 1) for each in given)
    return Method(f"{method.title} ({shown})", partial(method.fit, **chosen))


def parse_methods(text: str, *, trust: bool = False) -> dict[str, Method]:
    """Return the methods of a text by title: methods and groups with commas between.

    A part such as ``epochs=5`` belongs to the method before it.

    :param text: names of methods, with options if wanted, and of :data:`GROUPS`.
    :param trust: allow the code of ``module:function`` to run.
    :raises MethodError, InputError, DataError: as of :func:`parse_method`.

    >>> list(parse_methods("temperature,selective:base=vector-kept,epochs=5,isotonic"))
    ['temperature scaling', 'selective scaling, validated (base: vector-kept, epochs: 5)', 'isotonic scaling']
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
    methods = [parse_method(each, trust=trust) for each in texts]
    return {method.title: method for method in methods}


def _name_and_options(text: str) -> tuple[str, str]:
    """Return the name of a method, or of code, and what follows its colon."""
    name, _, rest = text.partition(":")
    attribute, _, options = rest.partition(":")
    if name not in METHODS and attribute and "=" not in attribute:
        return f"{name}:{attribute}", options
    return name, rest


def _named(name: str, trust: bool) -> Method:
    """The method of a name in the table, or of code."""
    if not names_code(name):
        check_choice(name, METHODS, "method")
        return METHODS[name]
    if not trust:
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


def _option(text: str, parameters: Mapping[str, inspect.Parameter], trust: bool) -> tuple[str, Any]:
    """The name and the value of one option."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not parameters:
        raise MethodError(f"expected no option; got {text!r}. Leave it out.")
    if not equals:
        raise MethodError(
            f"expected options such as {next(iter(parameters))}=…; got {text!r}. There are: {', '.join(parameters)}."
        )
    check_choice(key, parameters, "keyword")
    return key, _value(value, parameters[key], trust)


def _value(text: str, parameter: inspect.Parameter, trust: bool) -> Any:
    """The value of an option, as its annotation says."""
    kinds = _kinds(parameter)
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
        return _named(text, trust).fit
    words = {bool: "true or false", int: "a whole number", float: "a number", NoneType: "none"}
    expected = " or ".join(word for kind, word in words.items() if kind in kinds)
    raise MethodError(f"expected {expected or 'an option that is set in Python'} for {parameter.name!r}; got {text!r}.")


def _set_in(fit: Callable[..., Calibrator]) -> Mapping[str, Any]:
    return fit.keywords if isinstance(fit, partial) else {}


def _parameters(fit: Callable[..., Calibrator]) -> dict[str, inspect.Parameter]:
    """The parameters of a fit that can be set by keyword: all but the first."""
    found = list(inspect.signature(fit, eval_str=True).parameters.items())[1:]
    return {name: each for name, each in found if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)}


def _kinds(parameter: inspect.Parameter) -> tuple[Any, ...]:
    """What a parameter may be: types, or Fit."""
    annotation = parameter.annotation
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _with_defaults(fit: Callable[..., Calibrator], defaults: Mapping[str, Any]) -> Fit:
    """The fit with the defaults that it takes and has not set; a fit that it takes gets them, too."""
    chosen = {}
    for name, parameter in _parameters(fit).items():
        if Fit in _kinds(parameter) and callable(parameter.default):
            chosen[name] = _with_defaults(parameter.default, defaults)
        elif name in defaults and name not in _set_in(fit):
            chosen[name] = defaults[name]
    return partial(fit, **chosen)
