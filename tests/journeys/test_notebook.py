"""The notebook of the gallery, executed by nbconvert as Jupyter does."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent.parent / "examples" / "notebook.ipynb"


def outputs(cell):
    """What a cell displayed, by kind of content."""
    return {kind: value for each in cell.get("outputs", ()) for kind, value in each.get("data", {}).items()}


@pytest.mark.slow
def test_the_notebook_runs_from_loader_to_page(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    preprocessors = pytest.importorskip("nbconvert.preprocessors")
    exporters = pytest.importorskip("nbconvert.exporters")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    execute = preprocessors.ExecutePreprocessor(timeout=300, kernel_name="python3")
    execute.preprocess(notebook, {"metadata": {"path": tmp_path}})  # raises where a cell does

    shown = [outputs(cell) for cell in notebook.cells]
    tables = [each["text/html"] for each in shown if "text/html" in each]
    assert any("isotonic" in table and "ECE" in table for table in tables)
    assert sum("image/png" in each for each in shown) == 2
    assert not [each for cell in notebook.cells for each in cell.get("outputs", ()) if each.get("name") == "stderr"]
    page, _ = exporters.HTMLExporter().from_notebook_node(notebook)
    assert "Calibrate a segmentation model in a notebook" in page
    assert "reliability" in (tmp_path / "report.html").read_text("utf-8").lower()
    assert (tmp_path / "temperature" / "calibrator.json").is_file()
