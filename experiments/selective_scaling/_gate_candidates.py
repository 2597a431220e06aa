"""Candidates for the constants of the gate, and what each loses on images that were scored at several shares."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from calibrant.calibrators.stacked.gate import END, ERRORS
from experiments.selective_scaling.default import LEAST

SHARES = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 1.0)
"""Shares of what was learnt at which images are scored; the anchor has the rest."""

SCORES = ("anchor / gated / all, NLL", "the same, Brier score")

SIGNIFICANT = 1.96
"""Standard errors beyond which a mean difference over images is significant."""


class Candidate(NamedTuple):
    """Constants of a gate: errors, end in limits (None for none), power in which the share falls between."""

    errors: float
    end: float | None
    power: float

    def __str__(self) -> str:
        """Return its name.

        >>> print(Candidate(3.0, None, 2))
        3 errors, no end, power 2
        """
        end = "no end" if self.end is None else f"end {self.end:g}"
        return f"{self.errors:g} errors, {end}, power {self.power:g}"

    def share(self, within: Tensor) -> Tensor:
        """Return the share that is left of what was learnt, by limit / distance, at most 1.

        >>> Candidate(3.0, 2.0, 1).share(torch.tensor([1.0, 0.75, 0.5, 0.1]))
        tensor([1.0000, 0.5000, 0.0000, 0.0000])
        """
        if self.end is None:
            return within**self.power
        if self.power == 0:
            return (1 + within.log() / torch.tensor(self.end).log()).clamp(0, 1)
        least = self.end**-self.power
        return ((within**self.power - least) / (1 - least)).clamp(0, 1)


PACKAGE = Candidate(ERRORS, END, 1)
"""The constants of the package; a test holds :meth:`Candidate.share` against those of its gate."""


@dataclass(frozen=True)
class Row:
    """All draws of one kind and number of images to fit, tested on one kind.

    :param inside: whether both kinds are one.
    :param image: which image each entry is of; the same in several draws.
    :param within: by errors, limit / distance of each, at most 1.
    :param scores: likelihood and Brier score of each, by share.
    """

    inside: bool
    image: Tensor
    within: Mapping[float, Tensor]
    scores: Tensor

    @classmethod
    def of(cls, draws: Sequence[Mapping[str, Any]], test: str, errors: Sequence[float], *, inside: bool) -> "Row":
        """Return what was found of one test in several draws.

        :param draws: limits by errors, and by test the keys, distances and scores of its images.
        """
        told = [draw["tests"][test] for draw in draws]
        keys = [key for each in told for key in each["keys"]]
        number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        scores = torch.tensor([score for each in told for score in each["scores"]], dtype=torch.double)
        limits = [torch.tensor(draw["limits"]).double()[:, None] for draw in draws]
        within = [limit / torch.tensor(each["distances"]) for limit, each in zip(limits, told, strict=True)]
        by_errors = dict(zip(errors, torch.cat(within, 1).clamp_max(1.0), strict=True))
        return cls(inside, torch.tensor([number[key] for key in keys]), by_errors, scores)

    def means(self, values: Tensor) -> Tensor:
        """Return the mean of each image over its draws."""
        count = self.image.bincount()[:, None]
        return torch.zeros(len(count), values.shape[1], dtype=values.dtype).index_add(0, self.image, values) / count

    def judged(self, candidate: Candidate) -> Iterator[dict[str, Any]]:
        """Yield, by score, what is lost, how much to the anchor, and in how many standard errors."""
        gated, anchor, whole = map(self.means, (self.at(candidate), self.scores[:, 0], self.scores[:, -1]))
        better = whole.mean(0) if self.inside else torch.minimum(anchor.mean(0), whole.mean(0))
        gap = gated - anchor
        z = gap.mean(0) / (gap.std(0) / len(gap) ** 0.5).clamp_min(1e-12)
        for i in range(gap.shape[1]):
            loss, over = (float(gated.mean(0)[i] / other[i] - 1) for other in (better, anchor.mean(0)))
            worse = bool(z[i] > SIGNIFICANT and gap.mean(0)[i] > LEAST)
            yield {"loss": loss, "over": over, "z": float(z[i]), "worse": worse}

    def figures(self, candidate: Candidate) -> dict[str, str]:
        """Return the mean share and, by score, the means with the anchor, with this candidate and without a gate."""
        each = (self.scores[:, 0], self.at(candidate), self.scores[:, -1])
        means = torch.stack([self.means(values).mean(0) for values in each])
        told = {name: " / ".join(f"{v:.4f}" for v in means[:, i]) for i, name in enumerate(SCORES)}
        return told | {"share": f"{candidate.share(self.within[candidate.errors]).mean():.0%}"}

    def at(self, candidate: Candidate) -> Tensor:
        """Return the scores of each entry at the share that the candidate gives it."""
        shares, share = torch.tensor(SHARES, dtype=torch.double), candidate.share(self.within[candidate.errors])
        low = (torch.searchsorted(shares, share, right=True) - 1).clamp_max(len(SHARES) - 2)
        part = ((share - shares[low]) / (shares[low + 1] - shares[low]))[:, None]
        each = torch.arange(len(share))
        return self.scores[each, low] * (1 - part) + self.scores[each, low + 1] * part


def summary(rows: Mapping[str, Row], candidate: Candidate) -> dict[str, float]:
    """Return what a candidate loses over all rows and both scores, in percent, and how often to the anchor."""
    inside, shifted = (
        [e for row in rows.values() if row.inside == kind for e in row.judged(candidate)] for kind in (True, False)
    )
    return {
        "in-domain, mean": _mean(inside),
        "in-domain, most": _most(inside, "loss"),
        "shifted, mean": _mean(shifted),
        "shifted, most": _most(shifted, "loss"),
        "all, mean": _mean(inside + shifted),
        "over the anchor, most": _most(shifted, "over"),
        "significantly worse": sum(each["worse"] for each in shifted),
        "z, most": round(max(each["z"] for each in shifted), 4),
    }


def chosen(found: Mapping[str, Mapping[str, float]]) -> str | None:
    """Return, of candidates that are nowhere significantly worse than the anchor, the name of the one that loses least.

    :param found: by name, what :func:`summary` says.

    >>> chosen({"a": {"all, mean": 1, "significantly worse": 1}, "b": {"all, mean": 2, "significantly worse": 0}})
    'b'
    """
    allowed = [name for name, each in found.items() if not each["significantly worse"]]
    return min(allowed, key=lambda name: found[name]["all, mean"], default=None)


def _mean(judged: Sequence[Mapping[str, Any]]) -> float:
    return round(100 * sum(each["loss"] for each in judged) / len(judged), 4)


def _most(judged: Sequence[Mapping[str, Any]], what: str) -> float:
    return round(100 * max(each[what] for each in judged), 4)
