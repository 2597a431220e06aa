"""Where voxels and pixels lie is read from the files and used, or refused by name."""

import nibabel
import numpy as np
import pytest
import torch
from made_folders import check_read, folder_of, labels_of, logits_of, softmax
from PIL import Image

from calibrant.data import image_folder, open_folder
from calibrant.errors import DataError, ShapeError

SPACE = (4, 5, 6)  # z y x
AFFINE = np.array([[1.5, 0, 0, -20], [0, 2, 0, 7], [0, 0, 3, 5], [0, 0, 0, 1.0]])
OBLIQUE = np.array([[1.4, 0.3, 0, -20], [-0.3, 1.9, 0.1, 7], [0, -0.1, 3, 5], [0, 0, 0, 1.0]])


def logits(i):
    return logits_of(i, shape=SPACE)


def labels(i):
    return labels_of(i, shape=SPACE)


def turned(array, affine, flips=(), order=(0, 1, 2)):
    """Return an array (x, y, z, …) with axes flipped and exchanged, and the affine that keeps its voxels in place."""
    change = np.eye(4)
    for axis in flips:
        change[axis, axis], change[axis, 3] = -1, array.shape[axis] - 1
        array = np.flip(array, axis)
    permutation = np.eye(4)[[*order, 3]].T
    rest = tuple(range(3, array.ndim))
    return np.ascontiguousarray(array.transpose(*order, *rest)), affine @ change @ permutation


def nifti(arrays, affine=AFFINE, **how):
    def write(path, i):
        array, there = turned(arrays(i).T, affine, **how)
        nibabel.save(nibabel.Nifti1Image(array, there), f"{path}.nii.gz")

    return write


HOW = [
    {},
    {"flips": (0,)},
    {"flips": (1,)},
    {"flips": (0, 1, 2)},
    {"order": (1, 0, 2)},
    {"flips": (2,), "order": (2, 0, 1)},
]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE])
def test_scores_are_turned_as_the_labels_lie(tmp_path, how, affine):
    made = folder_of(tmp_path, scores=nifti(logits, affine, **how), labels=nifti(labels, affine))
    found = open_folder(made)
    check_read(found, logits=logits, labels=labels)
    assert any("as the affines say" in line for line in found.survey.lines) == bool(how)


@pytest.mark.parametrize("how", HOW[1:4])
def test_a_file_for_each_class(tmp_path, how):
    def write(path, i):
        for k in range(3):
            nifti(lambda i, k=k: logits(i)[k], **how)(f"{path}_{k:04d}", i)

    check_read(open_folder(folder_of(tmp_path, scores=write, labels=nifti(labels))), logits=logits, labels=labels)


@pytest.mark.parametrize("how", HOW[1:5])
def test_probabilities_of_nnunet_lie_as_the_label_map_beside_them(tmp_path, how):
    def write(path, i):
        array, there = turned(logits(i).T, AFFINE, **how)
        probs = softmax(array.T)
        np.savez_compressed(f"{path}.npz", probabilities=probs.astype(np.float32))
        nibabel.save(nibabel.Nifti1Image(probs.argmax(0).astype(np.uint8).T, there), f"{path}.nii.gz")

    made = folder_of(tmp_path, scores=write, labels=nifti(labels))
    found = open_folder(made, scores="probabilities")
    check_read(found, logits=logits, labels=labels, close=True)


def test_probabilities_that_are_not_those_of_the_label_map_beside_them(tmp_path):
    def write(path, i):
        probs = softmax(logits(i))
        np.savez_compressed(f"{path}.npz", probabilities=probs.astype(np.float32))
        other = softmax(logits(i + 5)).argmax(0).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(other.T, AFFINE), f"{path}.nii.gz")

    made = folder_of(tmp_path, scores=write, labels=nifti(labels))
    with pytest.raises(DataError, match=r"whose largest is the label map a\.nii\.gz beside them; they differ in"):
        open_folder(made, scores="probabilities")[0]


