"""The comparison of samplers on LIDC: all parts run on synthetic data, and what is done is not done again."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.car import energy_ablation, rivals, rivals_areas
from experiments.car.lidc_jobs import Images
from experiments.car.lidc_scores import Patients
from experiments.car.rivals_config import Config, loss_of
from experiments.car.rivals_jobs import Timer, folder_of
from experiments.car.rivals_rows import rows_of, sources
from experiments.car.rivals_scores import SHOWN, columns_of_one_draw, pooled_ece
from experiments.car.rivals_times import milliseconds_a_sample, seconds_a_step

from calibrant.calibrators import Identity
from calibrant.metrics import AreaSamples
from calibrant.networks import BasisUNet
from calibrant.predictions import Prediction
from calibrant.samplers import EnergyScoreSampler
from calibrant.samplers.storage import LEARNT


@pytest.mark.slow
def test_smoke_and_going_on(tmp_path, capsys):
    config = Config.smoke(str(tmp_path))
    assert rivals.main(config, train=False) == {}
    whole = rivals.main(config)
    free = "energy, image and F"
    wanted = {f"{free}{how}" for how in ("", ", spread", ", coupled to F", ", coupled to its mean")}
    assert wanted | {"CAR", "CAR, coupled to F", "copula, one level, behind F"} <= set(whole["table"])
    for name, row in whole["table"].items():
        dependent = "coupled" in name or "spread" in name
        assert (row["excess"]["value"] != row["excess"]["value"]) == dependent, name
        assert 0 <= row["ECE of the mean"]["low"] <= row["ECE of the mean"]["value"] <= 1
    again = rivals.main(config, train=False, draw=False)
    assert {name: row["GED 16"] for name, row in again["table"].items()} == {
        name: row["GED 16"] for name, row in whole["table"].items()
    }
    assert Timer.read(folder_of(config, "energy", "image", 0))["processor"] > 0
    assert all(row["milliseconds a sample"]["value"] > 0 for row in whole["table"].values())
    assert "split by patient" in capsys.readouterr().out
    areas = rivals_areas.main(config)
    assert {free, "CAR", "copula, one level, behind F"} <= set(areas)
    assert sum(areas[free]["ranks"]) == pytest.approx(rivals_areas.BINS, abs=0.01)
    assert rivals_areas.main(config) == areas


def test_ranks_in_bins_are_flat_where_samples_and_outcomes_are_of_one_law():
    rng = torch.Generator().manual_seed(0)
    sampled, labelled = (torch.randint(5, (20_000, n), generator=rng).double() for n in (7, 2))
    found = rivals_areas.binned_ranks(AreaSamples(sampled, labelled, torch.full_like(labelled, 0.5)))
    assert found == pytest.approx([1.0] * rivals_areas.BINS, abs=0.03)


def test_rows_of_one_draw_are_free_or_have_the_marginals_that_they_are_coupled_to():
    image = Prediction("a", torch.zeros(2, 8, 9), torch.zeros(2, 8, 9, dtype=torch.long))
    sampler = EnergyScoreSampler(BasisUNet(2, 2, width=4, depth=1), inputs="probabilities")
    found = columns_of_one_draw(sampler, {"free": None, "coupled": Identity()}, [image, image], 20, 0)
    halves = found["coupled"]
    assert float(halves["bins confidence"].sum() / halves["bins count"].sum()) == pytest.approx(0.5)
    assert bool(halves["excess"].isnan().all())
    assert not bool(found["free"]["excess"].isnan().any())
    assert float(found["free"]["bins confidence"].sum() / found["free"]["bins count"].sum()) > 0.5


def test_every_sampler_of_the_library_has_steps_and_a_loss():
    config = Config()
    assert set(config.steps) == set(LEARNT)
    assert all(config.recipe(name).num_steps == steps for name, steps in config.steps.items())
    assert loss_of("energy").classes == (1,)
    assert len(set(SHOWN)) == len(SHOWN)


@pytest.mark.slow
def test_a_step_is_timed(tmp_path):
    assert all(seconds > 0 for _, seconds in seconds_a_step(Config.smoke(str(tmp_path)), num_steps=5))


def test_a_sample_of_every_row_is_timed(tmp_path):
    config = Config.smoke(str(tmp_path))
    taken = milliseconds_a_sample(config, Images.read(config.lidc).test[0])
    assert set(taken) == {row for source in sources(config) for row in rows_of(config, source)}
    assert all(milliseconds > 0 for milliseconds in taken.values())


def test_pooled_ece_counts_pixels_of_patients_together():
    patients = Patients(["a/1", "b/1"], num_resamples=50)
    held = {
        "bins count": torch.tensor([[10, 0], [0, 30]]),
        "bins correct": torch.tensor([[5, 0], [0, 30]]),
        "bins confidence": torch.tensor([[4.0, 0.0], [0.0, 27.0]]),
    }
    found = pooled_ece(held, patients)
    assert found["value"] == pytest.approx((1 + 3) / 40)
    assert found["low"] == pytest.approx(0.1)


@pytest.mark.slow
def test_every_arm_of_the_ablation_runs(tmp_path):
    config = Config.smoke(str(tmp_path))
    assert energy_ablation.main(config, train=False) == {}
    found = energy_ablation.main(config)
    assert set(found) == set(energy_ablation.ARMS)
    again = energy_ablation.main(config, train=False)
    assert {name: row["GED 16"] for name, row in again.items()} == {name: row["GED 16"] for name, row in found.items()}


def test_the_distance_with_products_is_that_of_hard_maps():
    one, other = torch.tensor([[1.0, 1, 0, 0]]), torch.tensor([[1.0, 0, 1, 0]])
    assert float(energy_ablation.product_distance(one, other, smoothing=0)) == pytest.approx(1 - 1 / 3)
    assert float(energy_ablation.product_distance(one, one)) == 0
    assert float(energy_ablation.product_distance(one / 2, one / 2)) > 0  # a grey map is far from itself
