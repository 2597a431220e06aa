"""Engines: the public contract, the words that open them, and every command by way of one."""

import logging
import pickle
import signal
import time
from concurrent.futures import Future

import pytest
from robustness.worlds import MODEL, arrays, contents
from sharding.machines import Machines, Played

import calibrant.engines
from calibrant.engines import open_engine
from calibrant.engines.worker import run, versions
from calibrant.errors import EngineError, InputError, PackageError
from calibrant.predictions import Sharded, mapped_in_shards
from calibrant.testing import check_engine, uneven_predictions


def test_played_machines_keep_the_contract():
    check_engine(Played(), num_images=9, shard_sizes=[1, 4])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["processes:2", "dask:2"])
def test_engines_keep_the_contract_with_few_images(name):
    with open_engine(name) as engine:
        check_engine(engine, num_images=5, shard_sizes=[2])


@pytest.mark.long
@pytest.mark.parametrize("name", ["processes:2", "dask:2", "ray"])
def test_engines_keep_the_contract(name):
    if name == "ray":
        pytest.importorskip("ray", reason="make engines installs it")
    with open_engine(name) as engine:
        check_engine(engine)


def test_a_result_that_differs_is_found_out():
    class Late(Machines):
        """Loses the last shard but one."""

        def submit(self, fn, /, *args):
            return super().submit(fn, *((args[0], args[1][:1], *args[2:]) if self.num_tasks == 0 else args))

    with pytest.raises(AssertionError, match="tallies, shards of 4: expected the SHA-256 of one process"):
        check_engine(Late(), num_images=5, shard_sizes=[4])


@pytest.fixture
def played(monkeypatch):
    engines = []

    def opened(name):
        engines.append(Played())
        return engines[-1]

    monkeypatch.setattr(calibrant.engines, "open_engine", opened)
    return engines


@pytest.mark.slow
def test_every_command_gives_the_same_bytes(calibrant, played, tmp_path):
    arrays(tmp_path / "arrays")
    (tmp_path / "own.py").write_text(MODEL.replace("from net import SCALE", "SCALE = 2"))

    def all_of(folder, *engine):
        def ran(*command):
            code, out, err = calibrant(*command, *engine)
            assert (code, err) == (0, "")
            return out

        ran("import", tmp_path / "arrays", "-o", folder / "store")
        ran(
            "predict",
            f"{tmp_path}/own.py:build",
            tmp_path / "arrays",
            "--trust",
            "--class-names",
            "a,b,c",
            "--batch",
            3,
            "-o",
            folder / "answers",
        )
        ran("fit", folder / "store", "--method", "temperature", "-o", folder / "ts")
        ran("fit", folder / "store", "--method", "isotonic:pixels_per_image=none", "-o", folder / "iso")
        ran("apply", folder / "iso", folder / "store", "-o", folder / "calibrated")
        ran("measure", folder / "store", "--calibrator", folder / "ts", "-o", folder / "measured")
        ran("sample", folder / "store", "--num-samples", 3, "-o", folder / "samples")
        return ran(
            "compare",
            folder / "store",
            "--methods",
            "uncalibrated,temperature",
            "--num-seeds",
            2,
            "--tallies",
            folder / "tallies",
            "-o",
            folder / "report.html",
        )

    one, spread = tmp_path / "one", tmp_path / "spread"
    all_of(one)
    assert not played
    all_of(spread, "--engine", "played")
    assert len(played) == 8
    assert all(engine.closed and engine.machines.num_tasks for engine in played)
    assert contents(spread) == contents(one)


def test_the_engine_may_be_named_by_the_environment(calibrant, played, tmp_path, monkeypatch):
    monkeypatch.setenv("CALIBRANT_ENGINE", "played")
    assert calibrant("import", arrays(tmp_path / "arrays"), "-o", tmp_path / "store")[0] == 0
    assert len(played) == 1


@pytest.mark.parametrize("name", ["processes:0", "processes:many", "spark", "daskx", ""])
def test_words_that_open_nothing(name):
    with pytest.raises(InputError, match="expected an engine, such as processes:8"):
        open_engine(name)


