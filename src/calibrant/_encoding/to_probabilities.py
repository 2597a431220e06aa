"""Scores that were declared to be probabilities, percent, bytes or sigmoids, as probabilities."""

import torch

from calibrant._encoding.value_domain import (
    BYTES,
    PERCENT,
    PROBABILITIES,
    SIGMOID,
    UNITS,
    ValueCounts,
    count_values,
    describe,
    domain_of,
)
from calibrant._shapes import Bool, Tensor
from calibrant.errors import LogitsError


def to_probabilities(scores: Tensor, declared: str, name: str, unlabelled: Bool[Tensor, "*s"] | None = None) -> Tensor:
    """Return probabilities of what was declared to be probabilities, percent, bytes or sigmoids, class axis first.

    The unit of probabilities of several classes (1, 100, 255 or 65535) is inferred from their sums. One channel is that
    of the foreground, and becomes two. Where nothing is labelled, scores of no meaning become one number.

    :param scores: the numbers as stored.
    :param declared: one of ``SCORES`` but logits.
    :param name: which image, for errors.
    :param unlabelled: the pixels without any label.
    :raises LogitsError: the numbers are not what was declared.

    >>> to_probabilities(torch.tensor([[64], [191]], dtype=torch.uint8), "probabilities", "x").T
    tensor([[0.2510, 0.7490]])
    """
    seen = None if unlabelled is None else ~unlabelled
    counts = count_values(scores, seen)
    unit = _unit(counts, declared, scores, name)
    values = scores.float() / unit
    low, high = counts.low / unit, counts.high / unit
    if counts.pixels and (low < 0 or high > 1 + 1e-3):
        raise LogitsError(
            f"{name}: expected {_expected(declared, unit)}; got numbers in [{counts.low:.4g}, {counts.high:.4g}]. "
            "If these are logits, pass them as they are (command line: without --probabilities, or --scores logits)."
        )
    if scores.shape[0] == 1:
        values = torch.cat([1 - values, values])
    total = values.sum(0)
    if declared != SIGMOID:
        slack = 1e-2 if unit == 1 else max(1e-2, scores.shape[0] / unit)
        _check_sums(total, counts, slack, unit, name, unlabelled)
    bad = ~torch.isfinite(total) | (total <= 0)
    if unlabelled is not None:
        values = torch.where(bad & unlabelled, 1 / len(values), values)
        total = torch.where(bad & unlabelled, 1.0, total)
        bad = bad & ~unlabelled
    if declared == SIGMOID and bool(bad.any()):
        raise LogitsError(
            f"{name}: expected sigmoids of which at least one is above zero; got {int(bad.sum())} of {bad.numel()} "
            "labelled pixels with none. Label such pixels as unlabelled."
        )
    return values if declared == PROBABILITIES and unit == 1 else values / total


def _unit(counts: ValueCounts, declared: str, scores: Tensor, name: str) -> float:
    if declared == PERCENT:
        return 100
    if declared == BYTES:
        return 65535 if scores.dtype in (torch.uint16, torch.int32) and counts.high > 255 else 255
    found = domain_of(counts)
    if found in UNITS:
        return max(UNITS[found], key=lambda u: counts.sums[u])
    if not scores.is_floating_point() and counts.pixels:
        if counts.channels == 1 and scores.dtype in (torch.uint8, torch.uint16):
            return 255 if scores.dtype == torch.uint8 else 65535
        raise LogitsError(
            f"{name}: expected whole numbers that sum to 100, 255 or 65535 over the classes, as probabilities; got "
            f"{describe(counts)}. Divide them yourself, and save probabilities in [0, 1]."
        )
    if counts.channels == 1 and counts.pixels and counts.low >= 0 and counts.high > 1 + 1e-3:
        raise LogitsError(
            f"{name}: expected one channel of probabilities in [0, 1]; got {describe(counts)}. Say in what unit they "
            "are: --scores percent, or --scores bytes; if these are logits, --scores logits (Python: scores=…)."
        )
    return 1


def _expected(declared: str, unit: float) -> str:
    return "probabilities in [0, 1]" if unit == 1 else f"{declared} in [0, {unit:g}]"


def _check_sums(
    total: Tensor, counts: ValueCounts, slack: float, unit: float, name: str, unlabelled: Tensor | None
) -> None:
    off = (total - 1).abs()
    off = torch.where(torch.isfinite(off), off, 0)
    if unlabelled is not None:
        off = torch.where(unlabelled, 0, off)
    worst = float(off.max()) if off.numel() else 0.0
    if worst <= slack:
        return
    many = int((off > slack).sum())
    blank = int((total[off > slack] == 0).sum())
    zeros = f", {blank} of them zero in all classes, such as padding: label these as unlabelled" if blank else ""
    raise LogitsError(
        f"{name}: expected probabilities that sum to one over the classes (axis 0); a pixel is off by "
        f"{worst:.2g}, as are {many} of {off.numel()}{zeros}. Is the class axis the first, and are all classes there? "
        "If each channel has a sigmoid of its own, say --scores sigmoid (Python: scores='sigmoid')."
    )
