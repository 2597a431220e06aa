"""What CONTRIBUTING.md says of the code is true of it."""

import re
import tomllib
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_its_layers_are_those_that_are_checked():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = next(each["layers"] for each in config["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    (block,) = re.findall(r"^```\n(cli → .*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert [set(layer.split(" | ")) for layer in " ".join(block.split()).split(" → ")] == [
        set(layer.split(" | ")) for layer in layers
    ]


def test_the_files_that_it_names_are_there():
    named = set(re.findall(r"`((?:calibrators|data|cli|docs|experiments|tests|methods|samplers)[/.][\w/.]*)`", TEXT))
    assert len(named) > 4
    for name in named:
        path = name if name.startswith(("docs", "experiments", "tests")) else f"src/calibrant/{name}"
        module, _, attribute = path.rpartition(".")
        if attribute.isupper():
            assert hasattr(import_module(module.removeprefix("src/").replace("/", ".")), attribute), name
        else:
            assert any((ROOT / each).exists() for each in (path, f"{path}.py")), name
