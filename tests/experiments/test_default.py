"""The study of the default: rows are kept one by one, and what is said of the goals is what the figures say."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks._scenes import MadeScenes
from experiments.selective_scaling import _default_rows, default
from experiments.selective_scaling._methods import OURS
from experiments.selective_scaling._shifted import IN_PLACE

from calibrant.data import write_store
from calibrant.evaluation import Comparison
from calibrant.metrics import SCORES, Interval
from calibrant.testing import toy_predictions


@pytest.mark.slow
def test_smoke(capsys):
    said = default.main(default.Config.smoke())
    assert list(said) == [
        "made, 4 images, in-domain",
        "made, 4 images, hotter",
        "synthetic volumes, 4 images, in-domain",
    ]
    assert all(set(each["values"]) == {OURS, "uncalibrated", *default.MEMBERS} for each in said.values())
    assert "rows in-domain" in capsys.readouterr().out


@pytest.fixture
def config(tmp_path):
    """A study of a store, whose rows are recorded."""
    write_store(toy_predictions(num_images=8, size=(4, 4)), tmp_path / "store")
    return default.Config.smoke(store=str(tmp_path / "store"), stride=1, output=str(tmp_path / "found"))


def found(**behind):
    return {default.BEHIND_BEST: [], default.BEHIND_TEMPERATURE: [], default.AHEAD: True} | behind


def test_a_run_of_some_rows_leaves_those_of_earlier_runs_in_the_record(config, monkeypatch, tmp_path):
    def recorded():
        text = (tmp_path / "found" / "default.json").read_text()
        return {
            title: each["commit"] for title, each in json.loads(text).items() if title.startswith(("made", "synthetic"))
        }

    monkeypatch.setattr(default, "measure", lambda *_: {IN_PLACE: found()})
    monkeypatch.setattr(default, "commit", lambda: "first")
    default.main(replace(config, only=("made,",)))
    assert recorded() == {"made, 4 images, in-domain": "first"}
    monkeypatch.setattr(default, "commit", lambda: "second")
    said = default.main(replace(config, only=("synthetic volumes",)))
    both = {"made, 4 images, in-domain": "first", "synthetic volumes, 4 images, in-domain": "second"}
    assert recorded() == both
    assert list(said) == list(both)
    default.main(replace(config, only=("made,",)))
    assert recorded() == dict.fromkeys(both, "second")


def test_rows_that_miss_a_goal_are_named(capsys):
    behind = found(**{default.BEHIND_BEST: ["nll", "brier"], default.AHEAD: False})
    default.print_goals({"a, in-domain": behind, "b, in-domain": found(), "b, dusk": found()})
    out = capsys.readouterr().out
    assert f"{default.BEHIND_BEST} in 1:\n  a, in-domain: nll, brier\n{default.BEHIND_TEMPERATURE} in 0\n" in out
    assert f"{default.AHEAD} in 1 of 2 rows in-domain; not in:\n  a, in-domain\n" in out


def comparison(gap):
    """Ours with every score at 0.5, and members that differ by a gap: positive is worse in what should be low."""
    names = (OURS, *default.MEMBERS)
    sign = {score: -1 if SCORES[score].better == "higher" else 1 for score in default.SHOWN}
    values = {name: {s: gap * sign[s] * (name != OURS) for s in default.SHOWN} for name in names}
    figures = {n: {s: Interval(0.5 + v, 0.4 + v, 0.6 + v) for s, v in row.items()} for n, row in values.items()}
    gaps = {
        n: {s: Interval(v, v - abs(v) / 2, v + abs(v) / 2) for s, v in row.items()}
        for n, row in values.items()
        if n != OURS
    }
    return Comparison(figures, gaps, {}, scores=SCORES)


@pytest.mark.parametrize(("gap", "behind", "ahead"), [(0.1, False, True), (-0.1, True, False), (-1e-5, False, False)])
def test_verdicts_are_those_of_the_gaps(gap, behind, ahead):
    said = default.verdicts(comparison(gap))
    assert said[default.BEHIND_BEST] == (list(default.PROPER) if behind else [])
    assert said[default.BEHIND_TEMPERATURE] == (list(default.SHOWN) if behind else [])
    assert said[default.AHEAD] is ahead


def test_the_count_of_a_source_does_not_change_what_is_tested_on():
    images = toy_predictions(num_images=16, size=(2, 2))
    source = _default_rows.Source(images, {"later": images[:2]})
    (many, tests), (few, same) = (source.drawn(count, 3) for count in (12, 4))
    assert source.available == len(many) == 12
    assert len(few) == 4
    assert set(few.keys) < set(many.keys)
    assert tests[IN_PLACE].keys == same[IN_PLACE].keys
    assert not set(many.keys) & set(tests[IN_PLACE].keys)
    assert tests["later"] == images[:2]


def test_without_a_share_held_back_all_images_can_be_fitted_to():
    source = _default_rows.Source(toy_predictions(num_images=4, size=(2, 2)), held=0.0)
    assert source.available == 4
    assert not source.drawn(4, 0)[1]


def test_halves_of_drives_are_in_time():
    made = toy_predictions(num_images=5, size=(2, 2))
    keys = ("b_3", "a_2", "b_1", "b_2", "a_1")
    first, second = _default_rows.halves_of_drives([replace(p, key=k) for p, k in zip(made, keys, strict=True)])
    assert sorted(p.key for p in first) == ["a_1", "b_1", "b_2"]
    assert sorted(p.key for p in second) == ["a_2", "b_3"]


def test_a_model_without_stores_is_left_out_and_named(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    loads = _default_rows.sources(_default_rows.Judged())
    assert all(loads[name]() is None for name in ("DAVIS", "SegFormer on KITTI", "SegFormer, corrupted"))
    assert "DAVIS: left out" in capsys.readouterr().out


def test_made_volumes_are_scenes_with_a_depth():
    volume = MadeScenes(1, 3, 16, 32, depth=8)[0]
    assert volume.logits.shape == (3, 8, 16, 32)
    assert volume.labels.shape == (1, 8, 16, 32)
    assert torch.equal(volume.logits, MadeScenes(1, 3, 16, 32, depth=8)[0].logits)
