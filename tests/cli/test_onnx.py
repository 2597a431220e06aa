"""``calibrant onnx``: files that are run before they are there."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

DICT = """
import torch
from torch import nn

class Strided(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, images):
        return {"out": self.inside(images), "aux": images}

def build():
    torch.manual_seed(0)
    return Strided()

class OneSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.place = nn.Conv2d(3, 4, 1), nn.Parameter(torch.ones(4, 64, 96))

    def forward(self, images):
        return self.inside(images) * self.place

def one_size():
    torch.manual_seed(0)
    return OneSize()
"""


def answers(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["probabilities", "labels"], {session.get_inputs()[0].name: images})


def test_a_calibrator_alone(calibrant, temperature, tmp_path):
    file = tmp_path / "ts.onnx"
    code, out, err = calibrant("onnx", temperature, "--class-names", "sky,road,tree,car", "-o", file)
    assert code == 0, err
    assert "within" in out
    said = {each.key: each.value for each in onnx.load(file).metadata_props}
    assert said["calibrant.class_names"] == "sky,road,tree,car"
    assert said["calibrant.calibrator_digest"].startswith("sha256:")
    probs, labels = answers(file, np.random.default_rng(0).normal(size=(5, 4, 11, 7)).astype(np.float32))
    assert probs.shape == (5, 4, 11, 7)
    assert np.array_equal(probs.astype(np.float16).argmax(1), labels)


@pytest.mark.slow
def test_the_number_of_classes_is_that_of_the_calibrator_and_nobody_may_say_another(calibrant, temperature, tmp_path):
    import torch

    from calibrant.calibrators import MetaCal, VectorScaling, save

    save(MetaCal(0.9, VectorScaling(torch.tensor([1.0, 1.5, 0.8]), torch.zeros(3))), tmp_path / "mc")
    file = tmp_path / "mc.onnx"
    for given, words in (
        ([tmp_path / "mc", "--num-classes", 4], "got 3 of the calibrator and 4 of --num-classes"),
        ([tmp_path / "mc", "--class-names", "a,b"], "got 3 of the calibrator and 2 of the names"),
        ([temperature], "expected one number of classes; got none"),
    ):
        code, _, err = calibrant("onnx", *given, "-o", file)
        assert (code, words in err) == (2, True), err
        assert not file.exists()
    code, out, err = calibrant("onnx", tmp_path / "mc", "-o", file)
    assert code == 0, err
    assert out.startswith("3 classes")


ODD = """
import torch
from torch import nn

def build():
    return nn.Conv2d(3, 4, 1)

def bands():
    return nn.Conv2d(5, 4, 1)

def flat():
    return lambda images: torch.zeros(3)

def nothing():
    return lambda images: torch.full((len(images), 4, *images.shape[2:]), float("nan"))
