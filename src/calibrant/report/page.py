"""The report: one HTML file, without outside requests, that opens by double click and is whole without its script."""

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

import calibrant
from calibrant._storage.files import replacing
from calibrant.errors import InputError
from calibrant.evaluation import Comparison
from calibrant.metrics import Measurement
from calibrant.report import palette
from calibrant.report.anchors import anchors
from calibrant.report.cases import Case
from calibrant.report.columns import BEST
from calibrant.report.page_parts import cases_of_page, data, figures_of, image_table, score_tables
from calibrant.report.shift import place_columns, place_links, place_rows
from calibrant.report.words import headline

CITATIONS = (
    "Wang, D., Gong, B., Wang, L.: On Calibrating Semantic Segmentation Models: Analyses and An Algorithm. "
    "CVPR 2023. (Selective scaling; image-wise ECE.)",
    "Kassapis, E., Dikov, G., Gupta, D. K., Nugteren, C.: Calibrated Adversarial Refinement for Stochastic Semantic "
    "Segmentation. ICCV 2021. (Calibration network; sampling.)",
    "Guo, C., Pleiss, G., Sun, Y., Weinberger, K. Q.: On Calibration of Modern Neural Networks. ICML 2017. "
    "(Temperature and vector scaling; pooled ECE.)",
)


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
    provenance: Mapping[str, str] | None = None,
    places: Mapping[str, Comparison] | None = None,
    pages: Mapping[str, str] | None = None,
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
    :param provenance: what the page was made from and by what, as shown: command, date, versions, digests.
    :param places: comparisons of the same methods in several places, this one among them, by the name of the place.
    :param pages: names of the files of the places' pages, by the name of the place, all in one folder: they are linked.
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
        provenance=provenance,
        places=places,
        pages=pages,
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
    provenance: Mapping[str, str] | None = None,
    places: Mapping[str, Comparison] | None = None,
    pages: Mapping[str, str] | None = None,
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
    :param provenance: what the page was made from and by what, as shown: command, date, versions, digests.
    :param places: comparisons of the same methods in several places, this one among them, by the name of the place.
    :param pages: names of the files of the places' pages, by the name of the place, all in one folder: they are linked.
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
    shown = cases_of_page(comparison, cases, class_names)
    listed = {} if measurements is None else image_table(measurements, pair, shown["cases"])
    return rendered(
        "page.html.j2",
        title=title,
        head=head,
        pair=pair,
        methods=methods,
        contents=_contents(bool(facts), bool(places), measurements is not None, bool(cases or listed)),
        facts=dict(facts or {}),
        best=BEST,
        anchors=anchors("method", methods),
        **score_tables(comparison, scores),
        place_columns=[] if not places else place_columns(places),
        place_rows=[] if not places else place_rows(places),
        place_links=[] if not places else place_links(places, comparison, pages or {}),
        measured=measurements is not None,
        **({} if measurements is None else figures_of(comparison, measurements, pair, class_names)),
        **(shown | listed),
        other_methods=[method for method in methods if method not in pair],
        data=data(comparison, measurements, pair, class_names, shown["color_key"]),
        notes=list(notes),
        citations=CITATIONS,
        provenance=dict(provenance or {}),
    )


def _contents(facts: bool, places: bool, measured: bool, images: bool) -> list[tuple[str, str]]:
    """Return the parts of the page: the anchor and the name of each."""
    parts = [("short", "In short", True), ("measured", "What was measured", facts), ("methods", "Scores", True)]
    parts += [("places", "Places", places)]
    parts += [("reliability", "Reliability", measured), ("risk", "Finding mistakes", measured)]
    parts += [("deciding", "Deciding", measured), ("classes", "Classes", measured), ("images", "Images", images)]
    parts += [("notes", "Notes", True)]
    return [(anchor, words) for anchor, words, there in parts if there]


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


def rendered(template: str, **parts: Any) -> str:
    """Return a page as text.

    :param template: the name of its template.
    :param parts: what the template is given, beside what all pages have.
    """
    return (
        _environment()
        .get_template(template)
        .render(
            version=calibrant.__version__,
            script=Markup(_text("page.js")),
            script_digest=_digest(_text("page.js")),
            light=Markup(palette.properties(dark=False)),
            dark=Markup(palette.properties(dark=True)),
            **parts,
        )
    )


def _text(name: str) -> str:
    return files("calibrant.report").joinpath(name).read_text("utf-8")


def _digest(script: str) -> str:
    """What the page's content security policy calls the one script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


@cache
def _environment() -> Environment:
    sources = {
        file.name: file.read_text("utf-8")
        for file in files("calibrant.report").iterdir()
        if file.name.endswith((".j2", ".css", ".html"))
    }
    return Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
