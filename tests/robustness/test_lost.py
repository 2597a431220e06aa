"""What was there stays until what replaces it is whole, and what a kill leaves is gone after the next write."""

import contextlib
import os
import signal
import threading

import pytest
import torch
from worlds import arrays, contents

from calibrant._storage import files
from calibrant.calibrators import Identity, TemperatureScaling, VectorScaling, load, save
from calibrant.cli._study import Study
from calibrant.data import StoredPredictions, write_store
from calibrant.errors import StoreError
from calibrant.metrics import Measurement
from calibrant.predictions import Prediction
from calibrant.samplers import CopulaSampler, IndependentSampler, load_sampler, save_sampler
from calibrant.training.checkpoint import write_checkpoint

VECTOR = VectorScaling(torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.0, 0.1, -0.1]))


class Killed(BaseException):
    """A kill, as far as the files are concerned: nothing of Python that cleans up may be counted on."""


def kill_at(monkeypatch, number):
    """Let the process end just before the n-th renaming or removal of a file."""
    calls, real = [], {name: getattr(os, name) for name in ("replace", "unlink")}

    def counted(name):
        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) >= number:
                raise Killed
            return real[name](*args, **kwargs)

        return call

    for name in real:
        monkeypatch.setattr(os, name, counted(name))
    return calls


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("write", "read", "old", "new"),
    [
        (save, lambda path: str(load(path)), TemperatureScaling(3.0), VECTOR),
        (save, lambda path: str(load(path)), VECTOR, TemperatureScaling(3.0)),
        (save, lambda path: str(load(path)), VECTOR, Identity()),
        (save_sampler, lambda path: str(load_sampler(path)), CopulaSampler(pixels=1.0), IndependentSampler()),
    ],
    ids=["temperature, vector", "vector, temperature", "vector, identity", "copula, independent"],
)
def test_a_save_that_is_killed_leaves_the_old_or_the_new(tmp_path, monkeypatch, number, write, read, old, new):
    write(old, tmp_path / "there")
    write(new, tmp_path / "other")
    answers = {read(tmp_path / "there"), read(tmp_path / "other")}
    calls = kill_at(monkeypatch, number)
    with contextlib.suppress(Killed):
        write(new, tmp_path / "there")
    monkeypatch.undo()
    assert len(calls) >= min(number, 2)
    assert read(tmp_path / "there") in answers
    write(new, tmp_path / "there")
    assert len([file for file in (tmp_path / "there").iterdir() if not file.name.startswith(".")]) == 2


@pytest.mark.parametrize("sort", ["calibrator", "checkpoint", "store", "measurements", "report"])
def test_what_a_kill_has_left_is_removed_by_the_next_write(tmp_path, sort):
    items = [Prediction("a", torch.randn(3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.long))]
    study = Study({"one": [Measurement.of(items[0].logits[None], items[0].labels[None])]}, (), {})
    writers = {
        "calibrator": lambda: save(VECTOR, tmp_path),
        "checkpoint": lambda: write_checkpoint(tmp_path, {"steps": 1}, {"seed": 0}),
        "store": lambda: write_store(items, tmp_path, overwrite=True),
        "measurements": lambda: study.save(tmp_path, {}),
        "report": lambda: study.write_page(tmp_path / "report.html"),
    }
    writers[sort]()
    (tmp_path / ".calibrant-0123456789abcdef.json").write_bytes(b"half")
    (tmp_path / ".mine.tmp").write_text("mine")
    (tmp_path / "mine.txt").write_text("mine")
    with files.replacing(tmp_path / "other.json") as temporary:  # of another process that writes now
        writers[sort]()
        left = {file.name for file in tmp_path.iterdir() if file.name.startswith(".")}
        assert left == {temporary.name} | (set() if sort == "store" else {".mine.tmp"})
        temporary.write_text("{}")
    assert (tmp_path / "mine.txt").exists()


