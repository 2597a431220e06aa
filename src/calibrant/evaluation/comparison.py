"""Compare methods by their scores, in pairs on the same images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from calibrant._input.checks import check_choice
from calibrant.errors import InputError
from calibrant.metrics import SCORES, Interval, Resampled, Resamples, Score, Tally, resampled_scores


@dataclass(frozen=True)
class Comparison:
    """The figures of several methods on the same images, one of which, the baseline, the others are compared with.

    :param values: by method and score, with intervals over images; the baseline first.
    :param differences: by method and score, less the baseline's value, on the same images each time.
    :param best: by score, the best method, if every paired difference to it excludes zero; None otherwise.
    :param leaders: by score that has a better side, the method with the best value, by chance or not.
    :param behind: by method and score that has a better side, less the leader's value.
    :param ranks: by method and score that has a better side, 1 for the best value; methods that tie share their ranks.
        The interval holds the ranks in 95 % of the resamples.
    :param scores: the scores by name: what tables, files and pages say of them.
    :param baseline: the method that the others are compared with, the first of ``values``; empty for that one.
    :param as_it_is: whether the baseline is the model as it is; if not, reports call it by its name.
    """

    values: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Interval]]
    best: dict[str, str | None]
    leaders: dict[str, str] = field(default_factory=dict)
    behind: dict[str, dict[str, Interval]] = field(default_factory=dict)
    ranks: dict[str, dict[str, Interval]] = field(default_factory=dict)
    scores: Mapping[str, Score] = field(kw_only=True)
    baseline: str = field(default="", kw_only=True)
    as_it_is: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        """Name the baseline, which must be the first method.

        :raises InputError: there is no method, or another one is first.
        """
        first = next(iter(self.values), "")
        object.__setattr__(self, "baseline", self.baseline or first)
        if not self.values or self.baseline != first:
            raise InputError(f"expected the baseline {self.baseline!r} as the first method; got {first!r}. Reorder.")

    @property
    def methods(self) -> list[str]:
        """The names of the methods, the baseline first."""
        return list(self.values)

    @property
    def baseline_in_words(self) -> str:
        """What sentences call the baseline: the model as it is, or its name."""
        return "the model as it is" if self.as_it_is else self.baseline

    def null_of(self, method: str, score: str) -> Interval | None:
        """Return what a perfectly calibrated predictor with a method's confidences would score; None if not known.

        :param method: its name.
        :param score: its name.
        """
        null = self.scores[score].null
        return self.values[method].get(null) if isinstance(null, str) else None


def compare(
    tallies: Mapping[str, Sequence[Tally]],
    *,
    generator: torch.Generator,
    scores: Mapping[str, Score] | None = None,
    num_resamples: int = 1000,
    baseline: str | None = None,
    as_it_is: bool = True,
) -> Comparison:
    """Compare methods by their scores, in pairs on the same images.

    :param tallies: by method, one tally for each repetition (such as another split into fit and test images). Values
        are means over repetitions; an image drawn again is drawn in every repetition that it is part of.
    :param generator: which images are drawn depends on its state.
    :param scores: by name, of these tallies; by default ``calibrant.metrics.SCORES``, of a ``Measurement``. A null that
        is a function becomes a score of its own, named after its score.
    :param num_resamples: how many times images are drawn.
    :param baseline: the method that the others are compared with; None for the first.
    :param as_it_is: whether the baseline is the model as it is; if not, reports call it by its name.
    :raises InputError: there is nothing to compare, the methods were not counted on the same images, the baseline is
        none of them, or a score's null is no score.

    >>> from calibrant.metrics import CalibrationBins, confidence_gap
    >>> labels = torch.zeros(9, 4, 4, dtype=torch.long)
    >>> logits = torch.randn(9, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> tallies = {name: [CalibrationBins.of(logits / t, labels)] for name, t in {"raw": 1, "halved": 2}.items()}
    >>> scores = {"gap": Score("confidence − accuracy", confidence_gap, pooled=True, unit="percent")}
    >>> comparison = compare(tallies, generator=torch.Generator().manual_seed(0), scores=scores)
    >>> comparison.differences["halved"]["gap"].high < 0  # half the logits, less confidence
    True
    """
    if not tallies or not all(tallies.values()):
        raise InputError("expected at least one method with one tally or more; got none. Count some images first.")
    if baseline is not None:
        check_choice(baseline, tallies, "method to compare with")
        tallies = {baseline: tallies[baseline]} | dict(tallies)
    first = next(iter(tallies.values()))
    for method, repetitions in tallies.items():
        if [tally.keys for tally in repetitions] != [tally.keys for tally in first]:
            raise InputError(
                f"expected {method!r} to be counted on the same images as the others. Count all in one run."
            )
    scores = _with_nulls(SCORES if scores is None else scores)
    resamples = Resamples.draw(first, generator=generator, num_resamples=num_resamples)
    drawn = {method: _over_repetitions(scores, repetitions, resamples) for method, repetitions in tallies.items()}
    return replace(_comparison(scores, drawn), as_it_is=as_it_is)


def _with_nulls(scores: Mapping[str, Score]) -> dict[str, Score]:
    """Return the scores, each null that is a function made a score that is compared too."""
    result = {}
    for name, score in scores.items():
        if isinstance(score.null, str) and score.null not in {**scores, **SCORES}:
            raise InputError(
                f"expected the null of {name!r} to be a function or the name of a score: {', '.join(scores)}; got "
                f"{score.null!r}. Compare a score of that name too."
            )
        if score.null is None or isinstance(score.null, str):
            result[name] = score
            continue
        null = f"{name}_null"
        if null in scores:
            raise InputError(f"expected no score {null!r} beside the null of {name!r}; got one. Give it another name.")
        result[name] = replace(score, null=null)
        result[null] = Score(
            f"{score.title}, if calibrated", score.null, pooled=score.pooled, unit=score.unit, main=False
        )
    return result


def _over_repetitions(
    scores: Mapping[str, Score], repetitions: Sequence[Tally], resamples: Resamples
) -> dict[str, Resampled]:
    """Return the mean of each score over the repetitions."""
    drawn = [resampled_scores(scores, tally, resamples) for tally in repetitions]
    return {
        name: Resampled(
            sum(scored[name].value for scored in drawn) / len(drawn),
            torch.stack([scored[name].values for scored in drawn]).nanmean(0),
        )
        for name in scores
    }


def _comparison(scores: Mapping[str, Score], drawn: Mapping[str, Mapping[str, Resampled]]) -> Comparison:
    baseline = next(iter(drawn.values()))
    by_score = {name: {method: scored[name] for method, scored in drawn.items()} for name in scores}
    directed = {name: score for name, score in scores.items() if score.better}
    leaders = {name: _leader(by_score[name], score) for name, score in directed.items()}
    ranks = {name: _ranks(by_score[name], score) for name, score in directed.items()}
    return Comparison(
        {m: {name: each.interval() for name, each in scored.items()} for m, scored in drawn.items()},
        {m: {name: scored[name].minus(baseline[name]).interval() for name in scores} for m, scored in drawn.items()},
        {name: _best(by_score[name], leaders.get(name)) for name in scores},
        leaders,
        {m: {s: by_score[s][m].minus(by_score[s][leaders[s]]).interval() for s in directed} for m in drawn},
        {m: {name: ranks[name][m] for name in directed} for m in drawn},
        scores=scores,
    )


def _leader(drawn: Mapping[str, Resampled], score: Score) -> str:
    sign = 1 if score.better == "lower" else -1
    return min(drawn, key=lambda method: math.inf if math.isnan(drawn[method].value) else sign * drawn[method].value)


def _best(drawn: Mapping[str, Resampled], leader: str | None) -> str | None:
    if leader is None or len(drawn) < 2:
        return None
    ahead = (drawn[leader].minus(drawn[method]).interval() for method in drawn if method != leader)
    return leader if all(difference.excludes_zero() for difference in ahead) else None


def _ranks(drawn: Mapping[str, Resampled], score: Score) -> dict[str, Interval]:
    """The ranks of the values, and on every resample, its values less their bias as in intervals; unknown ones last."""
    value = torch.tensor([each.value for each in drawn.values()], dtype=torch.float64)[:, None]
    again = torch.stack([each.values for each in drawn.values()])
    every = torch.cat([value, again - again.nanmean(1, keepdim=True) + value], 1)
    every = (every if score.better == "lower" else -every).nan_to_num(
        nan=torch.inf, posinf=torch.inf, neginf=-torch.inf
    )
    ahead = (every[None] < every[:, None]).sum(1)
    level = (every[None] == every[:, None]).sum(1)  # with itself
    ranks = (ahead + (level + 1) / 2).double()
    tails = torch.quantile(ranks[:, 1:], torch.tensor([0.025, 0.975], dtype=torch.float64), dim=1)
    return {method: Interval(float(ranks[i, 0]), *tails[:, i].tolist()) for i, method in enumerate(drawn)}
