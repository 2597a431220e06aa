"""The page of one or several samplers: energy distance with its floor, frequencies, areas, hypotheses side by side."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from markupsafe import Markup

from calibrant._storage.files import replacing
from calibrant.errors import InputError
from calibrant.evaluation import Comparison, compare
from calibrant.metrics import Resamples, Score, Tally
from calibrant.report import palette
from calibrant.report.anchors import anchors
from calibrant.report.columns import BEST, UNKNOWN, Cell, Column, changes, columns
from calibrant.report.curves import reliability
from calibrant.report.figures import reliability_figure
from calibrant.report.page import rendered
from calibrant.report.page_parts import as_script_data, script_basics
from calibrant.report.pictures import (
    ENTROPY,
    MOST_BYTES,
    Picture,
    class_picture,
    color_key,
    level_picture,
    photo_picture,
    weight_of,
)
from calibrant.report.sampled import (
    LEVEL,
    OF_DISTANCES,
    OF_DIVERGENCE,
    OF_FREQUENCIES,
    Drawn,
    SampledCase,
    area_rows,
    num_labelled,
)
from calibrant.report.scale import gradient


def write_samples_page(
    path: str | os.PathLike[str],
    drawn: Mapping[str, Drawn],
    *,
    class_names: Sequence[str],
    title: str = "What was drawn",
    facts: Mapping[str, str] | None = None,
    cases: Sequence[SampledCase] = (),
    unit: str = "pixels",
    provenance: Mapping[str, str] | None = None,
) -> Path:
    """Write the page of samplers, and return its path. The file appears whole or not at all.

    :param path: where the file goes; its folder must be there.
    :param drawn: by the name of the sampler, what it drew of the same images; the others are compared with the first.
    :param class_names: one a class.
    :param title: the headline.
    :param facts: what was drawn and how, as shown.
    :param cases: single images with their hypotheses.
    :param unit: the unit of areas.
    :param provenance: what the page was made from and by what, as shown: command, date, versions, digests.
    :raises InputError: nothing was drawn.
    """
    if not drawn:
        raise InputError("expected what at least one sampler drew; got none. Count hypotheses first.")
    compared = _compared(drawn)
    main = compared[0]
    methods = main.methods
    places = anchors("image", [case.title for case in cases])
    maps = [each for case in cases for each in (case.hypotheses, case.annotators)]
    key = color_key(class_names, maps)
    shown = _pictures_within(cases, class_names)
    parts = [("short", "In short", True), ("measured", "What was drawn", bool(facts)), ("methods", "Scores", True)]
    parts += [("frequencies", "Frequencies", True), ("areas", "Areas", True), ("images", "Images", bool(cases))]
    verdict, sentences = _in_words(main)
    page = rendered(
        "samples.html.j2",
        title=title,
        contents=[(anchor, words) for anchor, words, there in parts if there],
        verdict=verdict,
        sentences=sentences,
        facts=dict(facts or {}),
        methods=methods,
        best=BEST,
        anchors=anchors("method", methods),
        columns=[column for each in compared for column in columns(each)],
        changes=[column for each in compared for column in _changes(each)],
        diagrams=_diagrams(drawn),
        area_tables=[(name, area_rows(each.areas, class_names)) for name, each in drawn.items()],
        unit=unit,
        level=f"{100 * LEVEL:g}",
        cases=[(case, each, places[case.title]) for case, each in zip(cases, shown, strict=True)],
        color_key=key,
        entropy_ramp=Markup(gradient(ENTROPY)),
        provenance=dict(provenance or {}),
        data=as_script_data(script_basics(methods, methods[:1], class_names, key)),
    )
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def _compared(drawn: Mapping[str, Drawn]) -> list[Comparison]:
    """The scores of distances, of frequencies, and, where probabilities are known, of divergence."""
    kinds: list[tuple[Mapping[str, Score], dict[str, Sequence[Tally]]]] = [
        (OF_DISTANCES, {name: [each.distances] for name, each in drawn.items()}),
        (OF_FREQUENCIES, {name: [each.frequencies] for name, each in drawn.items()}),
    ]
    known: dict[str, Sequence[Tally]] = {
        name: [each.divergence] for name, each in drawn.items() if each.divergence is not None
    }
    if len(known) == len(drawn):
        kinds.append((OF_DIVERGENCE, known))
    return [
        compare(tallies, generator=torch.Generator().manual_seed(0), scores=scores, as_it_is=False)
        for scores, tallies in kinds
    ]


def _changes(comparison: Comparison) -> list[Column]:
    return changes(comparison) if len(comparison.methods) > 1 else []


def _in_words(comparison: Comparison) -> tuple[str, list[str]]:
    """The verdict by GED, and a sentence for each sampler."""
    (column,) = columns(comparison, ["ged"])
    base, *others = comparison.methods
    cells = column.cells
    sentences = [f"{name}: GED {cell.value}{_floor_in_words(cell)}." for name, cell in cells.items()]
    best = comparison.best.get("ged")
    if not others:
        return f"{base} scores {cells[base].value} in generalised energy distance{_floor_in_words(cells[base])}.", []
    if best:
        return (
            f"Take {best}: its generalised energy distance is better than every other's by more than chance.",
            sentences,
        )
    leader = comparison.leaders["ged"]
    return (
        f"No sampler is shown to be the best: {leader} has the lowest generalised energy distance, and not every other "
        "one is behind it by more than chance."
    ), sentences


def _floor_in_words(cell: Cell) -> str:
    """Return what a perfect sampler would score, as the end of a sentence; with one annotator nobody knows."""
    if cell.chance == UNKNOWN:
        return (
            "; what a perfect sampler would score is not known: draws depend on each other, or annotators are too few"
        )
    return f", where a perfect sampler would score {cell.chance} with as many hypotheses"


def _diagrams(drawn: Mapping[str, Drawn]) -> list[tuple[str, Markup]]:
    tallies = [each.frequencies for each in drawn.values()]
    resamples = Resamples.draw(tallies, generator=torch.Generator().manual_seed(0), num_resamples=500)
    found = []
    for i, (name, each) in enumerate(drawn.items()):
        line = reliability([each.frequencies], resamples, lambda rows: rows.top)
        label = (
            f"Reliability of drawn frequencies of {name}: how often a class is drawn, and how many annotators see it."
        )
        lines = [(name, line, palette.style_of(i))]
        drawing = reliability_figure(
            lines, name=f"frequency{i}", label=label, said="drawn", right="annotators who agree"
        )
        found.append((name, Markup(drawing)))
    return found


def _pictures_within(cases: Sequence[SampledCase], class_names: Sequence[str]) -> list[list[Picture]]:
    longest, shown = 640, [_pictures(case, class_names, 640) for case in cases]
    while (weight := weight_of(shown)) > MOST_BYTES and longest > 48:
        longest = max(48, int(longest * min(0.9, (MOST_BYTES / weight) ** 0.5)))
        shown = [_pictures(case, class_names, longest) for case in cases]
    return shown


def _pictures(case: SampledCase, class_names: Sequence[str], longest: int) -> list[Picture]:
    shown = [] if case.image is None else [photo_picture(case.image, case.title, longest=longest)]
    for i in range(num_labelled(case.annotators)):
        heading = f"Annotator {i + 1}"
        shown.append(class_picture("annotator", heading, case.title, case.annotators[i], class_names, longest=longest))
    for i, each in enumerate(case.hypotheses):
        heading = f"Hypothesis {i + 1}"
        shown.append(class_picture("hypothesis", heading, case.title, each, class_names, longest=longest))
    nowhere = torch.zeros_like(case.entropy, dtype=torch.bool)
    for layer, words, levels in (
        ("entropy", "Entropy of the probabilities", case.entropy),
        ("frequency", "Entropy of the hypotheses", case.frequency),
    ):
        alt = f"{words} of {case.title}: bright where several classes are possible."
        shown.append(level_picture(layer, words, alt, levels, nowhere, ramp=ENTROPY, longest=longest))
    return shown
