"""The report: one HTML file, without scripts and without outside requests, that opens by double click."""

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

import calibrant
from calibrant._input.checks import check_choice
from calibrant._shapes import Tensor
from calibrant._storage.files import replacing
from calibrant.errors import InputError
from calibrant.evaluation import Comparison
from calibrant.metrics import Measurement
from calibrant.report import palette
from calibrant.report.cases import Case, color_key, confidence_ramp, pictures
from calibrant.report.classes import FEW, class_rows
from calibrant.report.columns import BEST, SHARE, changes, columns, number, other_scores, percent
from calibrant.report.curves import Reliability, draws, reliability, risk_coverage
from calibrant.report.figures import ideal_risk_coverage, reliability_figure, risk_coverage_figure
from calibrant.report.words import headline

CITATIONS = (
    "Wang, D., Gong, B., Wang, L.: On Calibrating Semantic Segmentation Models: Analyses and An Algorithm. "
    "CVPR 2023. (Selective scaling; image-wise ECE.)",
    "Kassapis, E., Dikov, G., Gupta, D. K., Nugteren, C.: Calibrated Adversarial Refinement for Stochastic Semantic "
    "Segmentation. ICCV 2021. (Calibration network; sampling.)",
    "Guo, C., Pleiss, G., Sun, Y., Weinberger, K. Q.: On Calibration of Modern Neural Networks. ICML 2017. "
    "(Temperature and vector scaling; pooled ECE.)",
)
_COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.5)


def write_page(
    path: str | os.PathLike[str],
    comparison: Comparison,
    measurements: Mapping[str, Sequence[Measurement]] | None = None,
    *,
    title: str = "Calibration report",
    facts: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    cases: Sequence[Case] = (),
    scores: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the report of a comparison, and return its path. The file appears whole or not at all.

    :param path: where the file goes; its folder must be there.
    :param comparison: the scores of all methods.
    :param measurements: what reliability diagrams, risk–coverage curves and the table of classes are drawn from: of
        every method in the comparison, one a repetition. Without them (for counts of your own) the page has no such
        parts.
    :param title: the headline.
    :param facts: what was measured and how, as shown: images, left out, void rule, resolution, bins, split, seeds.
    :param class_names: by default class 0, class 1, …
    :param cases: single images to show, see ``case_of`` and ``worst_images``.
    :param scores: names of scores compared, a column each; by default the main ones. The others are there to unfold.
    :param notes: what the fits had to say.
    :raises InputError: there is no method, a method has no measurements, names are of another number of classes, or a
        score was not compared.
    """
    page = render_page(
        comparison,
        measurements,
        title=title,
        facts=facts,
        class_names=class_names,
        cases=cases,
        scores=scores,
        notes=notes,
    )
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def render_page(
    comparison: Comparison,
    measurements: Mapping[str, Sequence[Measurement]] | None = None,
    *,
    title: str = "Calibration report",
    facts: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    cases: Sequence[Case] = (),
    scores: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Return the page as text.

    :param comparison: the scores of all methods.
    :param measurements: what reliability diagrams, risk–coverage curves and the table of classes are drawn from: of
        every method in the comparison, one a repetition. Without them (for counts of your own) the page has no such
        parts.
    :param title: the headline.
    :param facts: what was measured and how, as shown: images, left out, void rule, resolution, bins, split, seeds.
    :param class_names: by default class 0, class 1, …
    :param cases: single images to show, see ``case_of`` and ``worst_images``.
    :param scores: names of scores compared, a column each; by default the main ones. The others are there to unfold.
    :param notes: what the fits had to say.
    :raises InputError: there is no method, a method has no measurements, names are of another number of classes, or a
        score was not compared.
    """
    if not isinstance(comparison, Comparison):
        raise InputError(
            f"expected a Comparison; got {type(comparison).__name__}. Compare measurements first: "
            "calibrant.evaluation.compare({name: [measurement], …}, generator=torch.Generator().manual_seed(0))."
        )
    methods = comparison.methods
    head = headline(comparison, measurements or {}, scores)
    pair = [methods[0]] if head.shown is None else [methods[0], head.shown]
    class_names = _checked_names(methods, measurements, class_names, cases)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            version=calibrant.__version__,
            light=Markup(palette.properties(dark=False)),
            dark=Markup(palette.properties(dark=True)),
            head=head,
            pair=pair,
            methods=methods,
            facts=dict(facts or {}),
            best=BEST,
            **_score_tables(comparison, scores),
            measured=measurements is not None,
            **({} if measurements is None else _figures(comparison, measurements, pair, class_names)),
            **_cases(comparison, cases, class_names),
            notes=list(notes),
            citations=CITATIONS,
        )
    )


