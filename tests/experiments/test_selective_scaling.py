"""The studies of selective scaling: they run, and what they say of numbers is what the numbers say."""

import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import grimp
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.selective_scaling import (
    _fits,
    _methods,
    _own_model,
    _paper,
    _tables,
    boundary,
    detection_rate,
    entropy,
    in_domain,
    in_sample,
    shift,
)

import calibrant
from calibrant.calibrators import TemperatureScaling
from calibrant.evaluation import Comparison
from calibrant.methods import Method
from calibrant.metrics import SCORES, Interval
from calibrant.predictions import Example, Prediction
from calibrant.testing import toy_predictions


@pytest.mark.parametrize(
    "study", [boundary, *(pytest.param(study, marks=pytest.mark.slow) for study in (detection_rate, entropy, shift))]
)
def test_smoke(study, capsys):
    assert study.main(study.Config.smoke())
    assert "paper | ours" in capsys.readouterr().out


@pytest.mark.slow
def test_smoke_in_domain(capsys):
    tables = in_domain.main(in_domain.Config.smoke())
    assert list(tables) == ["4 images to fit", "2 images to fit"]
    whole = tables["4 images to fit"]
    assert set(whole.found.values) == set(_methods.METHODS | _methods.COMBINED)
    for name, kept in whole.labels_kept.items():
        assert whole.changed[name] == 0 or not kept, name
    out = capsys.readouterr().out
    assert "FAIL" in out or "pass" in out


def test_smoke_in_sample(capsys):
    found = in_sample.main(in_sample.Config.smoke())
    assert set(found.values) == set(in_sample.Config().methods)
    assert "fitted to all 8 images" in capsys.readouterr().out


@pytest.mark.parametrize(("score", "gap", "expected"), [("nll", 1, "+"), ("nll", -1, "-"), ("auroc", 1, "-")])
def test_a_verdict_says_who_is_better(score, gap, expected):
    assert _tables.verdict(score, Interval(gap, gap - 0.5, gap + 0.5)) == expected
    assert _tables.verdict(score, Interval(gap, -2.0, 2.0)) == "="


def compared(**gaps):
    """A comparison of ours with two rivals, of which the second may change labels."""
    ours = dict.fromkeys(in_domain.SHOWN, Interval(0.0095, 0.009, 0.01))
    names = (_methods.OURS, "temperature", "vector")
    gap = {s: Interval(-0.1, -0.2, -0.05) if s == "auroc" else Interval(0.1, 0.05, 0.2) for s in in_domain.SHOWN}
    found = Comparison(
        {n: {s: Interval(0.1, 0.09, 0.11) for s in in_domain.SHOWN} if n != names[0] else ours for n in names},
        {n: gap | gaps for n in names},
        {},
        scores=SCORES,
    )
    keeps, may_change = TemperatureScaling(1.0), TemperatureScaling(1.0)
    may_change.keeps_labels = False
    fits = {n: [_fits.Fitted(c, 0.0, ())] for n, c in zip(names, (keeps, keeps, may_change), strict=True)}
    return in_domain.Table(found, fits, dict.fromkeys(names, 0))


def test_targets_are_met_and_missed():
    assert all(in_domain.targets(compared()).values())
    missed = in_domain.targets(compared(nll=Interval(0.1, -0.1, 0.2), ece_images=Interval(-0.1, -0.2, -0.05)))
    lines = [line for line, met in missed.items() if not met]
    assert len(lines) == 2
    assert all("temperature" in line and "vector" not in line for line in lines)
    assert lines[0].startswith("nll better than")
    assert lines[1].startswith("ece_images not worse than")
    changed = replace(compared(), changed={_methods.OURS: 1})
    assert [line for line, met in in_domain.targets(changed).items() if not met] == ["labels changed: 1, none allowed"]
    equal = compared(ece_images=Interval(0.0, -0.1, 0.1))
    assert all(in_domain.targets(equal).values())


def test_the_papers_changes_are_those_of_its_table():
    # Table 1, BDD100K: the columns' sums over five models.
    assert _paper.change(_paper.IN_DOMAIN, "selective") == pytest.approx(0.184 / 0.308 - 1)
    assert _paper.change(_paper.IN_DOMAIN, "local temperature") == pytest.approx(0.335 / 0.308 - 1)
    assert all(
        len(row) == len(_paper.COLUMNS) for table in (_paper.IN_DOMAIN, _paper.SHIFTED) for row in table.values()
    )


