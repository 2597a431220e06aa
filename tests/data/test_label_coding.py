"""What the numbers of label maps stand for, told from all label maps of a set."""

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from made_folders import check_read, folder_of, labels_of, logits_of, npy, png
from PIL import Image

from calibrant._encoding.label_coding import label_coding
from calibrant._shapes import IGNORE
from calibrant.data import image_folder, open_folder
from calibrant.errors import LabelError
from calibrant.predictions import from_arrays


def top(i):
    """The first two rows: unlabelled in these tests."""
    where = np.zeros((12, 15), bool)
    where[:2] = True
    return where


def with_top(value, dtype=np.int16, classes=3):
    def maps(i):
        labels = labels_of(i, classes=classes).astype(dtype)
        labels[:2] = value
        return labels

    return maps


def spread(levels):
    """Labels as grey levels."""
    return lambda i: np.array(levels)[labels_of(i, classes=len(levels))]


def read(path, labels, *, scores=logits_of, **options):
    return open_folder(folder_of(path, scores=npy(scores), labels=labels), **options)


# -- the rule alone


@pytest.mark.parametrize(
    ("values", "classes", "options", "table"),
    [
        ([0, 1, 2], 3, {}, {}),
        ([0, 1, 2, 255], 3, {}, {255: IGNORE}),
        ([0, 255], 2, {}, {255: 1}),
        ([0, 1, 255], 2, {}, {255: IGNORE}),
        ([0, 255], 2, {"ignore_index": 255}, {255: IGNORE}),
        ([0, 127, 255], 3, {}, {127: 1, 255: 2}),
        ([0, 128, 255], 3, {}, {128: 1, 255: 2}),
        ([0, 85, 170, 255], 4, {}, {85: 1, 170: 2, 255: 3}),
        ([0, 85, 170], 4, {}, {85: 1, 170: 2}),
        ([-1, 0, 1, 2], 3, {}, {-1: IGNORE}),
        ([-1, 0, 1, 255], 2, {}, {-1: IGNORE, 255: IGNORE}),
        ([-1, 0, 1, 2], 3, {"ignore_index": -1}, {-1: IGNORE}),
        ([IGNORE, 0, 1, 2], 3, {}, {}),
        ([1, 2, 3], 3, {}, {1: 0, 2: 1, 3: 2}),
        ([1, 2, 3, 255], 3, {}, {1: 0, 2: 1, 3: 2, 255: IGNORE}),
        ([0, 1, 2, 3], 3, {"ignore_index": 0}, {0: IGNORE, 1: 0, 2: 1, 3: 2}),
        ([0, 1, 2, 3], 3, {"ignore_index": 3}, {3: IGNORE}),
        ([0, 1, 2], 3, {"ignore_index": 0, "first_label": 1}, {0: IGNORE, 1: 0, 2: 1}),
        ([0, 1, 2], 3, {"ignore_index": 0, "first_label": 0}, {0: IGNORE}),
        ([0, 7, 255], 300, {}, {}),
        ([0, 1, 2, 254], 3, {"ignore_index": 254}, {254: IGNORE}),
        ([0, 1], 2, {"ignore_index": None}, {}),
    ],
)
def test_numbers_and_what_they_stand_for(values, classes, options, table):
    found = label_coding(dict.fromkeys(values, 5), classes, files=9, **options)
    stored = {v: k for v, k in found.table.items() if v in values}
    assert stored == table


@pytest.mark.parametrize(
    ("values", "classes", "options", "told"),
    [
        ([0, 1, 2, 3], 3, {}, "--ignore-index 0 --first-label 1.*--ignore-index 3"),
        ([0, 1, 2], 3, {"ignore_index": 0}, "beside the unlabelled 0.*--first-label 1.*--first-label 0"),
        ([1, 2], 4, {}, "class 0 is labelled nowhere"),
        ([0, 255], 3, {}, "0 and 255 alone.*--ignore-index 255"),
        ([0, 1], 2, {"ignore_index": 0}, "--first-label"),
    ],
)
def test_two_readings_are_both_named(values, classes, options, told):
    with pytest.raises(LabelError, match=told):
        label_coding(dict.fromkeys(values, 5), classes, files=9, **options)


def test_a_single_label_map_may_lack_class_0():
    assert label_coding({1: 5, 2: 5}, 4, files=1).notes == ("class 0 is labelled nowhere",)


# -- through files


