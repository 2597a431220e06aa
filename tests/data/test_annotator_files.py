"""Several annotators in files: names with a suffix each, a fourth axis of NIfTI, QUBIQ's and CURVAS's folders."""

import nibabel
import numpy as np
import pytest
import torch

from calibrant.data import curvas, open_folder, qubiq
from calibrant.data.sets import DATA_SETS
from calibrant.errors import DataError, InputError, LabelError, MethodError

SHAPE = (7, 6, 5)  # x y z


def nifti(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.asarray(array), np.eye(4)), path)


def volumes(count, classes=3):
    return np.random.default_rng(0).integers(0, classes, (count, *SHAPE)).astype(np.uint8)


def with_scores(folder, names=("a", "a_b")):
    for number, name in enumerate(names):
        scores = np.random.default_rng(number).normal(size=(3, *SHAPE[::-1])).astype(np.float32)
        (folder / "logits").mkdir(exist_ok=True)
        np.save(folder / "logits" / f"{name}.npy", scores)
    return folder


def test_a_suffix_for_each_annotator(tmp_path):
    maps = volumes(6)
    for number, name in enumerate(("a", "a_b")):
        for annotator in range(3):
            nifti(tmp_path / "labels" / f"{name}_{annotator + 1}.nii.gz", maps[3 * number + annotator])
    found = open_folder(with_scores(tmp_path))
    assert found.keys == ("a", "a_b")
    assert "labels called NAME_1, NAME_2, NAME_3 are those of 3 annotators" in found.survey.lines
    for number in range(2):
        wanted = maps[3 * number : 3 * number + 3].astype(np.int64).transpose(0, 3, 2, 1)
        assert np.array_equal(found[number].labels.numpy(), wanted)
    (tmp_path / "labels/a_b_2.nii.gz").unlink()
    with pytest.raises(DataError, match=r"image 'a_b': expected its labels at .*a_b_2\.png"):
        open_folder(tmp_path)


def test_classes_in_files_and_a_suffix_for_each_annotator(tmp_path):
    for number in range(3):
        nifti(tmp_path / "logits" / f"a_{number:04d}.nii.gz", np.random.default_rng(number).normal(size=SHAPE))
    maps = volumes(2)
    for annotator, name in enumerate(("anna", "bert")):
        nifti(tmp_path / "labels" / f"a_{name}.nii.gz", maps[annotator])
    (found,) = open_folder(tmp_path)
    assert np.array_equal(found.labels.numpy(), maps.astype(np.int64).transpose(0, 3, 2, 1))
    assert found.logits.shape == (3, *SHAPE[::-1])


def test_one_suffix_is_not_taken_for_an_annotator(tmp_path):
    for name in ("a", "a_b"):
        nifti(tmp_path / "labels" / f"{name}_seg.nii.gz", volumes(1)[0])
    with pytest.raises(DataError, match="Labels must be named as the scores are"):
        open_folder(with_scores(tmp_path))


def test_annotators_along_a_fourth_axis(tmp_path):
    maps = volumes(4)
    for name in ("a", "a_b"):
        nifti(tmp_path / "labels" / f"{name}.nii.gz", maps.transpose(1, 2, 3, 0))
    found = open_folder(with_scores(tmp_path), label_axis="annotators")
    assert np.array_equal(found[0].labels.numpy(), maps.astype(np.int64).transpose(0, 3, 2, 1))


def curvas_tree(root, cases=("UKCHLL001", "UKCHLL002")):
    maps = volumes(3, 4)
    for name in cases:
        folder = root / "training_set" / name
        nifti(folder / "image.nii.gz", np.linspace(-1000, 1000, 210).reshape(SHAPE).astype(np.int16))
        for number in range(3):
            nifti(folder / f"annotation_{number + 1}.nii.gz", maps[number])
    return maps


def test_curvas_reads_its_published_layout(tmp_path):
    maps = curvas_tree(tmp_path)
    examples = curvas(tmp_path)
    assert examples.keys == ("UKCHLL001", "UKCHLL002")
    assert examples.class_names == ("background", "pancreas", "kidney", "liver")
    first = examples[0]
    assert np.array_equal(first.labels.numpy(), maps.astype(np.int64).transpose(0, 3, 2, 1))
    raw = np.linspace(-1000, 1000, 210).reshape(SHAPE).astype(np.int16).T
    assert np.allclose(first.image[0], np.clip((raw + 160) / 400, 0, 1), atol=1e-6)
    assert len(DATA_SETS["curvas"].read(tmp_path, "training")) == 2
    with pytest.raises(DataError, match=r"validation_set: expected the folder of volumes of CURVAS"):
        curvas(tmp_path, "validation")
    with pytest.raises(MethodError, match="split of CURVAS"):
        curvas(tmp_path, "test")