def test_fewer_images_to_fit_leave_the_test_images_as_they_are():
    predictions = toy_predictions(num_images=16)
    (many, test), (few, same) = (_fits.halves(predictions, 3, share) for share in (0.5, 0.25))
    assert (len(many), len(few)) == (8, 4)
    assert test.keys == same.keys
    assert set(few.keys) < set(many.keys)
    assert not set(many.keys) & set(test.keys)


def test_what_was_fitted_once_is_read_again(tmp_path, monkeypatch):
    study = _fits.Study.smoke(cache=str(tmp_path))
    images = toy_predictions(num_images=4)
    first = _fits.fit(study, "selective", images, 0)
    calls = []

    def other(predictions, *, seed, num_epochs):
        calls.append(seed)
        return TemperatureScaling(2.0)

    monkeypatch.setitem(_methods.METHODS, "selective", Method("selective", other))
    again = _fits.fit(study, "selective", images, 0)
    z = torch.stack([p.logits for p in images])
    assert torch.equal(first.calibrator(z), again.calibrator(z))
    assert (first.seconds, first.notes, first.selector) == (again.seconds, again.notes, again.selector)
    assert not calls
    moved = [replace(images[0], logits=images[0].logits + 0.01), *images[1:]]
    for other in ((study, "selective", images, 1), (study, "selective", moved, 0), (study, "selective", images[:3], 0)):
        _fits.fit(*other)
    assert len(calls) == 3


def test_a_fit_is_made_anew_where_any_code_that_it_may_run_has_changed(tmp_path, monkeypatch):
    root = tmp_path / "calibrant"
    shutil.copytree(Path(calibrant.__file__).parent, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(calibrant, "__file__", str(root / "__init__.py"))
    digests = {_fits._code.__wrapped__()}
    graph = grimp.build_graph("calibrant", cache_dir=None, exclude_type_checking_imports=True)
    may_run = {"calibrant.methods", *graph.find_upstream_modules("calibrant.methods")}
    assert {
        "calibrant.calibrators.stacked.pool",
        "calibrant.networks.segnet",
        "calibrant._storage.files",
    } <= may_run
    for name in sorted(may_run):
        file = tmp_path.joinpath(*name.split("."))
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        file.write_text(file.read_text() + "\n# changed\n")
        found = _fits._code.__wrapped__()
        assert found not in digests, name
        digests.add(found)
    (root / "report" / "page.py").write_text("# changed")
    assert _fits._code.__wrapped__() in digests


def test_an_oracle_that_finds_all_leaves_the_inverse_of_the_number_of_classes():
    """Half of the pixels are right, half wrong, all at a confidence of one, of four classes."""
    logits = torch.zeros(4, 10, 10)
    logits[0] = 80.0
    labels = torch.zeros(1, 10, 10, dtype=torch.long)
    labels[:, 5:] = 1
    predictions = [Prediction("a", logits, labels)]
    assert detection_rate.error(predictions, 0.0) == pytest.approx(0.5)
    assert detection_rate.error(predictions, 1.0) == pytest.approx(0.5 / 4)
    # Of the right ones, too: all at 1/4, half of them right.
    assert detection_rate.error(predictions, 1.0, 1.0) == pytest.approx(0.5 - 0.25)


def test_entropies_of_wrong_and_right_pixels():
    logits = torch.zeros(1, 4, 2, 5)
    logits[:, 0, 1] = 80.0  # the second row is sure of class 0
    labels = torch.zeros(1, 1, 2, 5, dtype=torch.long)
    labels[..., 1, :2] = 3
    labels[..., 0, 4] = 2
    found = entropy.Entropies.of(logits, labels)
    values = {name: float(score.of(found)) for name, score in entropy.COLUMNS.items()}
    assert values["all pixels"] == pytest.approx(math.log(4) / 2)
    assert values["mistaken"] == pytest.approx(math.log(4) / 3)  # one of three is unsure
    assert values["right"] == pytest.approx(math.log(4) * 4 / 7)


def test_frames_are_reduced_without_mixing_labels():
    labels = torch.tensor([0, 255]).repeat_interleave(6).expand(1, 9, 12)
    small = _own_model.reduced(Example("a", torch.rand(3, 9, 12), labels), 1 / 3)
    assert small.image.shape == (3, 3, 4)
    assert torch.equal(small.labels, torch.tensor([0, 0, 255, 255]).expand(1, 3, 4))