@pytest.mark.parametrize("kind", ["png", "npy", "tif", "miniswhite", "nii", "palette"])
def test_masks_of_0_and_255(tmp_path, kind):
    def maps(i):
        return labels_of(i, classes=2) * np.uint8(255)

    write = {
        "png": png(maps),
        "npy": npy(maps),
        "tif": lambda path, i: tifffile.imwrite(f"{path}.tif", maps(i)),
        "miniswhite": lambda path, i: tifffile.imwrite(f"{path}.tif", 255 - maps(i), photometric="miniswhite"),
        "nii": lambda path, i: nibabel.save(nibabel.Nifti1Image(maps(i).T, np.eye(4)), f"{path}.nii"),
        "palette": lambda path, i: Image.fromarray(maps(i)).convert("P").save(f"{path}.png"),
    }[kind]
    found = read(tmp_path, write, scores=lambda i: logits_of(i, classes=2))
    check_read(found, logits=lambda i: logits_of(i, classes=2), labels=lambda i: labels_of(i, classes=2))
    assert any("255 are taken for classes 1" in line for line in found.survey.lines)


def test_255_is_unlabelled_if_it_is_said_or_if_a_third_number_shows_it(tmp_path):
    scores = {"scores": lambda i: logits_of(i, classes=2)}
    said = read(tmp_path / "said", png(lambda i: labels_of(i, classes=2) * 255), ignore_index=255, **scores)
    assert set(said[0].labels.unique().tolist()) == {0, IGNORE}
    shown = read(tmp_path / "shown", png(with_top(255, classes=2)), **scores)
    assert (shown[1].labels[0, :2] == IGNORE).all()


def test_one_image_does_not_decide_for_the_set(tmp_path):
    """The first label map has 0 and 255 alone; the second shows that 1 is the foreground."""
    maps = [np.zeros((12, 15), int), labels_of(1, classes=2).astype(int)]
    maps[0][:2] = 255
    found = read(tmp_path, png(lambda i: maps[i]), scores=lambda i: logits_of(i, classes=2))
    assert (found[0].labels[0, :2] == IGNORE).all()


@pytest.mark.parametrize("levels", [(0, 128, 255), (0, 127, 255), (0, 85, 170, 255), (0, 64, 128, 191, 255)])
def test_classes_spread_over_the_grey_levels(tmp_path, levels):
    options = {"classes": len(levels)}
    found = read(tmp_path, png(spread(levels)), scores=lambda i: logits_of(i, **options))
    check_read(found, logits=lambda i: logits_of(i, **options), labels=lambda i: labels_of(i, **options))


@pytest.mark.parametrize("value", [-1, -100, -9999])
@pytest.mark.parametrize("said", [True, False])
def test_negative_numbers_are_unlabelled(tmp_path, value, said):
    found = read(tmp_path, npy(with_top(value)), **({"ignore_index": value} if said else {}))
    check_read(found, unlabelled=top)


