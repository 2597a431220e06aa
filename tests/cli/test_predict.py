"""``calibrant predict``: any model over any data set into a store, interrupted or not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from calibrant.data import StoredPredictions, camvid, image_folder

CLASSES = ("road", "sky", "tree")
MODELS = """
import os
import time
import torch
from torch import nn

def build(classes=3):
    torch.manual_seed(0)
    return nn.Conv2d(3, classes, 4, stride=4)

def wide():
    return build(5)

def camvid():
    return build(11)

def slow(images):
    time.sleep(0.15)
    # Something of the batch in each answer: only the same batches give the same numbers.
    return F(images) + images.mean()

F = build().requires_grad_(False)
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Twelve images in two sizes, with void pixels, and the user's own models beside them."""
    path = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    (path / "images").mkdir()
    (path / "labels").mkdir()
    for number in range(12):
        size = (16, 24) if number < 7 else (12, 20)
        labels = rng.integers(0, 3, size, dtype=np.uint8)
        labels[:2] = 255
        Image.fromarray(labels).save(path / "labels" / f"{number:02d}.png")
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path / "images" / f"{number:02d}.png")
    (path / "models.py").write_text(MODELS)
    return path


@pytest.fixture(scope="session")
def predict(calibrant, folder):
    return lambda model, *arguments, data=folder: calibrant("predict", model, data, *arguments)


NAMES = ("--class-names", ",".join(CLASSES))


@pytest.fixture
def model(folder):
    sys.path.insert(0, str(folder))
    yield f"{folder / 'models.py'}:build"
    sys.path.remove(str(folder))


def network():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 3, 4, stride=4).requires_grad_(False)


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in Path(path).iterdir()}


def test_what_is_stored_is_what_the_model_says(predict, folder, model, tmp_path):
    code, out, err = predict(model, "--trust", *NAMES, "--batch", 4, "-o", tmp_path / "store")
    assert (code, err) == (0, "")
    assert "12 images, 3 classes" in out
    stored, examples = StoredPredictions(tmp_path / "store"), image_folder(folder, class_names=CLASSES)
    assert stored.keys == examples.keys
    assert stored.class_names == CLASSES
    for i, example in enumerate(examples):
        logits = network()(example.image[None])
        torch.testing.assert_close(stored.strided(i).logits, logits[0], rtol=1e-5, atol=1e-5)
        assert torch.equal(stored[i].labels, example.labels)
        assert torch.equal(stored[i].image, example.image)
    assert stored.provenance.resolution == "the network's own, upsampled linearly to the labels when read"
    assert stored.provenance.ignore == "255 in the label files"
    assert "models.py:build (Conv2d, images in [0, 1])" in stored.provenance.model


def test_at_the_labels_resolution_and_in_half_precision(predict, folder, model, tmp_path):
    options = ("--resolution", "label", "--dtype", "float16", "--no-images", "--limit", 3)
    assert predict(model, "--trust", *NAMES, *options, "-o", tmp_path / "store")[0] == 0
    stored = StoredPredictions(tmp_path / "store")
    assert len(stored) == 3
    example = image_folder(folder, class_names=CLASSES)[1]
    expected = F.interpolate(network()(example.image[None]), example.labels.shape[1:], mode="bilinear")[0]
    assert torch.equal(stored.strided(1).logits, expected.half())
    assert stored[1].image is None
    assert stored.provenance.resolution.startswith("the labels' size")


def test_windows_scales_and_mirror_images_are_recorded_and_run(predict, folder, model, tmp_path):
    from calibrant.models import InViews

    options = ("--crop", "8,12", "--overlap", 0.5, "--scales", "1,1.5", "--flip", "--limit", 2)
    assert predict(model, "--trust", *NAMES, *options, "-o", tmp_path / "store")[0] == 0
    stored = StoredPredictions(tmp_path / "store")
    image = image_folder(folder, class_names=CLASSES)[0].image
    views = InViews(network(), crop=(8, 12), overlap=0.5, scales=(1.0, 1.5), flip=True)
    torch.testing.assert_close(stored[0].logits, views(image[None])[0], rtol=1e-5, atol=1e-5)
    told = stored.provenance.resolution
    assert "windows of 8 x 12, overlap 0.5, mean of logits" in told
    assert "scales 1, 1.5 and mirrored, mean of probabilities" in told


