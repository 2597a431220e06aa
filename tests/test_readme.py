"""The Python of the front page runs as it stands."""

import json
import re
from pathlib import Path

import torch
from torch import nn

from calibrant.predictions import Example

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
