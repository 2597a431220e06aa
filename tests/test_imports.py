"""What importing costs, and which packages it loads."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "scipy", "matplotlib", "jinja2", "safetensors"}
DRAWING = {"matplotlib", "jinja2", "torchvision", "typer"}
BELOW_THE_REPORT = ("predictions", "metrics", "data", "models", "calibrators", "samplers", "evaluation", "testing")


def loaded_after(*steps: str) -> list[set[str]]:
    """Run the steps one after another in one fresh process; return which top-level packages it has after each."""
    code = [
        "import json, sys",
        "def report():",
        "    print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), flush=True)",
    ]
    for step in steps:
        code += [step, "report()"]
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=True)
    return [set(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


def test_help_and_the_root_load_nothing_heavy_and_this_test_can_fail():
    call = """
from calibrant.cli import app
try:
    app(["--help"], standalone_mode=False)
except SystemExit:
    pass"""
    root, helped, control = loaded_after("import calibrant; calibrant.IGNORE; dir(calibrant)", call, "import numpy")
    assert not root & HEAVY
    assert "calibrant" in root
    assert not helped & HEAVY
    assert "typer" in helped
    assert "numpy" in control


@pytest.mark.slow
def test_nothing_below_the_report_draws():
    *below, report = loaded_after(*(f"import calibrant.{name}" for name in BELOW_THE_REPORT), "import calibrant.report")
    loads = {name: after & DRAWING for name, after in zip(BELOW_THE_REPORT, below, strict=True)}
    assert not any(loads.values()), loads
    assert "jinja2" in report