def test_a_hugging_face_folder_on_camvid(predict, tmp_path):
    transformers = pytest.importorskip("transformers")
    root = tmp_path / "CamVid"
    rng = np.random.default_rng(0)
    for part in ("train", "val", "test"):
        for folder, shape in ((part, (32, 48, 3)), (f"{part}annot", (32, 48))):
            (root / folder).mkdir(parents=True)
            array = rng.integers(0, 12 if len(shape) == 2 else 256, shape, dtype=np.uint8)
            Image.fromarray(array).save(root / folder / f"0001TP_{part}.png")
    names = camvid(root).class_names
    sizes = {"depths": [1] * 4, "hidden_sizes": [8] * 4, "num_attention_heads": [1] * 4, "decoder_hidden_size": 8}
    config = transformers.SegformerConfig(**sizes, id2label=dict(enumerate(names)))
    made = transformers.SegformerForSemanticSegmentation(config).eval()
    made.save_pretrained(tmp_path / "model")
    transformers.SegformerImageProcessor().save_pretrained(tmp_path / "model")
    code, _, err = predict(tmp_path / "model", "--dataset", "camvid", "-o", tmp_path / "store", data=root)
    assert code == 0, err
    stored = StoredPredictions(tmp_path / "store")
    assert stored.class_names == names
    assert (stored.provenance.data, stored.provenance.ignore) == ("CamVid test", camvid(root).ignore)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        logits = made(((camvid(root)[0].image - mean) / std)[None]).logits[0]
    torch.testing.assert_close(stored.strided(0).logits, logits, rtol=1e-4, atol=1e-5)
    # The same names in another order would swap classes without a word.
    config.id2label = dict(enumerate(names[::-1]))
    made.save_pretrained(tmp_path / "model")
    code, _, err = predict(tmp_path / "model", "--dataset", "camvid", "-o", tmp_path / "other", data=root)
    assert code == 2
    assert "got another order: class 0 is 'Bicyclist' to the model and 'Sky' in the data" in err
    config.id2label = dict(enumerate(("heaven", *names[1:])))
    made.save_pretrained(tmp_path / "model")
    code, _, err = predict(tmp_path / "model", "--dataset", "camvid", "-o", tmp_path / "other", data=root)
    assert code == 0
    assert "note: class 0 is 'heaven' to the model and 'Sky' in the data; going on, as there are 11 of both" in err


