"""The report in headless Chromium: what its script adds, that it needs none of it, and that all can be reached."""

import csv
import io
import re
from dataclasses import replace

import pytest
import torch
from measured_scenes import NAMES, images, measure

from calibrant.evaluation import compare
from calibrant.metrics import (
    SCORES,
    AreaSamples,
    HypothesisDistances,
    SampleFrequencies,
    best_threshold,
    review_cost,
    review_curve,
)
from calibrant.predictions import Prediction
from calibrant.report import Drawn, case_of, cases_of, sampled_case, write_page, write_samples_page
from calibrant.report.decisions import nearest_edge, pooled_ranks

FACTORS = {"uncalibrated": 3.0, "good": 1.0, "middling": 2.0}
USED = {name: SCORES[name] for name in ("ece_images", "ece_images_null", "ece", "nll", "miou", "smooth_ece")}


@pytest.fixture(scope="module")
def measured():
    return {name: [measure(factor, seed=s) for s in (0, 1)] for name, factor in FACTORS.items()}


@pytest.fixture(scope="module")
def shown():
    """Three images, of which one method changes labels, and slices of a volume."""
    logits, labels = images(3, seed=0)
    photos = torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    cases = []
    for i in range(3):
        made = {name: factor * logits[i] for name, factor in FACTORS.items()}
        made["good"] = made["good"].roll(1, -1)
        cases.append(case_of(Prediction(f"image {i}", 3 * logits[i], labels[i : i + 1], photos[i]), made, why="told"))
    depth = torch.stack([*logits], 1)
    volume = Prediction("scan", 3 * depth, labels[None], photos[:, :1].movedim(0, 1))
    return cases + cases_of(volume, {name: factor * depth for name, factor in FACTORS.items()})


@pytest.fixture(scope="module")
def path(measured, shown, tmp_path_factory):
    comparison = compare(measured, generator=torch.Generator().manual_seed(0), scores=USED, num_resamples=50)
    made = {"command": "calibrant compare store"}
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write_page(path, comparison, measured, class_names=NAMES, cases=shown, facts={"a": "b"}, provenance=made)


def number(text: str) -> float:
    return float(re.sub(r"[^\d.-]", "", text.replace("−", "-")))


def test_the_slider_says_what_the_library_says(look, path, measured):
    page = look(path).page
    page.locator("#t-method").select_option("middling")
    curve = review_curve(pooled_ranks(measured["middling"]))
    for i in (150, 180, 220):
        page.locator("#t-slider").fill(str(i))
        assert number(page.locator("#t-threshold").inner_text()) == pytest.approx(
            100 * float(curve.threshold[i]), abs=0.06
        )
        for name, values, digits in (
            ("reviewed", curve.reviewed, 1),
            ("caught", curve.caught, 1),
            ("left", curve.left, 2),
        ):
            found = number(page.locator(f"#t-{name}").inner_text())
            assert found == pytest.approx(100 * float(values[0, i]), abs=0.51 * 10**-digits)


def test_the_slider_of_one_class_has_the_steps_that_were_counted(look, path, measured):
    page = look(path).page
    page.locator("#t-method").select_option("uncalibrated")
    page.locator("#t-class").select_option("1")
    assert page.locator("#t-slider").get_attribute("max") == "10"
    page.locator("#t-slider").fill("9")
    assert number(page.locator("#t-threshold").inner_text()) == 90
    bins = [rows.by_prediction.pooled() for rows in measured["uncalibrated"]]
    below, all_ = (sum(float(each.count[0, 1, :top].sum()) for each in bins) for top in (9, 10))
    assert number(page.locator("#t-reviewed").inner_text()) == pytest.approx(100 * below / all_, abs=0.051)
    assert "10 steps" in page.locator("#t-hint").inner_text()


def test_costs_are_those_of_the_library(look, path, measured):
    page = look(path).page
    page.locator("#c-mistake").fill("8")
    page.locator("#c-review").fill("2")
    for method in FACTORS:
        curve = review_curve(pooled_ranks(measured[method]))
        cost = 1000 * review_cost(curve, mistake=8, review=2)[0]
        at = nearest_edge(curve, best_threshold(mistake=8, review=2))
        row = page.locator("#c-rows tr", has_text=method).locator("td").all_inner_texts()
        expected = [cost[0], cost[at], cost.min(), 100 * curve.threshold[int(cost.argmin())], cost[at] - cost.min()]
        assert [number(each) for each in row] == pytest.approx([float(each) for each in expected], abs=0.06)
    page.locator("#c-mistake").fill("0")
    assert "above 0" in page.locator("#c-caption").inner_text()
    assert page.locator("#c-rows tr").count() == 0