def test_label_maps_of_annotators_are_turned_as_the_first(tmp_path):
    made = folder_of(tmp_path, scores=nifti(logits), labels=nifti(labels))
    for name, how in (("ann", {}), ("bob", {"flips": (0, 1)})):
        (made / "labels" / name).mkdir()
        for number, key in enumerate("ab"):
            nifti(labels, **how)(made / "labels" / name / key, number)
            (made / "labels" / f"{key}.nii.gz").unlink(missing_ok=True)
    first, second = open_folder(made)[0].labels
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    "other",
    [
        AFFINE + np.array([[0, 0, 0, 0.8], *np.zeros((3, 4))]),
        AFFINE @ np.diag([1, 1, 2, 1.0]),
        OBLIQUE,
        np.eye(4),
    ],
)
def test_other_voxels_are_refused(tmp_path, other):
    made = folder_of(tmp_path, scores=nifti(logits, other), labels=nifti(labels))
    with pytest.raises(ShapeError, match=r"affines differ by more than flips.*--same-grid"):
        open_folder(made)[0]
    check_read(open_folder(made, same_grid=True), logits=logits, labels=labels)


def test_rounding_of_an_affine_is_no_difference(tmp_path):
    made = folder_of(tmp_path, scores=nifti(logits, AFFINE + 1e-4), labels=nifti(labels))
    check_read(open_folder(made), logits=logits, labels=labels)


def test_a_file_that_does_not_say_where_its_voxels_lie(tmp_path):
    def write(path, i):
        nibabel.save(nibabel.Nifti1Image(logits(i).T, None), f"{path}.nii.gz")

    check_read(open_folder(folder_of(tmp_path, scores=write, labels=nifti(labels))), logits=logits, labels=labels)


def test_flat_nifti(tmp_path):
    flat = {"shape": (5, 6)}

    def write(path, i):
        array = np.flip(logits_of(i, **flat).T, 0)[:, :, None]
        change = np.diag([-1.0, 1, 1, 1])
        change[0, 3] = 5
        nibabel.save(nibabel.Nifti1Image(array, AFFINE @ change), f"{path}.nii.gz")

    def write_labels(path, i):
        nibabel.save(nibabel.Nifti1Image(labels_of(i, **flat).T[:, :, None], AFFINE), f"{path}.nii.gz")

    found = open_folder(folder_of(tmp_path, scores=write, labels=write_labels))[1]
    assert np.array_equal(found.labels.squeeze(), labels_of(1, **flat))
    assert np.array_equal(found.logits.squeeze(), logits_of(1, **flat))


# -- pictures


def picture():
    return np.kron(np.random.default_rng(0).integers(0, 256, (3, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)


STORED = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a[:, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_pictures_are_turned_as_exif_says(tmp_path, orientation, suffix):
    seen = picture()
    stored = STORED[orientation](seen)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    file = tmp_path / "images" / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(file, exif=exif, **options)
    Image.fromarray(np.zeros(seen.shape[:2], np.uint8)).save(tmp_path / "labels" / "a.png")
    found = image_folder(tmp_path, class_names="ab")[0].image
    assert found.shape[1:] == seen.shape[:2]
    assert float((found.movedim(0, -1) * 255 - torch.as_tensor(seen.astype(np.float32))).abs().max()) < 20
    np.save(tmp_path / "a.npy", np.zeros((2, *seen.shape[:2]), np.float32))
    again = open_folder(tmp_path)[0].image
    assert torch.equal(again, found)


def test_labels_of_the_unturned_picture_are_refused(tmp_path):
    seen = picture()
    exif = Image.Exif()
    exif[0x0112] = 6
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    Image.fromarray(seen).save(tmp_path / "images" / "a.jpg", exif=exif)
    Image.fromarray(np.zeros(seen.shape[:2], np.uint8)).save(tmp_path / "labels" / "a.png")
    with pytest.raises(DataError, match=r"EXIF orientation turns it to 32 x 24.*save it without EXIF"):
        image_folder(tmp_path, class_names="ab")[0]
