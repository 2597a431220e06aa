"""Models of seven kinds behind five of calibrators, in onnxruntime at other batches and sizes than were traced."""

import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from quick_methods import QUICK
from tiny_models import segformer, upernet_convnext, upernet_swin

from calibrant.calibrators import export_onnx
from calibrant.calibrators.export import probabilities_and_labels
from calibrant.methods import parse_method
from calibrant.models import ModelPredictions
from calibrant.networks import Segmenter
from calibrant.predictions import Example

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CALIBRATORS = ("temperature", "vector", "isotonic", "selective", "stacked")


class Answering(nn.Module):
    """A small network that answers as torchvision's do, with a mapping, at a stride."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))

    def forward(self, images):
        return {"out": self.inside(images), "aux": images}


PADDED = {"UPerNet of Swin": torch.zeros(2, 3, 260, 292)}
"""What to trace with where a model pads: at this size it does so at every scale, see ``calibrant.cli.onnx.TRACED``."""


def monai_unet():
    nets = pytest.importorskip("monai.networks.nets")
    return nets.UNet(spatial_dims=2, in_channels=3, out_channels=4, channels=[4, 8, 8], strides=[2, 2])


MODELS = {
    "SegFormer": segformer,
    "UPerNet of ConvNeXt": upernet_convnext,
    "UPerNet of Swin": upernet_swin,
    "Segmenter": lambda: Segmenter(5, size="tiny", image_size=64),
    "mapping": Answering,
    "sigmoid head": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 1, 1)),
    "MONAI U-Net": monai_unet,
}


@cache
def model_of(name):
    """A model with random weights, and what it says of random images whose labels are drawn from half its logits."""
    if name.split()[0] in ("SegFormer", "UPerNet"):
        pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 64, 64, generator=generator)
    blank = torch.zeros(1, 64, 64, dtype=torch.long)
    said = list(ModelPredictions(model, [Example(str(i), image, blank) for i, image in enumerate(images)]))
    made = []
    for one in said:
        wait = torch.empty(one.logits.shape).exponential_(generator=generator)
        made.append(type(one)(one.key, one.logits, (one.logits / 2 - wait.log()).argmax(0)[None], one.image))
    return model, made


PAIRS = [(name, method) for name in MODELS for method in CALIBRATORS]
USUAL = {("sigmoid head", method) for method in CALIBRATORS} | {
    (name, "temperature") for name in ("mapping", "MONAI U-Net", "UPerNet of ConvNeXt")
}
"""Every calibrator once, and the models that take least; all pairs take ten minutes of a processor, and a SegFormer is
among the tests of ``calibrant onnx``."""


@pytest.mark.parametrize(
    ("name", "method"),
    [pytest.param(*pair, marks=pytest.mark.slow if pair in USUAL else pytest.mark.long) for pair in PAIRS],
)
def test_the_file_gives_what_torch_gives_at_other_batches_and_sizes(name, method, tmp_path):
    model, predictions = model_of(name)
    calibrator = parse_method(QUICK[method]).fitted(predictions, pixels_per_image=500, seed=0)
    file = tmp_path / "file.onnx"
    classes, example = predictions[0].num_classes, PADDED.get(name)
    export_onnx(calibrator, file, num_classes=classes, model=model, example=example)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for batch, size in ((1, (96, 128)), (3, (128, 64))):
        given = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(batch))
        expected, labels = probabilities_and_labels(calibrator, model, given)
        probs, found = map(torch.from_numpy, session.run(None, {"image": given.numpy()}))
        assert found.shape == (batch, *size)
        torch.testing.assert_close(probs, expected, rtol=0, atol=1e-5)
        assert torch.equal(found, labels)
        assert torch.equal(found, probs.argmax(1))
