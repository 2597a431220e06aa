"""Conditions under which a command fails, for pipelines: ``--fail-if "ece>0.03"``."""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from calibrant.evaluation import Comparison
    from calibrant.metrics import Score

FAILED = 1
"""The exit code where a condition holds; 2 says that the command could not do its work."""

FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        help="End with exit code 1 if this holds, such as ece>0.03 or miou<0.6, scores as --json names them. Holds for "
        "measure: of a --calibrator, or without one of the model; for compare: of all methods.",
    ),
]
"""The option that names conditions; it may be given several times."""

_COMPARED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Condition:
    """A bound on a score.

    :param text: as it was given.
    :param score: the name of the score.
    :param broken: whether a value is beyond the bound.
    """

    text: str
    score: str
    broken: Callable[[float], bool]

    @classmethod
    def parsed(cls, text: str, own_scores: "Mapping[str, Score]") -> "Condition":
        """Read a condition.

        :param text: a score, one of < <= > >=, and a number.
        :param own_scores: scores of the user's own, by name.
        :raises InputError: it is none.
        :raises MethodError: there is no such score.
        """
        from calibrant._input.checks import check_choice
        from calibrant.errors import InputError
        from calibrant.metrics import SCORES

        found = re.fullmatch(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+.\deE]+)\s*", text)
        try:
            bound = float(found[3]) if found else math.nan
        except ValueError:
            bound = math.nan
        if found is None or math.isnan(bound):
            raise InputError(
                f"expected a condition, a score, < or >, and a number, such as ece>0.03; got --fail-if {text!r}."
            )
        check_choice(found[1], {**SCORES, **own_scores}, "score")
        compared = _COMPARED[found[2]]
        return cls(text.strip(), found[1], lambda value: math.isnan(value) or compared(value, bound))


def broken_in(conditions: Sequence[Condition], comparison: "Comparison", *, any_method: bool) -> list[str]:
    """Return a sentence for each condition that holds; a value that is not known counts as beyond the bound.

    :param conditions: the conditions.
    :param comparison: the values of all methods.
    :param any_method: whether one method beside the model is enough; if not, it must hold for all.
    """
    methods = comparison.methods
    judged = methods[1:] or methods if any_method else methods
    sentences = []
    for condition in conditions:
        values = {method: comparison.values[method][condition.score].value for method in judged}
        beyond = [method for method, value in values.items() if condition.broken(value)]
        if beyond and (any_method or len(beyond) == len(judged)):
            shown = ", ".join(f"{values[method]:.4g} of {method}" for method in beyond)
            sentences.append(f"failed: {condition.text} holds, {condition.score} is {shown}")
    return sentences


def fail_if_broken(sentences: Sequence[str]) -> None:
    """End the command with exit code 1 if there is anything to say.

    :param sentences: what :func:`broken_in` returned.
    """
    from calibrant.cli._console import aside

    for sentence in sentences:
        aside.print(sentence, highlight=False)
    if sentences:
        raise typer.Exit(FAILED)
