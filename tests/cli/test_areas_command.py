"""``calibrant areas``: areas of classes in each image, in the unit of their pixels, with intervals."""

import csv
import io
import json

import numpy as np
import pytest
import torch

from calibrant.data import Geometry, StoredPredictions, write_store
from calibrant.predictions import Prediction

AFFINE = ((0.5, 0, 0, 1), (0, 2, 0, 1), (0, 0, 3, 1))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Three small volumes, one without labels, one with voxels of 3 mm³, and the last with missing data."""
    path = tmp_path_factory.mktemp("volumes") / "s"
    rng = np.random.default_rng(0)
    made = []
    for number, key in enumerate("abc"):
        logits = torch.from_numpy(2 * rng.normal(size=(2, 3, 4, 5))).float()
        chances = logits.movedim(0, -1).softmax(-1)
        drawn = torch.multinomial(chances.flatten(0, -2), 1, generator=torch.Generator().manual_seed(number))
        labels = drawn.view(1, *chances.shape[:-1])
        if number == 1:
            labels[:] = -100
        if number == 2:
            logits[:, 0] = 0.0
        made.append(Prediction(key, logits, labels))
    place = Geometry("nifti", (3, 4, 5), AFFINE, "mm", 1.0)
    write_store(made, path, geometry={"a": place, "b": place})
    return path


def test_areas_are_in_the_unit_of_the_pixels_and_agree_in_all_forms(calibrant, volumes, tmp_path):
    code, out, err = calibrant("areas", volumes, "-o", tmp_path / "areas.csv", "--json", "-")
    assert code == 0, err
    said = json.loads(out)
    with (tmp_path / "areas.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(said["areas"]) == 6
    for row, one in zip(table, said["areas"], strict=True):
        assert {name: type(one[name])(row[name]) for name in one if name != "annotated"} == {
            name: value for name, value in one.items() if name != "annotated"
        }
        assert [float(row["annotated_1"])] == one["annotated"] if one["annotated"] else row["annotated_1"] == ""
        assert one["low"] <= one["expected"] <= one["high"]
    stored = {each.key: each for each in StoredPredictions(volumes)}
    first = said["areas"][1]
    assert (first["image"], first["class"], first["unit"], first["pixel_size"]) == ("a", 1, "mm³", 3.0)
    assert first["area"] == 3 * int(stored["a"].logits.argmax(0).sum())
    assert first["expected"] == pytest.approx(3 * float(stored["a"].logits.softmax(0)[1].double().sum()))
    assert first["annotated"] == [3 * int(stored["a"].labels.sum())]
    assert said["areas"][3]["annotated"] == []
    missing = said["areas"][5]
    assert (missing["unit"], missing["pixels"]) == ("px", 40), "logits that are equal are missing data"
    assert "in pixels: 1 of 3 images" in err


def test_a_sampler_gives_narrower_intervals_and_the_csv_goes_to_the_standard_output(calibrant, volumes, tmp_path):
    from calibrant.samplers import IndependentSampler, save_sampler

    save_sampler(IndependentSampler(), tmp_path / "independent")
    given = ["--sampler", tmp_path / "independent", "--num-samples", 19, "--only-labelled", "-o", "-"]
    code, out, err = calibrant("areas", volumes, *given)
    assert code == 0, err
    drawn = list(csv.DictReader(io.StringIO(out)))
    assert {row["image"] for row in drawn} == {"a", "c"}
    assert "left out: 1 of 3 images" in err
    _, out, _ = calibrant("areas", volumes, "--only-labelled", "-o", "-")
    for one, other in zip(drawn, csv.DictReader(io.StringIO(out)), strict=True):
        assert float(other["low"]) < float(one["low"]) < float(one["high"]) < float(other["high"])
    assert calibrant("areas", volumes, *given)[1].splitlines()[0].startswith("image,class,name,unit")


WRONG = {
    "0..1": ["--classes", "2"],
    "--level": ["--level", "0"],
    "--sampler": ["--coupled"],
    "standard output": ["-o", "-", "--json", "-"],
    "another place": ["-o", "STORE/areas.csv"],
    "nothing": ["--sampler", "nothing"],
}


@pytest.mark.parametrize("word", WRONG)
def test_what_cannot_be_is_one_sentence(calibrant, volumes, word):
    code, out, err = calibrant("areas", volumes, *(each.replace("STORE", str(volumes)) for each in WRONG[word]))
    assert (code, out) == (2, "")
    assert word in err
    assert "Traceback" not in err
    assert not (volumes / "areas.csv").exists()


def test_a_map_of_another_size_than_its_file_is_refused(calibrant, tmp_path):
    flat = Prediction("a", torch.randn(2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.long))
    place = Geometry("geotiff", (6, 6), ((10, 0, 0), (0, -10, 0)), "metre", 1.0)
    write_store([flat], tmp_path / "s", geometry={"a": place})
    code, _, err = calibrant("areas", tmp_path / "s")
    assert code == 2
    assert "over the grid that its file had" in err
