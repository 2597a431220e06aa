"""All that a GPU is lent for, in a quarter of an hour: its tests, times of sampling, and the comparison on LIDC.

    python -m experiments.car.on_gpu -o FOLDER [--seconds 540] [--share 0.02] [--device cpu] [--trainings]

One part after another, each in what is left of the time: the tests of ``tests/test_accelerators.py``; times and memory
of sampling; ``experiments.car.rivals`` in its small and in its published widths, at once. What they print, what they
record and the scores of each row are written into the folder. ``--share`` takes that share of the steps of each
training, to see how long they take; ``--trainings`` leaves out what comes before them. With ``--device cpu`` all runs
on made images without a GPU, to try the script. F, if ``runs/lidc`` holds it, is not trained again.
"""

import argparse
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

PYTHON = sys.executable

TESTS = (PYTHON, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/test_accelerators.py")
SAMPLING = (PYTHON, "-m", "benchmarks.sampling", "--learnt", "--rounds", "3")
RIVALS = (PYTHON, "-m", "experiments.car.rivals")


def run_at_once(commands: Sequence[Sequence[str]], folder: Path, until: float) -> None:
    """Run commands side by side up to a time; what they print goes into files and, its end, to the screen."""
    running = []
    for command in commands:
        name = "".join(letter if letter.isalnum() else "_" for letter in " ".join(command[2:]))
        log = folder / f"{name[:90]}.log"
        began = subprocess.Popen(command, stdout=log.open("w"), stderr=subprocess.STDOUT, start_new_session=True)
        running.append((began, log, time.monotonic()))
    for process, log, begun in running:
        try:
            process.wait(max(1.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        print(f"\n== {log.stem}: exit {process.returncode}, {time.monotonic() - begun:.0f} s", flush=True)
        print("\n".join(log.read_text().splitlines()[-30:]), flush=True)


def before_trainings(folder: Path, until: float, device: str) -> None:
    """Run the tests, and time sampling."""
    sizes = ["--samples", "100"] if device != "cpu" else ["--samples", "3", "--rounds", "1"]
    run_at_once([TESTS], folder, until)
    for widths in ([], ["--published"]):
        run_at_once([[*SAMPLING, "--device", device, *sizes, *widths]], folder, until)


def main(folder: Path, *, seconds: float, share: float, device: str, jobs: int, trainings: bool) -> None:
    """Run all parts and gather what they made."""
    until = time.monotonic() + seconds
    folder.mkdir(parents=True, exist_ok=True)
    real = ["--device", device, "--share", str(share)] if device != "cpu" else ["--smoke"]
    if not trainings:
        before_trainings(folder, until, device)
    small, published = [*RIVALS, *real, "--jobs", str(jobs)], [*RIVALS, *real, "--published", "--jobs", "6"]
    run_at_once([small, published] if device != "cpu" else [small], folder, until)
    if device != "cpu" and time.monotonic() >= until:  # cut short: show and record the rows that are there
        run_at_once([[*small, "--scored"], [*published, "--scored"]], folder, time.monotonic() + 60)
    with tarfile.open(folder / "kept.tar.gz", "w:gz") as kept:
        for path in Path("experiments/results").glob("rivals*"):
            kept.add(path)
        for path in Path("runs").rglob("*"):
            if path.is_file() and (path.parent.name == "scores" or path.suffix in {".json", ".png"}):
                kept.add(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder for what comes of it")
    parser.add_argument("--seconds", type=float, default=540, help="how long all may take")
    parser.add_argument("--share", type=float, default=1.0, help="the share of the steps of each training")
    parser.add_argument("--device", default="cuda", help="cuda; or cpu, to try the script")
    parser.add_argument("--jobs", type=int, default=10, help="trainings at once")
    parser.add_argument("--trainings", action="store_true", help="leave out the tests and the times of sampling")
    asked = parser.parse_args()
    main(
        asked.output,
        seconds=asked.seconds,
        share=asked.share,
        device=asked.device,
        jobs=asked.jobs,
        trainings=asked.trainings,
    )
