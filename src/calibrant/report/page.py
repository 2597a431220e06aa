"""The report: one HTML file, without scripts and without outside requests, that opens by double click."""

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import torch
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

import calibrant
from calibrant._files import replacing
from calibrant.errors import InputError
from calibrant.evaluation import Comparison, compare
from calibrant.metrics import SCORES, Measurement
from calibrant.report import palette
from calibrant.report.cases import Case, color_key, confidence_ramp, pictures
from calibrant.report.classes import FEW, class_rows
from calibrant.report.curves import Reliability, draws, reliability, risk_coverage
from calibrant.report.figures import ideal_risk_coverage, reliability_figure, risk_coverage_figure
from calibrant.report.tables import BEST, PERCENT, changes, columns, in_percent, number, other_scores, percent
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
    path: str | os.PathLike,
    comparison: Comparison | Mapping[str, Measurement],
    measurements: Mapping[str, Sequence[Measurement]] | None = None,
    *,
    title: str = "Calibration report",
    facts: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    cases: Sequence[Case] = (),
    scores: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the report of a comparison, and return its path.

    The file appears whole or not at all.

    :param comparison: the scores of all methods; the first is the model as it is. Or simply each method's measurement,
        which is then compared here.
    :param measurements: of every method in the comparison, one a repetition.
    :param facts: what was measured and how, as shown: images, left out, void rule, resolution, bins, split, seeds.
    :param class_names: by default class 0, class 1, …
    :param cases: single images to show, see ``case_of`` and ``worst_images``.
    :param scores: names of SCORES, a column each; by default the main ones. The others are there to unfold.
    :param notes: what the fits had to say.
    :raises InputError: there is no method, or a method without measurements, or names of another number of classes.
    """
    path = Path(path)
    if not isinstance(comparison, Comparison):
        measurements = {method: [each] for method, each in comparison.items()}
        comparison = compare(measurements, generator=torch.Generator().manual_seed(0))
    page = render_page(
        comparison,
        measurements or {},
        title=title,
        facts=facts,
        class_names=class_names,
        cases=cases,
        scores=scores,
        notes=notes,
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def render_page(
    comparison: Comparison,
    measurements: Mapping[str, Sequence[Measurement]],
    *,
    title: str = "Calibration report",
    facts: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    cases: Sequence[Case] = (),
    scores: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Return the page as text; see ``write_page``."""
    methods = list(comparison.values)
    class_names = _checked_names(methods, measurements, class_names)
    head = headline(comparison, measurements, scores)
    pair = [methods[0]] if head.shown is None else [methods[0], head.shown]
    template = _environment().get_template("page.html.j2")
    return template.render(
        title=title,
        version=calibrant.__version__,
        light=Markup(palette.properties(dark=False)),
        dark=Markup(palette.properties(dark=True)),
        head=head,
        pair=pair,
        methods=methods,
        facts=dict(facts or {}),
        columns=columns(comparison, scores),
        changes=changes(comparison, scores) if len(methods) > 1 else [],
        behind=changes(comparison, scores, to_best=True) if len(methods) > 2 else [],
        more_columns=columns(comparison, other_scores(comparison, scores)),
        more_changes=changes(comparison, other_scores(comparison, scores)) if len(methods) > 1 else [],
        best=BEST,
        pooled_error=_pooled_errors(comparison),
        **_figures(measurements, methods, pair),
        class_rows=class_rows(measurements, pair, class_names),
        few=FEW,
        cases=[(case, pictures(case, class_names, methods), _caption(case)) for case in cases],
        color_key=color_key(class_names, cases),
        ramp=Markup(confidence_ramp()),
        notes=list(notes),
        citations=CITATIONS,
    )


def _checked_names(
    methods: Sequence[str], measurements: Mapping[str, Sequence[Measurement]], class_names: Sequence[str] | None
) -> Sequence[str]:
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


def _figures(
    measurements: Mapping[str, Sequence[Measurement]], methods: Sequence[str], pair: Sequence[str]
) -> dict[str, object]:
    resamples = draws({method: measurements[method] for method in methods})
    style = {method: palette.style_of(i) for i, method in enumerate(methods)}
    diagrams, regions = [], []
    for i, method in enumerate(methods):
        line = reliability(measurements[method], resamples, lambda each: each.bins)
        label = f"Reliability diagram of {method}. {_in_words(line)}"
        drawing = reliability_figure([(method, line, style[method])], name=f"reliability{i}", label=label)
        diagrams.append((method, Markup(drawing), _bin_rows(line)))
    for i, method in enumerate(pair):
        edge = reliability(measurements[method], resamples, lambda each: each.boundary)
        inner = reliability(measurements[method], resamples, lambda each: each.interior)
        label = f"Reliability of {method} by region. Boundary: {_in_words(edge)} Interior: {_in_words(inner)}"
        lines = [("near class boundaries", edge, palette.style_of(2)), ("interior", inner, palette.style_of(1))]
        regions.append((method, Markup(reliability_figure(lines, name=f"region{i}", label=label))))
    curves = [(m, risk_coverage([each.ranks for each in measurements[m]]), style[m]) for m in methods]
    label = "Risk-coverage curves of all methods; the table beside the figure holds the same curves as numbers."
    drawing = risk_coverage_figure(curves, name="risk", label=label, ideal=ideal_risk_coverage(curves[0][1]))
    risks = [(method, [number(line.at(each), 2, "risk") for each in _COVERAGES]) for method, line, _ in curves]
    return {
        "diagrams": diagrams,
        "regions": regions,
        "risk_figure": Markup(drawing),
        "coverages": [percent(each) for each in _COVERAGES],
        "risks": risks,
    }


def _pooled_errors(comparison: Comparison) -> dict[str, str]:
    """Return the end of each reliability diagram's caption."""
    if any("ece" not in row for row in comparison.values.values()):
        return dict.fromkeys(comparison.values, "")
    (column,) = columns(comparison, ["ece"])
    return {method: f": pooled ECE {cell.value}{PERCENT}" for method, cell in column.cells.items()}


def _in_words(line: Reliability) -> str:
    """Return three of the bins as words, for readers who do not see the figure."""
    known = [i for i in range(len(line.share)) if float(line.share[i]) > 0]
    if not known:
        return "There are no pixels."
    said = []
    for i in dict.fromkeys((known[len(known) // 3], known[2 * len(known) // 3], known[-1])):
        said.append(
            f"where it says {percent(float(line.confidence[i]))} it is right {percent(float(line.accuracy[i]))}"
        )
    return f"{'; '.join(said).capitalize()}."


def _bin_rows(line: Reliability) -> list[tuple[str, str, str, str]]:
    def shown(values, i: int, digits: int = 1) -> str:
        return number(float(values[i]), digits, "share")

    return [
        (
            shown(line.confidence, i),
            shown(line.accuracy, i),
            f"[{shown(line.low, i)}, {shown(line.high, i)}]",
            shown(line.share, i, 2),
        )
        for i in range(len(line.share))
        if float(line.share[i]) > 0
    ]


def _caption(case: Case) -> list[tuple[str, str]]:
    """Return (score, its values by method) for the caption of a case."""
    found: dict[str, list[str]] = {}
    for method, row in case.scores.items():
        for score, value in row.items():
            shown = percent(value, 1) if in_percent(score) else number(value, 3, score)
            found.setdefault(SCORES[score].title, []).append(f"{method} {shown}")
    return [(title, "; ".join(values)) for title, values in found.items()]


def _environment() -> Environment:
    sources = {
        name: files("calibrant.report").joinpath(name).read_text("utf-8") for name in ("page.html.j2", "page.css")
    }
    return Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
