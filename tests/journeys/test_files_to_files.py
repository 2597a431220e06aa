"""From the files that people have to the files that they work with, command by command."""

import json
import os
import pickle
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image


def drawn(seed, *space, num_classes=3):
    """Return logits of a model that is too sure, and labels drawn from its tempered probabilities."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(num_classes, *space)).astype(np.float32)
    probs = np.exp(logits) / np.exp(logits).sum(0)
    labels = (probs.cumsum(0) < rng.random(space)).sum(0).clip(max=num_classes - 1)
    return 3 * logits, labels.astype(np.uint8)


MODEL = """
import torch

def build():
    model = torch.nn.Conv2d(3, 3, 4, stride=4)
    with torch.no_grad():
        model.weight.copy_(torch.randn(model.weight.shape, generator=torch.Generator().manual_seed(0)))
    return model
"""


def test_street_images_in_folders_of_mmsegmentation(calibrant, tmp_path):
    """img_dir and ann_dir in; a calibrator; label and confidence PNGs of new pictures out."""
    data, new = tmp_path / "data", tmp_path / "new"
    rng = np.random.default_rng(0)
    for folder in ("img_dir/val", "ann_dir/val"):
        (data / folder).mkdir(parents=True)
    new.mkdir()
    for number in range(4):
        picture = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
        picture.save(data / f"img_dir/val/{number}.png")
        labels = rng.integers(0, 4, (24, 32), dtype=np.uint8)  # 0 is unlabelled: reduce_zero_label
        Image.fromarray(labels).save(data / f"ann_dir/val/{number}.png")
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(new / f"new {number}.jpg")
    (tmp_path / "model.py").write_text(MODEL)
    model = [f"{tmp_path / 'model.py'}:build", "--trust", "--class-names", "road,sky,tree"]
    given = ["--images", "img_dir/val", "--labels", "ann_dir/val", "--ignore-index", 0, "--first-label", 1]

    code, _, err = calibrant("predict", *model[:1], data, *model[1:], "-o", tmp_path / "x")
    assert code == 2
    assert "--labels ann_dir" in err
    code, out, err = calibrant("predict", *model[:1], data, *model[1:], *given, "-o", tmp_path / "val")
    assert code == 0, err
    code, out, err = calibrant("fit", tmp_path / "val", "--method", "temperature", "-o", tmp_path / "ts")
    assert code == 0, err
    code, out, err = calibrant("predict", *model[:1], new, *model[1:], "-o", tmp_path / "unlabelled")
    assert code == 0, err
    assert "labels: none" in out
    for command in (["measure"], ["fit", "--method", "temperature", "-o", tmp_path / "no"]):
        code, _, err = calibrant(command[0], tmp_path / "unlabelled", *command[1:])
        assert code == 2
        assert "written without any" in err
    code, out, err = calibrant("apply", tmp_path / "ts", tmp_path / "unlabelled", "-o", tmp_path / "calibrated")
    assert code == 0, err
    maps = tmp_path / "maps"
    code, out, err = calibrant("export", tmp_path / "calibrated", "--as", "png", "--first-label", 1, "-o", maps)
    assert code == 0, err
    assert calibrant("verify", maps)[0] == 0

    from calibrant.data import StoredPredictions

    for prediction in StoredPredictions(tmp_path / "calibrated"):
        with Image.open(maps / "labels" / f"{prediction.key}.png") as labels:
            assert labels.mode == "L"
            assert np.array_equal(np.asarray(labels), prediction.logits.argmax(0).numpy() + 1)
        with Image.open(maps / "confidence" / f"{prediction.key}.png") as confidence:
            expected = prediction.logits.softmax(0).amax(0).numpy()
            assert np.abs(np.asarray(confidence) / 65535 - expected).max() < 1e-4
    # The same command finds what it wrote; another one is refused.
    assert calibrant("export", tmp_path / "calibrated", "--as", "png", "--first-label", 1, "-o", maps)[0] == 0
    code, _, err = calibrant("export", tmp_path / "calibrated", "--as", "png", "-o", maps)
    assert code == 2
    assert "--first-label" in err


LABELS = {"background": 0, "liver": 1, "tumour": 2}
PLANS = {"image_reader_writer": "SimpleITKIO", "label_manager": "LabelManager", "configurations": {}}


def nnunet_case(folder, key, probs, affine):
    """Write one case as nnU-Net's prediction does: probabilities (c, z, y, x), its label map, and what it knows."""
    nibabel = pytest.importorskip("nibabel")
    sitk = pytest.importorskip("SimpleITK")
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{key}.npz", probabilities=probs.astype(np.float32))
    own = nibabel.Nifti1Image(probs.argmax(0).T.astype(np.uint8), affine)
    own.header.set_xyzt_units("mm")
    nibabel.save(own, folder / f"{key}.nii.gz")
    image = sitk.ReadImage(str(folder / f"{key}.nii.gz"))
    about = {"spacing": image.GetSpacing(), "origin": image.GetOrigin(), "direction": image.GetDirection()}
    said = {"sitk_stuff": about, "spacing": [2.5, 0.8, 0.7]}
    (folder / f"{key}.pkl").write_bytes(pickle.dumps(said))


