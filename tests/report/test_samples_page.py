"""The page of samplers: what is known and what is not, in words."""

from dataclasses import replace

import pytest
import torch

from calibrant.metrics import AreaSamples, HypothesisDistances, SampleFrequencies
from calibrant.predictions import Prediction
from calibrant.report import Drawn, areas_in_words, sampled_case, write_samples_page

NAMES = ["road", "sky", "tree"]


def drawn(num_annotators: int, *, seed: int) -> tuple[Drawn, torch.Tensor, torch.Tensor]:
    """What a sampler of noise drew of three images, with the maps of the last."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(3):
        labels = torch.randint(3, (num_annotators, 6, 8), generator=generator)
        maps = torch.randint(3, (4, 6, 8), generator=generator)
        made = (maps[:, None], labels[None])
        kinds = [kind.of(*made, num_classes=3) for kind in (HypothesisDistances, SampleFrequencies)]
        rows.append([*kinds, AreaSamples.of(*made, num_classes=3, of_class=1)])
    columns = [
        replace(kind.stack(list(column)), keys=("a", "b", "c"))
        for kind, column in zip(
            (HypothesisDistances, SampleFrequencies, AreaSamples), zip(*rows, strict=True), strict=True
        )
    ]
    return Drawn(columns[0], columns[1], None, {1: columns[2]}), maps, labels


def page(tmp_path, num_annotators: int, **more) -> str:
    found = {name: drawn(num_annotators, seed=seed)[0] for seed, name in enumerate(("first", "second"))}
    return write_samples_page(tmp_path / "page.html", found, class_names=NAMES, **more).read_text("utf-8")


def test_the_floor_stands_beside_the_distance(tmp_path):
    text = page(tmp_path, 3)
    assert text.count("where a perfect sampler would score 0.") == 2
    assert "not known" not in text[text.index("<main>") : text.index("</main>")].lower().replace("not known for", "")


def test_with_one_annotator_the_floor_is_not_known_and_nothing_is_ranked_by_it(tmp_path):
    text = page(tmp_path, 1)
    assert text.count("what a perfect sampler would score is not known") == 2
    assert "would score –" not in text
    excess = text[text.index("Changes against first") :]
    assert (
        '<td data-value="nan" data-low="nan" data-high="nan">–<small class="not-known">not known</small></td>' in excess
    )
    assert "rank 1.5" not in text[: text.index("Changes against first")]


@pytest.mark.parametrize("unit", ["pixels", "mm²"])
def test_areas_of_an_image_are_a_list_by_class(tmp_path, unit):
    found, maps, labels = drawn(2, seed=0)
    image = Prediction("c", torch.zeros(3, 6, 8), labels)
    words = areas_in_words(found.areas, 2, NAMES, unit)
    case = sampled_case(image, maps, torch.rand(6, 8), sampler="first", why="told", areas=words)
    text = page(tmp_path, 2, cases=[case], unit=unit)
    assert f"<li><strong>sky</strong> {words['sky']}</li>" in text
    assert unit in words["sky"]
