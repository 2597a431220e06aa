"""The code of the front page runs as it stands."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_docs import in_process
from tools.pages import blocks
from torch import nn

from calibrant.data import write_store
from calibrant.predictions import IGNORE, Example
from calibrant.testing import toy_predictions

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def made_examples(seed: int) -> list[Example]:
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for number in range(6):
        image = torch.rand(3, 12, 16, generator=generator)
        noisy = image + 0.3 * torch.randn(image.shape, generator=generator)
        examples.append(Example(f"{seed}-{number}", image, noisy.argmax(0)[None]))
    return examples


def test_the_sketch_runs():
    (sketch,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    model = nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(30 * torch.eye(3)[:, :, None, None])
    names = {"model": model, "val_examples": made_examples(0), "test_examples": made_examples(1)}
    exec(compile(sketch, "README.md", "exec"), names)
    before, after, error = names["before"], names["after"], names["ece"]
    assert error(after.pooled()) < error(before.pooled())


def test_the_first_code_is_to_install_and_two_commands():
    first = re.search(r"```sh\n(.*?)```", README, re.DOTALL).group(1)
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["pip install .", "make demo", "make test"]


def test_its_figure_is_that_of_the_record():
    record = json.loads((ROOT / "experiments/results/in_domain.json").read_text())["40 images to fit"]["values"]
    for method in ("uncalibrated", "temperature"):
        value, low, high = (100 * float(each) for each in re.findall(r"[\d.]+", record[method]["ece"]))
        assert f"{value:.1f} % [{low:.1f}, {high:.1f}]" in " ".join(README.split())


def write_images(folder: Path, labels: Path, num_classes: int, ending: str) -> None:
    rng = np.random.default_rng(0)
    for path in (folder, labels):
        path.mkdir(parents=True)
    for number in range(2):
        picture = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.{ending}")
        Image.fromarray(picture[..., 0] % num_classes).save(labels / f"{number}.png")


def write_onnx(path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    weight = numpy_helper.from_array(9 * np.eye(2, 3, dtype=np.float32)[:, :, None, None], "weight")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])
        for name, channels in (("images", 3), ("logits", 2))
    ]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "weight"], ["logits"])], "g", ends[:1], ends[1:], [weight]
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_predictions(folder: Path) -> None:
    for number, prediction in enumerate(toy_predictions(num_images=4, overconfidence=2.0)):
        for part in ("logits", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        np.save(folder / f"logits/{number}.npy", prediction.logits.numpy())
        marked = prediction.labels[0].masked_fill(prediction.labels[0] == IGNORE, 255)
        Image.fromarray(marked.numpy().astype(np.uint8)).save(folder / f"labels/{number}.png")


@pytest.mark.slow
def test_its_commands_run(calibrant, tmp_path, monkeypatch):
    """The commands of the page, one after the other, on small files that have the names that it gives them."""
    pytest.importorskip("transformers")
    pytest.importorskip("onnxruntime")
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    monkeypatch.chdir(tmp_path)
    sizes = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}
    config = SegformerConfig(**sizes, decoder_hidden_size=16, num_labels=11)
    SegformerForSemanticSegmentation(config).eval().save_pretrained("runs/segformer")
    SegformerImageProcessor().save_pretrained("runs/segformer")
    for split in ("train", "val", "test"):
        write_images(Path(f"data/CamVid/{split}"), Path(f"data/CamVid/{split}annot"), 11, "png")
    write_images(Path("my-pictures/images"), Path("my-pictures/labels"), 2, "jpg")
    write_onnx(Path("model.onnx"))
    write_predictions(Path("my-predictions"))
    write_store(toy_predictions(num_images=2, seed=7), "runs/new")
    run_block = in_process(lambda *words: calibrant(*words, *(["--steps", 2] if words[0] == "refine" else [])))
    for block in [block for block in blocks(ROOT / "README.md") if block.language == "sh"][1:]:
        run_block(block, ROOT / "README.md")
    assert Path("report.html").is_file()
    assert list(Path("samples").glob("*.npz"))
