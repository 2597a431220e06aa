"""Scores of the user's own, named on the command line as ``module:NAME``."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from calibrant.metrics import Score

OwnScores = Annotated[
    list[str] | None,
    typer.Option(
        "--score",
        help="A score of your own beside the others, a calibrant.metrics.Score of a Measurement: module:NAME or "
        "path/to/file.py:NAME, with --trust. May be given several times.",
    ),
]
"""The option that names scores of one's own."""


def open_scores(names: Iterable[str] | None, num_classes: int, *, trust: bool) -> "Mapping[str, Score]":
    """Return scores of the user's own by the last parts of their names, each tried on two images of noise.

    :param names: what ``--score`` named.
    :param num_classes: of what will be measured.
    :param trust: whether their code may run.
    :raises InputError: the code may not run, or it is no score of a measurement, or its name is taken.
    :raises DataError: there is no such code.
    """
    from calibrant._input.own_code import import_named, must_trust, names_code
    from calibrant.errors import InputError
    from calibrant.metrics import SCORES, Score

    scores: dict[str, Score] = {}
    for text in names or ():
        if not names_code(text):
            raise InputError(
                f"--score {text}: expected module:NAME or path/to/file.py:NAME; those of calibrant are there."
            )
        if not trust:
            raise must_trust(text, "it names a score in Python code")
        score, name = import_named(text), text.rpartition(":")[2].rpartition(".")[2]
        if not isinstance(score, Score):
            raise InputError(
                f"--score {text}: expected a calibrant.metrics.Score; got {type(score).__name__}. Wrap a function: "
                f'{name} = Score("title", function, pooled=True).'
            )
        if name in SCORES or name in scores:
            raise InputError(f"--score {text}: expected a name that no other score has; got {name}. Rename it.")
        _try_score(text, score, num_classes)
        scores[name] = score
    return scores


def _try_score(text: str, score: "Score", num_classes: int) -> None:
    """Take a score, and its null, of two images of noise: what is wrong with it is said before hours of measuring.

    :raises InputError: it raises, or gives something else than a value a row.
    """
    import torch

    from calibrant.errors import InputError
    from calibrant.metrics import Measurement

    logits = torch.randn(2, num_classes, 8, 8, generator=torch.Generator().manual_seed(0))
    rows = Measurement.of(logits, logits.argmax(1))
    for tally in (rows, rows.pooled()):
        for function in (score.of, score.null):
            if not callable(function):
                continue
            try:
                values: object = function(tally)
            except Exception as error:  # the user's code may raise anything
                values = f"{type(error).__name__}: {error}"
            if not isinstance(values, torch.Tensor) or values.shape != (len(tally),):
                got = f"a tensor {tuple(values.shape)}" if isinstance(values, torch.Tensor) else values
                raise InputError(
                    f"--score {text}: expected a tensor of one value for each row of a Measurement; of {len(tally)} "
                    f"rows it gave {got}. Mend the function."
                )
