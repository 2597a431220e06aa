"""Names of files, models, data, classes and images are words, whatever they hold: nothing in them is obeyed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.text import Text

from calibrant._input.visible import visible
from calibrant.cli._console import PlainConsole

NASTY = {"markup": "f[/x][bold]:smile:", "escape": "a\x1b]0;owned\x07\x1b[31m", "lines": "b\rgone\n‮txt"}
"""What rich takes for markup, what a terminal obeys, and what forges lines."""


@pytest.fixture
def nasty():
    """All of them in one name: each must be harmless beside the others."""
    return "".join(NASTY.values())


@pytest.fixture
def named(store, tmp_path, nasty):
    """A folder with a nasty name, and in it a store whose model, data and classes have one."""
    from calibrant.data import StoredPredictions, write_store

    folder = tmp_path / nasty
    whole = StoredPredictions(store)
    classes = (nasty, "road", "tree", "car")
    provenance = replace(whole.provenance, model=nasty, data=nasty, class_names=classes)
    write_store(whole, folder / "store", provenance=provenance)
    return folder


def check(run, *arguments):
    code, out, err = run(*arguments)
    for text in (out, err):
        assert not set(text) & set("\x1b\x07\r‮"), text
    return code, out, err


@pytest.mark.slow
def test_every_command_prints_nasty_names_as_words(calibrant, folder, named, nasty):
    store, shown = named / "store", visible(nasty)
    code, out, _ = check(calibrant, "import", folder, "-o", named / "again", "--model", nasty, "--data", nasty)
    assert (code, f"{shown}/again" in out) == (0, True)
    code, out, _ = check(calibrant, "fit", store, "--method", "temperature", "-o", named / "ts")
    assert (code, f"→ {visible(str(named))}/ts" in out) == (0, True)
    code, out, _ = check(calibrant, "apply", named / "ts", store, "-o", named / "out")
    assert (code, shown in out) == (0, True)
    code, out, _ = check(calibrant, "measure", store, "--calibrator", named / "ts", "-o", named / "m")
    assert code == 0
    code, out, _ = check(calibrant, "report", named / "m", "-o", named / "r.html", "--title", nasty)
    assert (code, f"report: {visible(str(named))}/r.html" in out) == (0, True)
    code, out, _ = check(calibrant, "sample", store, "-o", named / "maps", "--num-samples", 2)
    assert (code, shown in out) == (0, True)
    code, out, _ = check(calibrant, "verify", store, named / "ts", named / "maps")
    assert (code, out.count(f"whole: {visible(str(named))}")) == (0, 3)
    assert check(calibrant, "verify", named)[0] == 2
    refined = ["refine", store, "--method", "copula", "--num-samples", 2]
    code, out, _ = check(calibrant, *refined, "-o", named / "copula")
    assert (code, shown in out) == (0, True)
    methods = "uncalibrated,temperature,selective:base=vector-kept,num_epochs=1"
    compared = ["compare", store, "--methods", methods, "--num-seeds", 1, "-o", named / "c.html"]
    code, out, _ = check(calibrant, *compared)
    assert code == 0
    assert f"images of {shown}" in out
    assert "(base: vector-" in "".join(out.split("│")) or "vector-kept" in "".join(out.split())


def test_errors_and_refused_arguments_show_nasty_names_as_words(calibrant, tmp_path, nasty):
    for arguments in (
        ["measure", tmp_path / nasty],
        ["report", tmp_path / nasty],
        ["fit", tmp_path, "--method", nasty, "-o", tmp_path / "x"],
        ["fit", tmp_path, "--method", "temperature", "-o", tmp_path / "x", f"--{nasty}"],
        ["sample", tmp_path, "-o", tmp_path / "x", "--classes", nasty],
        [nasty],
    ):
        code, out, err = check(calibrant, *arguments)
        assert code == 2
        assert out == ""
        assert err


def test_a_table_shows_methods_in_brackets(capsys):
    console = PlainConsole(width=160)
    console.print("stacked scaling (members: [vector:strength=0.1]) :smile: [/x]")
    console.print(Text("[kept]"))
    assert capsys.readouterr().out == "stacked scaling (members: [vector:strength=0.1]) :smile: [/x]\n[kept]\n"


@pytest.mark.slow
def test_json_goes_to_the_standard_output_alone(calibrant, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = calibrant("measure", store, "--json", "-")
    assert code == 0
    assert json.loads(out)["facts"]
    assert "uncalibrated" in err
    given = ["compare", store, "--methods", "uncalibrated,temperature", "--num-seeds", 1, "--num-cases", 0]
    code, out, err = calibrant(*given, "--json", "-")
    assert code == 0
    assert json.loads(out)["values"]["temperature scaling"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html"]


def test_json_into_a_pipe_or_through_a_link_leaves_both(tmp_path):
    import os
    import threading

    from calibrant.cli._console import write_json

    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_json({"a": 1}, tmp_path / "pipe")
    reader.join()
    assert json.loads(read[0]) == {"a": 1}
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to("real.json")
    write_json({"a": 1}, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text()) == {"a": 1}


def test_a_long_name_of_an_image_is_shortened_and_stays_its_own(calibrant, folder, tmp_path):
    from calibrant.data import StoredPredictions, write_store

    whole = StoredPredictions(_imported(calibrant, folder, tmp_path))
    names = ["名" * 60 + "a", "名" * 60 + "b"]
    renamed = [replace(whole[number], key=name) for number, name in enumerate(names)]
    write_store(renamed, tmp_path / "long", provenance=whole.provenance)
    code, _, err = calibrant("sample", tmp_path / "long", "-o", tmp_path / "maps", "--num-samples", 2)
    assert (code, err) == (0, "")
    files = sorted((tmp_path / "maps").glob("*.npz"))
    assert len(files) == 2
    assert {str(np.load(file)["key"]) for file in files} == set(names)
    assert all(len(file.name.encode()) < 255 for file in files)


def _imported(calibrant, folder, tmp_path):
    assert calibrant("import", folder, "-o", tmp_path / "store")[0] == 0
    return tmp_path / "store"
