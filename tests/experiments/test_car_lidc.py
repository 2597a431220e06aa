"""The LIDC experiment: its scores are the known ones, intervals are over patients, and all parts run and go on."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments._data import find, lidc_crops
from experiments._record import RESULTS
from experiments.car import lidc, lidc_shares, lidc_times
from experiments.car.lidc_config import Config, arms
from experiments.car.lidc_jobs import Images
from experiments.car.lidc_scores import Patients, argmax, columns, looking_at_masks

from calibrant.data import split_groups
from calibrant.data.sets.lidc import patient
from calibrant.predictions import Prediction
from calibrant.samplers.losses import calibration_loss

CROPS = find("lidc_crops")


@pytest.mark.skipif(CROPS is None, reason="no LIDC crops here")
@pytest.mark.slow
def test_known_marks_of_the_val_patients():
    """Metric and convention for empty masks: figures found before, by other code, on these patients."""
    examples = lidc_crops(CROPS, "val", ignore_other=False, crop=64)
    images = [Prediction(each.key, torch.zeros(2, 64, 64), each.labels, each.image) for each in examples]
    found = {kind: columns(looking_at_masks(kind, images, 16)) for kind in lidc.FOUND}
    scores = {kind: float(each["GED 16"].mean()) for kind, each in found.items()}
    assert scores["majority"] == pytest.approx(lidc.MARKS["majority"], abs=1e-3)
    assert scores["union"] == pytest.approx(lidc.MARKS["union"], abs=1e-3)
    assert scores["redrawn"] == pytest.approx(lidc.MARKS["redrawn"], abs=2e-3)
    assert float(found["union"]["annotators' diversity"].mean()) == pytest.approx(0.50, abs=1e-3)


def test_always_the_same_map_scores_as_a_collapsed_model():
    images = Images.read(Config.smoke("")).test
    found = columns(argmax(images, 20))
    assert float(found["diversity"].max()) == 0
    torch.testing.assert_close(found["GED 16"], found["GED 100"])
    torch.testing.assert_close(found["width"], torch.zeros_like(found["width"]))


def test_patients_are_drawn_again_with_all_their_images():
    keys = ["a/1", "b/1", "a/2", "c/1"]
    patients = Patients(keys, num_resamples=200)
    assert int(patients.weights.sum()) == 200 * 3
    values = torch.tensor([1.0, 4.0, torch.nan, 7.0])
    slow = []
    for weights in patients.weights.tolist():
        drawn = [
            v
            for k, v in zip("abac", values.tolist(), strict=True)
            if v == v
            for _ in range(int(weights["abc".index(k)]))
        ]
        if drawn:
            slow.append(sum(drawn) / len(drawn))
    found = patients.interval(values)
    assert found.value == pytest.approx(4.0)
    known = torch.tensor(slow, dtype=torch.float64)
    low, high = torch.quantile(known, torch.tensor([0.025, 0.975], dtype=torch.float64)) - known.mean() + 4.0
    assert (found.low, found.high) == pytest.approx((max(float(low), 0.0), float(high)))


@pytest.mark.skipif(CROPS is None, reason="no LIDC crops here")
def test_no_patient_is_in_two_parts():
    known, test = (lidc_crops(CROPS, split) for split in ("train", "val"))
    parts = [set(map(patient, part.keys)) for part in (*split_groups(known, (0.85, 0.15), group=patient, seed=0), test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_controls_change_the_losses_alone():
    config = Config()
    own, entropy, without = (arms(config)[name].recipe for name in lidc.BASE)
    assert own.calibration_weight > 0
    assert (entropy.calibration_weight, without.calibration_weight, without.cross_entropy_weight) == (0, 0, 0)
    assert entropy.cross_entropy_weight > 0
    assert own.num_steps == entropy.num_steps == without.num_steps


def test_hard_samples_pay_for_chance_and_soft_ones_do_not():
    """What ``docs/results/samplers.md`` says of the calibration loss: about 1 / (2 m)."""
    generator = torch.Generator().manual_seed(0)
    target = torch.tensor([0.7, 0.3])[None, :, None].expand(20_000, 2, 1)
    for m in (10, 20):
        drawn = (torch.rand(m, 20_000, generator=generator) < 0.3).float()
        hard = torch.stack([1 - drawn, drawn], 2)[..., None]
        assert float(calibration_loss(hard, target)) == pytest.approx(1 / (2 * m), rel=0.12)
        assert float(calibration_loss(target.expand(m, -1, -1, -1), target)) == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_smoke_and_going_on(tmp_path, capsys):
    config = Config.smoke(str(tmp_path))
    before = lidc.main(config, train=False)
    assert set(before["table"]) == set(lidc.FOUND)  # nothing is trained yet
    lidc.train_alone(config, [("CAR", 1)])
    whole = lidc.main(config)
    assert {*arms(config), "F's argmax", "copula, one level", "copula, fitted"} <= set(whole["table"])
    assert whole["table"]["CAR"]["seeds"] == [0, 1]
    assert whole["table"]["F's argmax"]["diversity"]["value"] == 0
    assert whole["table"]["union"]["GED 16"]["value"] > whole["table"]["redrawn"]["GED 16"]["value"]
    assert (tmp_path / "lidc_samples.png").exists()
    again = lidc.main(config, train=False)
    assert again["table"] == whole["table"]
    assert "known marks" in capsys.readouterr().out


def test_times_are_taken_of_each_number_of_samples(tmp_path):
    found = lidc_times.main(lidc_times.Config.smoke(str(tmp_path)))
    assert set(found) == set(Config.smoke("").numbers)
    assert all(each["milliseconds a step"] > 0 for each in found.values())
    m, own = 20, Config().recipe.num_samples
    gap = json.loads((RESULTS / "lidc.json").read_text())["differences"][f"CAR, m={m} - CAR"]["GED 16"]["value"]
    difference = lidc_times.quality(m, own)["GED 16"] - lidc_times.quality(own, own)["GED 16"]
    assert difference == pytest.approx(gap, abs=2e-4)


@pytest.mark.slow
def test_shares_of_annotators_are_set_against_probabilities(tmp_path):
    found = lidc_shares.main(lidc_shares.Config.smoke(str(tmp_path)))
    raw, scaled = found["F"], found["temperature scaling"]
    assert scaled["calibration error"]["value"] < raw["calibration error"]["value"]
    for each in found.values():
        assert sum(row["labels"] for row in each["bins"]) == sum(row["labels"] for row in raw["bins"])
        gaps = [row["labels"] * abs(row["share"]["value"] - row["probability"]) for row in each["bins"]]
        total = sum(row["labels"] for row in each["bins"])
        assert each["calibration error"]["value"] == pytest.approx(sum(gaps) / total)
        assert each["bins outside"] == lidc_shares.outside(each["bins"])
    assert (tmp_path / "lidc_shares.svg").read_text().startswith("<?xml")
