"""What commands do beside their work: gains on images left out, kept fits, completion, lines in logs, examples."""

import re
import subprocess
import sys

import pytest

from calibrant.cli import app
from calibrant.errors import DataError
from calibrant.models import open_model


def test_a_fit_says_what_it_gains_on_images_left_out(calibrant, store, tmp_path):
    code, out, err = calibrant("fit", store, "--method", "temperature", "-o", tmp_path / "ts")
    assert code == 0, err
    found = re.search(r"without 2 of 8 images: .* is ([\d.]+) nats a pixel, lower by ([\d.]+) ± ([\d.]+)", out)
    assert found, out
    assert float(found[2]) > 0.1, "labels were drawn from a third of the logits"
    code, out, _ = calibrant("fit", store, "--method", "temperature", "-o", tmp_path / "no", "--left-out", 0)
    assert (code, "without" in out) == (0, False)
    assert calibrant("fit", store, "--method", "temperature", "-o", tmp_path / "x", "--left-out", 1)[0] == 2


def test_whole_groups_are_left_out_of_the_fit_and_of_what_it_gains(calibrant, store, tmp_path, monkeypatch):
    from calibrant.calibrators import TemperatureScaling

    seen = []

    def fit(predictions, *, groups=None, seed=0):
        seen.append((predictions.keys, groups))
        return TemperatureScaling(2.0)

    monkeypatch.setattr("calibrant.methods.text.METHODS", {**_methods(), "stacked": _method(fit)})
    code, out, err = calibrant("fit", store, "--groups", "[0-3]|[4-7]", "-o", tmp_path / "s", "--left-out", 0.5)
    assert code == 0, err
    assert seen[0] == (tuple("01234567"), {str(n): str(n) for n in range(8)})
    assert set(seen[1][1]) == set(seen[1][0])
    assert "without 4 of 8 images" in out


def _methods():
    from calibrant.methods import METHODS

    return METHODS


def _method(fit):
    from calibrant.methods import Method

    return Method("stand-in", fit)


@pytest.mark.slow
def test_a_comparison_goes_on_with_the_calibrators_that_are_there(calibrant, store, tmp_path, monkeypatch):
    from calibrant.calibrators import VectorScaling

    given = ["compare", store, "--methods", "temperature,vector", "--num-seeds", 1, "-o", tmp_path / "r.html"]
    given += ["--fits", tmp_path / "fits", "--json", tmp_path / "one.json"]
    whole, calls = VectorScaling.fit, []

    def failing(cls, *arguments, **options):
        calls.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(VectorScaling, "fit", classmethod(failing))
    monkeypatch.setattr("calibrant.methods.text.METHODS", {**_methods(), "vector": _named(failing)})
    code, _, err = calibrant(*given)
    assert code in (1, 130)  # of versions of typer
    assert calls
    assert len(list((tmp_path / "fits").iterdir())) == 2, "the model itself, and temperature scaling"
    monkeypatch.undo()
    assert VectorScaling.fit == whole
    assert calibrant(*given)[0] == 0
    first = (tmp_path / "one.json").read_bytes()
    code, _, err = calibrant(*given)
    assert code == 0, err
    assert (tmp_path / "one.json").read_bytes() == first
    code, _, err = calibrant(*given, "--pixels-per-image", 100)
    assert code == 2
    assert "--pixels-per-image" in err
    assert calibrant(*given, "--pixels-per-image", 100, "--overwrite")[0] == 0


def _named(fit):
    from functools import partial

    return type(_methods()["vector"])("vector scaling", partial(fit, None))


def test_every_command_has_an_example(calibrant):
    for each in app.registered_commands:
        assert "Example: calibrant" in each.callback.__doc__, each.name


def test_a_shell_is_told_what_can_follow():
    words = {"_CALIBRANT_COMPLETE": "complete_bash", "COMP_WORDS": "calibrant me", "COMP_CWORD": "1"}
    code = "from calibrant.cli import main; main([])"
    paths = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=words | paths, capture_output=True, text=True)
    assert done.stdout.split() == ["measure", "merge", "methods"], done.stderr


def test_a_log_has_a_line_now_and_then(calibrant, store, tmp_path, monkeypatch):
    monkeypatch.setattr("calibrant.cli._console.LINE_EVERY", 0.0)
    code, _, err = calibrant("measure", store)
    assert code == 0
    assert re.search(r"measuring: 3 of 8", err)


def test_a_path_that_is_wrong_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("calibrant.models.adapters.open_hugging_face", None)
    (tmp_path / "segformer").mkdir()
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, words in (("segformr", r"Did you mean segformer\?"), ("runs/segformer", "Check the path")):
        with pytest.raises(DataError, match=words):
            open_model(name)


def test_what_fails_at_the_first_image_leaves_nothing(calibrant, folder, tmp_path):
    code, _, err = calibrant("import", folder, "--class-names", "sky,road", "-o", tmp_path / "new" / "store")
    assert (code, "expected 2 classes" in err) == (2, True)
    assert not list(tmp_path.iterdir())
