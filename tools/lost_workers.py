"""Kill workers of Dask, and the process that asks, at random moments; print what became of the results.

    python tools/lost_workers.py [--kills 20] [--ends 5] [--commands import,apply,measure,compare] [--images 40]

Runs import, apply, measure and compare over a cluster of two worker processes, first undisturbed, then again and again
with one worker ended by SIGKILL at a random moment; then as processes of their own that are ended themselves, and
started again by the same command. Stores lie in a bucket of an S3 server on this machine if the packages moto and s3fs
are installed, else in a folder. Every result has to be the bytes of the undisturbed one.
"""

import argparse
import contextlib
import functools
import io
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
from PIL import Image

NUM_WORKERS = 2
NAMES = ("import", "apply", "measure", "compare")


@dataclass
class Counts:
    """What became of the runs of one command.

    :param runs: how many there were.
    :param lost: how many lost a worker, or were ended, before they were done.
    :param other: how many ended with other bytes, or with an error.
    :param kept: images that had been finished when a command was ended.
    :param again: how many of these were written again by the next.
    """

    runs: int = 0
    lost: int = 0
    other: int = 0
    kept: int = 0
    again: int = 0


def arrays(path: Path, count: int) -> Path:
    """Write a folder of logits of three classes and labels, of unlike sizes, the first of them without a label."""
    rng = np.random.default_rng(0)
    for name in ("logits", "labels"):
        (path / name).mkdir(parents=True)
    for number in range(count):
        logits = 3 * rng.normal(size=(3, 40 + number % 3, 50)).astype(np.float32)
        labels = np.where(rng.random(logits.shape[1:]) < 0.6, logits.argmax(0), rng.integers(0, 3, logits.shape[1:]))
        labels = labels if number else np.full_like(labels, 255)
        np.save(path / "logits" / f"{number:03d}.npy", logits)
        Image.fromarray(labels.astype(np.uint8)).save(path / "labels" / f"{number:03d}.png")
    return path


@contextlib.contextmanager
def bucket(folder: Path) -> Iterator[str]:
    """Yield where stores go: a bucket of an S3 server on this machine, or a folder."""
    try:
        import s3fs  # noqa: F401 whether it is there
        from moto.server import ThreadedMotoServer
    except ImportError:
        yield f"{folder}/stores"
        return
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # which prints every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    fsspec.filesystem("s3").mkdir("calibrant")
    yield "s3://calibrant/stores"
    server.stop()


def command(name: str, made: Path, stores: str, out: str) -> list[str]:
    """Return the words of a command whose result goes to ``out``."""
    words = {
        "import": [str(made / "arrays"), "-o", out],
        "apply": [str(made / "calibrator"), f"{stores}/test", "-o", out],
        "measure": [f"{stores}/test", "-o", out],
        "compare": [
            f"{stores}/test",
            "--methods",
            "temperature,vector",
            "--num-seeds",
            "1",
            "--tallies",
            f"{out}/rows",
        ],
    }
    return [name, *words[name], *(["-o", f"{out}/report.html"] if name == "compare" else [])]


def place(name: str, folder: Path, stores: str, number: str) -> str:
    """Return where a run's result goes."""
    return f"{stores}/{name}-{number}" if name in ("import", "apply") else f"{folder}/{name}-{number}"


def content(url: str) -> dict[str, bytes]:
    """Return the files below an address, by name, but for a page, which says when and by what command it was made."""
    files, root = fsspec.core.url_to_fs(url)
    found = (path for path in files.find(root) if not path.endswith(".html"))
    return {path[len(root) :].lstrip("/"): files.cat_file(path) for path in found}


def called(words: list[str]) -> int:
    """Run a command in this process and return its exit code."""
    from calibrant.cli import main

    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            main(words)
    except SystemExit as end:
        if end.code:
            print(out.getvalue(), file=sys.stderr)
            return 1
    return 0


