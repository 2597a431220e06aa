"""What an axis is comes from a declaration, a format or the labels; where two readings fit, both are named."""

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from made_folders import check_read, folder_of, labels_of, logits_of, npy, png, softmax

from calibrant.data import open_folder
from calibrant.errors import CalibrantError, LabelError, LogitsError, ShapeError
from calibrant.predictions import from_arrays, prediction_from

CUBE, BOX = (5, 5, 5), (4, 5, 6)


def nifti(volumes):
    """Return a writer of NIfTI from a function of the number of the image to (z, y, x) or (c, z, y, x)."""
    return lambda path, number: nibabel.save(nibabel.Nifti1Image(volumes(number).T, np.eye(4)), f"{path}.nii.gz")


def one_channel(number, shape=(12, 15)):
    return logits_of(number, shape=shape, classes=2)[1]


def two(number, shape=(12, 15)):
    return np.stack([np.zeros(shape, np.float32), one_channel(number, shape)])


def binary(number, shape=(12, 15)):
    return labels_of(number, shape=shape, classes=2)


# -- no axis of classes


@pytest.mark.parametrize("writer", [npy, lambda a: lambda path, i: tifffile.imwrite(f"{path}.tif", a(i))])
def test_scores_in_the_shape_of_a_flat_map_are_one_channel(tmp_path, writer):
    found = open_folder(folder_of(tmp_path, scores=writer(one_channel), labels=png(binary)))
    check_read(found, logits=two, labels=binary)
    assert any("no axis of classes" in line for line in found.survey.lines)


@pytest.mark.parametrize("writer", [npy, nifti])
def test_scores_in_the_shape_of_a_nifti_volume_are_one_channel(tmp_path, writer):
    shaped = {"shape": BOX}
    made = folder_of(
        tmp_path, scores=writer(lambda i: one_channel(i, BOX)), labels=nifti(lambda i: binary(i, **shaped))
    )
    check_read(open_folder(made), logits=lambda i: two(i, BOX), labels=lambda i: binary(i, BOX))


def test_one_band_of_probabilities_in_a_tiff(tmp_path):
    def write(path, i):
        tifffile.imwrite(f"{path}.tif", softmax(two(i))[1].astype(np.float32))

    found = open_folder(folder_of(tmp_path, scores=write, labels=png(binary)), scores="probabilities")
    check_read(found, logits=two, labels=binary, close=True)


def test_a_volume_without_an_axis_of_classes_beside_arrays_is_asked_about(tmp_path):
    made = folder_of(tmp_path, scores=npy(lambda i: one_channel(i, BOX)), labels=npy(lambda i: binary(i, BOX)))
    with pytest.raises(LabelError, match=r"save the scores as \(1, \*space\)"):
        open_folder(made)[0]


def test_a_batch_of_one_is_that_image(tmp_path):
    batch = npy(lambda i: logits_of(i)[None])
    check_read(open_folder(folder_of(tmp_path / "scores", scores=batch, labels=png(labels_of))))
    check_read(open_folder(folder_of(tmp_path / "both", scores=batch, labels=npy(lambda i: labels_of(i)[None]))))


@pytest.mark.parametrize("array", [np.float32(3), np.zeros(5, np.float32), np.array(["a"]), np.zeros((3, 12, 15)) + 0j])
def test_what_is_no_map_is_told(tmp_path, array):
    with pytest.raises(CalibrantError, match=r"image 'a': expected|a\.npy: expected"):
        open_folder(folder_of(tmp_path, scores=npy(lambda i: array), labels=png(labels_of)))[0]


def test_label_maps_given_as_scores_are_told(tmp_path):
    for number, kind in enumerate((np.uint8, np.float32)):
        made = folder_of(
            tmp_path / str(number), scores=npy(lambda i, k=kind: labels_of(i).astype(k)), labels=png(labels_of)
        )
        with pytest.raises(LogitsError, match=r"If they are label maps, give the model's scores instead"):
            open_folder(made)[0]


# -- which axis holds the classes


@pytest.mark.parametrize("shape", [(3, 3), (3, 15), (12, 3), (3, 3, 3), (3, 7, 8)])
def test_an_axis_as_long_as_that_of_the_classes_is_asked_about_if_it_fits(tmp_path, shape):
    options = {"shape": shape}

    def written(i):
        return logits_of(i, **options)

    made = folder_of(tmp_path, scores=npy(written), labels=npy(lambda i: labels_of(i, **options)))
    fitting = sum(tuple(np.delete((3, *shape), k)) == shape for k in range(len(shape) + 1))
    if fitting == 1:
        check_read(open_folder(made), logits=written, labels=lambda i: labels_of(i, **options))
        return
    with pytest.raises(ShapeError, match="Which one is that of the classes"):
        open_folder(made)[0]
    check_read(open_folder(made, class_axis=0), logits=written, labels=lambda i: labels_of(i, **options))


