"""What scores are, inferred from all of their values: logits, probabilities, percent, bytes, or independent sigmoids.

Nothing is converted by guess: what the values show is compared with what was declared, and asked for where nothing was.
Single pixels decide nothing. Padding, in which all classes have the same number, counts nowhere; of the other pixels
the share that sums to one (a hundred, 255, 65535) is looked at, over one image and over several, as counts add up.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from calibrant._shapes import Bool, Tensor
from calibrant.errors import LogitsError

SCORES = ("logits", "probabilities", "percent", "bytes", "sigmoid")
"""What scores can be declared to be."""

UNITS: Mapping[str, tuple[int, ...]] = {"probabilities": (1,), "percent": (100,), "bytes": (255, 65535)}
"""What the classes of a pixel sum to."""

LOGITS, PROBABILITIES, PERCENT, BYTES, SIGMOID = SCORES
FOREGROUND, NEVER_NEGATIVE, WHOLE, CONSTANT = "foreground", "never negative", "whole numbers", "constant"

MOST = 0.5
"""The share of pixels that must sum to a unit for scores to be taken for probabilities; of logits about 1 % do."""
NEARLY_ALL = 0.99
LOOKED_AT = 2**16
"""How many pixels of an image, spread over it, are read to decide what all of them are."""
FEWEST = 64
"""Fewer pixels within [0, 1] show nothing: so few logits may lie there by chance."""


@dataclass(frozen=True)
class ValueCounts:
    """How many pixels have which values; counts of several images add up with ``+``.

    :param channels: the number of classes.
    :param pixels: those with finite scores that are not padding.
    :param padding: those whose scores are all the same number (of one channel: zero), and do not sum to a unit.
    :param not_finite: those with NaN or infinite scores.
    :param in_unit: those whose scores all lie in [0, 1].
    :param negative: those with a score below zero.
    :param sums: by unit, how many pixels have scores from 0 to the unit that sum to it.
    :param whole: those whose scores are all whole numbers.
    :param integer: the scores are stored as integers.
    :param low: the smallest score of a pixel that counts.
    :param high: the largest one.
    """

    channels: int
    pixels: int
    padding: int
    not_finite: int
    in_unit: int
    negative: int
    sums: Mapping[int, int]
    whole: int
    integer: bool
    low: float
    high: float

    def __add__(self, other: "ValueCounts") -> "ValueCounts":
        """Return the counts of both."""
        return ValueCounts(
            max(self.channels, other.channels),
            self.pixels + other.pixels,
            self.padding + other.padding,
            self.not_finite + other.not_finite,
            self.in_unit + other.in_unit,
            self.negative + other.negative,
            {unit: self.sums[unit] + other.sums[unit] for unit in self.sums},
            self.whole + other.whole,
            self.integer and other.integer,
            min(self.low, other.low),
            max(self.high, other.high),
        )


def count_values(scores: Tensor, where: Bool[Tensor, "*s"] | None = None, *, every: int = 1) -> ValueCounts:
    """Count the values of one image.

    :param scores: of any number type, class axis first.
    :param where: the pixels that are looked at; all if None.
    :param every: look at one of so many pixels (made odd, lest these stand in columns).

    >>> counts = count_values(torch.tensor([[50.0, 10.0, 0.0], [50.0, 90.0, 0.0]]))
    >>> counts.pixels, counts.padding, counts.sums[100]
    (2, 1, 2)
    """
    channels = scores.shape[0]
    flat = scores.reshape(channels, -1)
    if where is not None:
        flat = flat[:, where.reshape(-1)]
    flat = flat[:, :: every | 1]
    integer = not scores.is_floating_point()
    flat = flat.detach().float()
    total = flat.sum(0)
    finite = torch.isfinite(total)
    low, high = (flat.amin(0), flat.amax(0)) if channels > 1 else (flat[0], flat[0])
    summing = {unit: finite & _sums_to(unit, channels, low, high, total) for unit in (1, 100, 255, 65535)}
    alike = (low == high) if channels > 1 else low == 0
    padding = finite & alike & ~torch.stack(list(summing.values())).any(0)
    use = finite & ~padding
    used = flat[:, use]
    return ValueCounts(
        channels,
        int(use.sum()),
        int(padding.sum()),
        int((~finite).sum()),
        int((use & (low >= 0) & (high <= 1 + 1e-3)).sum()),
        int((use & (low < 0)).sum()),
        {unit: int((there & use).sum()) for unit, there in summing.items()},
        int((used == used.round()).all(0).sum()),
        integer,
        float(used.min()) if used.numel() else float("inf"),
        float(used.max()) if used.numel() else float("-inf"),
    )


def _sums_to(unit: int, channels: int, low: Tensor, high: Tensor, total: Tensor) -> Tensor:
    if channels == 1:
        return torch.zeros_like(low, dtype=torch.bool)
    # Rounding to whole numbers, or down, moves each class by one at most.
    slack = 1e-2 if unit == 1 else max(1e-2 * unit, min(channels, 0.2 * unit))
    return (low >= -1e-3 * unit) & (high <= unit * (1 + 1e-3)) & ((total - unit).abs() <= slack)


def domain_of(counts: ValueCounts, *, several: bool = False) -> str:
    """Return what the values show: one of ``SCORES``, or that they are none of these for certain.

    :param counts: of an image, or of several.
    :param several: the counts are those of a whole set, so that what never happens in it shows something too.

    >>> domain_of(count_values(torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(0))))
    'logits'
    >>> domain_of(count_values(torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(0))))
    'sigmoid'
    """
    if counts.pixels == 0:
        return CONSTANT
    for name, units in UNITS.items():
        if any(counts.sums[unit] >= MOST * counts.pixels for unit in units):
            return name
    if counts.integer:
        return WHOLE
    if counts.channels == 1:
        if counts.in_unit >= NEARLY_ALL * counts.pixels:
            return FOREGROUND
        if counts.whole == counts.pixels and counts.negative == 0 and counts.pixels >= FEWEST:
            return WHOLE
        if several and counts.negative == 0 and counts.pixels >= FEWEST:
            return NEVER_NEGATIVE
        return LOGITS
    if counts.pixels >= FEWEST and counts.in_unit >= NEARLY_ALL * counts.pixels:
        return SIGMOID
    if counts.whole == counts.pixels and counts.negative == 0 and counts.high >= 100 and counts.pixels >= FEWEST:
        return WHOLE
    return LOGITS


def check_said(
    counts: ValueCounts, name: str, *, several: bool = False, short: str = "", python: str = "scores={}"
) -> None:
    """Raise if these values cannot be taken for logits and nothing was declared.

    :param counts: of an image, or of several.
    :param name: what the values are of, for errors.
    :param several: the counts are those of a whole set.
    :param short: another way to say so on the command line.
    :param python: how to say so in Python, with a place for the words.
    :raises LogitsError: naming what they may be, and how to say so.
    """
    asked = question(counts, several=several)
    if not asked:
        return
    kind = domain_of(counts, several=several)
    one_channel = counts.channels == 1
    choices = {
        PROBABILITIES: [PROBABILITIES],
        PERCENT: [PERCENT],
        BYTES: [BYTES],
        SIGMOID: [SIGMOID, PROBABILITIES, LOGITS],
        FOREGROUND: [PROBABILITIES, LOGITS],
        NEVER_NEGATIVE: [PERCENT, BYTES, LOGITS],
        WHOLE: [BYTES, PERCENT, LOGITS] if one_channel else [PROBABILITIES, SIGMOID, LOGITS],
    }[kind]
    or_labels = " If they are label maps, give the model's scores instead." if kind == WHOLE else ""
    convert = (
        "Pass probabilities through calibrant.predictions.from_probabilities, or say"
        if short and kind in (PROBABILITIES, FOREGROUND)
        else "Say"
    )
    raise LogitsError(
        f"{name}: expected logits (before the {'sigmoid' if one_channel else 'softmax'}); got {describe(counts)}, "
        f"{asked}. {convert} what they are: {python.format(' or '.join(map(repr, choices)))} (command line: --scores "
        f"{', or --scores '.join(choices)}{short if PROBABILITIES in choices else ''}).{or_labels}"
    )


def describe(counts: ValueCounts) -> str:
    """Return in words what the values show, for an error or a note.

    >>> describe(count_values(torch.tensor([[0.5, 0.1, 0.0], [0.5, 0.9, 0.0]])))
    'numbers in [0, 1] that sum to one over the classes in 2 of 2 pixels (1 more hold one number in all classes, ...)'
    """
    padding = ""
    if counts.padding:
        padding = f" ({counts.padding} more hold one number in all classes, such as padding)"
    kind = domain_of(counts, several=True)
    if kind in UNITS:
        unit = max(UNITS[kind], key=lambda u: counts.sums[u])
        sums = "one" if unit == 1 else str(unit)
        return (
            f"numbers in [0, {unit}] that sum to {sums} over the classes in {counts.sums[unit]} of {counts.pixels} "
            f"pixels{padding}"
        )
    spread = f"numbers in [{counts.low:.4g}, {counts.high:.4g}]" if counts.pixels else "one number everywhere"
    if kind == SIGMOID:
        return f"{spread} that do not sum to one over the classes, as of independent sigmoids{padding}"
    if kind == FOREGROUND:
        return f"one channel of {spread}{padding}"
    if kind == NEVER_NEGATIVE:
        return f"one channel of {spread}, none of them below zero{padding}"
    if kind == WHOLE:
        return f"whole {spread}{padding}"
    return spread + padding


def saying(kind: str, option: str = "--scores") -> str:
    """Return how to declare what scores are, in Python and on the command line."""
    return f"scores={kind!r} (command line: {option} {kind})"


def question(counts: ValueCounts, *, several: bool = False) -> str:
    """Return what values look like that cannot be taken for logits unless it is said; empty if they can.

    :param counts: of an image, or of several.
    :param several: the counts are those of a whole set.
    """
    kind = domain_of(counts, several=several)
    return {
        PROBABILITIES: "which are probabilities",
        PERCENT: "which are percent",
        BYTES: "which are probabilities stored as whole numbers",
        SIGMOID: "which look like the output of sigmoids",
        FOREGROUND: "which look like its output",
        NEVER_NEGATIVE: "which may be percent or bytes",
        WHOLE: "which may be stored probabilities, or labels",
    }.get(kind, "")
