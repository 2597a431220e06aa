"""What the comparison says, in plain words. Each sentence is a fact of the numbers, in every case.

"Better" and "worse" are said only where the paired interval over images excludes zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calibrant.evaluation import Comparison
from calibrant.metrics import SCORES, Measurement, reliability_curve
from calibrant.report.curves import pooled_bins
from calibrant.report.tables import NULL, PERCENT, columns, percent, shown_scores, verdict

_FIRST_ASKED = ("ece_images", "ece")
_LABEL_SCORES = ("miou", "accuracy", "dice")
_SAID = 0.9
_ENOUGH = 0.002


@dataclass(frozen=True)
class Headline:
    """The page in a few sentences.

    :param verdict: which method to take, in one sentence.
    :param sentences: what stands behind it.
    :param shown: the method set against the first one in the figures; None if there is only one.
    """

    verdict: str
    sentences: tuple[str, ...]
    shown: str | None


def headline(
    comparison: Comparison, measurements: Mapping[str, Sequence[Measurement]], scores: Sequence[str] | None = None
) -> Headline:
    """Return what a stranger should know first: how far the model's word can be taken, and what to do."""
    base, *others = comparison.values
    score = deciding_score(comparison, scores)
    sentences = [f"As it is ({base}): {_keeps_its_word(measurements[base])}"]
    if not others:
        return Headline("No calibrator was compared: this is how the model stands.", tuple(sentences), None)
    shown, said = _verdict(comparison, score)
    sentences.append(f"With {shown}: {_keeps_its_word(measurements[shown])}")
    sentences += _beside(comparison, score, base, shown, scores)
    return Headline(said, tuple(sentences), shown)


def deciding_score(comparison: Comparison, scores: Sequence[str] | None = None) -> str:
    """Return the score that the verdict rests on: image-wise ECE, or the nearest to it that was measured."""
    shown = shown_scores(comparison, scores)
    candidates = [score for score in _FIRST_ASKED if score in shown]
    candidates += [score for score in shown if SCORES[score].better]
    return (candidates or shown)[0]


def _verdict(comparison: Comparison, score: str) -> tuple[str, str]:
    """Return the method to show, and the sentence."""
    base, *others = comparison.values
    title = _in_sentence(score)
    column = next(each for each in columns(comparison, [score, score + NULL]) if each.score == score)
    value = {method: f"{cell.value}{PERCENT if column.unit else ''}" for method, cell in column.cells.items()}
    sign = -1 if SCORES[score].better == "higher" else 1
    ranked = sorted(others, key=lambda method: sign * comparison.values[method][score].value)
    said = {method: verdict(score, comparison.differences[method][score]) for method in others}
    improved = [method for method in ranked if said[method] == "better"]
    worsened = [method for method in others if said[method] == "worse"]
    best = comparison.best.get(score)
    if best == base:
        return ranked[0], (
            f"Leave the model as it is: every calibrator compared made its {title} worse "
            f"({value[base]} as it is, {value[ranked[0]]} with {ranked[0]}, the nearest)."
        )
    worse = f" Worse than the model as it is: {_listed(worsened)}." if worsened else ""
    if not improved:
        return ranked[0], (
            f"No calibrator was shown to be better than the model as it is: by {title}, none differs from it for the "
            f"better by more than chance.{worse}"
        )
    first = improved[0]
    if best == first:
        rest = "the model as it is" if len(others) == 1 else "the model as it is and than every other one compared"
        return first, (
            f"Take {first}: its {title} of {value[first]} is better than that of {rest} ({value[base]} as it is), "
            f"by more than chance.{worse}"
        )
    if len(improved) == 1:
        return first, (
            f"Take {first}: it is the only one shown to be better than the model as it is ({title} {value[first]} "
            f"against {value[base]}); against the other calibrators its lead is not beyond chance everywhere.{worse}"
        )
    return first, (
        f"Calibrate: {_listed(improved)} are each better in {title} than the model as it is, by more than chance. "
        f"These images do not tell which calibrator is best; the best measured is {first} ({value[first]} against "
        f"{value[base]} as it is).{worse}"
    )


def _keeps_its_word(repetitions: Sequence[Measurement]) -> str:
    """Return how often the model is right where it says about 90 %, and on the whole."""
    bins = pooled_bins([each.bins for each in repetitions])
    curve = reliability_curve(bins)
    said, right, share = curve.confidence[0], curve.accuracy[0], curve.share[0]
    count = bins.count.sum()
    mean, accuracy = float(bins.confidence.sum() / count), float(bins.correct.sum() / count)
    near = math.ceil(round(_SAID * len(share), 9)) - 1
    words = ""
    if float(share[near]) >= _ENOUGH:
        words = (
            f"where it says about {percent(float(said[near]))}, it is right {percent(float(right[near]))} of the time; "
        )
    if percent(mean) == percent(accuracy):
        return f"{words}over all pixels it says {percent(mean)} on average and is right about as often."
    word = "too sure" if mean > accuracy else "too timid"
    return (
        f"{words}over all pixels it says {percent(mean)} on average and is right {percent(accuracy)} of the time, "
        f"so on the whole it is {word}."
    )


def _beside(comparison: Comparison, score: str, base: str, shown: str, scores: Sequence[str] | None) -> list[str]:
    """Return what else changes with the method shown, and what chance alone would score."""
    sentences = []
    changed: dict[str, list[str]] = {"better": [], "worse": []}
    for other in shown_scores(comparison, scores):
        if other == score or other in _LABEL_SCORES or other not in comparison.differences[shown]:
            continue
        changed.get(verdict(other, comparison.differences[shown][other]), []).append(_in_sentence(other))
    mended = verdict(score, comparison.differences[shown][score]) == "better"
    if changed["better"]:
        also = "also better" if mended else "better"
        sentences.append(f"Against the model as it is, {shown} is {also} by {_listed(changed['better'])}.")
    if changed["worse"]:
        price = "At a price: " if mended else "Against the model as it is, "
        sentences.append(f"{price}{shown} is worse by {_listed(changed['worse'])}.")
    labels = next((each for each in _LABEL_SCORES if each in comparison.differences[shown]), None)
    if labels is not None:
        title = _in_sentence(labels)
        word = verdict(labels, comparison.differences[shown][labels])
        sentences.append(
            {
                "same": f"The segmentation itself keeps its {title}.",
                "not clear": f"It may change labels; that the {title} moved is not beyond chance.",
            }.get(word, f"It changes labels: the {title} gets {word}.")
        )
    null = comparison.values[base].get(score + NULL)
    if null is not None:
        column = columns(comparison, [score, score + NULL])[0]
        cell = column.cells[base]
        unit = PERCENT if column.unit else ""
        sentences.append(
            f"For scale: a perfectly calibrated predictor with the model's confidences would score {cell.chance}{unit} "
            f"in {_in_sentence(score)} on these images, not 0, because one image has few pixels in "
            "some bins."
        )
    return sentences


def _listed(words: Sequence[str]) -> str:
    if len(words) > 1 and any("," in word for word in words):
        words = [f"“{word}”" for word in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _in_sentence(score: str) -> str:
    """Return a score's title as it stands within a sentence: "ECE, pooled" becomes "pooled ECE"."""
    first, comma, last = SCORES[score].title.partition(", ")
    return f"{last} {first}" if comma else first.replace(": ", " ")