def test_tables_sort_by_what_cells_hold(look, path):
    page = look(path).page
    table = page.locator("table[data-name='Scores of all methods']")
    first = table.locator("tbody th").all_inner_texts()
    button = table.get_by_role("button", name=re.compile("NLL"))
    for order in ("ascending", "descending"):
        button.click()
        assert table.locator("th[aria-sort]").get_attribute("aria-sort") == order
        methods = [
            text.split("\n")[0].removesuffix("#").strip() for text in table.locator("tbody th").all_inner_texts()
        ]
        expected = ["good", "middling", "uncalibrated"]
        assert methods == (expected if order == "ascending" else expected[::-1])
    assert len(first) == 3
    listed = page.locator("table.images")
    listed.get_by_role("button", name=re.compile("^image")).click()
    names = listed.locator("tbody th").all_inner_texts()
    assert names == sorted(names, key=lambda name: int(name.split()[1]))  # 2 before 10


def test_csv_holds_values_and_intervals(look, path, measured):
    looked = look(path)
    button = looked.page.get_by_role("button", name="Save as CSV: Scores of all methods")
    rows = list(csv.DictReader(io.StringIO(looked.saved(button))))
    (column,) = [
        name
        for name in rows[0]
        if name.startswith("ECE, pooled") and "low" not in name.split(", ")[-1:] and "high" not in name.split(", ")[-1:]
    ]
    assert [row["method"] for row in rows] == ["uncalibrated", "good", "middling"]
    for row in rows:
        expected = sum(float(SCORES["ece"].of(each.pooled())) for each in measured[row["method"]]) / 2
        assert float(row[column]) == pytest.approx(expected)
        assert float(row[f"{column}, low"]) <= expected <= float(row[f"{column}, high"])


def test_figures_are_saved_with_their_colours(look, path):
    looked = look(path)
    svg = looked.saved(looked.page.get_by_role("button", name=re.compile("Save as SVG: Risk")))
    assert svg.startswith("<svg")
    assert "xmlns=" in svg
    assert "var(" not in svg


def pixel(page, x: float, y: float) -> list[int]:
    """The colour on the viewer's canvas, at shares of its width and height."""
    script = """([x, y]) => {
      const shown = document.querySelector('.stage canvas'), copy = document.createElement('canvas');
      [copy.width, copy.height] = [shown.width, shown.height];
      const context = copy.getContext('2d', {willReadFrequently: true});
      context.drawImage(shown, 0, 0);
      return [...context.getImageData(x * copy.width, y * copy.height, 1, 1).data];
    }"""
    return page.evaluate(script, [x, y])


def open_layer(page, name: str) -> None:
    page.locator("[data-set=layer]").select_option(label=name)
    page.wait_for_function("name => document.querySelector('.stage').dataset.drawn === name", arg=name)


