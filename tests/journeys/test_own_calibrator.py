"""A calibrator of one's own, in a file as the docs show it: checked, saved, compared, and used on the command line."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from calibrant.calibrators import SelectiveScaling, TemperatureScaling, calibrated, load, own_kinds, save
from calibrant.data import StoredPredictions, write_store
from calibrant.errors import DataError, InputError, StoreError
from calibrant.evaluation import compare, tally
from calibrant.methods import parse_methods
from calibrant.metrics import Measurement
from calibrant.predictions import with_margin
from calibrant.report import terminal_table
from calibrant.testing import check_calibrator, toy_predictions

DOCS = Path(__file__).parents[2] / "docs" / "calibrators.md"
(FILE,) = re.findall(r"^## Your own$.*?^```python\n(.*?)^```$", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
NAME = "prior_shift:PriorShift"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The class, from a module in the working directory."""
    (tmp_path / "prior_shift.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "prior_shift", raising=False)
    import prior_shift

    yield prior_shift.PriorShift
    sys.modules.pop("prior_shift", None)


@pytest.fixture
def stored(tmp_path):
    return write_store(toy_predictions(num_images=6, size=(16, 20), spread=1.5), tmp_path / "store")


def test_it_keeps_the_contract(own):
    check_calibrator(own.fit)


def test_it_is_saved_and_loaded_alone_and_inside_another(own, tmp_path):
    predictions = toy_predictions()
    calibrator = own.fit(predictions)
    whole = SelectiveScaling.fit(predictions, base=own.fit, num_epochs=1)
    for name, each in {"alone": calibrator, "inside": whole}.items():
        assert own_kinds(each) == {NAME: own}
        save(each, tmp_path / name)
        again = load(tmp_path / name, kinds={NAME: own})
        for p in predictions:
            assert torch.equal(calibrated(p, again), calibrated(p, each))
        with pytest.raises(StoreError, match=rf"classes of your own.*{NAME}; got none.*--kinds {NAME}"):
            load(tmp_path / name)
    save(calibrator, tmp_path / "named", kinds={"prior shift": own})
    assert json.loads((tmp_path / "named/calibrator.json").read_text())["calibrator"]["kind"] == "prior shift"
    assert torch.equal(load(tmp_path / "named", kinds={"prior shift": own}).shift, calibrator.shift)


def test_a_class_that_does_not_say_all_is_not_saved(own, tmp_path):
    class Forgetful(own):
        def arguments(self):
            return {"shift": torch.zeros_like(self.shift)}

    class Misnamed(own):
        def arguments(self):
            return {"shifts": self.shift}

    class Silent(torch.nn.Module):
        pass

    calibrator = own.fit(toy_predictions())
    with pytest.raises(StoreError, match=r"Forgetful: expected arguments\(\) to return all.*'shift' differs"):
        save(Forgetful(calibrator.shift), tmp_path / "a")
    with pytest.raises(StoreError, match=r"Misnamed: expected arguments\(\) to return the keywords.*shifts"):
        save(Misnamed(calibrator.shift), tmp_path / "a")
    with pytest.raises(StoreError, match=r"got Silent\. Give it a method arguments"):
        save(Silent(), tmp_path / "a")
    with pytest.raises(StoreError, match="other names than those of calibrant"):
        save(calibrator, tmp_path / "a", kinds={"identity": own})
    assert not (tmp_path / "a").exists()


def test_it_is_compared_in_python(own):
    predictions = toy_predictions(num_images=6, size=(16, 20))
    fits = {"temperature": TemperatureScaling.fit, "prior shift": own.fit}
    measurements = {name: [tally(Measurement.of, predictions[3:], fit(predictions[:3]))] for name, fit in fits.items()}
    found = compare(measurements, generator=torch.Generator().manual_seed(0))
    assert set(found.values) == set(fits)
    assert terminal_table(found).row_count > 0
    assert list(parse_methods(f"vector,{NAME}.fit:smoothing=2", trust_code=True))[1] == f"{NAME}.fit (smoothing: 2)"


@pytest.mark.slow
@pytest.mark.parametrize("named", [NAME, "prior_shift.py:PriorShift"])
def test_it_is_fitted_applied_measured_and_compared_on_the_command_line(own, calibrant, stored, tmp_path, named):
    fit = ("fit", "store", "--method", f"{named}.fit:smoothing=0.5", "-o", "mine")
    code, _, err = calibrant(*fit)
    assert code == 2
    assert "permission to run code" in err
    code, out, err = calibrant(*fit, "--trust")
    assert (code, err) == (0, "")
    assert "PriorShift(classes=3) → mine" in out
    assert f"--kinds {NAME}" in out
    expected = own.fit(stored, smoothing=0.5)
    assert torch.equal(load("mine", kinds={NAME: own}).shift, expected.shift)

    for kinds in (named, named.partition(":")[0]):
        code, _, err = calibrant("apply", "mine", "store", "-o", f"out-{len(kinds)}", "--kinds", kinds)
        assert (code, err) == (0, "")
        applied = StoredPredictions(tmp_path / f"out-{len(kinds)}")
        assert applied.provenance.model.endswith(", then PriorShift(classes=3)")
        for before, after in zip(stored, applied, strict=True):
            assert torch.equal(after.logits, with_margin(calibrated(before, expected)[None])[0])

    code, out, _ = calibrant("measure", "store", "--calibrator", "mine", "--kinds", named, "--json", "figures.json")
    assert code == 0
    assert set(json.loads((tmp_path / "figures.json").read_text())["values"]) == {"uncalibrated", "mine"}

    methods = f"temperature,{named}.fit,meta-cal-star:base={named}.fit,alpha=0.1"
    code, out, err = calibrant(
        "compare",
        "store",
        "--methods",
        methods,
        "--trust",
        "--num-seeds",
        1,
        "--num-cases",
        1,
        "--json",
        "compared.json",
    )
    assert code == 0, err
    assert (tmp_path / "report.html").read_text().count(f"{NAME}.fit") > 1
    titles = ["temperature scaling", f"{NAME}.fit", f"Meta-Cal* (base: {named}.fit, alpha: 0.1)"]
    assert list(json.loads((tmp_path / "compared.json").read_text())["values"]) == ["uncalibrated", *titles]


def test_a_file_never_names_code_that_is_run(own, calibrant, stored, tmp_path):
    calibrant("fit", "store", "--method", f"{NAME}.fit", "--trust", "-o", "mine")
    (tmp_path / "prior_shift.py").write_text("raise AssertionError('it ran')")
    del sys.modules["prior_shift"]
    for command in (("apply", "mine", "store", "-o", "out"), ("measure", "store", "--calibrator", "mine")):
        code, _, err = calibrant(*command)
        assert code == 2
        assert f"expected the classes of your own that it was saved with, {NAME}; got none" in err
        assert f"(command line: --kinds {NAME})" in err
    for kinds, said in (("no_such_module", "No module named"), ("math:pi", "expected a class; got float")):
        code, _, err = calibrant("measure", "store", "--calibrator", "mine", "--kinds", kinds)
        assert code == 2
        assert said in err


def test_what_is_wrong_with_it_is_told_in_python(own):
    with pytest.raises(InputError, match="permission to run code"):
        parse_methods(f"{NAME}.fit")
    with pytest.raises(DataError, match=r"expected 'PriorShift\.fitted'"):
        parse_methods(f"{NAME}.fitted", trust_code=True)