@pytest.fixture
def nnunet(tmp_path):
    """Results as nnU-Net v2 writes them: two folds, three graders, and a case without labels; axes that are rotated."""
    nibabel = pytest.importorskip("nibabel")
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("zyx", (20, 10, 5), degrees=True).as_matrix() @ np.diag((0.7, 0.8, 2.5))
    affine[:3, 3] = (-31.5, 12.25, 100)
    name, trainer = "Dataset001_Liver", "nnUNetTrainer__nnUNetPlans__3d_fullres"
    results, labels = tmp_path / "nnUNet_results" / name / trainer, tmp_path / "nnUNet_raw" / name / "labelsTr"
    test, split = tmp_path / "predicted", tmp_path / "nnUNet_preprocessed" / name / "splits_final.json"
    folds = {"0": ("liver_000", "liver_001"), "1": ("liver_002",)}
    places = {results / f"fold_{fold}" / "validation": keys for fold, keys in folds.items()}
    for folder, keys in {**places, test: ("new",), tmp_path / "other": ("new",)}.items():
        for key in keys:
            logits, drawn_labels = drawn(zlib.crc32(f"{folder.name}{key}".encode()), 5, 6, 7)  # z, y, x
            probs = np.exp(logits - logits.max(0)) / np.exp(logits - logits.max(0)).sum(0)
            nnunet_case(folder, key, probs, affine)
            for grader in ("a", "b", "c") if key != "new" else ():
                (labels / grader).mkdir(parents=True, exist_ok=True)
                seen = drawn_labels.copy()
                seen.flat[:: 3 + ord(grader) % 5] = 0
                nibabel.save(nibabel.Nifti1Image(seen.T, affine), labels / grader / f"{key}.nii.gz")
    cases = [key for keys in folds.values() for key in keys]
    splits = [{"train": sorted(set(cases) - set(keys)), "val": list(keys)} for keys in folds.values()]
    split.parent.mkdir(parents=True)
    split.write_text(json.dumps(splits))
    for folder in (results, test, tmp_path / "other"):
        about = {"labels": LABELS, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz", "numTraining": 3}
        (folder / "dataset.json").write_text(json.dumps(about))
        (folder / "plans.json").write_text(json.dumps(PLANS))
    return results, test


def test_results_of_nnunet_and_back(calibrant, nnunet, tmp_path):
    """Folds of results as they lie in; a calibrator of all; calibrated NIfTI and .npz of an unlabelled case out."""
    import nibabel

    results, test = nnunet
    code, out, err = calibrant("import", results, "-o", tmp_path / "val")
    assert code == 0, err
    for line in (
        "dataset.json of nnU-Net: background, liver, tumour",
        "3 cases of fold_0, fold_1; all are out of fold, as ",
        "nnUNet_raw/Dataset001_Liver/labelsTr",
        "3 label maps an image are those of as many annotators",
        "where pixels lie is kept, of 3 of 3 images",
    ):
        assert line in out
    code, out, err = calibrant("fit", tmp_path / "val", "--method", "temperature", "-o", tmp_path / "ts")
    assert code == 0, err
    code, out, err = calibrant("measure", tmp_path / "val", "--calibrator", tmp_path / "ts")
    assert code == 0, err
    code, _, err = calibrant("import", test, "-o", tmp_path / "test")
    assert code == 2
    assert "--no-labels" in err
    code, out, err = calibrant("import", test, "--no-labels", "-o", tmp_path / "test")
    assert code == 0, err
    for kind, more in (("nifti", ["--what", "labels,probabilities,confidence"]), ("nnunet", ["--beside", test])):
        given = ["--calibrator", tmp_path / "ts", "--as", kind, *more]
        code, out, err = calibrant("export", tmp_path / "test", *given, "-o", tmp_path / kind)
        assert code == 0, err
    code, _, err = calibrant(
        "export", tmp_path / "val", "--as", "nnunet", "--beside", results, "-o", tmp_path / "folds"
    )
    assert code == 0, err
    assert (tmp_path / "folds/liver_002.pkl").is_file()

    from calibrant.calibrators import load
    from calibrant.data import StoredPredictions

    (stored,) = StoredPredictions(tmp_path / "test")
    expected = load(tmp_path / "ts")(stored.logits[None])[0].softmax(0).numpy()
    own = nibabel.load(test / "new.nii.gz")
    written = nibabel.load(tmp_path / "nifti/labels/new.nii.gz")
    assert np.array_equal(written.affine, own.affine)
    assert written.header.get_zooms() == own.header.get_zooms()
    assert written.header.get_xyzt_units() == own.header.get_xyzt_units()
    assert np.array_equal(np.asarray(written.dataobj), np.asarray(own.dataobj))  # temperature scaling keeps labels
    probs = nibabel.load(tmp_path / "nifti/probabilities/new.nii.gz")
    assert np.allclose(np.moveaxis(np.asarray(probs.dataobj), -1, 0), expected.transpose(0, 3, 2, 1), atol=4e-3)
    with np.load(tmp_path / "nnunet/new.npz") as arrays:
        assert np.allclose(arrays["probabilities"], expected, atol=4e-3)
        assert np.array_equal(arrays["probabilities"].argmax(0).T, np.asarray(own.dataobj))
    assert (tmp_path / "nnunet/new.pkl").read_bytes() == (test / "new.pkl").read_bytes()
    assert (tmp_path / "nnunet/dataset.json").is_file()

    sitk = pytest.importorskip("SimpleITK")
    one, other = (sitk.ReadImage(str(path)) for path in (test / "new.nii.gz", tmp_path / "nifti/labels/new.nii.gz"))
    assert one.GetSpacing() == other.GetSpacing()
    assert one.GetDirection() == other.GetDirection()
    assert one.GetOrigin() == other.GetOrigin()
    assert np.array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(other))


