"""What a score is: a function from a tally to one value per row, and all that is said about it.

"Image-wise" is the mean of a score over rows; "pooled" is its value on the one row of ``tally.pooled()``.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError

ScoreFunction = Callable[[Any], Tensor]
"""From a tally to one value per row."""

PERCENT = "percent"
"""The unit of shares and gaps: held as 0 to 1, shown as 0 to 100."""


@dataclass(frozen=True)
class Score:
    """What is read off a tally, and all that tables, files and pages say about it.

    :param title: how tables name it.
    :param of: from a tally to one value per row; NaN where it is not defined.
    :param pooled: whether every pixel counts once, or every image.
    :param better: which side is better: "lower", "higher", or "" where neither is.
    :param unit: "percent" for shares and gaps, which are shown times 100; any other unit in words, such as "mm²"; ""
        for plain numbers.
    :param null: what a perfectly calibrated predictor would get, shown beside the score: from a tally to one value per
        row, or the name of another score that gives it and is compared too; None if that is not known.
    :param null_note: how the null differs from the best value and why, as the end of a sentence.
    :param phrase: the title within a sentence, such as "pooled ECE"; by default the title itself.
    :param note: one sentence for a reader who meets the score for the first time.
    :param main: whether it is shown first; others are there to unfold.
    :raises InputError: there is no title, or ``better`` is no side.

    >>> import torch
    >>> from calibrant.metrics import CalibrationBins
    >>> share = Score("right", lambda bins: bins.correct.sum(-1) / bins.count.sum(-1), pooled=True, unit="percent")
    >>> share.of(CalibrationBins.of(torch.eye(2)[None], torch.tensor([[0, 0]])))
    tensor([0.5000])
    """

    title: str
    of: ScoreFunction = field(repr=False)
    _: KW_ONLY
    pooled: bool
    better: Literal["lower", "higher", ""] = ""
    unit: str = ""
    null: ScoreFunction | str | None = field(default=None, repr=False)
    null_note: str = ""
    phrase: str = ""
    note: str = ""
    main: bool = True

    def __post_init__(self) -> None:
        if not self.title:
            raise InputError("expected a title for a score; got an empty one. Tables and pages name the score by it.")
        check_choice(self.better, ("lower", "higher", ""), "better side")

    @property
    def in_sentence(self) -> str:
        """How a sentence names it."""
        return self.phrase or self.title


def image_mean(values: Float[Tensor, " n"]) -> float:
    """Return the mean over images, leaving out those in which the score is not defined.

    :param values: one an image; NaN where not defined.

    >>> import torch
    >>> image_mean(torch.tensor([1.0, float("nan"), 2.0]))
    1.5
    """
    return float(values.nanmean())
