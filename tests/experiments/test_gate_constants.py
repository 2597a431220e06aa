"""The trial of the gate's constants: what is scored, kept and chosen."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.selective_scaling import gate_constants
from experiments.selective_scaling._fits import Fitted
from experiments.selective_scaling._gate_candidates import PACKAGE, SCORES, SHARES, Candidate, Row, chosen, summary

from calibrant.calibrators import StackedScaling, TemperatureScaling
from calibrant.calibrators.stacked import Gate
from calibrant.metrics import LikelihoodSums, brier_score, negative_log_likelihood

STACKED = StackedScaling(TemperatureScaling(2.0), [TemperatureScaling(1.0)], torch.tensor([0.0, 1.0]))
"""All that was learnt is to leave logits as they are, where the anchor halves them."""


@pytest.fixture
def config(monkeypatch):
    """A smoke in which nothing needs to be trained, of few candidates."""
    monkeypatch.setattr(gate_constants, "fit", lambda *_: Fitted(STACKED, 0.0, ()))
    return replace(gate_constants.Config.smoke(), errors=(0, PACKAGE.errors), ends=(2, None), powers=(0, 1))


@pytest.mark.slow
def test_smoke(capsys):
    found = gate_constants.main(gate_constants.Config.smoke())
    assert list(found["rows"]) == ["made, 4 images, made", "made, 4 images, hotter"]
    assert len(found["candidates"]) == 5 * (6 * 7 + 4)
    assert list(found["on other draws"]["candidates"]) == gate_constants.named(found["candidates"])
    assert "losses in % of 230 candidates" in capsys.readouterr().out


def test_what_is_scored_are_mixtures_of_logits(config):
    images, tests = gate_constants.images_of(config)
    (row, _) = gate_constants.rows_of(config, images, tests, (0,)).values()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0)).tolist()
    held = [p for i, p in enumerate(images["made"]) if i in order[4:]]
    assert len(row.image) == 4
    for share in (0.0, 0.5, 1.0):
        z = torch.stack([(0.5 + share / 2) * p.logits for p in held])
        sums = LikelihoodSums.of(z, torch.stack([p.labels for p in held]))
        expected = torch.stack([negative_log_likelihood(sums), brier_score(sums)], 1)
        torch.testing.assert_close(row.scores[:, SHARES.index(share)], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_figures_are_recorded_and_scores_kept(config, tmp_path, monkeypatch, capsys):
    kept = replace(config, cache=str(tmp_path / "kept"))
    first = gate_constants.main(kept)
    monkeypatch.setattr(gate_constants, "fit", lambda *_: pytest.fail("it is kept"))
    monkeypatch.setattr(type(config), "results", tmp_path)
    second = gate_constants.main(kept)
    assert first == second
    recorded = json.loads((tmp_path / "gate_constants.json").read_text())
    assert recorded["candidates"] == first["candidates"]
    assert recorded["the package's"] in recorded["candidates"]
    assert f"{recorded['chosen']} " in capsys.readouterr().out
    with pytest.raises(pytest.fail.Exception, match="it is kept"):
        gate_constants.main(replace(kept, seeds=(2,)))


def test_the_package_s_candidate_is_its_gate():
    distance = torch.linspace(0.1, 9, 90, dtype=torch.double)
    parts = (torch.zeros(8), torch.ones(8), torch.eye(8))
    within = (2 / distance).clamp_max(1)
    torch.testing.assert_close(PACKAGE.share(within), Gate(*parts, limit=2.0, end=PACKAGE.end).share(distance))
    torch.testing.assert_close(Candidate(3, None, 2).share(within), Gate(*parts, limit=2.0).share(distance))


@pytest.mark.parametrize("power", [-2, -1, 0, 1, 4])
def test_every_share_falls_from_all_to_nothing(power):
    share = Candidate(0, 3, power).share(torch.linspace(1, 0.1, 91, dtype=torch.double))
    assert float(share[0]) == 1
    assert bool((share.diff() <= 0).all())
    inside = torch.linspace(1, 0.1, 91) > 1 / 3
    assert bool((share[inside] > 0).all() & (share[~inside] < 1e-9).all())


def row(inside, gain, within=0.75):
    """Two draws of three images, which all gain as much in both scores, from 1, where all that was learnt is taken."""
    scores = 1 - gain * torch.tensor(SHARES).double()[None, :, None].expand(6, -1, 2)
    noise = 1e-6 * torch.arange(6).double()[:, None, None] * torch.tensor(SHARES)[:, None]
    return Row(inside, torch.tensor([0, 1, 2] * 2), {3: torch.full((6,), within).double()}, scores + noise)


def test_losses_are_to_all_that_was_learnt_and_to_the_better_after_a_shift():
    half = Candidate(3, 2, 1)  # at three quarters of the limit's inverse: a share of one half
    rows = {"inside": row(True, 0.5), "better": row(False, 0.2), "worse": row(False, -0.1)}
    found = summary(rows, half)
    assert found["in-domain, mean"] == found["in-domain, most"] == pytest.approx(100 * (0.75 / 0.5 - 1), abs=1e-3)
    better, worse = 100 * (0.9 / 0.8 - 1), 100 * (1.05 - 1)
    assert found["shifted, mean"] == pytest.approx((better + worse) / 2, abs=1e-3)
    assert found["all, mean"] == pytest.approx((50 + better + worse) / 3, abs=1e-3)
    assert found["over the anchor, most"] == pytest.approx(worse, abs=1e-3)
    assert found["significantly worse"] == len(SCORES)
    assert found["z, most"] > 1.96
    none = summary({name: each for name, each in rows.items() if name != "worse"}, half)
    assert none["significantly worse"] == 0


def test_what_four_decimals_do_not_show_is_not_worse():
    rows = {"inside": row(True, 0.5), "shifted": row(False, -2e-5)}
    found = summary(rows, Candidate(3, None, 1))
    assert found["z, most"] > 1.96
    assert found["significantly worse"] == 0


def test_an_image_counts_once_with_its_mean_over_draws():
    scores = torch.tensor([1.0, 3.0, 5.0]).double()[:, None, None].expand(3, len(SHARES), 2)
    each = Row(True, torch.tensor([0, 0, 1]), {0: torch.ones(3).double()}, scores)
    assert each.means(each.at(Candidate(0, 2, 1))).tolist() == [[2, 2], [5, 5]]


def test_none_is_chosen_where_all_are_worse():
    assert chosen({"a": {"all, mean": math.inf, "significantly worse": 1}}) is None
