"""The compact copies of real data sets that lie beside the project, where they do."""

from pathlib import Path

import pytest
import torch

from calibrant._shapes import IGNORE
from calibrant.data import aerial, camvid, davis, halves_in_time, kitti
from calibrant.data.sets.aerial import tile
from calibrant.data.sets.camvid import day_and_dusk
from calibrant.data.sets.davis import sequence
from calibrant.predictions import Prediction

DATA = Path(__file__).parents[2] / "../shared/data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the data are not here")


def lines(name):
    return set((DATA / name).read_text().split())


def test_camvid_and_its_shift_from_day_to_dusk():
    everything = camvid(DATA / "camvid", "all")
    assert (len(everything), len(camvid(DATA / "camvid", "train"))) == (701, 367)
    day, dusk = day_and_dusk(everything)
    assert set(day.keys) == set.union(
        *(lines(f"camvid/splits/lighting_day_{part}.txt") for part in ("train", "val", "test"))
    )
    assert set(dusk.keys) == lines("camvid/splits/lighting_dusk_all.txt")
    assert dusk[0].image.mean() < day[0].image.mean()
    assert len(camvid(DATA / "camvid", "temporal_second_half_val")) == 45


def test_davis_lists_are_halves_in_time():
    first, second = davis(DATA / "davis2016_val", "first_half"), davis(DATA / "davis2016_val", "second_half")
    assert set(first[0].labels.unique().tolist()) <= {0, 1}
    whole = [*first.keys, *second.keys]
    nothing = torch.zeros(1, 1, dtype=torch.long)
    source = [Prediction(key, torch.zeros(2, 1), nothing) for key in whole]
    mine = halves_in_time(source, group=sequence)
    assert set(mine[0].keys) == set(first.keys)
    assert set(mine[1].keys) == set(second.keys)


def test_kitti_labels_made_here_from_cityscapes_classes_are_those_stored():
    from calibrant.data import CITYSCAPES_TO_CAMVID

    fine, merged = kitti(DATA / "kitti_semantic"), kitti(DATA / "kitti_semantic", classes="camvid11")
    assert len(fine) == 200
    for i in range(3):
        mine, stored = CITYSCAPES_TO_CAMVID.labels(fine[i].labels), merged[i].labels
        apart = mine != stored
        assert set(mine[apart].tolist()) <= {IGNORE}
        assert set(stored[apart].tolist()) <= {2}  # groups of poles, which the 19 classes leave out


def test_aerial_tiles_are_whole_in_one_part():
    tiles = [
        {tile(key) for key in aerial(DATA / "dubai_aerial", f"spatial_{part}").keys}
        for part in ("source_train", "target_test")
    ]
    assert not set.intersection(*tiles)
    assert len(aerial(DATA / "dubai_aerial")) == 72