# -- interrupted


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_and_resumed_it_is_the_same_to_the_byte(predict, folder, model, tmp_path, stop):
    options = ["--trust", *NAMES, "--batch", "3"]
    slow = model.replace("build", "slow")
    begun = [sys.executable, "-c", "from calibrant.cli import main; main()", "predict", slow, str(folder), *options]
    running = subprocess.Popen(
        [*begun, "-o", str(tmp_path / "cut")],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while len(list((tmp_path / "cut").glob("[!.]*.safetensors"))) < 4:
        time.sleep(0.02)
        assert running.poll() is None, running.communicate()
    running.send_signal(stop)
    _, told = running.communicate()
    if stop == signal.SIGINT:
        assert running.returncode == 130
        assert "run the same command again to go on" in told
    done = {name: content for name, content in files(tmp_path / "cut").items() if name.endswith(".safetensors")}
    assert 4 <= len([name for name in done if not name.startswith(".")]) < 12
    assert predict(slow, *options, "-o", tmp_path / "cut")[0] == 0
    assert predict(slow, *options, "-o", tmp_path / "whole")[0] == 0
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert predict(slow, *options, "-o", tmp_path / "cut")[0] == 0


def test_going_on_with_another_model_or_other_windows_is_refused(predict, model, tmp_path):
    assert predict(model, "--trust", *NAMES, "-o", tmp_path / "store")[0] == 0
    for other in (("--crop", 8), ("--normalise", "imagenet"), ("--precision", "bf16-mixed"), ("--resolution", "label")):
        code, _, err = predict(model, "--trust", *NAMES, *other, "-o", tmp_path / "store")
        assert code == 2
        assert "expected the settings that this store was begun with" in err


# -- told


def test_what_is_wrong_is_told(predict, folder, model, tmp_path):
    def refused(*arguments, spec=model, data=folder):
        code, _, err = predict(spec, *arguments, "-o", tmp_path / "x", data=data)
        assert code == 2, err
        assert not (tmp_path / "x" / "manifest.json").exists()
        return err

    trusted = ("--trust", *NAMES)
    assert "(command line: --trust)" in refused(*NAMES)
    assert "expected the folder of" in refused(*trusted, data=tmp_path / "nowhere")
    assert "Get it from the SegNet tutorial" in refused("--trust", "--dataset", "camvid", data=tmp_path / "nowhere")
    assert "Did you mean 'camvid'" in refused("--trust", "--dataset", "camvids")
    assert "--class-names" in refused("--trust")
    assert "expected lists of names (*.txt), one of them val.txt" in refused(*trusted, "--split", "val")
    assert "as kitti has none" in refused("--trust", "--dataset", "kitti", "--split", "val")
    assert "rule of its own" in refused("--trust", "--dataset", "ade20k", "--ignore-index", 0)
    assert "layers such as 75" in refused("--trust", "--dataset", "brats", "--split", "all")
    assert "expected whole numbers from 1 to 100000 with commas between; got 'a,b'" in refused(
        *trusted, "--crop", "a,b"
    )
    assert "windows as one number, or 2" in refused(*trusted, "--crop", "4,4,4")
    assert "below 1" in refused(*trusted, "--crop", 4, "--overlap", 1)
    assert "resolution of: network, label" in refused(*trusted, "--resolution", "full")
    assert "expected one of 32-true, bf16-mixed, 16-mixed" in refused(*trusted, "--precision", "fp8")
    assert "expected a device" in refused(*trusted, "--device", "gpu")
    wide = refused(*trusted, spec=model.replace("build", "wide"))
    assert "expected a model with the 3 classes of the data (road, sky, tree); it has 5." in wide


def test_labels_that_the_classes_do_not_have_are_told(predict, folder, model, tmp_path):
    two = ("--class-names", "road,sky")
    code, _, err = predict(model, "--trust", *two, "-o", tmp_path / "x")
    assert code == 2
    assert "expected label ids" in err
    assert "got 2 in" in err
    code, _, err = predict(model, "--trust", *NAMES, "--ignore-index", -1, "-o", tmp_path / "x")
    assert code == 2
    assert "got 255 in" in err


def test_an_image_without_labels_is_told_by_name(predict, model, tmp_path):
    for name in ("images", "labels"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / "data" / "images" / f"{name}.png")
    Image.new("L", (8, 8)).save(tmp_path / "data" / "labels" / "a.png")
    code, _, err = predict(model, "--trust", *NAMES, "-o", tmp_path / "x", data=tmp_path / "data")
    assert code == 2
    assert "image 'b' of data: expected labels at" in err


def test_every_name_of_a_data_set_reads_one(tmp_path):
    from calibrant.cli._datasets import open_examples
    from calibrant.data import DATA_SETS
    from calibrant.errors import DataError

    for kind in DATA_SETS:
        with pytest.raises(DataError, match="expected"):
            open_examples(kind, tmp_path / "nowhere", split=None, class_names=(), ignore_index=None)


def test_a_model_that_fails_at_the_first_image_is_a_sentence_and_leaves_nothing(predict, tmp_path):
    (tmp_path / "odd.py").write_text("from torch import nn\n\ndef bands():\n    return nn.Conv2d(5, 3, 1)\n")
    given = [f"{tmp_path / 'odd.py'}:bands", "--trust", *NAMES, "-o", tmp_path / "new" / "store"]
    code, _, err = predict(*given)
    assert code == 2
    assert "expected a model that takes images (1, 3, 16, 24); it raised RuntimeError: Given groups=1" in err
    assert not (tmp_path / "new").exists()
