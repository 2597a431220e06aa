"""What the comparison says, in plain words. Each sentence is a fact of the numbers, in every case.

"Better" and "worse" are said only where the paired interval over images excludes zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calibrant.evaluation import Comparison
from calibrant.metrics import Measurement, reliability_curve
from calibrant.report.columns import columns, percent, shown_scores, verdict
from calibrant.report.curves import pooled_bins
from calibrant.report.judged import few_images, keeps_its_word, on_the_whole

_DECIDING = ("ece", "ece_images")
"""Names of the scores that decide, if compared; image-wise ECE also depends on how much images differ in difficulty."""

NEAR_TIES, MANY_TIES = "near_ties", 0.01
"""The score that counts nearly tied pixels, and the share from which on a report mentions them."""

_PROPER = ("nll", "brier")
"""Proper scores: whoever is best in them is nearest to the true probabilities, in calibration and in sharpness."""

_OF_LABELS = ("miou", "accuracy", "dice")
"""Names of the scores of the label map alone."""

_CONFIDENCE = 0.9
"""The confidence that the first sentence speaks of."""

_ENOUGH = 0.002
"""The share of the pixels that must have about that confidence for a sentence about them."""


_CALIBRATED = (
    "No miscalibration was found in {} images: in no bin of confidence, and not on the whole, is the gap beyond chance."
)
_MISCALIBRATED = "Its confidence cannot be taken at its word: it departs from its accuracy by more than chance."


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
    """Return what a stranger should know first: how far the model's word can be taken, and what to do.

    :param comparison: of all methods.
    :param measurements: of every method, one a repetition; empty if there are none.
    :param scores: names of those shown first; by default the main ones.
    """
    base, *others = comparison.methods
    score = deciding_score(comparison, scores)
    name = f"As it is ({base})" if comparison.as_it_is else f"With {base}"
    sentences = [f"{name}: {_keeps_its_word(measurements[base])}"] if base in measurements else []
    if not others:
        stands = "the model stands" if comparison.as_it_is else f"{base} stands; the model as it is was not measured"
        kept = keeps_its_word(measurements[base]) if base in measurements else None
        words = _CALIBRATED.format(len(measurements[base][0])) if kept else _MISCALIBRATED
        found = f" {words}" if kept is not None else ""
        return Headline(f"No calibrator was compared: this is how {stands}.{found}", tuple(sentences), None)
    shown, advice = _verdict(comparison, score)
    if shown in measurements:
        sentences.append(f"With {shown}: {_keeps_its_word(measurements[shown])}")
    sentences += _changes_beside(comparison, score, shown, scores)
    sentences += _label_changes(comparison, shown) + near_ties_in_words(comparison, [shown])
    sentences += _null(comparison, base, scores)
    for method in (base, shown):
        if method in measurements and keeps_its_word(measurements[method]):
            words = _CALIBRATED.format(len(measurements[method][0]))
            sentences.append(f"{method[:1].upper()}{method[1:]}: {words[:1].lower()}{words[1:]}")
    return Headline(advice, tuple(sentences), shown)


def deciding_method(comparison: Comparison, scores: Sequence[str] | None = None) -> str | None:
    """Return the method that is set against the first one in sentences and figures; None if there is only one.

    :param comparison: the scores of all methods.
    :param scores: names of those shown first; by default the main ones.
    """
    if len(comparison.methods) < 2:
        return None
    return _verdict(comparison, deciding_score(comparison, scores))[0]


def deciding_score(comparison: Comparison, scores: Sequence[str] | None = None) -> str:
    """Return the score that the verdict rests on: pooled ECE, or the nearest to it that was measured.

    :param comparison: what was compared.
    :param scores: names of those shown first; by default the main ones.
    """
    shown = shown_scores(comparison, scores)
    candidates = [score for score in _DECIDING if score in shown]
    candidates += [score for score in shown if comparison.scores[score].better]
    return (candidates or shown)[0]


def near_ties_in_words(comparison: Comparison, methods: Sequence[str] | None = None) -> list[str]:
    """Return how many labels hang on a tiny difference, a sentence for each method where they are many.

    :param comparison: what was compared; without the score that counts them there is nothing to say.
    :param methods: those that are looked at; by default all.
    """
    sentences = []
    for method in comparison.methods if methods is None else methods:
        share = comparison.values[method].get(NEAR_TIES)
        if share is None or not share.value >= MANY_TIES:
            continue
        words = (
            f"With {method} the two largest probabilities are nearly tied in {percent(share.value, 1)} of the pixels"
        )
        if method == comparison.baseline and comparison.as_it_is:
            sentences.append(f"{words}: their labels may change in a smaller number type.")
        else:
            sentences.append(
                f"{words}: as a rule it is held to the model's label there, and would choose another. A calibrator "
                "that may change labels can do better there."
            )
    return sentences


def _verdict(comparison: Comparison, name: str) -> tuple[str, str]:
    """Return the method to show, and the sentence."""
    base, *others = comparison.methods
    plain, called = comparison.baseline_in_words, "as it is" if comparison.as_it_is else f"of {comparison.baseline}"
    score = comparison.scores[name]
    title = score.in_sentence
    (column,) = columns(comparison, [name])
    value = {method: column.with_unit(cell.value) for method, cell in column.cells.items()}
    sign = -1 if score.better == "higher" else 1
    ranked = sorted(others, key=lambda method: sign * comparison.values[method][name].value)
    verdicts = {method: verdict(score, comparison.differences[method][name]) for method in others}
    improved = [method for method in ranked if verdicts[method] == "better"]
    worsened = [method for method in others if verdicts[method] == "worse"]
    best = comparison.best.get(name)
    if best == base:
        return ranked[0], (
            f"{f'Leave {plain}: every' if comparison.as_it_is else f'Take {plain}: every other'} calibrator compared "
            f"made its {title} worse ({value[base]} {called}, {value[ranked[0]]} with {ranked[0]}, the nearest)."
        )
    worse = f" Worse than {plain}: {_listed(worsened)}." if worsened else ""
    if not improved:
        return ranked[0], (
            f"No calibrator was shown to be better than {plain}: by {title}, none differs from it for the better by "
            f"more than chance.{worse}"
        )
    first = improved[0]
    if best == first:
        rest = plain if len(others) == 1 else f"{plain} and than every other one compared"
        return first, (
            f"Take {first}: its {title} of {value[first]} is better than that of {rest} ({value[base]} {called}), "
            f"by more than chance.{worse}"
        )
    if len(improved) == 1:
        return first, (
            f"Take {first}: it is the only one shown to be better than {plain} ({title} {value[first]} "
            f"against {value[base]}); against the other calibrators its lead is not beyond chance everywhere.{worse}"
        )
    together = f"Calibrate: {_listed(improved)} are each better in {title} than {plain}, by more than chance. "
    measured = f"the best measured is {first} ({value[first]} against {value[base]} {called})"
    for method in improved:
        proper = [name for name in _PROPER if comparison.best.get(name) == method]
        if proper:
            titles = _listed([comparison.scores[each].in_sentence for each in proper])
            return method, (
                f"{together}In it none is significantly the best: {measured}. Take {method} ({value[method]}): it is "
                f"significantly the best in {titles}, which also count how well it tells right from wrong.{worse}"
            )
    return first, f"{together}On these images no calibrator is significantly the best; {measured}.{worse}"


def _keeps_its_word(repetitions: Sequence[Measurement]) -> str:
    """Return how often the model is right where it says about 90 %, and on the whole."""
    bins = pooled_bins([measurement.bins for measurement in repetitions])
    curve = reliability_curve(bins)
    confidence, right, fraction = curve.confidence[0], curve.accuracy[0], curve.fraction[0]
    count = bins.count.sum()
    mean, accuracy = float(bins.confidence.sum() / count), float(bins.correct.sum() / count)
    near = math.ceil(round(_CONFIDENCE * len(fraction), 9)) - 1
    words = ""
    if float(fraction[near]) >= _ENOUGH:
        words = (
            f"where it says about {percent(float(confidence[near]))}, it is right {percent(float(right[near]))} of the "
            "time; "
        )
    word = on_the_whole(repetitions)
    if not word:
        few = keeps_its_word(repetitions) is None
        chance = f"{few_images(len(repetitions[0]))} to say more" if few else "the difference is within chance"
        right = "about as often" if percent(mean) == percent(accuracy) else f"{percent(accuracy)} of the time: {chance}"
        return f"{words}over all pixels it says {percent(mean)} on average and is right {right}."
    return (
        f"{words}over all pixels it says {percent(mean)} on average and is right {percent(accuracy)} of the time, "
        f"so on the whole it is {word}."
    )


def _changes_beside(comparison: Comparison, score: str, shown: str, scores: Sequence[str] | None) -> list[str]:
    """Return which other scores change with the method shown."""
    differences, about = comparison.differences[shown], comparison.scores
    changed: dict[str, list[str]] = {"better": [], "worse": []}
    for other in shown_scores(comparison, scores):
        if other != score and other not in _OF_LABELS and other in differences:
            changed.get(verdict(about[other], differences[other]), []).append(about[other].in_sentence)
    mended = verdict(about[score], differences[score]) == "better"
    sentences = []
    if changed["better"]:
        also = "also better" if mended else "better"
        sentences.append(f"Against {comparison.baseline_in_words}, {shown} is {also} by {_listed(changed['better'])}.")
    if changed["worse"]:
        price = "At a price: " if mended else f"Against {comparison.baseline_in_words}, "
        sentences.append(f"{price}{shown} is worse by {_listed(changed['worse'])}.")
    return sentences


def _label_changes(comparison: Comparison, shown: str) -> list[str]:
    """Return whether the method shown changes the label map, if a score of it was compared."""
    name = next((each for each in _OF_LABELS if each in comparison.differences[shown]), None)
    if name is None:
        return []
    score = comparison.scores[name]
    word = verdict(score, comparison.differences[shown][name])
    if word == "not known":
        return []
    sentences = {
        "same": f"The segmentation itself keeps its {score.in_sentence}.",
        "not clear": f"It may change labels; that the {score.in_sentence} moved is not beyond chance.",
    }
    return [sentences.get(word, f"It changes labels: the {score.in_sentence} gets {word}.")]


def _null(comparison: Comparison, base: str, scores: Sequence[str] | None) -> list[str]:
    """Return what chance alone would score, of the first score of which that is known."""
    shown = shown_scores(comparison, scores)
    name = next((each for each in shown if comparison.null_of(base, each) is not None), None)
    if name is None:
        return []
    (column,) = columns(comparison, [name])
    score = comparison.scores[name]
    note = f", {score.null_note}" if score.null_note else ""
    whose = "the model" if comparison.as_it_is else base
    return [
        f"For scale: a perfectly calibrated predictor with {whose}'s confidences would score "
        f"{column.with_unit(column.cells[base].chance)} in {score.in_sentence} on these images{note}."
    ]


def _listed(words: Sequence[str]) -> str:
    if len(words) > 1 and any("," in word for word in words):
        words = [f"“{word}”" for word in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
