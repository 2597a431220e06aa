"""Every layout, written small in its real form, gives the predictions that went into it."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import save_file

from calibrant.data import open_folder, write_store
from calibrant.predictions import IGNORE, Predictions

REAL = Path(__file__).parents[2] / ".." / "shared" / "data"
KEYS = ("a.1", "b")
CLASSES = 3


def made(key, space=(4, 5)):
    """Logits (c, *s) and labels (*s) with 255 in the first row."""
    rng = np.random.default_rng(KEYS.index(key))
    labels = rng.integers(0, CLASSES, space).astype(np.uint8)
    labels[0] = 255
    return rng.normal(size=(CLASSES, *space)).astype(np.float32), labels


def softmax(logits):
    return torch.as_tensor(logits).softmax(0).numpy()


def check(predictions, space=(4, 5), *, probabilities=False):
    assert isinstance(predictions, Predictions)
    assert predictions.keys == KEYS
    assert [p.key for p in predictions] == list(KEYS)
    for prediction in predictions:
        logits, labels = made(prediction.key, space)
        expected = torch.where(torch.as_tensor(labels).long() == 255, IGNORE, torch.as_tensor(labels).long())
        assert torch.equal(prediction.labels, expected[None])
        if probabilities:
            torch.testing.assert_close(prediction.logits.softmax(0), torch.as_tensor(softmax(logits)))
        else:
            assert torch.equal(prediction.logits, torch.as_tensor(logits))


@pytest.fixture
def folder(tmp_path):
    for name in ("logits", "labels"):
        (tmp_path / name).mkdir()
    return tmp_path


def save_labels(folder, suffix=".png", space=(4, 5), name="{}"):
    folder.mkdir(exist_ok=True, parents=True)
    for key in KEYS:
        labels, path = made(key, space)[1], folder / (name.format(key) + suffix)
        if suffix == ".png":
            Image.fromarray(labels).save(path)
        elif suffix == ".npy":
            np.save(path, labels)
        elif suffix == ".npz":
            np.savez_compressed(path, labels)
        elif suffix in (".nii", ".nii.gz"):
            nibabel.save(nibabel.Nifti1Image(labels.T, np.eye(4)), path)
        else:
            tifffile.imwrite(path, labels)


SAVE = {
    ".npy": np.save,
    ".npz": np.savez,
    ".safetensors": lambda path, logits: save_file({"logits": np.ascontiguousarray(logits)}, path),
    ".tif": lambda path, logits: tifffile.imwrite(path, logits, photometric="minisblack"),
}


@pytest.mark.parametrize("suffix", SAVE)
@pytest.mark.parametrize("class_axis", [0, -1])
def test_arrays_beside_png_labels(folder, suffix, class_axis):
    for key in KEYS:
        SAVE[suffix](folder / "logits" / f"{key}{suffix}", np.moveaxis(made(key)[0], 0, class_axis))
    save_labels(folder / "labels")
    check(open_folder(folder, class_axis=class_axis))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".nii", ".nii.gz", ".tif"])
def test_labels_of_other_kinds(folder, suffix):
    for key in KEYS:
        np.save(folder / "logits" / f"{key}.npy", made(key)[0])
    save_labels(folder / "labels", suffix)
    check(open_folder(folder))


@pytest.mark.parametrize("mode", ["P", "I;16", "1"])
def test_png_labels_are_numbers_whatever_the_mode(folder, mode):
    labels = np.array([[0, 1, 1], [1, 0, 1]], dtype=np.uint8)
    np.save(folder / "logits" / "x.npy", np.zeros((300, 2, 3), dtype=np.float32))
    if mode == "P":
        image = Image.fromarray(labels).convert("P")
        image.putdata(labels.flatten().tolist())
        image.putpalette([200, 10, 10, 10, 200, 10])
    elif mode == "1":
        image = Image.fromarray(labels.astype(bool))
    else:
        labels = labels * np.uint16(299)
        image = Image.fromarray(labels.astype(np.uint16))
    assert image.mode == mode
    image.save(folder / "labels" / "x.png")
    assert np.array_equal(open_folder(folder)[0].labels[0], labels)


@pytest.mark.parametrize("name", ["probabilities", "softmax"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".png"])
def test_nnunet_probabilities(tmp_path, name, suffix):
    """The folder that nnU-Net's prediction leaves: .npz, .pkl and label maps of its own; the true labels elsewhere."""
    space = (2, 4, 5) if suffix == ".nii.gz" else (4, 5)
    for key in KEYS:
        probs = softmax(made(key, space)[0])
        np.savez_compressed(tmp_path / f"{key}.npz", **{name: probs if len(space) == 3 else probs[:, None]})
        (tmp_path / f"{key}.pkl").write_bytes(b"never read")
        own = probs.argmax(0).astype(np.uint8)
        if suffix == ".nii.gz":
            nibabel.save(nibabel.Nifti1Image(own.T, np.eye(4)), tmp_path / f"{key}.nii.gz")
        else:
            Image.fromarray(own).save(tmp_path / f"{key}.png")
    (tmp_path / "dataset.json").write_text("{}")
    save_labels(tmp_path / "elsewhere" / "labelsTs", suffix, space)
    predictions = open_folder(tmp_path, labels=tmp_path / "elsewhere" / "labelsTs", probabilities=True)
    check(predictions, space, probabilities=True)


