"""What checking costs: measuring and applying with the checksums of a store compared, and without.

    python -m benchmarks.checking [--quick]

Both sides take turns in one process on the same store, ten times; a side's figure is the median of its ratios to the
mean of the two turns of the other around it. "Without" is the same reading and writing with an empty digest. By the
clock what matters is whether a second processor is free, since the next image is read and checked while one is counted;
by processor time all of the work is counted.
"""

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks._interleaved import ratios, shown, verdict
from benchmarks._scenes import MadeScenes
from calibrant.calibrators import TemperatureScaling, save
from calibrant.cli import app
from calibrant.data import write_store
from calibrant.data.store import _content, _image_file, _in_runs

SHAPES = {"19 classes, 256 x 512": (19, 256, 512), "11 classes, 128 x 160": (11, 128, 160)}
TARGET = 1.10


class _NoDigest:
    """The digest of anything."""

    def update(self, part: object) -> None:
        """Look at nothing."""

    def hexdigest(self) -> str:
        """Return zeros."""
        return "0" * 64


@contextlib.contextmanager
def unchecked() -> Generator[None]:
    """Read and write stores without a digest of their content."""
    nothing = mock.Mock(return_value=None)
    with (
        mock.patch.dict(_content.KINDS, {"blake3": _NoDigest}),
        mock.patch.object(_image_file, "check_digest", nothing),
        mock.patch.object(_in_runs, "check_digest", nothing),
    ):
        yield


def without(task: Callable[[], object]) -> object:
    """Run a task without checksums of what it reads."""
    with unchecked():
        return task()


def command(*arguments: Any) -> None:
    """Run a command of calibrant here, silently."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        app([*map(str, arguments)], standalone_mode=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="What it costs to compare checksums.")
    parser.add_argument("--quick", action="store_true", help="the smaller images, three turns")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [*SHAPES][-1:] if options.quick else [*SHAPES]
    print(f"{'with checksums, of the time without':<48}{'clock':>9}{'processor':>11}")
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            write_store(MadeScenes(12, *SHAPES[name]), folder / "store", dtype="float32")
            save(TemperatureScaling(2.0), folder / "temperature")
            measure = partial(command, "measure", folder / "store")
            apply = partial(
                command, "apply", folder / "temperature", folder / "store", "-o", folder / "out", "--overwrite"
            )
            print(name)
            for what, task in {"measure": measure, "apply": apply}.items():
                found = ratios(partial(without, task), {what: task}, 3 if options.quick else 10)[what]
                print(shown(what, found) + verdict(found[0], TARGET), flush=True)


if __name__ == "__main__":
    main()