ENSEMBLE = """
import sys
from nnunetv2.ensembling.ensemble import ensemble_folders
if __name__ == "__main__":
    ensemble_folders(sys.argv[2:], sys.argv[1], save_merged_probabilities=True, num_processes=1)
"""


@pytest.mark.slow
@pytest.mark.skipif("CALIBRANT_NNUNET" not in os.environ, reason="CALIBRANT_NNUNET names no folder with nnunetv2")
def test_ensembling_of_nnunet_takes_what_was_exported(calibrant, nnunet, tmp_path):
    """nnU-Net's own code averages our .npz with its own and writes the labels on the grid of the case.

    Opt-in: install nnunetv2 into a folder of its own without torch (``uv pip install --target FOLDER --override …``),
    and name it: CALIBRANT_NNUNET=FOLDER.
    """
    import nibabel

    results, test = nnunet
    for name, given in (
        ("val", ["import", results]),
        ("test", ["import", test, "--no-labels"]),
        ("ts", ["fit", tmp_path / "val", "--method", "temperature"]),
        ("ours", ["export", tmp_path / "test", "--calibrator", tmp_path / "ts", "--as", "nnunet", "--beside", test]),
    ):
        code, _, err = calibrant(*given, "-o", tmp_path / name)
        assert code == 0, err
    script = tmp_path / "ensemble.py"
    script.write_text(ENSEMBLE)
    folders = [str(tmp_path / name) for name in ("ensemble", "ours", "other")]
    surroundings = os.environ | {"PYTHONPATH": os.environ["CALIBRANT_NNUNET"]}
    done = subprocess.run([sys.executable, script, *folders], env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    both = [np.load(tmp_path / name / "new.npz")["probabilities"] for name in ("ours", "other")]
    made = nibabel.load(tmp_path / "ensemble/new.nii.gz")
    assert np.array_equal(np.asarray(made.dataobj).T, ((both[0] + both[1]) / 2).argmax(0))
    assert np.allclose(made.affine, nibabel.load(test / "new.nii.gz").affine, atol=1e-5)


def test_tiles_of_a_map_and_back(calibrant, tmp_path):
    """GeoTIFF tiles with CRS and missing data in; calibrated GeoTIFF with the same profile out."""
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "width": 32, "height": 48, "crs": "EPSG:32633", "compress": "deflate"}
    profile |= {"transform": rasterio.Affine(10, 0, 412340, 0, -10, 5654320)}
    profile |= {"tiled": True, "blockxsize": 16, "blockysize": 16}
    for folder in ("logits", "labels"):
        (tmp_path / "tiles" / folder).mkdir(parents=True)
    for number in range(3):
        logits, labels = drawn(number, 48, 32)
        labels[:5] = 255
        with rasterio.open(
            tmp_path / f"tiles/logits/{number}.tif", "w", count=3, dtype="float32", nodata=-9999, **profile
        ) as file:
            logits[:, :5] = -9999
            file.write(logits)
        with rasterio.open(
            tmp_path / f"tiles/labels/{number}.tif", "w", count=1, dtype="uint8", nodata=255, **profile
        ) as file:
            file.write(labels[None])
    given = ["--class-names", "soil,crop,water", "--class-axis", -1]
    code, _, err = calibrant("import", tmp_path / "tiles", *given, "-o", tmp_path / "s")
    assert code == 0, err
    code, _, err = calibrant("fit", tmp_path / "s", "--method", "temperature", "-o", tmp_path / "ts")
    assert code == 0, err
    given = ["--calibrator", tmp_path / "ts", "--as", "geotiff", "--what", "labels,probabilities"]
    code, _, err = calibrant("export", tmp_path / "s", *given, "-o", tmp_path / "out")
    assert code == 0, err
    from calibrant.data import StoredPredictions

    stored = StoredPredictions(tmp_path / "s")
    assert stored.geometry["0"].pixel_size == (100.0, "m²")
    with rasterio.open(tmp_path / "tiles/labels/1.tif") as source, rasterio.open(tmp_path / "out/labels/1.tif") as made:
        assert made.profile == source.profile
        assert np.array_equal(made.read(1), stored[1].logits.argmax(0).numpy())
    with rasterio.open(tmp_path / "out/probabilities/1.tif") as made:
        assert made.count == 3
        assert made.crs == rasterio.crs.CRS.from_epsg(32633)
        assert np.array_equal(made.read().argmax(0), stored[1].logits.argmax(0).numpy())
        assert np.allclose(made.read().sum(0), 1, atol=1e-5)
    code, out, err = calibrant("areas", tmp_path / "s", "--calibrator", tmp_path / "ts", "--classes", 1, "--json", "-")
    assert code == 0, err
    for found in json.loads(out)["areas"]:
        assert (found["unit"], found["pixels"]) == ("m²", 43 * 32), "missing data are not counted"
        assert found["low"] < found["expected"] < found["high"]
        assert found["area"] % 100 == 0
    code, _, err = calibrant("export", tmp_path / "s", "--as", "nifti", "-o", tmp_path / "no")
    assert code == 2
    assert "was not made from nifti files" in err
    assert not list((tmp_path / "no").glob("*"))