"""


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("build", ("--num-classes", 5), "got 4 of the model and 5 of --num-classes"),
        ("build", ("--class-names", "a,b,c"), "got 4 of the model and 3 of the names"),
        ("bands", (), "to have 5 channels, but got 3 channels instead. Another size or number of channels"),
        ("flat", (), "expected the model to return logits (1, classes, *space)"),
        ("nothing", (), "expected finite logits"),
    ],
)
def test_what_the_model_answers_is_looked_at_first(calibrant, temperature, tmp_path, name, more, words):
    (tmp_path / "odd.py").write_text(ODD)
    file = tmp_path / "odd.onnx"
    code, _, err = calibrant("onnx", temperature, f"{tmp_path / 'odd.py'}:{name}", "--trust", *more, "-o", file)
    assert code == 2
    assert words in err
    assert not file.exists()


@pytest.mark.slow
def test_a_model_that_answers_with_a_mapping_at_a_stride(calibrant, temperature, tmp_path):
    (tmp_path / "net.py").write_text(DICT)
    file = tmp_path / "both.onnx"
    given = ["--trust", "--class-names", "sky,road,tree,car", "--normalise", "imagenet", "-o", file]
    code, _, err = calibrant("onnx", temperature, f"{tmp_path / 'net.py'}:build", *given)
    assert code == 0, err
    probs, labels = answers(file, np.random.default_rng(0).random((1, 3, 64, 128), dtype=np.float32))
    assert probs.shape == (1, 4, 64, 128)
    assert np.array_equal(probs.argmax(1), labels)
    assert "less [0.485" in {each.key: each.value for each in onnx.load(file).metadata_props}["calibrant.model"]


@pytest.mark.slow
def test_a_model_of_one_size_is_refused_in_a_sentence_and_taken_with_its_size(calibrant, temperature, tmp_path):
    (tmp_path / "net.py").write_text(DICT)
    file = tmp_path / "one.onnx"
    given = [temperature, f"{tmp_path / 'net.py'}:one_size", "--trust", "--num-classes", 4, "-o", file]
    code, _, err = calibrant("onnx", *given)
    assert code == 2
    assert "--size" in err
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".onnx"]
    code, _, err = calibrant("onnx", *given, "--size", "64,96")
    assert code == 0, err
    assert answers(file, np.zeros((3, 3, 64, 96), np.float32))[0].shape == (3, 4, 64, 96)


@pytest.mark.slow
def test_a_segformer(calibrant, tmp_path):
    pytest.importorskip("transformers")
    import torch
    from tiny_models import segformer

    from calibrant.calibrators import TemperatureScaling, save

    torch.manual_seed(0)
    segformer().save_pretrained(tmp_path / "segformer")
    save(TemperatureScaling(1.7), tmp_path / "ts")
    file = tmp_path / "calibrated.onnx"
    given = ["--normalise", "imagenet", "-o", file]
    code, _, err = calibrant("onnx", tmp_path / "ts", tmp_path / "segformer", *given)
    assert code == 0, err
    probs, labels = answers(file, np.random.default_rng(0).random((1, 3, 192, 256), dtype=np.float32))
    assert probs.shape == (1, 5, 192, 256)
    assert np.array_equal(probs.argmax(1), labels)
    said = {each.key: each.value for each in onnx.load(file).metadata_props}
    assert said["calibrant.class_names"] == "road,sky,tree,car,house"


@pytest.mark.parametrize(
    ("pixels", "words"), [(0, "within 1e-06 of torch's"), (9, "but for 0.09% of pixels"), (11, "")]
)
def test_a_few_pixels_may_differ_by_more_and_are_told(monkeypatch, pixels, words):
    """Where two logits are all but equal rounding tips the label, and what lies around it with it."""
    import torch

    from calibrant._input import checks
    from calibrant.calibrators import Identity
    from calibrant.calibrators.export import probabilities_and_labels
    from calibrant.cli.onnx import _compared
    from calibrant.errors import InputError

    class Session:
        def __init__(self, *_, **__):
            pass

        def get_inputs(self):
            return [self]

        name = "logits"

        def run(self, _, given):
            probs, labels = probabilities_and_labels(Identity(), None, torch.from_numpy(given["logits"]))
            probs = probs + 1e-6
            probs.flatten(2)[0, 0, :pixels] += 0.01
            return probs.numpy(), labels.numpy()

    monkeypatch.setattr(checks, "needs", lambda *_, **__: type("Runtime", (), {"InferenceSession": Session}))
    given = torch.randn(1, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    if words:
        assert words in _compared(Path("some.onnx"), Identity(), None, given)
    else:
        with pytest.raises(InputError, match=r"off by 0\.01"):
            _compared(Path("some.onnx"), Identity(), None, given)


def test_the_sizes_that_a_file_does_for_are_told():
    from calibrant.cli.onnx import _written
    from calibrant.errors import InputError

    def tried(step):
        traced, compared = [], []

        def compare(size):
            compared.append(list(size))
            if any(length % step for length in size):
                raise InputError("other sizes")
            return "within 0"

        return traced.append, compare, traced, compared

    write, compare, traced, _ = tried(1)
    assert _written(write, compare, [(256, 320)], any_size=True) == ("any size", "within 0")
    write, compare, traced, _ = tried(4)
    assert "multiples of 4 alone" in _written(write, compare, [(256, 320)], any_size=True)[0]
    write, compare, traced, compared = tried(7)
    with pytest.raises(InputError, match="other sizes"):
        _written(write, compare, [(256, 320), (260, 292)], any_size=True)
    assert traced == [(256, 320), (260, 292)]
    assert compared[:3] == [[289, 353], [292, 356], [288, 352]]
    assert _written(write, compare, [(14, 21)], any_size=False) == ("14 x 21", "within 0")