def test_the_viewer_shows_layers_magnifies_reads_and_filters(look, path, shown):
    page = look(path).page
    page.get_by_role("button", name="Look closer at image 1").click()
    layers = page.locator("[data-set=layer] option").all_inner_texts()
    for name in (
        "Reference",
        "Prediction",
        "Mistakes",
        "Entropy",
        "Change of confidence by good",
        "To review, by good",
    ):
        assert name in layers
    assert "Labels that good changes" in layers
    open_layer(page, "Reference")
    colors = {name: color for name, color in zip(NAMES, ([86, 180, 233], [213, 94, 0], [204, 121, 167]), strict=False)}
    label = int(shown[1].labels[6, 8])
    middle = pixel(page, 0.5 + 0.01, 0.5 + 0.01)
    assert middle[:3] == colors[NAMES[label]]
    page.locator(".stage").hover(
        position={
            "x": 5 + page.locator(".stage").bounding_box()["width"] / 2,
            "y": 5 + page.locator(".stage").bounding_box()["height"] / 2,
        }
    )
    page.wait_for_function("() => document.querySelector('.reading').textContent.includes('good')")
    reading = page.locator(".reading").inner_text()
    assert f"reference {NAMES[label]}" in reading
    assert f"prediction {NAMES[int(shown[1].prediction[6, 8])]}" in reading
    page.locator("[data-set=only]").select_option(str((label + 1) % 3))
    page.wait_for_timeout(100)
    other = pixel(page, 0.51, 0.51)
    assert other != middle or int(shown[1].prediction[6, 8]) == (label + 1) % 3
    page.locator("[data-set=only]").select_option("")
    page.locator(".stage").focus()
    for _ in range(5):
        page.keyboard.press("+")
    assert float(page.locator("[data-set=zoom]").input_value()) > 0
    before = pixel(page, 0.51, 0.51)
    page.locator("[data-set=opacity]").fill("0")
    assert pixel(page, 0.51, 0.51) != before
    page.get_by_role("button", name="Whole image").click()
    assert page.locator("[data-set=zoom]").input_value() == "0"
    page.get_by_role("button", name="Next layer").click()
    page.wait_for_function("() => document.querySelector('.stage').dataset.drawn === 'Prediction'")
    page.keyboard.press("Escape")
    assert not page.locator("dialog.viewer").is_visible()


def test_slices_of_a_volume_and_the_threshold_are_in_the_viewer(look, path):
    page = look(path).page
    page.locator("#t-slider").fill("352")
    page.get_by_role("button", name=re.compile("Look closer at scan, slice 1 of 3")).click()
    assert page.locator("[data-set=case] option").all_inner_texts()[-1] == "scan, slice 3 of 3"
    open_layer(page, "To review, by uncalibrated")
    assert pixel(page, 0.51, 0.51)[:3] == [204, 121, 167]  # everything is reviewed
    page.locator("[data-set=case]").select_option(label="scan, slice 3 of 3")
    page.wait_for_function("() => document.querySelector('#viewer-title').textContent === 'scan, slice 3 of 3'")


def test_anchors_lead_to_images_and_methods(look, path):
    page = look(path).page
    for anchor in ("image-image-2", "method-good", "image-scan-slice-2-of-3"):
        page.goto(f"{path.as_uri()}#{anchor}")
        assert page.locator(f"[id='{anchor}']").is_visible()
        box = page.locator(f"[id='{anchor}']").bounding_box()
        assert -50 < box["y"] < 900
    page.locator("table.images a", has_text="image 1").first.click()
    assert page.url.endswith("#image-image-1")


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_holds_the_page_and_headings_stay(look, path, dark):
    page = look(path, width=390, dark=dark).page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.evaluate("window.scrollTo(0, document.querySelector('#deciding').offsetTop + 600)")
    assert 0 <= page.locator("#deciding-title").bounding_box()["y"] < 80
    # A link leads to the beginning of a part from below, too, where its heading sticks at its end.
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.locator("nav a", has_text="Deciding").click()
    assert 20 <= page.locator("#deciding").bounding_box()["y"] < 80
    assert page.locator("#threshold-tool").bounding_box()["y"] < 844
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(22, 24, 27)") is dark
    page.get_by_role("button", name="Look closer at image 0").click()
    page.wait_for_function("() => document.querySelector('.stage').dataset.drawn")
    assert page.locator(".stage").bounding_box()["height"] > 200


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_axe_finds_nothing(look, path, width, dark):
    Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe
    page = look(path, width=width, dark=dark).page
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    found = Axe().run(page).response["violations"]
    page.get_by_role("button", name="Look closer at image 0").click()
    page.wait_for_function("() => document.querySelector('.stage').dataset.drawn")
    found += Axe().run(page, context="dialog").response["violations"]
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found] == []


def test_without_its_script_the_page_is_whole(look, path):
    page = look(path, script=False).page
    assert not page.locator("#threshold-tool").is_visible()
    assert page.locator("table[data-name=thresholds]").is_visible()
    assert page.locator("table[data-name=costs]").is_visible()
    assert page.locator(".verdict").is_visible()
    assert page.locator("article.case img").first.is_visible()
    assert page.get_by_role("button").count() == 0
    page.locator("summary", has_text="Numbers of good").click()
    assert page.locator("table.bins").nth(1).is_visible()


