"""Methods by name: every one is known, set and composed, and takes the pixels and the seed of the study."""

from functools import partial

import pytest
import torch
from quick_methods import QUICK

from calibrant.calibrators import (
    CalibrationNetwork,
    CalibrationRecipe,
    Calibrator,
    Identity,
    MetaCal,
    SelectiveScaling,
    TemperatureScaling,
    Uniform,
    VectorScaling,
)
from calibrant.errors import DataError, InputError, MethodError
from calibrant.methods import GROUPS, METHODS, Method, parse_method, parse_methods, with_options
from calibrant.predictions import Prediction, Predictions, Sharded, Subset
from calibrant.testing import toy_predictions

PREDICTIONS = toy_predictions(num_images=4, size=(16, 20), spread=1.5)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_fits_by_its_name(name):
    calibrator = parse_method(QUICK[name]).fitted(PREDICTIONS, pixels_per_image=200, seed=3)
    logits = torch.stack([p.logits for p in PREDICTIONS])
    image = torch.stack([p.image for p in PREDICTIONS])
    with torch.no_grad():
        out = calibrator(logits, image)
    assert out.shape == logits.shape
    assert ("kept" in name or "star" in name) <= calibrator.keeps_labels


def test_a_method_reads_images_by_their_keys():
    read = []

    def fit(predictions):
        read.append([prediction.key for prediction in predictions])
        return Identity()

    images = [Prediction(key, torch.zeros(2, 1), torch.zeros(1, 1, dtype=torch.long)) for key in "cab"]
    sources = [images, Subset(images, (0, 1, 2)), Sharded(images, None)]
    for source in sources:
        Method("own", fit).fitted(source)
    assert read == [["a", "b", "c"]] * 3


def test_titles_tell_methods_apart_and_groups_are_of_methods():
    assert len({method.title for method in METHODS.values()}) == len(METHODS)
    for group in GROUPS.values():
        assert set(group) <= set(METHODS)
        assert len(parse_methods(",".join(group))) == len(group)
    assert list(parse_methods("all,temperature")) == list(parse_methods("all"))


