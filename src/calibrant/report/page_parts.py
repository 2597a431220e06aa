"""The parts of a page: what its template and its script are given."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from markupsafe import Markup

from calibrant._input.checks import check_choice
from calibrant._shapes import Tensor
from calibrant.evaluation import Comparison
from calibrant.metrics import Measurement, expected_calibration_error, reliability_histogram
from calibrant.report import palette
from calibrant.report.anchors import anchors
from calibrant.report.cases import Case
from calibrant.report.class_diagrams import class_diagrams
from calibrant.report.classes import FEW, class_rows
from calibrant.report.columns import SHARE, changes, columns, number, other_scores, percent
from calibrant.report.curves import Reliability, draws, reliability, risk_coverage
from calibrant.report.decisions import cost_rows, counts_for_script, pooled_ranks, threshold_rows
from calibrant.report.figures import (
    ideal_risk_coverage,
    reliability_figure,
    reliability_histogram_figure,
    risk_coverage_figure,
)
from calibrant.report.image_list import image_columns, image_rows, number_of_images
from calibrant.report.judged import agreement_in_words
from calibrant.report.pictures import CONFIDENCE, ENTROPY, color_key, label_maps, pictures_within
from calibrant.report.scale import HIGHEST, LOWEST, colors, gradient, tick_places

_COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.5)


def score_tables(comparison: Comparison, scores: Sequence[str] | None) -> dict[str, Any]:
    """Return the tables of scores and of changes, of those shown first and of the others.

    :param comparison: what is shown.
    :param scores: names of those shown first; by default the main ones.
    """
    others, several = other_scores(comparison, scores), len(comparison.methods) > 1
    return {
        "columns": columns(comparison, scores),
        "changes": changes(comparison, scores) if several else [],
        "behind": changes(comparison, scores, to_best=True) if len(comparison.methods) > 2 else [],
        "more_columns": columns(comparison, others),
        "more_changes": changes(comparison, others) if several else [],
    }


def figures_of(
    comparison: Comparison,
    measurements: Mapping[str, Sequence[Measurement]],
    pair: Sequence[str],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Return what is drawn from measurements: diagrams of all methods, and of the pair by region and class.

    :param comparison: what is shown.
    :param measurements: by method, one a repetition.
    :param pair: the methods shown first, one or two.
    :param class_names: one a class.
    """
    methods = comparison.methods
    resamples = draws({method: measurements[method] for method in methods})
    diagrams, regions = [], []
    for i, method in enumerate(methods):
        line = reliability(measurements[method], resamples, lambda rows: rows.bins)
        label = f"Reliability diagram of {method}. {_in_words(line)}"
        drawing = reliability_figure([(method, line, palette.style_of(i))], name=f"reliability{i}", label=label)
        judged = agreement_in_words(measurements[method], lambda rows: rows.bins)
        diagrams.append((method, Markup(drawing), _bin_rows(line), judged))
    for i, method in enumerate(pair):
        edge = reliability(measurements[method], resamples, lambda rows: rows.boundary)
        inner = reliability(measurements[method], resamples, lambda rows: rows.interior)
        label = f"Reliability of {method} by region. Boundary: {_in_words(edge)} Interior: {_in_words(inner)}"
        lines = [("near class boundaries", edge, palette.style_of(2)), ("interior", inner, palette.style_of(1))]
        judged = {
            "near boundaries": agreement_in_words(measurements[method], lambda rows: rows.boundary),
            "inside": agreement_in_words(measurements[method], lambda rows: rows.interior),
        }
        regions.append((method, Markup(reliability_figure(lines, name=f"region{i}", label=label)), judged))
    return {
        "diagrams": diagrams,
        "regions": regions,
        "histograms": [(method, *_histogram(measurements[method], i, method)) for i, method in enumerate(pair)],
        "pooled_error": _pooled_errors(comparison),
        **_risks(measurements, methods),
        "threshold_rows": threshold_rows([pooled_ranks(measurements[method]) for method in pair]),
        "cost_rows": cost_rows([pooled_ranks(measurements[method]) for method in pair]),
        "class_rows": class_rows(measurements, pair, class_names),
        "class_diagrams": class_diagrams(measurements, pair, class_names),
        "few": FEW,
    }


def _histogram(measurements: Sequence[Measurement], number: int, method: str) -> tuple[Markup, str]:
    """Return the dataset reliability histogram of the last repetition, and how far images are spread, in words."""
    bins = measurements[-1].bins
    own = expected_calibration_error(bins)
    own = own[~own.isnan()]
    low, middle, high = torch.quantile(own, torch.tensor([0.1, 0.5, 0.9], dtype=own.dtype)).tolist()
    words = (
        f"of single images the ECE is {percent(middle, 1)} in the middle, from {percent(low, 1)} to {percent(high, 1)} "
        "in eight of ten"
    )
    label = f"Dataset reliability histogram of {method}: {words}."
    drawing = reliability_histogram_figure(reliability_histogram(bins), name=f"spread{number}", label=label)
    return Markup(drawing), words


def _risks(measurements: Mapping[str, Sequence[Measurement]], methods: Sequence[str]) -> dict[str, Any]:
    """Return the risk–coverage curves of all methods, as a figure and as numbers."""
    curves = [
        (method, risk_coverage([rows.ranks for rows in measurements[method]]), palette.style_of(i))
        for i, method in enumerate(methods)
    ]
    label = "Risk-coverage curves of all methods; the table beside the figure holds the same curves as numbers."
    drawing = risk_coverage_figure(curves, name="risk", label=label, ideal=ideal_risk_coverage(curves[0][1]))
    return {
        "risk_figure": Markup(drawing),
        "coverages": [percent(coverage) for coverage in _COVERAGES],
        "risks": [
            (method, [number(line.at(coverage), 2, SHARE) for coverage in _COVERAGES]) for method, line, _ in curves
        ],
    }


