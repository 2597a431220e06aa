"""Methods by name: every one is known, set and composed, and takes the pixels and the seed of the study."""

import pytest
import torch

from calibrant.calibrators import MetaCal, SelectiveScaling, TemperatureScaling, Uniform, VectorScaling
from calibrant.cli.methods import GROUPS, METHODS, Method, fit_method, parse_method, parse_methods
from calibrant.errors import MethodError
from calibrant.testing import toy_predictions

QUICK = {
    "local": "epochs=1;crops_per_image=1",
    "local-published": "epochs=1",
    "selective": "epochs=2",
    "selective-published": "epochs=2",
    "correctness": "epochs=1;num_networks=2",
    "network": "num_steps=2;batch_size=2",
    "temperature-published": "epochs=2",
    "vector-published": "epochs=2",
    "dirichlet-published": "epochs=2",
}
PREDICTIONS = toy_predictions(num_images=4, size=(16, 20), spread=1.5)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_fits_by_its_name(name):
    method = parse_method(f"{name}:{QUICK[name]}" if name in QUICK else name)
    calibrator = fit_method(method, PREDICTIONS, pixels_per_image=200, seed=3)
    logits = torch.stack([p.logits for p in PREDICTIONS])
    image = torch.stack([p.image for p in PREDICTIONS])
    with torch.no_grad():
        out = calibrator(logits, image)
    assert out.shape == logits.shape
    assert ("kept" in name or "star" in name) <= calibrator.keeps_labels


def test_titles_tell_methods_apart_and_groups_are_of_methods():
    assert len({method.title for method in METHODS.values()}) == len(METHODS)
    for group in GROUPS.values():
        assert set(group) <= set(METHODS)
        assert len(parse_methods(",".join(group))) == len(group)
    assert list(parse_methods("all,temperature")) == list(parse_methods("all"))


def test_composed_methods_take_pixels_and_seed_and_settings_overrule_them():
    calls = []

    def fit(predictions, *, pixels_per_image: int | None = 1, seed: int = 9):
        calls.append((pixels_per_image, seed))
        return TemperatureScaling(2.0)

    base = Method("base", fit)
    for settings in ({}, {"seed": 5}):
        method = Method("whole", SelectiveScaling.fit, {"base": Method("base", fit, settings), "epochs": 1})
        fit_method(method, PREDICTIONS, pixels_per_image=77, seed=4)
    assert set(calls[: len(calls) // 2]) == {(77, 4)}
    assert set(calls[len(calls) // 2 :]) == {(77, 5)}
    fit_method(base, PREDICTIONS, pixels_per_image=None, seed=0)
    assert calls[-1] == (None, 0)


def test_a_base_left_to_its_default_takes_the_pixels_of_the_study():
    drawn = []

    class Counting(list):
        def __iter__(self):
            drawn.append(1)
            return super().__iter__()

    few = fit_method(parse_method("meta-cal-star"), Counting(PREDICTIONS), pixels_per_image=50, seed=1)
    own = fit_method(parse_method("meta-cal-star:pixels_per_image=300"), PREDICTIONS, pixels_per_image=50, seed=1)
    assert few.threshold != own.threshold
    expected = MetaCal.fit(PREDICTIONS, keep_labels=True, pixels_per_image=300, seed=1)
    assert own.threshold == expected.threshold


def test_settings_are_read_as_what_they_set():
    assert parse_method("vector:keep_labels=true;strength=0.1").settings == {"keep_labels": True, "strength": 0.1}
    assert parse_method("isotonic:pixels_per_image=none;by_class=false").settings == {
        "pixels_per_image": None,
        "by_class": False,
    }
    uniform = fit_method(parse_method("meta-cal:rejected=uniform"), PREDICTIONS, pixels_per_image=200, seed=0)
    softened = fit_method(parse_method("meta-cal:rejected=softened"), PREDICTIONS, pixels_per_image=200, seed=0)
    assert isinstance(uniform.mistaken, Uniform)
    assert isinstance(softened.mistaken, TemperatureScaling)
    controlled = fit_method(parse_method("meta-cal:accuracy=0.9"), PREDICTIONS, pixels_per_image=200, seed=0)
    assert controlled.threshold != uniform.threshold


def test_both_branches_of_selective_scaling_take_any_method():
    text = "selective:mistaken=temperature;others=[vector-kept:strength=0.5;safe=false];epochs=2"
    method = parse_method(text)
    assert method.title.endswith("(mistaken: temperature, others: [vector-kept:strength=0.5;safe=false], epochs: 2)")
    nested = method.settings["others"]
    assert nested.settings == {"keep_labels": True, "strength": 0.5, "safe": False}
    found = fit_method(method, toy_predictions(num_images=6, size=(24, 24)), pixels_per_image=400, seed=0)
    assert found.keeps_labels
    assert isinstance(found.others, (VectorScaling, TemperatureScaling))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("temprature", "Did you mean 'temperature'"),
        ("vector:base=temperature", "vector: expected a setting of: strength"),
        ("vector:strenght=1", "Did you mean 'strength'"),
        ("vector:strength", "expected settings like base=temperature; got 'strength'"),
        ("vector:strength=much", "vector: expected a number or none for 'strength'; got 'much'"),
        ("vector:safe=1", "expected true or false for 'safe'"),
        ("vector:pixels_per_image=1.5", "expected a whole number or none"),
        ("selective:base=vectr", "selective: expected a method of"),
        ("selective:base=[vector:strength=x]", "selective: vector: expected a number"),
        ("selective:base=[vector", "brackets"),
        ("uncalibrated:seed=1", "uncalibrated: expected no setting"),
        ("network:make=vector", "made in Python"),
        (" , ", "all or published"),
    ],
)
def test_what_cannot_be_is_refused_before_any_fit(text, said):
    with pytest.raises(MethodError) as error:
        parse_methods(text)
    assert said in str(error.value)


def test_a_wrong_form_of_rejected_pixels_is_told():
    with pytest.raises(MethodError, match="uniform, softened"):
        fit_method(parse_method("meta-cal:rejected=uniforn"), PREDICTIONS)
