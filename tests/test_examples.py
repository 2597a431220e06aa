"""The gallery: each script is short, runs on data that it makes, in an empty folder, and prints what it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
NEEDS = {
    "ambiguous": (None, "GED"),
    "geotiff": ("rasterio", "ha of crop expected"),
    "huggingface": ("transformers", "calibration error"),
    "loop": (None, "negative log-likelihood: -0."),
    "nnunet": ("nibabel", "voxels of lesion expected"),
}


def test_the_gallery_is_what_its_page_lists():
    page = (FOLDER / "README.md").read_text("utf-8")
    assert {path.stem for path in FOLDER.glob("*.py")} == set(NEEDS)
    assert all(f"({name}.py)" in page for name in NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_has_fewer_than_forty_lines(name):
    lines = (FOLDER / f"{name}.py").read_text("utf-8").splitlines()
    assert len(lines) < 40


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDS)
def test_an_example_runs(name, tmp_path):
    module, printed = NEEDS[name]
    if module:
        pytest.importorskip(module)
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py"],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