def test_two_negative_numbers_are_refused(tmp_path):
    def maps(i):
        labels = with_top(-1)(i)
        labels[0] = -2
        return labels

    with pytest.raises(LabelError, match="got -2, -1"):
        read(tmp_path, npy(maps))[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("kind", ["npy", "tif", "nii"])
def test_nan_is_unlabelled(tmp_path, dtype, kind):
    if (dtype, kind) == (np.float16, "nii"):
        pytest.skip("NIfTI has no half precision")
    maps = with_top(np.nan, dtype)
    write = {
        "npy": npy(maps),
        "tif": lambda path, i: tifffile.imwrite(f"{path}.tif", maps(i)),
        "nii": lambda path, i: nibabel.save(nibabel.Nifti1Image(maps(i).T, np.eye(4)), f"{path}.nii"),
    }[kind]
    found = read(tmp_path, write)
    check_read(found, unlabelled=top)
    assert any("60 of them NaN" in line for line in found.survey.lines)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_a_scale_that_leaves_fractions_of_whole_numbers(tmp_path, dtype):
    def write(path, i):
        image = nibabel.Nifti1Image(labels_of(i, classes=6).astype(np.float64).T, np.eye(4))
        image.header.set_data_dtype(dtype)
        nibabel.save(image, f"{path}.nii.gz")

    options = {"classes": 6}
    found = read(tmp_path, write, scores=lambda i: logits_of(i, **options))
    check_read(found, logits=lambda i: logits_of(i, **options), labels=lambda i: labels_of(i, **options))


@pytest.mark.parametrize(
    ("maps", "told"),
    [
        (lambda i: labels_of(i) * 0.5, "got fractions, such as 0.5"),
        (lambda i: np.where(labels_of(i) == 1, np.inf, labels_of(i)), "got inf"),
        (lambda i: labels_of(i) + 1j, "expected whole numbers as labels; got complex128"),
    ],
)
def test_labels_that_are_no_whole_numbers(tmp_path, maps, told):
    with pytest.raises(LabelError, match=told):
        read(tmp_path, npy(maps))[0]


def test_labels_that_begin_at_1(tmp_path):
    check_read(read(tmp_path / "all", png(lambda i: labels_of(i) + 1)))
    zeros = png(lambda i: np.where(top(i), 0, labels_of(i) + 1))
    check_read(read(tmp_path / "zero", zeros, ignore_index=0), unlabelled=top)
    with pytest.raises(LabelError, match=r"--ignore-index 0 --first-label 1"):
        read(tmp_path / "asked", zeros)[0]
    five = {"scores": lambda i: logits_of(i, classes=5, present=4)}
    made = png(lambda i: np.where(top(i), 0, labels_of(i, classes=5, present=4) + 1))
    with pytest.raises(LabelError, match="class 0 is labelled nowhere"):
        read(tmp_path / "five", made, ignore_index=0, **five)[0]
    found = read(tmp_path / "said", made, ignore_index=0, first_label=1, **five)
    check_read(
        found,
        unlabelled=top,
        logits=lambda i: logits_of(i, classes=5, present=4),
        labels=lambda i: labels_of(i, classes=5, present=4),
    )


@pytest.mark.parametrize("value", [99, 2, 0])
def test_missing_data_as_gdal_says(tmp_path, value):
    def write(path, i):
        labels = labels_of(i).astype(np.uint8)
        labels[:2] = value
        tifffile.imwrite(f"{path}.tif", labels, extratags=[(42113, "s", 0, str(value), True)])

    found = read(tmp_path, write)
    if value == 99:
        check_read(found, unlabelled=top)
        return
    with pytest.raises(LabelError, match=f"missing data, and it is a class as well.*--ignore-index {value}"):
        found[0]
    assert read(tmp_path, write, ignore_index=255)[0].num_classes == 3


def test_the_same_for_images_that_a_model_is_run_on(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    for number, name in enumerate("ab"):
        Image.new("RGB", (15, 12)).save(tmp_path / "images" / f"{name}.png")
        png(lambda i: labels_of(i, classes=2) * 255)(tmp_path / "labels" / name, number)
    examples = image_folder(tmp_path, class_names=["no", "yes"])
    assert np.array_equal(examples[1].labels[0], labels_of(1, classes=2))
    assert any("255 are taken for classes 1" in line for line in examples.read.taken_for)
    assert set(image_folder(tmp_path, class_names="ab", ignore_index=255)[0].labels.unique().tolist()) == {0, IGNORE}
    for number, name in enumerate("ab"):
        png(lambda i: np.where(top(i), 0, labels_of(i) + 1))(tmp_path / "labels" / name, number)
    with pytest.raises(LabelError, match="--first-label 1"):
        image_folder(tmp_path, class_names="abc")[0]
    found = image_folder(tmp_path, class_names="abc", ignore_index=0)[0].labels
    assert torch.equal(found[0], torch.where(torch.as_tensor(top(0)), IGNORE, torch.as_tensor(labels_of(0)).long()))


def test_masks_of_0_and_255_in_memory():
    scores = np.stack([logits_of(i, classes=2) for i in range(2)])
    masks = np.stack([labels_of(i, classes=2) for i in range(2)]).astype(int) * 255
    with pytest.raises(LabelError, match=r"0 and 255 alone.*labels // 255"):
        from_arrays(scores, masks)
    assert from_arrays(scores, masks // 255)[0].labels.max() == 1


def test_zero_and_255_are_unlabelled_as_reduce_zero_label_has_them():
    coding = label_coding({0: 5, 1: 3, 150: 1, 255: 2}, 150, ignore_index=0, first_label=1)
    assert coding.decoded(np.array([0, 1, 150, 255])).tolist() == [IGNORE, 0, 149, IGNORE]
    assert coding.ignore == "label 0 and label 255"