def test_composed_methods_take_pixels_and_seed_and_options_overrule_them():
    calls = []

    def fit(predictions, *, pixels_per_image: int | None = 1, seed: int = 9):
        calls.append((pixels_per_image, seed))
        return TemperatureScaling(2.0)

    for options in ({}, {"seed": 5}):
        method = Method("whole", partial(SelectiveScaling.fit, base=partial(fit, **options), num_epochs=1))
        method.fitted(PREDICTIONS, pixels_per_image=77, seed=4)
    assert set(calls[: len(calls) // 2]) == {(77, 4)}
    assert set(calls[len(calls) // 2 :]) == {(77, 5)}
    Method("base", fit).fitted(PREDICTIONS, pixels_per_image=None, seed=0)
    assert calls[-1] == (None, 0)


def test_a_base_left_to_its_default_takes_the_pixels_of_the_study():
    few = parse_method("meta-cal-star").fitted(PREDICTIONS, pixels_per_image=50, seed=1)
    own = parse_method("meta-cal-star:pixels_per_image=300").fitted(PREDICTIONS, pixels_per_image=50, seed=1)
    assert few.threshold != own.threshold
    expected = MetaCal.fit(PREDICTIONS, keep_labels=True, pixels_per_image=300, seed=1)
    assert own.threshold == expected.threshold


def test_options_are_read_as_their_annotations_say():
    assert parse_method("vector:keep_labels=true,strength=0.1").options == {"keep_labels": True, "strength": 0.1}
    assert parse_method("isotonic:pixels_per_image=none, by_class=false").options == {
        "pixels_per_image": None,
        "by_class": False,
    }
    uniform, softened, controlled = (
        parse_method(text).fitted(PREDICTIONS, pixels_per_image=200, seed=0)
        for text in ("meta-cal", "meta-cal:keep_labels=true", "meta-cal:accuracy=0.9")
    )
    assert isinstance(uniform.scaling.mistaken, Uniform)
    assert isinstance(softened.scaling.mistaken, TemperatureScaling)
    assert controlled.threshold != uniform.threshold


def test_options_go_on_after_commas_in_a_list_of_methods():
    found = parse_methods("temperature, selective:mistaken=temperature,others=vector-kept,num_epochs=2 ,isotonic")
    assert list(found) == [
        "temperature scaling",
        "selective scaling, validated (mistaken: temperature, others: vector-kept, num_epochs: 2)",
        "isotonic scaling",
    ]
    method = found["selective scaling, validated (mistaken: temperature, others: vector-kept, num_epochs: 2)"]
    assert method.options["others"].keywords == {"keep_labels": True}
    fitted = method.fitted(toy_predictions(num_images=6, size=(24, 24)), pixels_per_image=400, seed=0)
    assert fitted.keeps_labels
    assert isinstance(fitted.others, (VectorScaling, TemperatureScaling))


def test_an_option_of_a_named_method_can_be_set_anew():
    assert parse_method("vector-kept:keep_labels=false").options == {"keep_labels": False}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("temprature", "Did you mean 'temperature'"),
        ("temprature:num_epochs=1", "Did you mean 'temperature'"),
        ("vector:base=temperature", "vector scaling: expected a keyword of: strength"),
        ("vector:strenght=1", "Did you mean 'strength'"),
        ("vector:strength", "vector scaling: expected options such as strength=…; got 'strength'"),
        ("vector:strength=much", "vector scaling: expected a number or none for 'strength'; got 'much'"),
        ("vector:safe=1", "expected true or false for 'safe'"),
        ("vector:pixels_per_image=1.5", "expected a whole number or none"),
        ("selective:base=vectr", "selective scaling, validated: expected a method of"),
        ("uncalibrated:seed=1", "uncalibrated: expected no option"),
        (" , ", "all or published"),
    ],
)
def test_what_cannot_be_is_refused_before_any_fit(text, said):
    with pytest.raises(MethodError) as error:
        parse_methods(text)
    assert said in str(error.value)


# -- of one's own

OWN = """
from __future__ import annotations
from typing import Optional
from calibrant.calibrators import Calibrator, TemperatureScaling

number = 3

class Halved(TemperatureScaling):
    @classmethod
    def fit(cls, predictions, strength: float = 2.0, *, seed: Optional[int] = None) -> Calibrator:
        return cls(strength, notes=(f"seed {seed}",))

def nothing(predictions):
    return None

def two(predictions, images):
    return None

def pair(predictions, *, betas: tuple[float, float] = (0.5, 0.9)):
    return None

def unknown(predictions, *, strength: Missing = 1):
    return None
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own_methods.py").write_text(OWN)
    return f"{tmp_path}/own_methods.py"


def test_a_fit_of_ones_own_is_named_set_and_composed(own):
    method = parse_method(f"{own}:Halved.fit:strength=3", trust_code=True)
    assert method.title == "own_methods:Halved.fit (strength: 3)"
    fitted = method.fitted(PREDICTIONS, pixels_per_image=10, seed=4)
    assert (fitted.temperature, fitted.notes) == (3.0, ("seed 4",))
    inner, other = parse_methods(
        f"meta-cal-star:base={own}:Halved.fit,alpha=0.1, temperature", trust_code=True
    ).values()
    assert inner.options["alpha"] == 0.1
    assert type(inner.fitted(PREDICTIONS, seed=1).others).__name__ == "Halved"
    assert other is METHODS["temperature"]


def test_code_runs_only_where_it_is_allowed(tmp_path):
    (tmp_path / "trap.py").write_text("raise AssertionError('it ran')")
    for text in (f"{tmp_path}/trap.py:fit", f"selective:base={tmp_path}/trap.py:fit"):
        with pytest.raises(InputError, match=r"permission to run code.*--trust"):
            parse_methods(text)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("absent", DataError, "expected 'absent' in the Python module"),
        ("number", MethodError, "expected a function from predictions to a calibrator; got int"),
        ("Halved", MethodError, "Name the fit of a class: module:Class.fit"),
        ("two", MethodError, "it also needs images"),
        ("pair:betas=0.5", MethodError, "expected an option that is set in Python for 'betas'; got '0.5'"),
        ("unknown", MethodError, "whose parameters can be read; name 'Missing' is not defined"),
        ("nothing", MethodError, r"returns a calibrant\.calibrators\.Calibrator; it returned NoneType"),
    ],
)
def test_fits_of_ones_own_that_are_none(own, name, kind, said):
    with pytest.raises(kind, match=said):
        parse_method(f"{own}:{name}", trust_code=True).fitted(PREDICTIONS)


def test_modules_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match=r"No module named 'no_such_module'.*path/to/file\.py:function"):
        parse_method("no_such_module:fit", trust_code=True)
    with pytest.raises(DataError, match="there is no file"):
        parse_method(f"{tmp_path}/none.py:fit", trust_code=True)


def test_an_option_that_a_line_of_text_cannot_set_is_named():
    def own(predictions: Predictions, *, levels: tuple[float, ...] = (0.5,)) -> Calibrator:
        return TemperatureScaling(levels[0])

    with pytest.raises(MethodError, match="set in Python for 'levels'; got"):
        with_options(Method("mine", own), "levels=0.3")


def test_the_options_of_the_network_are_the_numbers_of_its_recipe():
    found = parse_method("network:num_steps=2,batch_size=2,model_output=labels").fitted(toy_predictions(num_images=2))
    expected = CalibrationNetwork.fit(
        toy_predictions(num_images=2), model_output="labels", recipe=CalibrationRecipe(num_steps=2, batch_size=2)
    )
    z, image = toy_predictions()[0].logits[None], toy_predictions()[0].image[None]
    assert torch.equal(found(z, image), expected(z, image))