def test_square_images_with_the_classes_last(tmp_path):
    options = {"shape": (4, 4), "classes": 4}
    made = folder_of(
        tmp_path,
        scores=npy(lambda i: np.moveaxis(logits_of(i, **options), 0, -1)),
        labels=png(lambda i: labels_of(i, **options)),
    )
    with pytest.raises(ShapeError, match=r"--class-axis 0 or --class-axis 2"):
        open_folder(made)[0]
    found = open_folder(made, class_axis=-1)
    check_read(found, logits=lambda i: logits_of(i, **options), labels=lambda i: labels_of(i, **options))


@pytest.mark.parametrize("count", [2, 3])
def test_a_stack_of_images_is_no_volume(tmp_path, count):
    made = folder_of(
        tmp_path,
        names=["all"],
        scores=npy(lambda _: np.stack([logits_of(i) for i in range(count)])),
        labels=npy(lambda _: np.stack([labels_of(i) for i in range(count)])),
    )
    with pytest.raises(ShapeError, match="in a file of its own"):
        open_folder(made)[0]
    with pytest.raises(ShapeError, match=r"stack of images.*in a file of its own"):
        open_folder(made, class_axis=1)[0]


@pytest.mark.parametrize("axis", [0, -4])
def test_nifti_with_the_classes_first(tmp_path, axis):
    def write(path, i):
        volume = np.moveaxis(logits_of(i, shape=BOX).T, -1, 0)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), f"{path}.nii.gz")

    made = folder_of(tmp_path, scores=write, labels=nifti(lambda i: labels_of(i, shape=BOX)))
    with pytest.raises(ShapeError, match=r"axis 3 of the NIfTI file.*--class-axis 0"):
        open_folder(made)[0]
    found = open_folder(made, class_axis=axis)
    check_read(found, logits=lambda i: logits_of(i, shape=BOX), labels=lambda i: labels_of(i, shape=BOX))


# -- the order of the axes of space


@pytest.mark.parametrize("shape", [CUBE, (4, 6, 4), BOX, (6, 7)])
@pytest.mark.parametrize("order", ["xyz", "zyx"])
def test_arrays_beside_nifti_are_asked_for_their_order_where_both_fit(tmp_path, shape, order):
    def write(i):
        z = logits_of(i, shape=shape)
        return z if order == "zyx" else np.moveaxis(z.T, -1, 0)

    made = folder_of(tmp_path, scores=npy(write), labels=nifti(lambda i: labels_of(i, shape=shape)))
    if shape == shape[::-1]:
        with pytest.raises(ShapeError, match=r"x y z or z y x.*--array-order xyz"):
            open_folder(made)[0]
    else:
        check_read(
            open_folder(made), logits=lambda i: logits_of(i, shape=shape), labels=lambda i: labels_of(i, shape=shape)
        )
    found = open_folder(made, array_order=order)
    check_read(found, logits=lambda i: logits_of(i, shape=shape), labels=lambda i: labels_of(i, shape=shape))


@pytest.mark.parametrize("shape", [CUBE, BOX])
def test_label_arrays_beside_nifti_scores_too(tmp_path, shape):
    made = folder_of(
        tmp_path,
        scores=nifti(lambda i: logits_of(i, shape=shape)),
        labels=npy(lambda i: labels_of(i, shape=shape).T),
    )
    if shape == CUBE:
        with pytest.raises(ShapeError, match="array_order='xyz'"):
            open_folder(made)[0]
    found = open_folder(made, array_order="xyz")
    check_read(found, logits=lambda i: logits_of(i, shape=shape), labels=lambda i: labels_of(i, shape=shape))


# -- one-hot labels, regions, annotators


def one_hot(i, **options):
    return np.eye(3, dtype=np.uint8)[labels_of(i, **options)]


@pytest.mark.parametrize(
    "maps",
    [
        lambda i: np.moveaxis(one_hot(i), -1, 0),
        one_hot,
        lambda i: np.moveaxis(one_hot(i), -1, 0).astype(np.float32),
        lambda i: np.moveaxis(one_hot(i), -1, 0) * 255,
        lambda i: np.moveaxis(one_hot(i), -1, 0).astype(bool),
    ],
)
def test_one_hot_labels_become_class_numbers(tmp_path, maps):
    found = open_folder(folder_of(tmp_path, scores=npy(logits_of), labels=npy(maps)))
    check_read(found)
    assert any("one-hot" in line for line in found.survey.lines)