def cases_of_page(comparison: Comparison, cases: Sequence[Case], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the single images, with what their maps need to be read.

    :param comparison: what is shown.
    :param cases: single images.
    :param class_names: one a class.
    """
    drawn = pictures_within(cases, class_names, comparison.methods)
    places = anchors("image", [case.title for case in cases])
    return {
        "cases": [
            (case, shown, _caption(case, comparison), places[case.title])
            for case, shown in zip(cases, drawn, strict=True)
        ],
        "color_key": color_key(class_names, label_maps(cases)),
        "confidence_ramp": Markup(gradient(CONFIDENCE)),
        "entropy_ramp": Markup(gradient(ENTROPY)),
        "ticks": tick_places(),
        "image_rows": [],
    }


def image_table(
    measurements: Mapping[str, Sequence[Measurement]], pair: Sequence[str], cases: Sequence[Any]
) -> dict[str, Any]:
    """Return the list of all images, if they have names.

    :param measurements: by method, one a repetition.
    :param pair: the methods shown first, one or two.
    :param cases: the images shown, as :func:`cases_of_page` returns them.
    """
    first = measurements[pair[0]]
    if not all(rows.keys for rows in first):
        return {}
    places: dict[str, str] = {}
    for case, *_, anchor in cases:
        places.setdefault(case.key, anchor)
    return {
        "image_rows": image_rows(measurements, pair, places),
        "image_columns": image_columns(pair),
        "num_images": number_of_images(first),
    }


def data(
    comparison: Comparison,
    measurements: Mapping[str, Sequence[Measurement]] | None,
    pair: Sequence[str],
    class_names: Sequence[str],
    key: Sequence[tuple[int, str, str]],
) -> Markup:
    """Return what the script reads, as JSON that may stand in a page.

    :param comparison: what is shown.
    :param measurements: by method, one a repetition; None for none.
    :param pair: the methods shown first, one or two.
    :param class_names: one a class.
    :param key: number, name and colour of the classes in the maps.
    """
    methods = comparison.methods
    data = script_basics(methods, pair, class_names, key)
    if measurements is not None:
        data["counts"] = counts_for_script(measurements, pair, methods)
    return as_script_data(data)


def script_basics(
    methods: Sequence[str], pair: Sequence[str], class_names: Sequence[str], key: Sequence[tuple[int, str, str]]
) -> dict[str, Any]:
    """Return what the script reads on every page: names, and what the colours of maps stand for.

    :param methods: all that are shown.
    :param pair: the methods shown first, one or two.
    :param class_names: one a class.
    :param key: number, name and colour of the classes in the maps.
    """
    return {
        "methods": list(methods),
        "pair": list(pair),
        "classes": list(class_names),
        "key": [[number, color] for number, _, color in key],
        "ramps": {"confidence": _hex(CONFIDENCE), "entropy": _hex(ENTROPY)},
        "lowest": LOWEST,
        "highest": HIGHEST,
    }


def as_script_data(data: Mapping[str, Any]) -> Markup:
    """Return JSON that may stand in a script element: no text in it can end the element.

    :param data: what JSON can hold.
    """
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _hex(ramp: str) -> list[str]:
    return ["{:02x}{:02x}{:02x}".format(*color) for color in colors(ramp).tolist()]


def _pooled_errors(comparison: Comparison) -> dict[str, str]:
    """Return the end of each reliability diagram's caption."""
    if "ece" not in comparison.scores:
        return dict.fromkeys(comparison.methods, "")
    (column,) = columns(comparison, ["ece"])
    phrase = comparison.scores["ece"].in_sentence
    return {method: f": {phrase} {column.with_unit(cell.value)}" for method, cell in column.cells.items()}


def _in_words(line: Reliability) -> str:
    """Return three of the bins as words, for readers who do not see the figure."""
    known = [i for i in range(len(line.fraction)) if float(line.fraction[i]) > 0]
    if not known:
        return "There are no pixels."
    clauses = [
        f"where it says {percent(float(line.confidence[i]))} it is right {percent(float(line.accuracy[i]))}"
        for i in dict.fromkeys((known[len(known) // 3], known[2 * len(known) // 3], known[-1]))
    ]
    return f"{'; '.join(clauses).capitalize()}."


def _bin_rows(line: Reliability) -> list[tuple[str, str, str, str]]:
    def shown(values: Tensor, i: int, digits: int = 1) -> str:
        return number(float(values[i]), digits, SHARE)

    return [
        (
            shown(line.confidence, i),
            shown(line.accuracy, i),
            f"[{shown(line.low, i)}, {shown(line.high, i)}]",
            shown(line.fraction, i, 2),
        )
        for i in range(len(line.fraction))
        if float(line.fraction[i]) > 0
    ]


def _caption(case: Case, comparison: Comparison) -> list[tuple[str, str]]:
    """Return (score, its values by method) for the caption of a case."""
    values: dict[str, dict[str, str]] = {}
    for method in comparison.methods:
        for name, value in case.scores.get(method, {}).items():
            check_choice(name, comparison.scores, "score that was compared")
            score = comparison.scores[name]
            shown = percent(value, 1) if score.unit == SHARE else number(value, 3, score.unit)
            values.setdefault(score.title, {})[method] = shown
    return [(title, _by_method(shown)) for title, shown in values.items()]


def _by_method(values: Mapping[str, str]) -> str:
    """Return the value of each method, or the one value that all of several methods have."""
    if len(values) > 1 and len(set(values.values())) == 1:
        return f"{next(iter(values.values()))} with every method"
    return "; ".join(f"{method} {value}" for method, value in values.items())
