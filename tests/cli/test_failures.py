"""However a command ends, it ends with a sentence: known errors, the system's, and those that nobody expected."""

import ast
import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import typer

import calibrant as package
from calibrant.cli import app
from calibrant.cli._failure import RESUMABLE, interrupted, is_lack_of_memory, with_owners
from calibrant.errors import LabelError

GROUP = typer.main.get_command(app)


@pytest.fixture
def failing(monkeypatch, tmp_path):
    """Make every command that opens a store raise an error, and logs go to a folder of the test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def make(error):
        def fail(*_):
            raise error

        monkeypatch.setattr("calibrant.data.StoredPredictions", fail)

    return make


def test_an_unexpected_error_is_one_line_and_a_log(calibrant, failing, tmp_path):
    failing(ZeroDivisionError("division by zero"))
    code, out, err = calibrant("measure", "store", "--num-bins", "7")
    assert (code, out) == (70, "")
    assert "Traceback" not in err
    assert re.match(r"unexpected error: ZeroDivisionError: division by zero\. This is a fault of calibrant", err)
    (log,) = tmp_path.glob("calibrant-*.log")
    assert str(log) in err
    written = log.read_text()
    assert "'measure', 'store', '--num-bins', '7'" in written
    assert f"calibrant {package.__version__}" in written
    assert f"torch {torch.__version__.partition('+')[0]}" in written
    assert 'File "' in written
    assert written.rstrip().endswith("ZeroDivisionError: division by zero")
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("where", ["front", "back", "environment"])
def test_debug_shows_the_traceback(calibrant, failing, monkeypatch, where):
    failing(KeyError("lost"))
    if where == "environment":
        monkeypatch.setenv("CALIBRANT_DEBUG", "1")
    given = ["--debug"] * (where == "front") + ["measure", "store"] + ["--debug"] * (where == "back")
    code, _, err = calibrant(*given)
    assert code == 70
    assert "Traceback (most recent call last)" in err


def test_a_log_that_cannot_be_written_is_told(calibrant, failing, monkeypatch):
    failing(ZeroDivisionError("division by zero"))
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    code, _, err = calibrant("measure", "store")
    assert code == 70
    assert "No log could be written" in err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 10.9 TiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory: you tried …"),
    ],
)
def test_lack_of_memory_is_a_sentence(calibrant, failing, error):
    failing(error)
    code, _, err = calibrant("measure", "store")
    assert code == 2
    assert err.startswith("error: expected enough memory; it ran out (")


def test_torch_says_lack_of_memory_so():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_lack_of_memory(caught.value)
    assert not is_lack_of_memory(RuntimeError("shapes differ"))


def test_a_refusal_of_the_system_names_the_file(calibrant, failing):
    failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/a.json"))
    code, _, err = calibrant("measure", "store")
    assert code == 2
    assert err == "error: No space left on device: runs/a.json. Check the path and the disk space."


def test_ctrl_c_promises_what_the_command_keeps():
    for command in GROUP.commands:
        said = interrupted([command], command)
        assert ("run the same command again to go on" in said) == (command in RESUMABLE)
    assert "begins anew" in interrupted(["refine", "s", "--method", "copula"], "refine")
    assert "begins anew" in interrupted([], None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_with_a_sentence(number):
    code = "import sys, time; from calibrant.cli import main, app\n"
    code += "@app.command()\ndef wait():\n    print('ready', flush=True); time.sleep(60)\nmain(['wait'])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err.decode().startswith("stopped: ")
    assert len(err.splitlines()) == 1


def test_advice_says_whose_an_option_is_that_the_command_lacks(calibrant, failing):
    failing(
        LabelError("expected labels. Name it: --ignore-index 255. Or --normalise, pip install --upgrade calibrant.")
    )
    _, _, err = calibrant("measure", "store")
    assert "--ignore-index of calibrant predict or import 255" in err
    assert "--normalise of calibrant predict or onnx" in err
    assert with_owners("see --ignore-index", "import", GROUP) == "see --ignore-index"


def options_in_messages():
    """Every option that a string of the library names, docstrings apart, and where."""
    for path in Path(package.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        docstrings = {ast.get_docstring(each, clean=False) for each in ast.walk(tree) if isinstance(each, documented)}
        for each in ast.walk(tree):
            if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value not in docstrings:
                for option in re.findall(r"(?<![\w-])(?<!install )(?<!ray start )--[a-z][a-z-]+(?![\w])", each.value):
                    yield option, path


def test_every_option_that_is_advised_exists():
    there = {name for each in (GROUP, *GROUP.commands.values()) for param in each.params for name in param.opts}
    there |= {name for each in GROUP.commands.values() for param in each.params for name in param.secondary_opts}
    there.add("--help")  # of every command, by itself
    found = list(options_in_messages())
    assert len(found) > 20
    assert [(option, path.name) for option, path in found if option not in there] == []


def test_a_command_advises_its_own_options():
    files = {
        Path(package.__file__).parent / f"cli/{name}{'_' * (name == 'import')}.py": name for name in GROUP.commands
    }
    for option, path in options_in_messages():
        if path in files and (option, path.name) != ("--kinds", "fit.py"):  # for those that use what was fitted
            assert any(option in (*p.opts, *p.secondary_opts) for p in GROUP.commands[files[path]].params), (
                option,
                path,
            )
