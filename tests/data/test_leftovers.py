"""Files that macOS, Jupyter and Windows leave are passed over and counted; names are compared as they are read."""

import unicodedata

import numpy as np
import pytest
from made_folders import check_read, folder_of, labels_of, logits_of, npy, png
from PIL import Image

from calibrant.data import image_folder, open_folder
from calibrant.errors import DataError

LEFT = [
    "._a.png",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    "._a.npy",
    ".a.png.swp",
    ".ipynb_checkpoints/a-checkpoint.png",
]


def litter(folder, names=LEFT):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7" + bytes(60))


def test_leftovers_are_passed_over_and_counted(tmp_path):
    made = folder_of(tmp_path, scores=npy(logits_of), labels=png(labels_of))
    litter(made / "logits")
    litter(made / "labels", [*LEFT, "__MACOSX/ann/._a.png", "readme.txt"])
    found = open_folder(made)
    assert found.keys == ("a", "b")
    check_read(found)
    assert any("files passed over" in line and line.startswith("13 ") for line in found.survey.lines)


def test_the_same_for_images_that_a_model_is_run_on(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        litter(tmp_path / part)
    for number, name in enumerate("ab"):
        Image.new("RGB", (15, 12)).save(tmp_path / "images" / f"{name}.png")
        png(labels_of)(tmp_path / "labels" / name, number)
    examples = image_folder(tmp_path, class_names="abc")
    assert examples.keys == ("a", "b")
    assert np.array_equal(examples[1].labels[0], labels_of(1))
    assert "14 files passed over" in examples.read.taken_for[-1]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["Müller", "ångström é", "が"])
def test_names_are_compared_composed(tmp_path, form, name):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    for part in ("logits", "labels"):
        (tmp_path / part).mkdir()
    np.save(tmp_path / "logits" / f"{unicodedata.normalize(form, name)}.npy", logits_of(0))
    np.save(tmp_path / "labels" / f"{unicodedata.normalize(other, name)}.npy", labels_of(0))
    found = open_folder(tmp_path)
    assert found.keys == (unicodedata.normalize("NFC", name),)
    check_read(found)


def test_composed_names_of_pictures(tmp_path):
    for part, form in (("images", "NFC"), ("labels", "NFD")):
        (tmp_path / part / unicodedata.normalize(form, "é")).mkdir(parents=True)
        mode = "RGB" if part == "images" else "L"
        Image.new(mode, (5, 4)).save(tmp_path / part / unicodedata.normalize(form, "é") / "ä.png")
    assert image_folder(tmp_path, class_names="ab").keys == (unicodedata.normalize("NFC", "é/ä"),)


def test_one_name_in_two_forms_is_refused(tmp_path):
    made = folder_of(tmp_path, scores=npy(logits_of), labels=png(labels_of))
    for form in ("NFC", "NFD"):
        np.save(made / "logits" / f"{unicodedata.normalize(form, 'é')}.npy", logits_of(0))
    with pytest.raises(DataError, match="expected one file of the name 'é'"):
        open_folder(made)


def test_endings_count_in_any_case(tmp_path):
    def upper(path, i):
        with open(f"{path}.NPY", "wb") as file:
            np.save(file, logits_of(i))

    def labels(path, i):
        Image.fromarray(labels_of(i)).save(f"{path}.PNG")

    check_read(open_folder(folder_of(tmp_path, scores=upper, labels=labels)))
    (tmp_path / "images").mkdir()
    for name in "ab":
        Image.new("RGB", (15, 12)).save(tmp_path / "images" / f"{name}.JPG")
    assert image_folder(tmp_path, class_names="abc").keys == ("a", "b")


def test_labels_without_scores_are_counted(tmp_path):
    made = folder_of(tmp_path, scores=npy(logits_of), labels=png(labels_of))
    png(labels_of)(made / "labels" / "c", 0)
    assert "1 label maps without scores left out" in open_folder(made).survey.lines
