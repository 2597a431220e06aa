"""Studies of anybody's black boxes: trained, predicted by command, opened from stores, and told truly."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments._data import SETS, VARIABLE
from experiments.selective_scaling import (
    _fits,
    _tables,
    boundary,
    entropy,
    factors,
    interrupted_predict,
    predict_black_boxes,
    tables,
    train_black_boxes,
)

from calibrant.data import write_store
from calibrant.evaluation import Comparison, tally
from calibrant.metrics import SCORES, CalibrationBins, Interval, Measurement
from calibrant.models import EnsemblePredictions
from calibrant.predictions import Prediction, with_logits


@pytest.fixture(scope="module")
def made():
    """Predictions in blocks of pixels, so that there is an interior."""
    return _fits.predictions_of(_fits.Study.smoke())


@pytest.fixture(scope="module")
def stores(made, tmp_path_factory):
    """They in stores: as they are, and twice as sure."""
    folder = tmp_path_factory.mktemp("stores")
    write_store(made, folder / "cool")
    write_store([with_logits(p, 2 * p.logits) for p in made], folder / "hot")
    return folder


def quick(config):
    return replace(config, options=_fits.QUICK, seeds=(0,), num_resamples=20, cache="")


def typed(monkeypatch, text):
    monkeypatch.setattr(sys, "argv", ["study", *text.split()])


def test_a_store_is_thinned_in_pixels_and_images(made, stores):
    found = _fits.opened(str(stores / "cool"), 3, 2)
    assert [p.key for p in found] == [p.key for p in made[::2]]
    for one, other in zip(found, made[::2], strict=True):
        assert torch.equal(one.logits, other.logits[:, ::3, ::3])
        assert torch.equal(one.labels, other.labels[:, ::3, ::3])
    both = _fits.opened(f"{stores / 'cool'},{stores / 'hot'}", 1)
    assert len(both) == 16
    assert torch.equal(both[8].logits, 2 * both[0].logits)


@pytest.mark.slow
@pytest.mark.parametrize("study", [boundary, entropy])
def test_a_study_of_ones_own_store_is_kept_apart(study, stores, tmp_path, monkeypatch, capsys):
    name = study.__name__.rsplit(".", 1)[1]
    typed(monkeypatch, f"--store {stores / 'cool'} --stride 1 -o {tmp_path / 'mine'}")
    config = quick(_fits.asked(study.Config, study.__doc__))
    found = study.main(config)
    kept = json.loads((tmp_path / "mine" / f"{name}.json").read_text())
    assert kept["config"]["store"] == str(stores / "cool")
    assert kept["config"]["folder"] == ""
    half = _fits.halves(_fits.opened(str(stores / "cool"), 1), 0)[1]
    expected = study.SCORES if study is boundary else study.COLUMNS
    count = Measurement.of if study is boundary else study.Entropies.of
    for column, value in found.values["uncalibrated"].items():
        each = tally(count, half)
        score = expected[column]
        assert value.value == pytest.approx(float(score.of(each.pooled() if score.pooled else each).nanmean()))


def test_what_the_command_line_asks_for(monkeypatch):
    typed(monkeypatch, "--smoke")
    assert _fits.asked(boundary.Config, "").results is None
    typed(monkeypatch, "")
    assert _fits.asked(boundary.Config, "") == boundary.Config()
    assert boundary.Config().results is not None


@pytest.mark.slow
def test_tables_of_ones_own_stores(stores, tmp_path, monkeypatch, capsys):
    cool, hot = stores / "cool", stores / "hot"
    typed(monkeypatch, f"--fit a={cool} --test a={cool} --test a:hotter={hot} --stride 1 -o {tmp_path}")
    config = replace(quick(tables.asked()), methods=("uncalibrated", "temperature"))
    columns = tables.main(config)
    assert {table: list(each) for table, each in columns.items()} == {"Table 1": ["a"], "Table 2": ["a: hotter"]}
    for column, store in ((columns["Table 1"]["a"], cool), (columns["Table 2"]["a: hotter"], hot)):
        each = tally(Measurement.of, _fits.opened(str(store), 1))
        expected = float(SCORES["ece_images"].of(each).mean())
        assert column.values["uncalibrated"]["ece_images"].value == pytest.approx(expected)
    kept = json.loads((tmp_path / "tables.json").read_text())
    none = kept["Table 2"]["ece_images"]["uncalibrated"]["a: hotter"]
    assert none == columns["Table 2"]["a: hotter"].values["uncalibrated"]["ece_images"].value
    assert f"| {_tables.figure(none)} |" in capsys.readouterr().out.replace("**", "")


@pytest.mark.slow
def test_an_ensemble_is_a_row_where_there_is_one(stores, tmp_path, monkeypatch, capsys):
    cool, hot = stores / "cool", stores / "hot"
    asked = f"--fit a={cool} --test a={cool} --test a:hotter={hot} --member a={hot} --stride 1 -o {tmp_path}"
    typed(monkeypatch, asked)
    columns = tables.main(replace(quick(tables.asked()), methods=("uncalibrated",)))
    together = tally(Measurement.of, EnsemblePredictions([_fits.opened(str(store), 1) for store in (cool, hot)]))
    expected = float(SCORES["nll"].of(together.pooled()))
    assert columns["Table 1"]["a"].values["ensemble"]["nll"].value == pytest.approx(expected)
    assert "ensemble" not in columns["Table 2"]["a: hotter"].values
    assert f"| ensemble (may change labels) | {_tables.figure(expected)} |" in capsys.readouterr().out.replace("**", "")
    rows = tables.print_table("both", columns["Table 1"] | columns["Table 2"], "nll", {})
    assert list(rows["ensemble"]) == ["a"]
    assert "| – |" in capsys.readouterr().out


def test_images_that_are_not_fitted_to_are_tested_in_domain(stores):
    config = replace(tables.Config.smoke(), fitted={"a": str(stores / "cool")}, stride=2)
    (source,) = tables.sources(config)
    found, _ = tables.measure(replace(config, methods=("uncalibrated", "temperature")), source)
    assert list(found) == ["in-domain"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--fit a", "NAME=STORE"),
        ("--fit a=x --test b:dusk=y", "--fit b=STORE"),
        ("--fit a=x --test a=y --member a:dusk=z", "--test a:dusk=STORE"),
    ],
)
def test_tables_say_what_is_wrong_with_names(text, told, monkeypatch, capsys):
    typed(monkeypatch, text)
    with pytest.raises(SystemExit):
        tables.asked()
    assert told in capsys.readouterr().err


def compared(**errors):
    """Image-wise ECEs and NLLs by method, all differences to the first sure."""
    sure = {name: Interval(e - 0.1, e - 0.1 - 1e-3, e - 0.1 + 1e-3) for name, e in errors.items()}
    return Comparison(
        {name: dict.fromkeys(("ece_images", "nll"), Interval(e, e, e)) for name, e in errors.items()},
        {name: {"ece_images": sure[name], "nll": sure[name]} for name in errors},
        {},
        scores=SCORES,
    )


def test_summaries_count_columns(capsys):
    columns = {
        "a": compared(stacked=0.1, uncalibrated=0.2, temperature=0.15),
        "b": compared(stacked=0.1, uncalibrated=0.2, temperature=0.05),
    }
    summary = tables.print_summary("Table 1", columns, tables.IN_DOMAIN)
    row = summary["temperature"]
    assert row["paper"] == pytest.approx(tables.change(tables.IN_DOMAIN, "temperature"))
    assert row["ece_images"] == {
        "change": pytest.approx(0.2 / 0.4 - 1), "lower": 2, "least": 1, "behind ours": 1, "ahead of ours": 1
    }  # fmt: skip
    assert summary["uncalibrated"]["nll"]["behind ours"] == 2
    rows = tables.print_table("Table 1", columns, "nll", {"temperature": False})
    assert rows["temperature"] == {"a": 0.15, "b": 0.05}
    assert "| temperature (may change labels) | .1500 | **.0500** |" in capsys.readouterr().out


def test_smoke_of_factors(capsys):
    found = factors.main(factors.Config.smoke())
    assert "paper | ours" in capsys.readouterr().out
    grown = found["capacity"]["made"]
    assert grown.values["2"]["gap"].value > grown.values["1"]["gap"].value
    lines = factors.claims(found)
    # Twice as sure is worse calibrated, and finds the same labels: of model size alone the paper says so.
    for what, holds in (("width", True), ("size of windows", False), ("number of scales", False)):
        (step,) = [held for line, (_, held) in lines.items() if line.startswith(what) and "at every step" in line]
        assert step == holds
    (finds,) = [held for line, (_, held) in lines.items() if line.startswith("width") and "mean IoU" in line]
    assert not finds
    held = {line: held for line, (_, held) in lines.items()}
    assert held["made 1: mistaken pixels 0.724 worse than right ones 0.133"]


def test_factors_of_ones_own_stores(stores, tmp_path, monkeypatch):
    typed(monkeypatch, f"--scales m:one={stores / 'cool'} --scales m:two={stores / 'hot'} --stride 1 -o {tmp_path}")
    config = replace(factors.asked(), num_resamples=20)
    found = factors.main(config)
    assert list(found) == ["scales"]
    each = tally(Measurement.of, _fits.opened(str(stores / "hot"), 1))
    expected = float(SCORES["ece_images"].of(each).mean())
    assert found["scales"]["m"].values["two"]["ece_images"].value == pytest.approx(expected)
    assert (tmp_path / "factors.svg").read_text().startswith("<?xml")
    assert json.loads((tmp_path / "factors.json").read_text())["config"]["stores"] == config.stores
    typed(monkeypatch, "--capacity runs/b0")
    with pytest.raises(SystemExit):
        factors.asked()


def test_errors_of_right_and_wrong_pixels_if_confidences_are_true():
    """Of ten pixels at 0.8 eight are right: the right ones are off by 0.2, the wrong ones by 0.8."""
    logits = torch.tensor([0.8, 0.2]).log()[:, None, None].expand(2, 2, 5)
    labels = torch.zeros(1, 2, 5, dtype=torch.long)
    labels[0, 0, :2] = 1
    each = tally(Measurement.of, [Prediction("a", logits, labels)])
    for part, expected in (("right", 0.2), ("wrong", 0.8)):
        assert float(factors.COLUMNS[part].of(each)) == pytest.approx(expected)
        assert float(factors.COLUMNS[f"{part} if calibrated"].of(each)) == pytest.approx(expected)
    surer = tally(CalibrationBins.of, [Prediction("a", 2 * logits, labels)])
    right, wrong = factors._if_calibrated(surer)
    p = 16 / 17
    assert (float(right), float(wrong)) == (pytest.approx(1 - p), pytest.approx(p))


@pytest.mark.slow
def test_trained_predicted_by_command_and_opened(tmp_path, monkeypatch, capsys):
    pytest.importorskip("transformers", reason="transformers is not installed")
    train_black_boxes.main(replace(train_black_boxes.Config.smoke(), steps=2), tmp_path / "tiny")
    interrupted_predict.save_pictures(tmp_path / "pictures", 3)
    parts = {"whole": (str(tmp_path / "pictures"),), "windows": (str(tmp_path / "pictures"), "--crop", "32")}
    monkeypatch.setattr(predict_black_boxes, "MODELS", tmp_path)
    monkeypatch.setattr(predict_black_boxes, "STORES", tmp_path / "stores")
    monkeypatch.setattr(predict_black_boxes, "PARTS", {"tiny": parts})
    predict_black_boxes.main(["tiny"])
    whole, windows = (_fits.opened(predict_black_boxes.store_of("tiny", part), 2) for part in parts)
    assert [p.logits.shape for p in whole] == [(9, 24, 32)] * 3
    assert not torch.equal(whole[0].logits, windows[0].logits)
    assert torch.equal(whole[0].labels, windows[0].labels)
    assert "calibrant predict" in capsys.readouterr().out


@pytest.mark.parametrize("model", predict_black_boxes.PARTS)
def test_recorded_stores_are_made(model, tmp_path, monkeypatch):
    """What tables and factors read by themselves is what the commands write; no data are needed to say so."""
    for name in SETS:
        (tmp_path / name).mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    written = {command[-1] for command in predict_black_boxes.commands(model)}
    read = {store for stores in tables._fitted().values() for store in stores.split(",")}
    read |= {store for tests in tables._tests().values() for store in tests.values()}
    read |= {s for tests in tables._members().values() for members in tests.values() for s in members}
    read |= {s for series in factors._own().values() for each in series.values() for s in each.values()}
    mine = {store for store in read if f"/{model}/" in store}
    assert mine
    assert mine <= written
