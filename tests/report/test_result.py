"""One object of what was measured: a table in a notebook, a diagram, rows, a page."""

import math

import matplotlib as mpl
import pytest
import torch
from matplotlib.figure import Figure

from calibrant.calibrators import TemperatureScaling
from calibrant.errors import InputError, PackageError
from calibrant.metrics import SCORES
from calibrant.report import measured

mpl.use("agg")


@pytest.fixture(scope="module")
def result():
    logits = 2 * torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = (logits / 2 + torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))).argmax(1)
    labels[:, 0] = 255
    return measured(logits, labels, calibrators={"<b>halved</b>": TemperatureScaling(2.0)})


def test_rows_and_table_say_what_the_scores_are(result):
    rows = result.rows()
    assert len(rows) == 2 * len(result.comparison.scores)
    by = {(row["method"], row["score"]): row for row in rows}
    pooled = SCORES["nll"].of(result.measurements["uncalibrated"][0].pooled())
    assert math.isclose(by["uncalibrated", "nll"]["value"], float(pooled), rel_tol=1e-9)
    one = by["<b>halved</b>", "nll"]
    assert one["change_low"] <= one["change"] <= one["change_high"]
    table = result._repr_html_()
    assert "&lt;b&gt;halved" in table
    assert "<b>" not in table
    assert table.count("<tr>") > 3


def test_a_diagram_is_drawn_where_it_was_asked_for(result):
    axes = Figure().subplots()
    assert result.plot(ax=axes) is axes
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"uncalibrated", "<b>halved</b>"}
    assert result.plot(["uncalibrated"]).get_legend() is None
    mpl.pyplot.close("all")
    with pytest.raises(InputError, match="expected methods of uncalibrated"):
        result.plot(["other"])


def test_a_page_is_written(result, tmp_path):
    page = result.write_page(tmp_path / "r.html", title="Mine")
    assert "Mine" in page.read_text()


def test_a_frame_needs_pandas(result):
    try:
        import pandas
    except ImportError:
        with pytest.raises(PackageError, match="pandas"):
            result.to_frame()
    else:
        assert isinstance(result.to_frame(), pandas.DataFrame)


@pytest.mark.untyped
def test_no_calibrator_is_called_as_the_model_is():
    with pytest.raises(InputError, match="another name"):
        measured(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2).long(), calibrators={"uncalibrated": None})
