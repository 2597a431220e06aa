"""Run the command line in processes of its own that take milliseconds to begin: a server that has imported it forks.

A process can be armed: to be sent a signal just before its n-th change to files below a folder, or after a time; or to
find, from its n-th change on, that the disk is full. Changes are told by Python's own audit events (opening to write,
renaming, removing, making folders), and calls of ``os.fsync``. Signals are real, and so is the end of the process.
"""

import contextlib
import errno
import gc
import importlib
import json
import mmap
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
EVENTS = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2, "os.truncate": 1}
"""The audit events of changes, and how many of their arguments are paths."""
TRAIN = ("refine", "demo")
"""Commands that train networks, for which torch imports much more."""


@dataclass(frozen=True)
class Arms:
    """What happens to a process.

    :param below: the folder whose files count.
    :param at: the number of the change, from 1, before which it happens; 0 for never.
    :param signal: what is sent to the process then; 0 for nothing.
    :param after: seconds after which the signal is sent instead; None where the change decides.
    :param full: from then on no file can grow beyond so many bytes; None where disks have room.
    :param refused: the change itself fails, as it does on a full disk; later ones do not.
    :param setup: ``module:function``, called in the process before the command.
    :param environment: variables of the process.
    """

    below: str = ""
    at: int = 0
    signal: int = 0
    after: float | None = None
    full: int | None = None
    refused: bool = False
    setup: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    :param code: its exit code, or minus the number of the signal that killed it.
    :param out: its standard output.
    :param err: its standard error.
    :param changes: what it did to files below the folder, or began to do.
    :param wall: how long it took, in seconds.
    :param computed: how long it computed.
    """

    code: int
    out: str
    err: str
    changes: tuple[str, ...]
    wall: float
    computed: float


class Forks:
    """The server, from the side of the tests."""

    def __init__(self) -> None:
        here = Path(__file__)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(here)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, arguments: Sequence[object], cwd: Path, arms: Arms = Arms()) -> Ended:
        """Run a command to its end.

        :param arguments: of the command line.
        :param cwd: the folder it runs in.
        :param arms: what happens to it.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"arguments": [str(each) for each in arguments], "cwd": str(cwd), "arms": asdict(arms)}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        found = json.loads(self.process.stdout.readline())
        return Ended(**found | {"changes": tuple(found["changes"])})

    def close(self) -> None:
        """End the server."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class _Changes:
    """Counts changes in memory that the server shares, so that it is known even of a process that was killed."""

    def __init__(self, arms: Arms, shared: mmap.mmap) -> None:
        self.arms, self.shared, self.count = arms, shared, 0

    def watch(self) -> None:
        fsync = os.fsync

        def counted(handle: Any) -> None:
            self._noted("os.fsync", [os.readlink(f"/proc/self/fd/{handle if isinstance(handle, int) else -1}")])
            fsync(handle)

        os.fsync = counted
        sys.addaudithook(self._heard)

    def _heard(self, event: str, given: tuple[Any, ...]) -> None:
        if event in EVENTS:
            by_handle = event in ("os.remove", "os.rmdir") and given[-1] != -1
            self._noted(event, [self.arms.below] if by_handle else list(given[: EVENTS[event]]))
        elif event == "open" and isinstance(given[2], int) and given[2] & WRITES:
            self._noted(event, [given[0]])

    def _noted(self, event: str, paths: list[Any]) -> None:
        names = [os.path.abspath(os.fsdecode(path)) for path in paths if isinstance(path, str | bytes | os.PathLike)]
        if not names or not names[0].startswith(self.arms.below):
            return
        self.count += 1
        self.shared.write(f"{event} {' '.join(os.path.relpath(name, self.arms.below) for name in names)}\n".encode())
        if self.count != self.arms.at:
            return
        if self.arms.full is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.arms.full, resource.RLIM_INFINITY))
        if self.arms.refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), names[0])
        if self.arms.signal:
            os.kill(os.getpid(), self.arms.signal)


def _child(request: Mapping[str, Any], arms: Arms, shared: mmap.mmap, out: int, err: int) -> None:
    """Run the command line; never return."""
    code = 99
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(request["cwd"])
        sys.path.insert(0, request["cwd"])
        os.environ |= arms.environment
        if arms.setup:
            module, _, name = arms.setup.partition(":")
            getattr(importlib.import_module(module), name)()
        _Changes(arms, shared).watch()
        from calibrant.cli import main

        main(request["arguments"])
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _served(request: Mapping[str, Any]) -> dict[str, Any]:
    arms = Arms(**request["arms"])
    if request["arguments"][0] in TRAIN and "torch._dynamo" not in sys.modules:
        importlib.import_module("torch._dynamo")  # seconds, which every process would need of its own
        gc.freeze()
    shared = mmap.mmap(-1, 2**20)
    pipes = [os.pipe(), os.pipe()]
    begun = time.perf_counter()
    process = os.fork()
    if process == 0:
        os.close(pipes[0][0])
        os.close(pipes[1][0])
        _child(request, arms, shared, pipes[0][1], pipes[1][1])
    texts = {read: b"" for read, _ in pipes}
    for _, write in pipes:
        os.close(write)
    waiting, due = set(texts), arms.after
    while waiting:
        left = None if due is None else max(0.0, begun + due - time.perf_counter())
        ready, _, _ = select.select(list(waiting), [], [], left)
        if due is not None and time.perf_counter() >= begun + due:
            os.kill(process, arms.signal)
            due = None
        for read in ready:
            part = os.read(read, 65536)
            texts[read] += part
            if not part:
                waiting.discard(read)
                os.close(read)
    _, status, used = os.wait4(process, 0)
    out, err = (texts[read].decode(errors="replace") for read, _ in pipes)
    changes = bytes(shared[:]).rstrip(b"\0").decode().splitlines()
    shared.close()
    return {
        "code": os.waitstatus_to_exitcode(status),
        "out": out,
        "err": err,
        "changes": changes,
        "wall": time.perf_counter() - begun,
        "computed": used.ru_utime + used.ru_stime,
    }


def serve() -> None:
    """Answer requests, a line each, until there are no more."""
    answers = os.dup(1)
    os.dup2(2, 1)
    import io
    import pkgutil

    import torch

    import calibrant
    from calibrant.cli import main

    for module in pkgutil.walk_packages(calibrant.__path__, "calibrant."):
        importlib.import_module(module.name)
    importlib.import_module("PIL.PngImagePlugin")
    importlib.import_module("matplotlib.backends.backend_svg")
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):  # what the first command imports
        main(["verify", os.devnull])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # or every process would touch, and so copy, all that is in memory
    for line in sys.stdin:
        os.write(answers, (json.dumps(_served(json.loads(line))) + "\n").encode())


if __name__ == "__main__":
    serve()
