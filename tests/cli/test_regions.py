"""Overlapping regions: one store, calibrator, export and table for each, by one command for all."""

import json

import numpy as np
import pytest

REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Predictions of a region-based nnU-Net that is too sure: sigmoids of three regions, and labels drawn from them."""
    path = tmp_path_factory.mktemp("regions") / "predicted"
    (path / "labels").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for key in "abc":
        logits = rng.normal(size=(3, 2, 12, 12)).cumsum(0) - 1
        inside = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
        labels = np.select([inside[2], inside[1], inside[0]], [3, 2, 1], 0).astype(np.uint8)
        labels[0, 0, :3] = 255
        np.save(path / "labels" / f"{key}.npy", labels)
        np.savez(path / f"{key}.npz", probabilities=(1 / (1 + np.exp(-3 * logits))).astype(np.float32))
        (path / f"{key}.pkl").write_bytes(b"never opened")
    about = {"labels": REGIONS, "regions_class_order": [1, 2, 3], "file_ending": ".nii.gz"}
    (path / "dataset.json").write_text(json.dumps(about))
    return path


@pytest.fixture(scope="module")
def stores(calibrant, results, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores")
    code, out, err = calibrant("import", results, "-o", path / "s")
    assert code == 0, err
    assert out.count("region ") == 3
    code, out, err = calibrant("fit", path / "s", "--method", "temperature", "-o", path / "ts")
    assert code == 0, err
    assert out.count("TemperatureScaling") == 3
    return path


@pytest.mark.slow
def test_regions_are_measured_and_calibrated_together(calibrant, stores, tmp_path):
    given = ["--calibrator", stores / "ts", "--json", tmp_path / "m.json", "--fail-if", "ece>0.9"]
    code, out, err = calibrant("measure", stores / "s", *given)
    assert code == 0, err
    assert [line for line in out.splitlines() if line.startswith("region")] == [
        "region whole",
        "region core",
        "region enhancing",
    ]
    for name in ("whole", "core", "enhancing"):
        values = json.loads((tmp_path / f"m-{name}.json").read_text())["values"]
        plain, calibrated = (each["nll"]["value"] for each in values.values())
        assert calibrated < plain
    assert calibrant("measure", stores / "s", "--fail-if", "ece>0.0001")[0] == 1
    assert calibrant("apply", stores / "ts", stores / "s", "-o", tmp_path / "out")[0] == 0
    assert calibrant("measure", tmp_path / "out")[1].count("region") == 3
    code, out, err = calibrant("verify", stores / "s", stores / "ts", tmp_path / "out")
    assert code == 0, err
    assert "3 regions: whole, a store of 3 images" in out


def test_areas_and_maps_of_each_region(calibrant, stores, tmp_path):
    code, _, err = calibrant("areas", stores / "s", "--calibrator", stores / "ts", "-o", tmp_path / "areas.csv")
    assert code == 0, err
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "areas-core.csv",
        "areas-enhancing.csv",
        "areas-whole.csv",
    ]
    code, _, err = calibrant("export", stores / "s", "--as", "npy", "--what", "labels", "-o", tmp_path / "maps")
    assert code == 0, err
    assert (tmp_path / "maps/core/labels/a.npy").is_file()


def test_nnunet_gets_one_file_of_all_regions(calibrant, stores, results, tmp_path):
    given = ["--calibrator", stores / "ts", "--as", "nnunet", "--beside", results]
    code, _, err = calibrant("export", stores / "s", *given, "-o", tmp_path / "out")
    assert code == 0, err
    before = np.load(results / "a.npz")["probabilities"]
    after = np.load(tmp_path / "out/a.npz")["probabilities"]
    assert after.shape == before.shape
    apart = np.abs(before - 0.5) > 0.01
    assert np.array_equal((after > 0.5)[apart], (before > 0.5)[apart])
    assert np.abs(after - 0.5).mean() < np.abs(before - 0.5).mean(), "less sure than before"
    assert (tmp_path / "out/a.pkl").read_bytes() == b"never opened"
    assert calibrant("verify", tmp_path / "out")[0] == 0


def test_regions_of_other_files_are_named_by_hand(calibrant, results, tmp_path):
    folder = tmp_path / "scores"
    for name in ("probs", "labels"):
        (folder / name).mkdir(parents=True)
    np.save(folder / "probs/a.npy", np.load(results / "a.npz")["probabilities"][:2])
    np.save(folder / "labels/a.npy", np.load(results / "labels/a.npy"))
    given = ["--probabilities", "--class-axis", 0, "--regions", "whole=1+2+3, core=2+3"]
    code, out, err = calibrant("import", folder, *given, "-o", tmp_path / "s")
    assert code == 0, err
    assert "region core, of the labels 2, 3" in out
    assert json.loads((tmp_path / "s/regions.json").read_text())["regions"] == ["whole", "core"]


WRONG = {
    "whole=1+2+3": ["import", "RESULTS", "-o", "OUT", "--regions", "whole"],
    "in 'a=1,a=2'": ["import", "RESULTS", "-o", "OUT", "--regions", "a=1,a=2"],
    "a channel for each of 1 regions; got 3": ["import", "RESULTS", "-o", "OUT", "--regions", "a=1"],
    "--class-names": ["import", "RESULTS", "-o", "OUT", "--class-names", "x,y"],
    "Run the command for the store of each": ["measure", "STORE", "-o", "OUT", "--part", "1/2"],
    "a file for --json": ["measure", "STORE", "--json", "-"],
    "the regions whole, core": ["measure", "STORE", "STORE/whole"],
    "regions_class_order": ["export", "STORE", "--as", "nnunet", "--beside", "PLAIN", "-o", "OUT"],
}


@pytest.mark.parametrize("word", WRONG)
def test_what_cannot_be_is_one_sentence(calibrant, stores, results, tmp_path, word):
    plain = tmp_path / "plain"
    plain.mkdir()
    for key in "abc":
        (plain / f"{key}.pkl").write_bytes(b"")
    names = {"RESULTS": results, "STORE": stores / "s", "OUT": tmp_path / "out", "PLAIN": plain}
    code, _, err = calibrant(*(names.get(each, each.replace("STORE", str(stores / "s"))) for each in WRONG[word]))
    assert code == 2
    assert word in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