def _checked_names(
    methods: Sequence[str],
    measurements: Mapping[str, Sequence[Measurement]] | None,
    class_names: Sequence[str] | None,
    cases: Sequence[Case],
) -> Sequence[str]:
    """Return the names of the classes, those of channels without a name by number."""
    if measurements is None:
        if class_names is None and cases:
            raise InputError("expected class_names with cases of a page without measurements; got none. Pass them.")
        return class_names or ()
    missing = [method for method in methods if not measurements.get(method)]
    if not methods or missing:
        raise InputError(
            f"expected at least one method, and measurements of each in the comparison; got {len(methods)} methods, "
            f"without measurements: {missing}. Pass the measurements that the comparison was made from."
        )
    count = measurements[methods[0]][0].classes.labelled.shape[1]
    if class_names is None:
        return [f"class {i}" for i in range(count)]
    if len(class_names) != count:
        raise InputError(
            f"expected one name for each of the {count} classes; got {len(class_names)} names. "
            "Leave them out, or name every channel of the logits."
        )
    return class_names


def _score_tables(comparison: Comparison, scores: Sequence[str] | None) -> dict[str, Any]:
    """Return the tables of scores and of changes, of those shown first and of the others."""
    others, several = other_scores(comparison, scores), len(comparison.methods) > 1
    return {
        "columns": columns(comparison, scores),
        "changes": changes(comparison, scores) if several else [],
        "behind": changes(comparison, scores, to_best=True) if len(comparison.methods) > 2 else [],
        "more_columns": columns(comparison, others),
        "more_changes": changes(comparison, others) if several else [],
    }


def _figures(
    comparison: Comparison,
    measurements: Mapping[str, Sequence[Measurement]],
    pair: Sequence[str],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Return what is drawn from measurements: diagrams of all methods, and of the pair by region and class."""
    methods = comparison.methods
    resamples = draws({method: measurements[method] for method in methods})
    diagrams, regions = [], []
    for i, method in enumerate(methods):
        line = reliability(measurements[method], resamples, lambda rows: rows.bins)
        label = f"Reliability diagram of {method}. {_in_words(line)}"
        drawing = reliability_figure([(method, line, palette.style_of(i))], name=f"reliability{i}", label=label)
        diagrams.append((method, Markup(drawing), _bin_rows(line)))
    for i, method in enumerate(pair):
        edge = reliability(measurements[method], resamples, lambda rows: rows.boundary)
        inner = reliability(measurements[method], resamples, lambda rows: rows.interior)
        label = f"Reliability of {method} by region. Boundary: {_in_words(edge)} Interior: {_in_words(inner)}"
        lines = [("near class boundaries", edge, palette.style_of(2)), ("interior", inner, palette.style_of(1))]
        regions.append((method, Markup(reliability_figure(lines, name=f"region{i}", label=label))))
    return {
        "diagrams": diagrams,
        "regions": regions,
        "pooled_error": _pooled_errors(comparison),
        **_risks(measurements, methods),
        "class_rows": class_rows(measurements, pair, class_names),
        "few": FEW,
    }


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


def _cases(comparison: Comparison, cases: Sequence[Case], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the single images, with what their maps need to be read."""
    return {
        "cases": [
            (case, pictures(case, class_names, comparison.methods), _caption(case, comparison)) for case in cases
        ],
        "color_key": color_key(class_names, cases),
        "ramp": Markup(confidence_ramp()),
    }


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
    values: dict[str, list[str]] = {}
    for method, row in case.scores.items():
        for name, value in row.items():
            check_choice(name, comparison.scores, "score that was compared")
            score = comparison.scores[name]
            shown = percent(value, 1) if score.unit == SHARE else number(value, 3, score.unit)
            values.setdefault(score.title, []).append(f"{method} {shown}")
    return [(title, "; ".join(shown)) for title, shown in values.items()]


def _environment() -> Environment:
    sources = {
        name: files("calibrant.report").joinpath(name).read_text("utf-8") for name in ("page.html.j2", "page.css")
    }
    return Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