@pytest.mark.slow
def test_what_is_not_there_is_a_sentence(calibrant, tmp_path, monkeypatch):
    import sys

    arrays(tmp_path / "arrays")
    command = ("import", tmp_path / "arrays", "-o", tmp_path / "store", "--engine")
    code, _, err = calibrant(*command, f"dask:{tmp_path}/none.json")
    assert code == 2
    assert "there is no scheduler file" in err
    from calibrant.engines import dask

    monkeypatch.setattr(dask, "PATIENCE", 1.0)
    code, _, err = calibrant(*command, "dask:tcp://127.0.0.1:9")
    assert code == 2
    assert "expected a scheduler of Dask with a worker" in err
    code, _, err = calibrant("measure", "runs/test", "--engine", "dask:tcp://head:8786")
    assert code == 2
    for package, extra in (("distributed", "dask"), ("ray", "ray")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(PackageError, match=rf"pip install 'calibrant\[{extra}\]'"):
            open_engine(extra)


def test_relative_paths_are_refused_where_workers_run_elsewhere(calibrant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert calibrant("import", arrays(tmp_path / "arrays"), "-o", "store")[0] == 0
    code, _, err = calibrant("measure", "store", "--engine", "dask:tcp://127.0.0.1:9")
    assert code == 2
    assert "expected whole paths or addresses" in err


def test_workers_of_other_versions_are_refused():
    sent_by = {**versions(), "torch": "0.1"}
    with pytest.raises(EngineError, match=r"workers with torch 0\.1.*Install the same versions"):
        run(sent_by, len, "abc")
    assert run(versions(), len, "abc") == 3


@pytest.mark.slow
def test_a_process_that_is_killed_is_a_sentence():
    with open_engine("processes:1") as engine, pytest.raises(EngineError, match="one was ended from outside"):
        list(mapped_in_shards(_end, Sharded(uneven_predictions(4), engine)))


def test_a_task_that_nobody_takes_is_a_sentence(monkeypatch):
    """Workers may all be lost while a result is waited for; a task's own error, of whatever kind, stays its own."""
    from calibrant.engines import engine

    class Deserted(Played):
        def start(self, function, *arguments):
            return Future()

        def look(self):
            raise EngineError("expected a worker; all were lost")

    monkeypatch.setattr(engine, "LOOKS", 0.01)
    with pytest.raises(EngineError, match="all were lost"):
        Deserted().submit(len, "abc").result()
    late = Future()
    late.set_exception(TimeoutError("of the task"))
    with pytest.raises(TimeoutError, match="of the task"):
        engine.Answer(Deserted(), late).result()


@pytest.mark.slow
def test_when_all_workers_of_dask_are_lost_a_command_ends(monkeypatch):
    distributed = pytest.importorskip("distributed")
    from calibrant.engines import dask

    monkeypatch.setattr(dask, "PATIENCE", 3.0)
    local = {"host": "127.0.0.1", "dashboard_address": None}
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, **local) as cluster,
        open_engine(f"dask:{cluster.scheduler_address}") as engine,
    ):
        cluster.scale(0)
        with pytest.raises(EngineError, match="all were lost, and none has come back for 3 s"):
            list(mapped_in_shards(_slept, Sharded(uneven_predictions(8), engine)))


def test_what_becomes_of_workers_is_no_remark_on_a_fit():
    """It would be stored with the figures, which are the same however many workers were lost."""
    from calibrant.cli._run import _heard
    from calibrant.engines import dask

    notes: list[str] = []
    with _heard("temperature scaling", notes):
        dask.log.warning("1 of 2 workers lost")
        logging.getLogger("calibrant").warning("stopped short")
    assert notes == ["temperature scaling: stopped short"]


def test_code_that_workers_lack_is_a_sentence():
    error = ImportError("No module named 'mine'", name="mine")
    assert "on every worker; No module named 'mine'" in str(Played().meaning(error))
    assert Played().meaning(ValueError("of the task")) is None
    assert str(pickle.loads(pickle.dumps(EngineError("as it was")))) == "as it was"


def _slept(images, first):
    time.sleep(0.5)


def _end(images, first):
    import os

    os.kill(os.getpid(), signal.SIGKILL)
