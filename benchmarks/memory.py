"""Peak memory of ``calibrant measure`` and ``calibrant apply`` on one large image: ``python -m benchmarks.memory``.

Images are made run by run and written to a temporary folder; each command runs in a process of its own. Its peak is
counted above that of the same command on a tiny image, which imports as much, and compared with 1.3 times the bytes of
the image's file plus 300 MB.
"""

import argparse
import contextlib
import io
import logging
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks._memory import peak_megabytes
from calibrant.calibrators import (
    Calibrator,
    DirichletScaling,
    EntropyAbove,
    IsotonicScaling,
    LocalTemperatureScaling,
    SelectiveScaling,
    TemperatureScaling,
    VectorScaling,
    save,
)
from calibrant.cli import app
from calibrant.data import write_store
from calibrant.networks import TemperatureTree
from calibrant.predictions import Prediction, PredictionInParts

SIZES = {"100 MPx": (4, 10_000, 10_000), "256 cubed": (5, 256, 256, 256)}
SHARE, MEGABYTES = 1.3, 300


class MadeImage(PredictionInParts):
    """Smooth logits with noise, and labels that are right at most pixels; a run is made when it is asked for."""

    def logits(self, start: int, stop: int) -> torch.Tensor:  # noqa: D102 see PredictionInParts
        at = torch.arange(start, stop) / self.row
        waves = torch.stack([(at / 50 + k).sin() for k in range(self.num_classes)])
        return 4 * waves + torch.randn(waves.shape, generator=torch.Generator().manual_seed(start))

    def labels(self, start: int, stop: int) -> torch.Tensor:  # noqa: D102
        noise = torch.randn(stop - start, generator=torch.Generator().manual_seed(start + 1))
        return torch.where(noise > 1, 0, self.logits(start, stop).argmax(0))[None]

    def image(self, start: int, stop: int) -> None:  # noqa: D102
        return None

    def whole(self) -> Prediction:  # noqa: D102
        logits, labels = (read(0, self.num_pixels).reshape(-1, *self.space) for read in (self.logits, self.labels))
        return Prediction(self.key, logits, labels)


@dataclass(frozen=True)
class MadeImages:
    """A source of one image."""

    shape: tuple[int, ...]
    keys: tuple[str, ...] = ("made",)

    def __getitem__(self, i: int) -> Prediction:
        return self.in_parts(i).whole()

    def in_parts(self, i: int) -> MadeImage:  # noqa: D102
        return MadeImage(self.keys[i], self.shape[0], self.shape[1:])


def calibrators(c: int, dims: int) -> dict[str, Calibrator]:
    """Return one calibrator of each kind."""
    rising = torch.linspace(1 / c, 1, 512).repeat(c, 1)
    scale, shift = torch.linspace(0.4, 0.6, c), torch.linspace(-0.5, 0.5, c)
    tree = TemperatureTree.random(c, start=2.0, dims=dims, generator=torch.Generator().manual_seed(0))
    return {
        "temperature": TemperatureScaling(2.0),
        "vector-kept": VectorScaling(scale, shift, keep_labels=True),
        "dirichlet-kept": DirichletScaling(scale.diag() + 0.02, shift, keep_labels=True),
        "isotonic": IsotonicScaling(rising, 2.0),
        "selective": SelectiveScaling(EntropyAbove(0.5), TemperatureScaling(3.0), IsotonicScaling(rising, 1.5)),
        "local": LocalTemperatureScaling(tree),
    }


def peak_of(*arguments: Any) -> float:
    """Return the peak of a command in a process of its own, in MB."""
    command = [sys.executable, "-m", "benchmarks.memory", "--run", *map(str, arguments)]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(found.stderr)
    return float(found.stdout.split()[-1])


def commands(store: Path, calibrator: Path, output: Path) -> dict[str, tuple[Any, ...]]:
    """Return the commands that are watched."""
    return {
        "measure": ("measure", store),
        "measure, calibrated": ("measure", store, "--calibrator", calibrator),
        "apply": ("apply", calibrator, store, "-o", output),
    }


def growth(folder: Path, shape: tuple[int, ...], dtype: str, names: list[str]) -> dict[str, tuple[float, float]]:
    """Return, by command, how far its peak rises above that on a tiny image, and the bytes of the image, in MB.

    :param folder: for the images.
    :param shape: of the logits.
    :param dtype: as which they are stored.
    :param names: calibrators.
    """
    large = write_store(MadeImages(shape), folder / "large", dtype=dtype)
    megabytes = sum(file.stat().st_size for file in (folder / "large").glob("*.safetensors")) / 2**20
    tiny = write_store(MadeImages((shape[0], *(8 for _ in shape[1:]))), folder / "tiny", dtype=dtype)
    found = {}
    for name in names:
        save(calibrators(shape[0], len(shape) - 1)[name], folder / name)
        for what in commands(Path(), Path(), Path()):
            if what == "measure" and name != names[0]:
                continue
            few, many = (
                peak_of(*commands(Path(store.url), folder / name, folder / f"{size} {name}")[what])
                for size, store in {"tiny": tiny, "large": large}.items()
            )
            label = what if what == "measure" else f"{what}, {name}"
            found[label] = many - few, megabytes
    return found


def run(*arguments: str) -> float:
    """Run a command here and return the peak."""
    with contextlib.redirect_stdout(io.StringIO()):
        app(list(arguments), standalone_mode=False)
    return peak_megabytes()


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of measure and apply on one large image.")
    parser.add_argument("--quick", action="store_true", help="images of a hundredth of the size")
    parser.add_argument("--dtype", default="float32", choices=("float16", "float32"))
    parser.add_argument("--calibrator", action="append", choices=calibrators(2, 2), help="by default temperature")
    parser.add_argument("--size", action="append", choices=SIZES, help="by default both")
    parser.add_argument("--run", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    if options.run:
        return print(run(*options.run))
    for name in options.size or SIZES:
        c, *space = SIZES[name]
        shape = (c, *(max(8, round(side / 100 ** (1 / len(space)))) if options.quick else side for side in space))
        print(f"{name}: {' x '.join(map(str, shape))}, {options.dtype}; MB above the baseline, image's own, limit")
        with tempfile.TemporaryDirectory() as folder:
            found = growth(Path(folder), shape, options.dtype, options.calibrator or ["temperature"])
            for what, (more, own) in found.items():
                limit = SHARE * own + MEGABYTES
                verdict = "met" if more <= limit else "MISSED"
                print(
                    f"    {what:<36}{more:9.0f}{own:9.0f}{limit:9.0f}   {verdict}   {more / own:.2f} images", flush=True
                )
    return None


if __name__ == "__main__":
    main()
