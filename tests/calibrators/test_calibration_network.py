"""A calibration network's training goes on in another process, too, however its network is made."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from calibrant.calibrators import CalibrationNetwork, CalibrationRecipe
from calibrant.errors import StoreError
from calibrant.networks import SmallUNet
from calibrant.testing import toy_predictions


def make(in_channels, num_classes, *, width):
    return SmallUNet(in_channels, num_classes, width=width)


class Maker:
    def __call__(self, in_channels, num_classes):
        return SmallUNet(in_channels, num_classes, width=4)


MAKERS = {
    "partial": partial(make, width=4),
    "partial of a partial": partial(partial(make), width=4),
    "object": Maker(),
    "function": lambda in_channels, num_classes: make(in_channels, num_classes, width=4),
}


def fit(maker, folder, seen):
    CalibrationNetwork.fit(
        toy_predictions(num_classes=2),
        make=maker,
        recipe=CalibrationRecipe(num_steps=2, batch_size=1),
        model_output="probabilities",
        checkpoint_path=folder,
        watch=lambda done, figures: seen.append(done),
    )


def fit_all(folder):
    seen: list[int] = []
    for name, maker in MAKERS.items():
        fit(maker, folder / name, seen)
    return seen


@pytest.mark.slow
def test_it_goes_on_in_another_process(tmp_path):
    here = Path(__file__)
    code = (
        f"import sys; sys.path.insert(0, {str(here.parent)!r}); from pathlib import Path; import {here.stem} as here; "
    )
    code += f"here.fit_all(Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert fit_all(tmp_path) == []  # there was nothing left to do


def test_another_network_is_refused(tmp_path):
    fit(partial(make, width=4), tmp_path, [])
    with pytest.raises(StoreError, match=r"make\(width=4\)' there and 'make\(width=5\)' now"):
        fit(partial(make, width=5), tmp_path, [])