@pytest.mark.parametrize("write", ["calibrator", "store", "measurements"])
def test_two_writers_of_one_folder(tmp_path, write):
    items = [Prediction("a", torch.randn(3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.long))]
    study = Study({"one": [Measurement.of(items[0].logits[None], items[0].labels[None])]}, (), {})
    writers = {
        "calibrator": lambda: save(VECTOR, tmp_path),
        "store": lambda: write_store(items, tmp_path),
        "measurements": lambda: study.save(tmp_path, {}),
    }
    with files.only_writer(tmp_path), pytest.raises(StoreError, match="another process is writing"):
        writers[write]()
    assert not list(tmp_path.iterdir())
    writers[write]()


def test_a_lock_ends_with_the_block_in_another_thread_too(tmp_path):
    found = []

    def tried():
        try:
            with files.only_writer(tmp_path):
                found.append("free")
        except BlockingIOError:
            found.append("taken")

    def in_thread():
        thread = threading.Thread(target=tried)
        thread.start()
        thread.join()

    with files.only_writer(tmp_path):
        in_thread()
    in_thread()
    assert found == ["taken", "free"]


@pytest.mark.parametrize("broken", ["first", "last"])
def test_an_overwriting_import_of_damaged_files_loses_nothing(calibrant, tmp_path, broken):
    arrays(tmp_path / "d")
    assert calibrant("import", tmp_path / "d", "-o", tmp_path / "s")[0] == 0
    before = contents(tmp_path / "s")
    arrays(tmp_path / "bad", seed=1)
    name = {"first": "a", "last": "d"}[broken]
    (tmp_path / "bad" / "logits" / f"{name}.npy").write_bytes(b"no array")
    code, _, err = calibrant("import", tmp_path / "bad", "-o", tmp_path / "s", "--overwrite")
    assert code == 2, err
    assert contents(tmp_path / "s").items() >= before.items()
    assert len(list(StoredPredictions(tmp_path / "s"))) == 4


@pytest.mark.parametrize(("sort", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_asked_to_end(calibrant, tmp_path, monkeypatch, sort, code):
    from calibrant._storage.place import Place

    arrays(tmp_path / "d")
    real, calls = Place.write, []

    def asked(self, file, content):
        calls.append(file)
        if len(calls) == 3:
            os.kill(os.getpid(), sort)
        real(self, file, content)

    monkeypatch.setattr(Place, "write", asked)
    found, _, err = calibrant("import", tmp_path / "d", "-o", tmp_path / "s")
    monkeypatch.undo()
    assert found == code
    assert "run the same command again to go on" in err
    assert calibrant("import", tmp_path / "d", "-o", tmp_path / "s")[0] == 0


def test_verify_says_what_is_whole_and_what_is_not(calibrant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays(tmp_path / "d")
    for command in (
        ("import", "d", "-o", "s"),
        ("fit", "s", "--method", "temperature", "-o", "ts"),
        ("refine", "s", "--method", "copula", "--num-samples", 2, "-o", "cop"),
        ("sample", "s", "--num-samples", 2, "-o", "samples"),
        ("measure", "s", "-o", "m"),
        ("export", "s", "--as", "png", "-o", "maps"),
    ):
        assert calibrant(*command)[0] == 0
    places = ("s", "ts", "cop", "samples", "m", "maps", "m/00-00.measurement")
    code, out, err = calibrant("verify", *places)
    assert (code, err) == (0, "")
    assert out.count("whole: ") == len(places)
    for place in places[:6]:
        for file in sorted(path for path in (tmp_path / place).rglob("*") if path.is_file()):
            content = file.read_bytes()
            number = len(content) * 2 // 3
            file.write_bytes(content[:number] + bytes([content[number] ^ 1]) + content[number + 1 :])
            code, out, err = calibrant("verify", *places[:6])
            assert code == 2, file
            assert out.count("whole: ") == 5, file
            assert str(place) in err
            file.write_bytes(content)
    assert calibrant("verify", tmp_path / "nowhere")[0] == 2