def test_one_hot_volumes_in_nifti_and_unlabelled_pixels(tmp_path):
    def maps(i):
        hot = np.moveaxis(one_hot(i, shape=BOX), -1, 0)
        hot[:, 0, 0] = 0
        return hot

    def nowhere(i):
        where = np.zeros(BOX, bool)
        where[0, 0] = True
        return where

    made = folder_of(tmp_path, scores=nifti(lambda i: logits_of(i, shape=BOX)), labels=nifti(maps))
    check_read(
        open_folder(made),
        unlabelled=nowhere,
        logits=lambda i: logits_of(i, shape=BOX),
        labels=lambda i: labels_of(i, shape=BOX),
    )


@pytest.mark.parametrize(
    "maps",
    [
        lambda i: np.stack([labels_of(i) > 0, labels_of(i) > 1, labels_of(i) >= 0]).astype(np.uint8),
        lambda i: np.stack([labels_of(i) > 0, labels_of(i) > 1, labels_of(i) > 1]) * np.uint8(255),
        lambda i: np.stack([labels_of(i) > 0, labels_of(i) > 1]).astype(np.uint8),
        lambda i: np.moveaxis(one_hot(i), -1, 0)[1:],
    ],
)
def test_overlapping_regions_are_refused(tmp_path, maps):
    made = folder_of(tmp_path, scores=npy(logits_of), labels=npy(maps))
    with pytest.raises(LabelError, match=r"overlapping classes.*--label-axis annotators"):
        open_folder(made)[0]


def test_maps_of_annotators_in_one_array(tmp_path):
    made = folder_of(
        tmp_path,
        scores=npy(lambda i: logits_of(i, classes=2)),
        labels=npy(lambda i: np.stack([binary(i), binary(i + 9), binary(i + 18)])),
    )
    found = open_folder(made)
    assert found[0].labels.shape == (3, 12, 15)
    assert "3 label maps an image are those of as many annotators" in found.survey.lines
    as_many = folder_of(
        tmp_path / "as many as classes",
        scores=npy(lambda i: logits_of(i, classes=2)),
        labels=npy(lambda i: np.stack([binary(i), binary(i + 9)])),
    )
    with pytest.raises(LabelError, match="--label-axis annotators"):
        open_folder(as_many)[0]
    assert open_folder(as_many, label_axis="annotators")[1].labels.shape == (2, 12, 15)


def test_labels_with_a_last_axis_of_one(tmp_path):
    check_read(open_folder(folder_of(tmp_path, scores=npy(logits_of), labels=npy(lambda i: labels_of(i)[..., None]))))


@pytest.mark.parametrize("shape", [(3, 0, 5), (0, 4, 5), (3, 4, 0)])
def test_arrays_without_a_pixel(tmp_path, shape):
    made = folder_of(
        tmp_path, scores=npy(lambda _: np.zeros(shape, np.float32)), labels=npy(lambda _: np.zeros(shape[1:], np.uint8))
    )
    with pytest.raises(ShapeError, match="an array without a pixel"):
        open_folder(made)[0]
    with pytest.raises(ShapeError, match="an array without a pixel"):
        prediction_from("x", torch.zeros(shape), torch.zeros(shape[1:], dtype=torch.long))


# -- arrays in memory


def test_arrays_in_memory_obey_the_same():
    z, y = np.stack([one_channel(i) for i in range(2)]), np.stack([binary(i) for i in range(2)])
    with pytest.raises(ShapeError, match=r"no axis of classes.*logits\[None\]"):
        from_arrays(z, y)
    assert from_arrays(z[:, None], y)[0].num_classes == 2
    volumes = np.stack([one_channel(i, BOX) for i in range(2)])
    with pytest.raises(LabelError, match=r"overlapping classes.*annotators=True"):
        from_arrays(volumes, np.stack([binary(i, BOX) for i in range(2)]))
    hot = np.stack([np.moveaxis(one_hot(i), -1, 0) for i in range(2)])
    with pytest.raises(LabelError, match="one-hot"):
        from_arrays(np.stack([logits_of(i) for i in range(2)]), hot)
    annotators = np.stack([np.stack([binary(i), binary(i + 1)]) for i in range(2)])
    scores = np.stack([logits_of(i, classes=2) for i in range(2)])
    with pytest.raises(LabelError, match="annotators=True"):
        from_arrays(scores, annotators)
    assert from_arrays(scores, annotators, annotators=True)[0].labels.shape == (2, 12, 15)
    three = np.stack([labels_of(0), labels_of(1), labels_of(2)])
    assert prediction_from("x", logits_of(0), three).labels.shape == (3, 12, 15), "classes 0 to 2: no other reading"
