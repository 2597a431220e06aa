"""What importing costs, and that the floors stand."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "scipy", "matplotlib", "jinja2", "safetensors")


def loaded_after(code: str) -> set[str]:
    names = f"{code}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_is_answered_without_anything_heavy():
    code = """
import sys
from calibrant.cli import app
try:
    app(["--help"], standalone_mode=False)
except SystemExit:
    pass
"""
    assert not loaded_after(code) & set(HEAVY)


def test_this_test_can_fail():
    assert "numpy" in loaded_after("import numpy")


@pytest.mark.parametrize(
    "room", ["predictions", "metrics", "data", "models", "calibrators", "samplers", "evaluation", "testing"]
)
def test_nothing_below_the_report_draws(room):
    assert not loaded_after(f"import calibrant.{room}") & {"matplotlib", "jinja2", "torchvision", "typer"}
