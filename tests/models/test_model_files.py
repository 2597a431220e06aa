"""Models in files and functions: opened, the same answers, and nothing run without leave."""

import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from calibrant.errors import DataError, InputError, LogitsError, ShapeError
from calibrant.models import BlockPredictions, open_model
from calibrant.predictions import Example

IMAGES = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    """Says different things in training."""

    def __init__(self, *, stride: int = 1):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, stride=stride), nn.BatchNorm2d(4), nn.Dropout(0.5))

    def forward(self, images):
        return self.layers(images)


def scripted(path: Path, model: nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(model.eval(), IMAGES).save(path)
    return path


def exported(path: Path, model: nn.Module) -> Path:
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    torch.export.save(torch.export.export(model.eval(), (IMAGES,), dynamic_shapes=(free,)), path)
    return path


def onnx_file(path: Path, model: nn.Module, *, fixed: bool = False, image: torch.Tensor = IMAGES) -> Path:
    pytest.importorskip("onnxscript")
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    options = {} if fixed else {"dynamic_shapes": (free,)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(model.eval(), (image,), dynamo=True, verbose=False, **options)
    program.save(path)
    return path


def answer(opened, images=IMAGES):
    examples = [
        Example(f"{i}", image, torch.zeros(1, *image.shape[1:], dtype=torch.long)) for i, image in enumerate(images)
    ]
    source = BlockPredictions(opened.run, examples, batch_size=len(examples))
    return torch.stack([source.strided(i).logits for i in range(len(examples))])


@pytest.mark.parametrize(
    ("make", "name"), [(scripted, "m.pt"), (exported, "m.pt2"), (torch.save, "whole.pth"), (onnx_file, "m.onnx")]
)
def test_any_file_answers_as_the_model_does(make, name, tmp_path):
    model, path = Network(stride=2).eval(), tmp_path / name
    make(model, path) if make is torch.save else make(path, model)
    opened = open_model(path, trust_code=name != "m.onnx")
    with torch.no_grad():
        torch.testing.assert_close(answer(opened), model(IMAGES), rtol=1e-5, atol=1e-5)
        larger = torch.rand(1, 3, 10, 16)
        torch.testing.assert_close(answer(opened, larger), model(larger), rtol=1e-5, atol=1e-5)
        scaled = open_model(path, trust_code=True, normalise="0.1,0.2,0.3/0.5,0.6,0.7")
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)))
        torch.testing.assert_close(answer(scaled), model((IMAGES - mean) / std), rtol=1e-4, atol=1e-5)
    assert opened.description != scaled.description
    assert "sha256" in opened.description


@pytest.mark.parametrize(
    ("make", "name", "because"),
    [
        (scripted, "m.pt", "TorchScript is a program"),
        (exported, "m.pt2", "may unpickle"),
        (torch.save, "whole.pth", "a pickled module is code"),
    ],
)
def test_files_that_are_code_need_leave(make, name, because, tmp_path, monkeypatch):
    path = tmp_path / name
    make(Network(), path) if make is torch.save else make(path, Network())

    def never(*arguments, **options):
        assert options.get("weights_only"), "opened without leave"
        raise RuntimeError("not tensors alone")

    for module, function in ((torch.jit, "load"), (torch.export, "load"), (torch, "load")):
        monkeypatch.setattr(module, function, never)
    with pytest.raises(InputError, match=rf"{because}.*trust_code=True \(command line: --trust\)"):
        open_model(path)


def test_weights_alone_are_no_model(tmp_path):
    torch.save(Network().state_dict(), tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"weights alone does not say.*module:function"):
        open_model(tmp_path / "w.pt", trust_code=True)


def test_a_pickle_of_something_else_is_no_model(tmp_path):
    torch.save({"a": Path("x")}, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"expected a model; got dict"):
        open_model(tmp_path / "w.pt", trust_code=True)


def test_an_onnx_model_of_one_size_says_so(tmp_path):
    opened = open_model(onnx_file(tmp_path / "m.onnx", Network(), fixed=True, image=IMAGES[:1]))
    with torch.no_grad():
        torch.testing.assert_close(opened(IMAGES), Network().eval()(IMAGES), rtol=1e-5, atol=1e-5)
    with pytest.raises(ShapeError, match=r"takes images of 8 x 12 only: give such windows, --crop"):
        opened(torch.rand(1, 3, 9, 12))


