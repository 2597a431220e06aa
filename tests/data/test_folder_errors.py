"""What is wrong with a folder is said in a sentence that names the file."""

import sys

import numpy as np
import pytest
from PIL import Image

from calibrant.data import open_folder
from calibrant.errors import DataError, LabelError, LogitsError, PackageError, ShapeError


@pytest.fixture
def folder(tmp_path):
    """One image of three classes over (4, 5), all well."""
    for name in ("logits", "labels"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "logits" / "x.npy", np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32))
    Image.fromarray(np.zeros((4, 5), dtype=np.uint8)).save(tmp_path / "labels" / "x.png")
    return tmp_path


def scores(folder, array):
    np.save(folder / "logits" / "x.npy", array)


def test_the_folder_of_these_tests_is_sound(folder):
    assert open_folder(folder)[0].key == "x"


def test_no_such_folder(tmp_path):
    with pytest.raises(DataError, match=r"nothing: expected a folder of scores and labels; there is none"):
        open_folder(tmp_path / "nothing")


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"got an empty folder\. Known layouts: logits/NAME\.npy"):
        open_folder(tmp_path)


def test_nothing_readable(tmp_path):
    (tmp_path / "scores.pt").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"\.npz, .*got notes\.txt, scores\.pt\. Known layouts"):
        open_folder(tmp_path)


def test_no_label_folder(folder):
    (folder / "labels" / "x.png").unlink()
    with pytest.raises(DataError, match="labels: expected label files"):
        open_folder(folder)
    (folder / "labels").rmdir()
    with pytest.raises(DataError, match=r"labels: expected the folder of labels.*--labels"):
        open_folder(folder)


def test_a_missing_label_file(folder):
    for name in ("y", "z"):
        np.save(folder / "logits" / f"{name}.npy", np.zeros((3, 4, 5)))
    with pytest.raises(DataError, match=r"image 'y': expected its labels at .*labels/y\.png.*so do 1 more of 3"):
        open_folder(folder)


def test_a_missing_label_file_of_one_annotator(folder):
    for name in ("ann", "bob"):
        (folder / "labels" / name).mkdir()
    (folder / "labels" / "x.png").rename(folder / "labels" / "ann" / "x.png")
    Image.new("L", (5, 4)).save(folder / "labels" / "bob" / "other.png")
    with pytest.raises(DataError, match=r"image 'x': expected its labels at .*labels/bob/x\.png"):
        open_folder(folder)


def test_a_missing_picture(folder):
    (folder / "images").mkdir()
    with pytest.raises(DataError, match=r"image 'x': expected it at .*images/x\.png \(or \.jpg, .*it is missing"):
        open_folder(folder)


@pytest.mark.parametrize("keep", [0, 5, 60, -4])
def test_a_truncated_npy(folder, keep):
    path = folder / "logits" / "x.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"logits/x\.npy: expected a whole file of numbers"):
        open_folder(folder)[0]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".nii.gz", ".tif"])
def test_a_truncated_file_of_another_kind(folder, suffix):
    (folder / "logits" / "x.npy").unlink()
    (folder / "logits" / f"x{suffix}").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=rf"logits/x\{suffix}: expected a whole file of numbers"):
        open_folder(folder)[0]


def test_a_truncated_png(folder):
    path = folder / "labels" / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 3, (400, 500)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"labels/x\.png: expected a whole file of numbers"):
        open_folder(folder)[0]


