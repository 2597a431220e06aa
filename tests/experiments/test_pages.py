"""Pages say what the records say: tables are what the script writes, and figures in sentences are in a record."""

import json
import re
from pathlib import Path

import pytest
from experiments import _stacked_tables, pages
from experiments._record import RESULTS

IN_SENTENCES = {
    "claims": ("in_domain", "in_sample", "shift", "boundary", "entropy", "detection_rate"),
    "black_boxes": ("tables", "factors"),
    "stacked": ("default",),
    "samplers": (
        "rivals",
        "rivals_0.2",
        "rivals_half_hour",
        "rivals_half_hour_areas",
        "rivals_areas",
        "rivals_published",
        "lidc",
        "flips",
        "flips_learnt",
        "flips_unseen",
        "car_toy_regression",
        "car_toy_energy",
        "car_energy_ablation",
        "lidc_times",
    ),
}
NOT_OF_A_RECORD = {
    "claims": {".366", ".896"},  # aims
    "samplers": {".639"},  # of the paper
}
NUMBER = re.compile(r"-?\d*\.\d+(?:e-?\d+)?|-?\d+")


@pytest.fixture(scope="module")
def records():
    return pages.recorded()


@pytest.mark.parametrize("table", pages.TABLES, ids=lambda table: f"{Path(table.page).stem}: {table.name}")
def test_a_table_is_what_the_records_say(table, records):
    text = (pages.DOCS / table.page).read_text("utf-8")
    assert table.within(text, records) == text, "write it again: python -m experiments.pages"


def test_another_record_makes_another_table(records):
    changed = json.loads(json.dumps(records["tables"]))
    changed["Table 2"]["nll"]["uncalibrated"]["DAVIS: second halves"] = 0.1234
    table = next(each for each in pages.TABLES if each.name == "Table 2")
    text = (pages.DOCS / table.page).read_text("utf-8")
    assert table.within(text, records | {"tables": changed}) != text


def test_corrupted_images_have_a_table_of_their_own():
    values = {"stacked": {"nll": "0.30 [0, 1]", "brier": "0.1 [0, 1]"}, "temperature": {"nll": "0.25 [0, 1]"}}
    values |= {"isotonic": {"nll": "0.24 [0, 1]", "brier": "0.2 [0, 1]"}}
    values["temperature"]["brier"] = "0.3 [0, 1]"
    said = {"surely worse than the best member": ["nll"], "surely worse than temperature scaling": []}
    row = {"values": values, "drawn back": "1%", "surely better than every member": False, **said}
    records = {"default": {"SegFormer, corrupted, 40 images, shot_noise 3": row, "DAVIS, 5 images, in-domain": row}}
    corrupted = _stacked_tables.corrupted_rows(records)
    assert corrupted.splitlines()[-1] == "| shot noise | .3000 / .2400 / .2500\\* |"
    assert corrupted.splitlines()[0].endswith("| fitted to 40, strength 3 |")
    whole = _stacked_tables.every_row(records).splitlines()
    cells = ".3000 / .2400 / .2500 | .1000 / .2000 / .3000 | NLL | – | – | 1%"
    assert whole[2:] == [f"| DAVIS, 5, in-domain | {cells} |"]


def numbers(part) -> set[float]:
    """All numbers of a record, those within its texts too."""
    if isinstance(part, dict):
        return set().union(*map(numbers, part), *map(numbers, part.values()))
    if isinstance(part, list):
        return set().union(*map(numbers, part))
    return {float(each) for each in NUMBER.findall(str(part))}


def figures_without_a_record(text: str, names) -> set[str]:
    """Figures below 1 of a page's sentences, of two to four digits, that no number of the records rounds to."""
    found = set().union(*(numbers(json.loads((RESULTS / f"{name}.json").read_text("utf-8"))) for name in names))
    rounded = {f"{abs(each):.{digits}f}".removeprefix("0") for each in found for digits in (2, 3, 4)}
    return set(re.findall(r"(?<![\d.\w])\.\d{2,4}(?!\d)", text)) - rounded


def parts(page: str) -> list[tuple[str, tuple[str, ...]]]:
    """The sections of a page without its tables, each with the records that it names, or all of the page."""
    text = (pages.DOCS / "results" / f"{page}.md").read_text("utf-8")
    text = re.sub(r"<!-- ([\w ]+) -->.*?<!-- end of \1 -->", "", text, flags=re.DOTALL)
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    named = [tuple(dict.fromkeys(re.findall(r"`(?:experiments/results/)?([\w.]+)\.json`", each))) for each in sections]
    return [(each, own or IN_SENTENCES[page]) for each, own in zip(sections, named, strict=True)]


@pytest.mark.parametrize("page", IN_SENTENCES)
def test_figures_in_sentences_are_in_the_records(page):
    missing = set().union(*(figures_without_a_record(*part) for part in parts(page)))
    assert missing == NOT_OF_A_RECORD.get(page, set())


@pytest.mark.parametrize("page", ["experiments/README.md", "docs/calibrators.md", "docs/choosing.md", "README.md"])
def test_figures_elsewhere_are_in_some_record(page):
    text = (pages.DOCS.parent / page).read_text("utf-8")
    assert figures_without_a_record(text, [path.stem for path in RESULTS.glob("*.json")]) == set()


def test_a_figure_that_no_record_holds_is_found():
    assert figures_without_a_record("it was .9999, then .0626, and 1.2345 of v0.12", ("entropy",)) == {".9999", ".0626"}