@pytest.mark.parametrize(
    ("spoil", "words", "error"),
    [
        (
            lambda f: nifti(f / "annotation_2.nii.gz", np.zeros((5, 4, 2), np.uint8)),
            "as large as image.nii.gz",
            DataError,
        ),
        (lambda f: nifti(f / "annotation_2.nii.gz", np.full(SHAPE, 7, np.uint8)), r"annotation_2.*got 7", LabelError),
        (lambda f: (f / "annotation_3.nii.gz").write_bytes(b"x"), "annotation_3", DataError),
        (lambda f: (f / "image.nii.gz").write_bytes(b"x"), "image.nii.gz", DataError),
    ],
)
def test_what_is_wrong_with_a_case_is_told_by_name(tmp_path, spoil, words, error):
    curvas_tree(tmp_path, ("UKCHLL001",))
    spoil(tmp_path / "training_set/UKCHLL001")
    with pytest.raises(error, match=words):
        curvas(tmp_path)[0]


def test_a_case_without_a_mask_is_told(tmp_path):
    curvas_tree(tmp_path, ("UKCHLL001",))
    for file in (tmp_path / "training_set/UKCHLL001").glob("annotation*"):
        file.unlink()
    with pytest.raises(DataError, match="an annotation of UKCHLL001"):
        curvas(tmp_path)


def qubiq_tree(root):
    flat = np.random.default_rng(1).integers(0, 2, (3, 6, 5, 1)).astype(np.uint8)
    for case in ("case01", "case02"):
        folder = root / "prostate/Training" / case
        nifti(folder / "image.nii.gz", np.arange(30.0).reshape(6, 5))
        for number in range(3 if case == "case01" else 2):
            nifti(folder / f"task02_seg{number + 1:02d}.nii.gz", flat[number])
    folder = root / "brain-tumor/Training/case01"
    nifti(folder / "image.nii.gz", np.arange(120.0).reshape(6, 5, 4))
    nifti(folder / "task01_seg01.nii.gz", flat[0, ..., 0])
    nifti(root / "pancreas/case1-1/image.nii.gz", np.arange(210.0).reshape(SHAPE))
    nifti(root / "pancreas/case1-1/task01_seg01.nii.gz", volumes(1, 2)[0])
    nifti(root / "pancreas/case1-1/task01_seg02.nii.gz", volumes(2, 2)[1])
    return flat


def test_qubiq_reads_its_published_layout(tmp_path):
    flat = qubiq_tree(tmp_path)
    prostate = qubiq(tmp_path, "prostate", task=2)
    assert prostate.keys == ("case01", "case02")
    assert np.array_equal(prostate[0].labels.numpy(), flat[..., 0].astype(np.int64).transpose(0, 2, 1))
    assert prostate[1].labels.shape == (2, 5, 6)
    assert prostate[0].image.shape == (1, 5, 6)
    assert (float(prostate[0].image.min()), float(prostate[0].image.max())) == (0, 1)
    assert qubiq(tmp_path, "brain-tumor")[0].image.shape == (4, 5, 6)
    (volume,) = qubiq(tmp_path, "pancreas")
    assert volume.image.shape == (1, *SHAPE[::-1])
    assert volume.labels.shape == (2, *SHAPE[::-1])
    read = DATA_SETS["qubiq"].read
    assert torch.equal(read(tmp_path, "prostate/2/Training")[0].labels, prostate[0].labels)


def test_what_qubiq_has_not(tmp_path):
    qubiq_tree(tmp_path)
    with pytest.raises(DataError, match=r"task01_seg01.nii.gz: expected a mask of case01"):
        qubiq(tmp_path, "prostate")
    with pytest.raises(InputError, match="task of prostate from 1 to 2; got 3"):
        qubiq(tmp_path, "prostate", task=3)
    with pytest.raises(MethodError, match="data set of QUBIQ"):
        qubiq(tmp_path, "lung")
    with pytest.raises(DataError, match="expected the folder of QUBIQ"):
        qubiq(tmp_path, "kidney")
    with pytest.raises(InputError, match="such as prostate/2/Validation; got 'prostate/two'"):
        DATA_SETS["qubiq"].read(tmp_path, "prostate/two")
