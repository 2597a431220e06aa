"""What a method is: a fit with a title, whose keywords can be set."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import UnionType
from typing import Any, Union, get_args, get_origin

from calibrant.calibrators import Calibrator, Fit
from calibrant.errors import MethodError
from calibrant.predictions import Predictions, Sharded, Subset, keys_of, known_keys


@dataclass(frozen=True)
class Method:
    """A way to make a calibrator, with the name that tables show.

    :param title: the name in tables and reports.
    :param fit: from predictions to a calibrator; a ``functools.partial`` where keywords are set.

    >>> from calibrant.calibrators import VectorScaling
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
            return parameters_of(self.fit)
        except (NameError, TypeError, ValueError) as error:
            raise MethodError(
                f"{self.title}: expected a fit whose parameters can be read; {error}. Annotate it with names that are "
                "defined when its module is imported."
            ) from error

    def fitted(self, predictions: Predictions, **defaults: Any) -> Calibrator:
        """Return the fitted calibrator, which does not depend on the order of the images: the fit reads them by key.

        :param predictions: labelled predictions to fit on.
        :param defaults: keywords that the fit gets where it takes them and they are not among its options. A fit that
            it takes, such as ``base``, gets them, too: it is fitted on as many pixels and with the same seed.
        :raises MethodError: a fit of your own returns something else than a calibrator.
        """
        calibrator = _with_defaults(self.fit, defaults)(_by_key(predictions))
        if not isinstance(calibrator, Calibrator):
            raise MethodError(
                f"{self.title}: expected a fit that returns a calibrant.calibrators.Calibrator; it returned "
                f"{type(calibrator).__name__}. Subclass Calibrator, and check it: calibrant.testing.check_calibrator."
            )
        return calibrator


def _by_key(predictions: Predictions) -> Predictions:
    """The images in the order of their keys, if these are known without reading them."""
    listed = isinstance(predictions, list | tuple)
    if not listed and known_keys(predictions) is None:
        return predictions
    keys = keys_of(predictions)
    numbers = sorted(range(len(keys)), key=keys.__getitem__)
    if numbers == list(range(len(keys))):
        return predictions
    if isinstance(predictions, Sharded):
        return replace(predictions, source=Subset(predictions.source, numbers))
    return Subset(predictions, numbers)


def _set_in(fit: Callable[..., Calibrator]) -> Mapping[str, Any]:
    return fit.keywords if isinstance(fit, partial) else {}


def parameters_of(fit: Callable[..., Calibrator]) -> dict[str, inspect.Parameter]:
    """The parameters of a fit that can be set by keyword: all but what it is fitted to.

    :param fit: a fit, whose first parameter is the predictions, and perhaps a second one the labels beside logits.
    """
    found = list(inspect.signature(fit, eval_str=True).parameters.items())[1:]
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {name: each for name, each in found if each.kind in kinds and name != "labels"}


def kinds_of(parameter: inspect.Parameter) -> tuple[Any, ...]:
    """What a parameter may be: types, or Fit.

    :param parameter: a parameter of a fit, with its annotation evaluated.
    """
    annotation = parameter.annotation
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _with_defaults(fit: Callable[..., Calibrator], defaults: Mapping[str, Any]) -> Fit:
    """The fit with the defaults that it takes and has not set; a fit that it takes gets them, too."""
    chosen = {}
    for name, parameter in parameters_of(fit).items():
        if Fit in kinds_of(parameter) and callable(parameter.default):
            chosen[name] = _with_defaults(parameter.default, defaults)
        elif name in defaults and name not in _set_in(fit):
            chosen[name] = defaults[name]
    return partial(fit, **chosen)