def opening_seconds(looked) -> float:
    """What the page's own thread takes to open it: with nothing beside it, that is how long a reader waits."""
    session = looked.context.new_cdp_session(looked.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> float:
        found = session.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in found if each["name"] == "TaskDuration")

    before = spent()
    looked.page.reload(wait_until="load")
    return spent() - before


def test_a_page_of_twenty_images_opens_in_under_a_second(look, measured, tmp_path):
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.randn(20, 4, 8, 12, generator=generator), size=(240, 320), mode="bilinear"
    )
    labels = (smooth + torch.randn(smooth.shape, generator=generator) / 4).argmax(1)
    photos = smooth[:, :3].sigmoid()
    cases = [
        case_of(
            Prediction(f"image {i}", 9 * smooth[i], labels[i : i + 1], photos[i]),
            {n: 3 * f * smooth[i] for n, f in FACTORS.items()},
        )
        for i in range(20)
    ]
    few = {name: [replace(rows[0])] for name, rows in measured.items()}
    comparison = compare(few, generator=generator, scores=USED, num_resamples=20)
    path = write_page(tmp_path / "twenty.html", comparison, few, class_names=NAMES, cases=cases)
    assert path.stat().st_size < 3_000_000
    looked = look(path)
    assert 0 < min(opening_seconds(looked) for _ in range(3)) < 1


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """The page of two samplers of three images with three annotators."""
    generator = torch.Generator().manual_seed(0)
    cases, drawn = [], {}
    for number, name in enumerate(("first", "second")):
        rows = []
        for i in range(3):
            labels = torch.randint(3, (3, 12, 16), generator=generator)
            maps = torch.randint(3, (4, 12, 16), generator=generator)
            made = (maps[:, None], labels[None])
            rows.append(
                [
                    HypothesisDistances.of(*made, num_classes=3),
                    SampleFrequencies.of(*made, num_classes=3),
                    AreaSamples.of(*made, num_classes=3, of_class=1),
                ]
            )
            image = Prediction(f"image {i}", torch.zeros(3, 12, 16), labels, torch.rand(1, 12, 16, generator=generator))
            cases.append(
                sampled_case(image, maps, torch.rand(12, 16, generator=generator), sampler=name, why=str(number))
            )
        columns = [
            replace(kind.stack(column), keys=("a", "b", "c"))
            for kind, column in zip(
                (HypothesisDistances, SampleFrequencies, AreaSamples), zip(*rows, strict=True), strict=True
            )
        ]
        drawn[name] = Drawn(columns[0], columns[1], None, {1: columns[2]})
    path = tmp_path_factory.mktemp("samples") / "samples.html"
    return write_samples_page(path, drawn, class_names=NAMES[:3], cases=cases, facts={"a": "b"}), cases


def test_hypotheses_lie_side_by_side_and_are_flipped_through(look, samples):
    path, cases = samples
    page = look(path, width=390).page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    shown = page.locator("article.case").first
    assert shown.locator("img[data-layer=hypothesis]").count() == 4
    assert shown.locator("img[data-layer=annotator]").count() == 3
    page.get_by_role("button", name="Look closer at image 0, first").click()
    open_layer(page, "Hypothesis 1")
    page.get_by_role("button", name="Next layer").click()
    page.wait_for_function("() => document.querySelector('.stage').dataset.drawn === 'Hypothesis 2'")
    color = ([86, 180, 233], [213, 94, 0], [204, 121, 167])[int(cases[0].hypotheses[1, 6, 8])]
    assert pixel(page, 0.51, 0.505)[:3] == color
    open_layer(page, "Entropy of the hypotheses")
    box = page.locator(".stage").bounding_box()
    page.locator(".stage").hover(position={"x": box["width"] / 2 + 3, "y": box["height"] / 2 + 2})
    page.wait_for_function("() => document.querySelector('.reading').textContent.includes('annotators:')")
    counts = re.search(r"hypotheses: ([^;]+);", page.locator(".reading").inner_text())[1]
    assert sum(int(each.split()[-1]) for each in counts.split(", ")) == 4


def test_axe_finds_nothing_on_the_page_of_samplers(look, samples):
    Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe
    page = look(samples[0]).page
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found] == []