def test_pickled_objects_are_never_loaded(folder):
    np.save(folder / "logits" / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npy.*Python objects, which are never unpickled"):
        open_folder(folder)[0]


def test_coloured_labels(folder):
    Image.new("RGB", (5, 4)).save(folder / "labels" / "x.png")
    with pytest.raises(LabelError, match=r"x\.png: expected label numbers.*got mode RGB, which holds colours"):
        open_folder(folder)[0]


def test_labels_of_another_size(folder):
    Image.new("L", (10, 8)).save(folder / "labels" / "x.png")
    with pytest.raises(ShapeError, match=r"space \(4, 5\).*space \(8, 10\).*x\.npy and .*x\.png"):
        open_folder(folder)[0]


@pytest.mark.parametrize("upsample", [False, True])
def test_the_class_axis_in_the_wrong_place(folder, upsample):
    scores(folder, np.random.default_rng(0).normal(size=(4, 5, 3)))
    with pytest.raises(ShapeError, match=r"class axis of the logits first.*movedim\(2, 0\).*Read from .*x\.npy"):
        open_folder(folder, upsample=upsample)[0]


def test_the_class_axis_in_the_wrong_place_is_not_taken_for_a_stride(folder):
    scores(folder, np.random.default_rng(0).normal(size=(4, 4, 3)))
    Image.new("L", (16, 16)).save(folder / "labels" / "x.png")
    with pytest.raises(ShapeError, match="same size"):
        open_folder(folder, upsample=True)[0]


def test_a_class_axis_that_is_not_there(folder):
    with pytest.raises(ShapeError, match=r"x\.npy: expected an array with a class axis 3; got \(3, 4, 5\)"):
        open_folder(folder, class_axis=3)[0]


def test_labels_out_of_range_carry_the_hint(folder):
    Image.new("L", (5, 4), 255).save(folder / "labels" / "x.png")
    with pytest.raises(LabelError, match=r"pass ignore_index=255.*x\.png"):
        open_folder(folder, ignore_index=0)[0]


def test_numbers_that_are_not_finite(folder):
    scores(folder, np.full((3, 4, 5), np.nan))
    with pytest.raises(LogitsError, match=r"image 'x': expected finite logits.*x\.npy"):
        open_folder(folder)[0]


def test_probabilities_as_logits_and_the_other_way_round(folder):
    with pytest.raises(LogitsError, match=r"expected probabilities in \[0, 1\].*x\.npy"):
        open_folder(folder, probabilities=True)[0]
    scores(folder, np.full((3, 4, 5), 1 / 3))
    with pytest.raises(LogitsError, match=r"which are probabilities.*--probabilities"):
        open_folder(folder)[0]


def test_a_name_that_says_probabilities_must_be_answered(folder):
    logits = np.load(folder / "logits" / "x.npy")
    (folder / "logits" / "x.npy").unlink()
    np.savez(folder / "logits" / "x.npz", softmax=logits)
    with pytest.raises(DataError, match=r"x\.npz: expected a declaration.*'softmax'.*probabilities=True"):
        open_folder(folder)[0]
    assert open_folder(folder, probabilities=False)[0].num_classes == 3
    (folder / "logits").rename(folder / "probs")
    with pytest.raises(DataError, match=r"probs: expected a declaration.*--probabilities"):
        open_folder(folder)


def test_two_kinds_of_scores(folder):
    np.savez(folder / "logits" / "y.npz", np.zeros(3))
    with pytest.raises(DataError, match=r"scores of one kind; got \.npy and \.npz"):
        open_folder(folder)


def test_two_folders_of_scores(folder):
    (folder / "softmax").mkdir()
    with pytest.raises(DataError, match="one folder of scores; got logits and softmax"):
        open_folder(folder)


def test_two_label_files_of_one_name(folder):
    np.save(folder / "labels" / "x.npy", np.zeros((4, 5), dtype=int))
    with pytest.raises(DataError, match=r"x\.png: expected one file of the name 'x'; got x\.npy too"):
        open_folder(folder)


def test_an_archive_of_several_unknown_arrays(folder):
    (folder / "logits" / "x.npy").unlink()
    np.savez(folder / "logits" / "x.npz", one=np.zeros(3), two=np.zeros(3))
    with pytest.raises(DataError, match=r"x\.npz: expected one array.*got one, two"):
        open_folder(folder)[0]


def test_class_maps_with_a_gap(folder):
    nibabel = pytest.importorskip("nibabel")
    (folder / "logits" / "x.npy").unlink()
    for number in (0, 2):
        volume = nibabel.Nifti1Image(np.zeros((5, 4, 1), dtype=np.float32), np.eye(4))
        nibabel.save(volume, folder / "logits" / f"x_{number:04d}.nii.gz")
    with pytest.raises(DataError, match=r"x_0002\.nii\.gz: expected the class maps of 'x'.*without a gap"):
        open_folder(folder)


def test_labels_with_fractions(folder):
    nibabel = pytest.importorskip("nibabel")
    (folder / "labels" / "x.png").unlink()
    nibabel.save(nibabel.Nifti1Image(np.full((5, 4), 0.5, dtype=np.float32), np.eye(4)), folder / "labels" / "x.nii")
    with pytest.raises(LabelError, match=r"x\.nii: expected whole numbers as labels; got fractions"):
        open_folder(folder)[0]


@pytest.mark.parametrize(
    ("package", "extra", "suffix"), [("nibabel", "medical", ".nii.gz"), ("tifffile", "tiff", ".tif")]
)
def test_a_package_that_is_not_installed(folder, monkeypatch, package, extra, suffix):
    (folder / "logits" / "x.npy").rename(folder / "logits" / f"x{suffix}")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PackageError, match=rf"expected the package {package}.*pip install 'calibrant\[{extra}\]'"):
        open_folder(folder)[0]


def test_class_names_that_do_not_fit(folder):
    with pytest.raises(ShapeError, match="expected 2 classes, one for each class name; got 3"):
        open_folder(folder, class_names=["x", "y"])[0]


def test_annotators_of_unlike_sizes(folder):
    for name, size in (("ann", (5, 4)), ("bob", (6, 4))):
        (folder / "labels" / name).mkdir()
        Image.new("L", size).save(folder / "labels" / name / "x.png")
    (folder / "labels" / "x.png").unlink()
    with pytest.raises(ShapeError, match=r"one size from all annotators; got \(4, 5\) and \(4, 6\)"):
        open_folder(folder)[0]
