"""What an import and a prediction took their input for is printed and kept with the store."""

import json

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from calibrant.cli import main
from calibrant.data import Provenance, StoredPredictions
from calibrant.data.store._manifest import Settings

RNG = np.random.default_rng(0)


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["calibrant", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        return stopped.value.code or 0, printed.out, " ".join(printed.err.split())

    return call


@pytest.fixture
def folder(tmp_path):
    for part in ("logits", "labels"):
        (tmp_path / "in" / part).mkdir(parents=True)
    for name in "ab":
        labels = RNG.integers(0, 3, (12, 15)).astype(np.uint8)
        labels[0] = 255
        Image.fromarray(labels).save(tmp_path / "in" / "labels" / f"{name}.png")
        np.save(tmp_path / "in" / "logits" / f"{name}.npy", RNG.normal(size=(3, 12, 15)).astype(np.float32))
    (tmp_path / "in" / "labels" / "._a.png").write_bytes(b"x")
    Image.new("L", (15, 12)).save(tmp_path / "in" / "labels" / "c.png")
    return tmp_path


def test_an_import_says_and_keeps_what_it_took_its_input_for(run, folder):
    code, out, err = run("import", folder / "in", "-o", folder / "store")
    assert (code, err) == (0, "")
    kept = StoredPredictions(folder / "store").provenance.taken_for
    for line in kept:
        assert " ".join(line.split()) in " ".join(out.split())
    told = "\n".join(kept)
    assert "scores: logits, numbers in [" in told
    assert "class axis the first" in told
    assert "labels: classes 0, 1, 2 of 3 seen, 8.33% of the pixels unlabelled (label 255)" in told
    assert "1 label maps without scores left out" in told
    assert "1 file passed over: ._a.png" in told


def test_an_import_after_the_files_have_changed_is_refused(run, folder):
    assert run("import", folder / "in", "-o", folder / "store")[0] == 0
    assert run("import", folder / "in", "-o", folder / "store")[0] == 0, "nothing has changed"
    Image.new("L", (15, 12)).save(folder / "in" / "labels" / "a.png")
    code, _, err = run("import", folder / "in", "-o", folder / "store")
    assert code == 2
    assert "not the same input files" in err
    assert run("import", folder / "in", "-o", folder / "store", "--overwrite")[0] == 0


@pytest.mark.parametrize(
    "option", [("--ignore-index", 2), ("--class-axis", 0), ("--scores", "logits"), ("--first-label", 0)]
)
def test_an_option_that_changes_the_reading_is_refused_and_any_other_is_not(run, folder, option):
    assert run("import", folder / "in", "-o", folder / "store")[0] == 0
    code, _, err = run("import", folder / "in", "-o", folder / "store", *option)
    if option == ("--first-label", 0) or option == ("--scores", "logits"):
        assert code == 0, err
    else:
        assert code == 2
        assert "taken_for" in err or "expected labels" in err


def test_a_dead_model_is_told(run, folder):
    for name in "ab":
        np.save(folder / "in" / "logits" / f"{name}.npy", np.full((3, 12, 15), 0.7, np.float32))
    code, _, err = run("import", folder / "in", "-o", folder / "store")
    assert code == 2
    assert "all logits are equal" in err


def test_orientation_is_told(run, tmp_path):
    for part in ("logits", "labels"):
        (tmp_path / "in" / part).mkdir(parents=True)
    scores, labels = RNG.normal(size=(6, 5, 4, 3)).astype(np.float32), RNG.integers(0, 3, (6, 5, 4)).astype(np.uint8)
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 5
    nibabel.save(nibabel.Nifti1Image(scores, flipped), tmp_path / "in" / "logits" / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "in" / "labels" / "a.nii.gz")
    code, out, _ = run("import", tmp_path / "in", "-o", tmp_path / "store")
    assert code == 0
    assert "scores turned from LAS to RAS, as the affines say" in out


def test_options_that_are_asked_for_exist(run):
    told = run("import", "--help")[1] + run("predict", "--help")[1]
    for option in ("--scores", "--array-order", "--label-axis", "--same-grid", "--first-label", "--label-array"):
        assert option in told


def predicting(tmp_path, labels):
    for part in ("images", "labels"):
        (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
    for name in "ab":
        Image.fromarray(RNG.integers(0, 256, (12, 15, 3)).astype(np.uint8)).save(
            tmp_path / "data/images" / f"{name}.png"
        )
        Image.fromarray(labels()).save(tmp_path / "data/labels" / f"{name}.png")
    (tmp_path / "data/images/._a.png").write_bytes(b"x")
    (tmp_path / "nets.py").write_text(
        "from torch import nn\nimport torch\n"
        "def plain():\n    torch.manual_seed(0)\n    return nn.Conv2d(3, 2, 1)\n"
        "def inside():\n    return nn.Sequential(plain(), nn.Softmax(1))\n"
        "def random():\n    inside = plain()\n    return lambda x: inside(x) + torch.randn(1, 2, 1, 1)\n"
    )
    return tmp_path / "nets.py"


def test_a_prediction_says_and_keeps_it_too(run, tmp_path):
    nets = predicting(tmp_path, lambda: (RNG.integers(0, 2, (12, 15)) * 255).astype(np.uint8))
    common = (tmp_path / "data", "--trust", "--class-names", "a,b", "-o")
    code, out, err = run("predict", f"{nets}:plain", *common, tmp_path / "plain")
    assert code == 0, err
    kept = StoredPredictions(tmp_path / "plain").provenance.taken_for
    assert any("labels: classes 0, 1 of 2 seen" in line for line in kept)
    assert any("255 are taken for classes 1" in line for line in kept)
    assert "1 file passed over: ._a.png" in out
    code, _, err = run("predict", f"{nets}:inside", *common, tmp_path / "inside", "--flip")
    assert code == 2
    assert "--scores probabilities" in err
    assert "--probabilities" not in err
    assert run("predict", f"{nets}:inside", *common, tmp_path / "inside", "--flip", "--scores", "probabilities")[0] == 0
    assert run("predict", f"{nets}:plain", *common, tmp_path / "mirrored", "--flip")[0] == 0
    one, other = (StoredPredictions(tmp_path / name)[0].logits.softmax(0) for name in ("inside", "mirrored"))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    Image.new("RGB", (15, 12)).save(tmp_path / "data/images/a.png")  # black, which a living model may answer flatly
    code, _, err = run("predict", f"{nets}:plain", *common, tmp_path / "plain")
    assert code == 2
    assert "not the same images and labels" in err
    code, _, err = run("predict", f"{nets}:random", *common, tmp_path / "random")
    assert code == 2
    assert "the model is random" in err


def test_a_store_that_does_not_say_it_opens():
    old = {"dtype": None, "with_images": True, "provenance": {"model": "m", "class_names": ["a"]}}
    assert Settings.from_json(json.loads(json.dumps(old))).provenance == Provenance(model="m", class_names=("a",))