class Workers:
    """Worker processes of a scheduler, one of which can be killed; another takes its place before the next run.

    :param address: of the scheduler.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.running: list[subprocess.Popen[bytes]] = []

    def complete(self, client: Any) -> None:
        """Start workers until there are as many as there are to be, and wait for them."""
        self.running = [worker for worker in self.running if worker.poll() is None]
        words = [sys.executable, "-m", "distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-nanny"]
        for _ in range(NUM_WORKERS - len(self.running)):
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self.running.append(subprocess.Popen([*words, "--no-dashboard", "--host", "127.0.0.1"], **quiet))
        client.wait_for_workers(NUM_WORKERS)

    def kill(self, number: int) -> None:
        """End one of them at once, by SIGKILL."""
        self.running[number].kill()
        self.running[number].wait()


class Ended(NamedTuple):
    """What became of one run.

    :param fine: whether it went well.
    :param running: whether it was running when something was killed.
    :param kept: images that had been finished by then.
    :param again: how many of these were written again.
    """

    fine: bool
    running: bool
    kept: int = 0
    again: int = 0


def with_a_worker_killed(workers: Workers, client: Any, words: list[str], after: float) -> Ended:
    """Run a command, and end one worker after so many seconds."""
    workers.complete(client)
    done = threading.Event()
    running: list[bool] = []

    def kill() -> None:
        time.sleep(after)
        running.append(not done.is_set())
        workers.kill(random.randrange(NUM_WORKERS))

    thread = threading.Thread(target=kill)
    thread.start()
    code = called(words)
    done.set()
    thread.join()
    return Ended(code == 0, running[0])


def finished(url: str) -> dict[str, Any]:
    """Return when each file of an image below an address was written, by name."""
    files, root = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    found = files.find(root, detail=True) if files.exists(root) else {}
    written = {path: each.get("LastModified", each.get("mtime")) for path, each in found.items()}
    return {path: when for path, when in written.items() if path.endswith(".safetensors")}


def killed_and_run_again(words: list[str], after: float) -> Ended:
    """Start a command of its own and end it after so many seconds, then run it to its end."""
    first = subprocess.Popen(
        [sys.executable, "-c", "from calibrant.cli import main; main()", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        first.wait(seconds_to_start() + after)
    running = first.poll() is None
    first.kill()
    first.wait()
    kept = finished(words[words.index("-o") + 1])
    time.sleep(1.5)  # a bucket tells times to the second
    fine = called(words) == 0
    now = finished(words[words.index("-o") + 1])
    return Ended(fine, running, len(kept), sum(now.get(path) != when for path, when in kept.items()))


def trials(names: Sequence[str], kills: int, ends: int, count: int, folder: Path, seed: int) -> dict[str, Counts]:
    """Run everything; return what came of it by what was killed and by command."""
    import distributed

    random.seed(seed)
    found: dict[str, Counts] = {}
    arrays(folder / "arrays", count)
    with bucket(folder) as stores:
        assert called(["import", str(folder / "arrays"), "-o", f"{stores}/test"]) == 0
        fit = ["fit", f"{stores}/test", "--method", "temperature", "-o", str(folder / "calibrator")]
        assert called(fit) == 0
        with (
            distributed.LocalCluster(
                n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            os.environ["CALIBRANT_ENGINE"] = f"dask:{cluster.scheduler_address}"
            workers = Workers(cluster.scheduler_address)
            workers.complete(client)
            for name in names:
                whole = place(name, folder, stores, "whole")
                called(command(name, folder, stores, place(name, folder, stores, "first")))
                begun = time.monotonic()
                assert called(command(name, folder, stores, whole)) == 0
                seconds, expected = time.monotonic() - begun, content(whole)
                for who, ended, times in (
                    ("a worker", partial(with_a_worker_killed, workers, client), kills),
                    ("the command", killed_and_run_again, ends),
                ):
                    counts = found[f"{name}, {who}"] = Counts()
                    for number in range(times):
                        out = place(name, folder, stores, f"{who[-6:]}-{number}")
                        one = ended(command(name, folder, stores, out), random.random() * seconds)
                        counts.runs += 1
                        counts.lost += one.running
                        counts.other += not one.fine or content(out) != expected
                        counts.kept += one.kept
                        counts.again += one.again
                    print(f"{name}, {who}: {counts}", file=sys.stderr, flush=True)
            for worker in workers.running:
                worker.kill()
    return found


@functools.cache
def seconds_to_start() -> float:
    """Return how long a command takes to import what it needs."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import calibrant.cli, calibrant.engines, distributed"], check=True)
    return time.monotonic() - begun


def main() -> int:
    """Run all trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of a worker, for each command")
    parser.add_argument("--ends", type=int, default=5, help="of the command itself, which is then started again")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--commands", default=",".join(NAMES))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp())
    try:
        found = trials(chosen.commands.split(","), chosen.kills, chosen.ends, chosen.images, folder, chosen.seed)
    finally:
        if chosen.folder is None:
            shutil.rmtree(folder)
    print(
        "| command, and what was killed | runs | killed before it was done | other bytes, or an error "
        "| images finished by then | of these written again |"
    )
    print("|---|---|---|---|---|---|")
    for name, counts in found.items():
        print(f"| {name} | {counts.runs} | {counts.lost} | {counts.other} | {counts.kept} | {counts.again} |")
    return int(any(counts.other + counts.again for counts in found.values()))


if __name__ == "__main__":
    sys.exit(main())
