import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import torch
from measured_scenes import NAMES, compared, small_case

from calibrant.errors import InputError
from calibrant.metrics import Measurement
from calibrant.report import render_page, write_page
from calibrant.report.classes import class_rows
from calibrant.report.columns import BEST
from calibrant.report.palette import DARK, DARK_LINES, LIGHT, LIGHT_LINES, TEXT, contrast

VOID = {"meta", "link", "img", "br", "path", "use", "rect", "input"}


class Page(HTMLParser):
    """Every element with its attributes, its ancestors and its text; complains of what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.inside: dict[int, tuple[str, ...]] = {}
        self.text: dict[int, str] = {}
        self.open: list[tuple[str, int]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        number = len(self.elements)
        self.elements.append((tag, dict(attrs)))
        self.inside[number] = tuple(name for name, _ in self.open)
        self.text[number] = ""
        if tag not in VOID:
            self.open.append((tag, number))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        name, _ = self.open.pop()
        assert name == tag, f"</{tag}> closes <{name}>"

    def handle_data(self, data):
        for _, number in self.open:
            self.text[number] += data

    def all(self, *tags):
        return [(i, attrs) for i, (tag, attrs) in enumerate(self.elements) if tag in tags]


@pytest.fixture(scope="module")
def text(three):
    measurements, comparison = three
    return render_page(
        comparison,
        measurements,
        title="A <b> & a page",
        facts={"Images": "12, twice", "Void rule": "label 255 counts nowhere"},
        class_names=NAMES,
        cases=[small_case()],
        notes=["temperature scaling: T = 3.00 <fit>"],
    )


@pytest.fixture(scope="module")
def plain(three):
    """The page of measurements alone."""
    measurements, comparison = three
    return render_page(comparison, measurements)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_language_title_and_viewport(page):
    assert page.all("html")[0][1]["lang"] == "en"
    assert page.text[page.all("title")[0][0]] == "A <b> & a page"
    assert any(attrs.get("name") == "viewport" for _, attrs in page.all("meta"))


def test_nothing_is_loaded_from_outside_and_one_small_script_runs(page, text):
    assert not page.all("iframe", "object", "embed")
    data, script = page.all("script")
    assert (data[1], script[1]) == ({"type": "application/json", "id": "page-data"}, {})
    assert len(page.text[script[0]].encode()) < 60_000
    assert json.loads(page.text[data[0]])["methods"] == ["uncalibrated", "good", "middling"]
    for _, attrs in enumerate(page.elements):
        for name, value in attrs[1].items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                assert value.startswith(("#", "data:")), value
    assert "@import" not in text
    assert not re.search("https?:", text)
    policy = page.all("meta")[1][1]
    digest = base64.b64encode(hashlib.sha256(page.text[script[0]].encode()).digest()).decode()
    assert policy["content"].startswith("default-src 'none'; img-src data:; ")
    assert policy["content"].endswith(f"script-src 'sha256-{digest}'")
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)\)", text))


def test_one_first_heading_and_no_level_is_skipped(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_identifiers_are_unique_and_every_reference_is_there(page, text):
    names = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(set(names)) == len(names)
    asked = [attrs[each][1:] for _, attrs in page.elements for each in ("href", "xlink:href") if each in attrs]
    asked = [each for each in asked if each and not each.startswith("ata:")]
    asked += [each for _, attrs in page.elements if (each := attrs.get("aria-labelledby"))]
    asked += re.findall(r"url\(#([^)]*)\)", text)
    assert asked
    assert set(asked) <= set(names)


def test_pictures_and_figures_have_words(page):
    pictures = page.all("img")
    assert len(pictures) == 7  # image, reference, prediction, mistakes, confidence before and after, entropy
    assert all(len(attrs["alt"]) > 10 for _, attrs in pictures)
    drawings = page.all("svg")
    assert len(drawings) == 3 + 2 + 2 + 1 + 3  # the last ones of classes that are predicted
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 20 for _, attrs in drawings)
    assert len({attrs["aria-label"] for _, attrs in drawings}) == len(drawings)


def test_tables_have_captions_and_scopes(page):
    tables = page.all("table")
    assert len(tables) >= 7
    assert len(page.all("caption")) == len(tables)
    assert all(attrs.get("scope") in ("col", "row", "colgroup") for _, attrs in page.all("th"))


def test_what_scrolls_can_be_reached_by_keyboard_and_has_its_own_name(page):
    regions = [attrs for i, attrs in page.all("div") if attrs.get("class") == "scroll"]
    assert regions
    assert all(attrs["tabindex"] == "0" and attrs["role"] == "region" for attrs in regions)
    assert len({attrs["aria-label"] for attrs in regions}) == len(regions)


def test_text_is_escaped(text):
    assert "A &lt;b&gt; &amp; a page" in text
    assert "T = 3.00 &lt;fit&gt;" in text


def test_best_is_marked_as_often_as_the_comparison_says(page, text, three):
    _, comparison = three
    marked = sum(each is not None for score, each in comparison.best.items() if score != "ece_images_null")
    assert marked > 0
    assert text.count(f'<small class="star">{BEST}</small>') == marked
    assert text.count('<td class="best"') == marked


def test_chance_stands_beside_the_image_wise_error_of_every_method(text):
    assert text.count("<small>chance ") == 3


def test_no_best_no_star():
    measurements, comparison = compared({"uncalibrated": 3.0, "good": 1.0})
    text = render_page(replace(comparison, best=dict.fromkeys(comparison.best)), measurements)
    assert 'class="star"' not in text
    assert 'class="best"' not in text


def test_the_same_numbers_give_the_same_bytes(three, plain):
    measurements, comparison = three
    assert render_page(comparison, measurements) == plain


def test_a_single_method_and_no_facts_make_a_page():
    measurements, comparison = compared({"only": 1.0})
    page = Page(render_page(comparison, measurements))
    assert len(page.all("svg")) == 1 + 1 + 1 + 1 + 3


def test_absent_classes_have_dashes_and_rows_go_from_large_to_small(page):
    rows = [page.text[i] for i, _ in page.all("tr") if "never seen" in page.text[i]]
    assert len(rows) == 1
    # Neither overlap nor what holds where it is predicted is known of a class that is never seen.
    assert rows[0].count("–") == 6
    names = [page.text[i] for i, attrs in page.all("th") if attrs["scope"] == "row" and page.text[i] in NAMES]
    assert names[-1] == "never seen"


@pytest.mark.parametrize(("colors", "lines"), [(LIGHT, LIGHT_LINES), (DARK, DARK_LINES)])
def test_contrast_of_words_and_lines(colors, lines):
    for ground in ("paper", "card"):
        for name in TEXT:
            assert contrast(colors[name], colors[ground]) >= 4.5, (name, ground)
        for line in lines:
            assert contrast(line, colors[ground]) >= 4.5, (line, ground)


def test_page_is_written_whole(three, plain, tmp_path):
    measurements, comparison = three
    path = write_page(tmp_path / "report.html", comparison, measurements)
    assert path.read_text("utf-8") == plain
    assert path.read_text("utf-8").endswith("</html>")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_nothing_is_left_where_writing_fails(three, tmp_path, monkeypatch):
    measurements, comparison = three
    (tmp_path / "report.html").write_text("old")

    def fail(*_):
        raise OSError("full")

    monkeypatch.setattr("calibrant._storage.files.os.replace", fail)
    with pytest.raises(OSError, match="full"):
        write_page(tmp_path / "report.html", comparison, measurements)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


@pytest.mark.untyped
def test_names_and_measurements_must_fit(three):
    measurements, comparison = three
    with pytest.raises(InputError, match="one name for each of the 4 classes; got 2 names"):
        render_page(comparison, measurements, class_names=["a", "b"])
    with pytest.raises(InputError, match="without measurements: \\['good', 'middling'\\]"):
        render_page(comparison, {"uncalibrated": measurements["uncalibrated"]})
    with pytest.raises(InputError, match=r"expected a Comparison; got dict\. Compare measurements first"):
        render_page(measurements)
    with pytest.raises(InputError, match=r"expected a score that was compared of: ece_images,.*Did you mean 'auroc'"):
        render_page(comparison, measurements, scores=["aurocc"])
    with pytest.raises(InputError, match="expected class_names with cases"):
        render_page(comparison, cases=[small_case()])


def test_without_measurements_the_page_has_scores_and_no_figures(three):
    _, comparison = three
    page = Page(render_page(comparison, class_names=NAMES, cases=[small_case()]))
    headings = [page.text[i] for i, _ in page.all("h2")]
    assert headings == ["In short", "Methods and scores", "Images", "Notes", ""]  # the last one is the viewer's
    targets = {attrs["href"][1:] for _, attrs in page.all("a")}
    assert targets <= {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert not page.all("svg")


def test_many_classes_fold_away(three, plain, monkeypatch):
    measurements, comparison = three
    page = Page(plain)
    monkeypatch.setattr("calibrant.report.page_parts.FEW", 3)
    folded = Page(render_page(comparison, measurements))
    for each, inside in ((page, 0), (folded, 1)):
        rows = [i for i, attrs in each.all("th") if attrs["scope"] == "row" and each.text[i].startswith("class ")]
        assert len(rows) == 4
        assert sum("details" in each.inside[i] for i in rows) == inside


def test_a_perfectly_calibrated_predictor_reads_as_calibrated_class_by_class():
    """Labels drawn from the predictor's own probabilities: grouped by label, every rare class looked too sure."""
    generator = torch.Generator().manual_seed(0)
    logits = 1.5 * torch.randn(20, 4, 40, 40, generator=generator) + torch.tensor([3.0, 1.0, 0.0, -1.0])[:, None, None]
    drawn = torch.multinomial(logits.softmax(1).movedim(1, -1).flatten(0, -2), 1, generator=generator)
    found = {"uncalibrated": [Measurement.of(logits, drawn.view(20, 40, 40))]}
    for row in class_rows(found, ["uncalibrated"], NAMES):
        assert abs(float(row.probability[0]) - float(row.share.text)) < 0.5  # in percent
        assert float(row.own_error[0].text) < 0.7
        assert abs(float(row.gap[0].replace("−", "-"))) < 2.5
        assert float(row.error[0].text) < 5
    worse = {"uncalibrated": [Measurement.of(3 * logits, drawn.view(20, 40, 40))]}
    for row in class_rows(worse, ["uncalibrated"], NAMES):
        assert float(row.gap[0].replace("−", "-")) > 5