def test_onnx_names_its_classes(tmp_path):
    import onnx

    path = onnx_file(tmp_path / "m.onnx", Network())
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"class_names": "road, sky, tree, car"})
    onnx.save(model, path)
    opened = open_model(path)
    assert (opened.class_names, opened.num_classes) == (("road", "sky", "tree", "car"), 4)


@pytest.mark.slow
def test_onnx_with_two_maps_is_ambiguous_unless_one_is_called_logits(tmp_path):
    class Two(Network):
        def forward(self, images):
            return self.layers(images), self.layers(images) * 2

    path = onnx_file(tmp_path / "m.onnx", Two())
    with pytest.raises(LogitsError, match="expected one output of logits"):
        open_model(path)
    import onnx

    model = onnx.load(path)
    second = model.graph.output[1]
    for node in model.graph.node:
        node.output[:] = ["logits" if name == second.name else name for name in node.output]
    second.name = "logits"
    onnx.save(model, path)
    with torch.no_grad():
        torch.testing.assert_close(open_model(path)(IMAGES), 2 * Network().eval()(IMAGES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["m.onnx", "m.pt"])
def test_a_file_that_is_broken(name, tmp_path):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="cannot be opened"):
        open_model(tmp_path / name, trust_code=True)


# -- the user's own code


@pytest.fixture
def module(tmp_path, monkeypatch):
    text = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 1)

def with_default(channels=3):
    return build()

def itself(images):
    return {"logits": images * 2}

ready = build()
number = 3

def nothing():
    return None

def broken(images):
    raise RuntimeError("mine")
"""
    (tmp_path / "my_models.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    yield "my_models"
    sys.modules.pop("my_models", None)


@pytest.mark.parametrize("function", ["build", "with_default", "ready"])
@pytest.mark.parametrize("form", ["{}:{}", "{}.py:{}"])
def test_a_function_of_ones_own(module, function, form):
    before = list(sys.path)
    opened = open_model(form.format(module, function), trust_code=True)
    torch.manual_seed(0)
    torch.testing.assert_close(opened(IMAGES), nn.Conv2d(3, 4, 1)(IMAGES))
    assert sys.path == before


def test_a_function_of_images_is_the_model(module):
    opened = open_model(f"{module}:itself", trust_code=True)
    torch.testing.assert_close(answer(opened), IMAGES * 2)


def test_ones_own_errors_come_as_they_are(module):
    with pytest.raises(RuntimeError, match=r"^mine\b"):
        open_model(f"{module}:broken", trust_code=True)(IMAGES)


def test_ones_own_code_needs_leave_too(module):
    with pytest.raises(InputError, match="your own code, or somebody's"):
        open_model(f"{module}:build")
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_models:absent", "expected 'absent' in the Python module 'my_models'"),
        ("no_such_module:build", r"No module named 'no_such_module'.*path/to/file\.py:function"),
        ("no/such/file.py:build", "there is no file no/such/file.py"),
        ("my_models:number", "expected a function or a model; got int"),
        ("my_models:nothing", "to return a model, a callable from images to logits; got NoneType"),
    ],
)
def test_functions_that_are_none(module, name, message):
    with pytest.raises(DataError, match=message):
        open_model(name, trust_code=True)


# -- nothing there


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.onnx", "expected a file of a model; there is none"),
        ("./missing", "expected a file of a model; there is none"),
        ("a b c", "it is none of these"),
    ],
)
def test_names_of_nothing(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        open_model(name)


def test_a_folder_or_file_of_something_else(tmp_path):
    with pytest.raises(DataError, match=r"expected a folder with config\.json.*it has nothing in it"):
        open_model(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"it has notes\.txt"):
        open_model(tmp_path)
    with pytest.raises(DataError, match=r"expected a model file, \.onnx or \.pt.*got \.txt"):
        open_model(tmp_path / "notes.txt")


@pytest.mark.parametrize("device", ["gpu", "cuda:0"])
def test_no_such_device(device):
    if device != "gpu" and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="expected a device"):
        open_model("missing.onnx", device=device)


@pytest.mark.parametrize("how", ["imagnet", "0.5/0", "1,2/3", "1,2,3"])
def test_no_such_normalisation(how):
    with pytest.raises(InputError, match="expected a normalisation: none, imagenet, or means"):
        open_model("missing.onnx", normalise=how)