@pytest.mark.parametrize("layout", ["four axes", "five axes", "a file each class"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_nifti_probability_maps(tmp_path, layout, big_endian):
    space = (2, 4, 5)
    (tmp_path / "probabilities").mkdir()
    for key in KEYS:
        probs = softmax(made(key, space)[0]).T  # (x, y, z, c)
        kind = nibabel.Nifti1Image
        parts = {"": probs[:, :, :, None] if layout == "five axes" else probs}
        if layout == "a file each class":
            parts = {f"_{c:04d}": probs[..., c] for c in range(CLASSES)}
        for end, part in parts.items():
            header = nibabel.Nifti1Header(endianness=">" if big_endian else "<")
            header.set_data_dtype(np.float32)
            nibabel.save(kind(part, np.eye(4), header), tmp_path / "probabilities" / f"{key}{end}.nii.gz")
    save_labels(tmp_path / "labels", ".nii.gz", space)
    check(open_folder(tmp_path, probabilities=True), space, probabilities=True)


def test_nifti_labels_in_floating_point_are_whole_numbers_all_the_same(tmp_path):
    logits, labels = made("b", (2, 4, 5))
    nibabel.save(nibabel.Nifti1Image(logits.T, np.eye(4)), tmp_path / "b.nii.gz")
    (tmp_path / "labels").mkdir()
    nibabel.save(nibabel.Nifti1Image(labels.T.astype(np.float32), np.eye(4)), tmp_path / "labels" / "b.nii")
    assert (open_folder(tmp_path)[0].labels[0, 1:].numpy() == labels[1:]).all()


def test_one_channel_of_probabilities_is_that_of_the_foreground(folder):
    foreground = np.array([[0.25, 1.0], [0.0, 0.5]], dtype=np.float32)
    np.save(folder / "logits" / "x.npy", foreground[None])
    np.save(folder / "labels" / "x.npy", np.zeros((2, 2), dtype=np.int64))
    np.testing.assert_allclose(open_folder(folder, probabilities=True)[0].logits.softmax(0)[1], foreground, atol=1e-7)


def test_several_annotators_have_a_folder_each(folder):
    for key in KEYS:
        np.save(folder / "logits" / f"{key}.npy", made(key)[0])
    for annotator in ("ann", "bob"):
        save_labels(folder / "labels" / annotator)
    for key in KEYS:
        np.save(folder / "labels" / "bob" / f"{key}.npy", np.zeros((4, 5), dtype=np.int16))
        (folder / "labels" / "bob" / f"{key}.png").unlink()
    labels = open_folder(folder)[0].labels
    assert labels.shape == (2, 4, 5)
    assert np.array_equal(labels[0, 1:], made(KEYS[0])[1][1:])
    assert (labels[1] == 0).all()


def test_scores_and_labels_may_lie_side_by_side(tmp_path):
    for key in KEYS:
        np.save(tmp_path / f"{key}.npy", made(key)[0])
    save_labels(tmp_path)
    check(open_folder(tmp_path, labels=tmp_path))


def test_pictures_are_read_as_rgb_and_resized_to_the_labels(folder):
    colours = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    (folder / "images").mkdir()
    for key in KEYS:
        np.save(folder / "logits" / f"{key}.npy", made(key)[0])
    save_labels(folder / "labels")
    Image.fromarray(colours).save(folder / "images" / "a.1.png")
    Image.new("RGB", (50, 40), (255, 0, 51)).save(folder / "images" / "b.jpg", quality=100)
    same, resized = (p.image for p in open_folder(folder))
    assert torch.equal(same, torch.as_tensor(colours).movedim(2, 0).float() / 255)
    assert resized.shape == (3, 4, 5)
    torch.testing.assert_close(resized.mean((1, 2)), torch.tensor([1.0, 0.0, 0.2]), atol=0.02, rtol=0)


def test_labels_without_scores_are_counted(folder):
    np.save(folder / "logits" / "b.npy", made("b")[0])
    save_labels(folder / "labels")
    predictions = open_folder(folder)
    assert (predictions.keys, predictions.unused_labels) == (("b",), 1)


def test_ignore_index_is_the_users(folder):
    np.save(folder / "logits" / "x.npy", np.zeros((3, 1, 3)))
    np.save(folder / "labels" / "x.npy", np.array([[0, 1, 2]]))
    assert open_folder(folder, ignore_index=1)[0].labels.tolist() == [[[0, IGNORE, 2]]]
    assert open_folder(folder, ignore_index=None)[0].labels.tolist() == [[[0, 1, 2]]]


@pytest.mark.parametrize("probabilities", [False, True])
def test_logits_at_the_networks_own_stride_are_upsampled_and_stored_small(folder, probabilities):
    for key in KEYS:
        logits = made(key, (8, 10))[0][:, ::2, ::2]
        np.save(folder / "logits" / f"{key}.npy", softmax(logits) if probabilities else logits)
    save_labels(folder / "labels", space=(8, 10))
    predictions = open_folder(folder, upsample=True, probabilities=probabilities)
    small = torch.as_tensor(np.load(folder / "logits" / "b.npy"))
    small = small.log() if probabilities else small
    expected = F.interpolate(small[None], size=(8, 10), mode="bilinear", align_corners=False)[0]
    assert torch.equal(predictions[1].logits, expected)
    stored = write_store(predictions, folder / "store")
    assert stored.strided(1).logits.shape == (CLASSES, 4, 5)
    assert torch.equal(stored[1].logits, expected)
    assert torch.equal(stored[1].labels, predictions[1].labels)
    again = write_store(stored, folder / "again")
    assert again.strided(1).logits.shape == (CLASSES, 4, 5), "a store of a store keeps the stride"


@pytest.mark.skipif(not (REAL / "camvid_espnet_logits").exists(), reason="needs the shared data")
def test_a_real_models_logits(tmp_path):
    folder = REAL / "camvid_espnet_logits"
    predictions = open_folder(folder, images=REAL / "camvid" / "images")
    assert (len(predictions), predictions.unused_labels) == (80, 0)
    first = predictions[0]
    assert first.logits.dtype == torch.float16
    assert (first.logits.shape, first.labels.shape, first.image.shape) == ((11, 120, 160), (1, 120, 160), (3, 120, 160))
    raw = np.array(Image.open(folder / "labels" / f"{first.key}.png"))
    assert np.array_equal(first.labels[0] == IGNORE, raw == 255)
    stored = write_store(predictions, tmp_path)
    assert all(torch.equal(stored[i].logits, predictions[i].logits) for i in (0, 40, 79))
    assert torch.equal(stored[0].image, first.image)
