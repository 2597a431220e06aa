"""Ensembles: the mean probability, however small; the sources must be of the same images."""

import itertools
from dataclasses import replace

import pytest
import torch

from calibrant.calibrators import TemperatureScaling
from calibrant.data import StoredPredictions, write_store
from calibrant.errors import InputError, LabelError, LogitsError, ShapeError
from calibrant.models import EnsemblePredictions, ModelPredictions
from calibrant.predictions import Example, Predictions
from calibrant.testing import toy_predictions


def others(predictions, seed, scale=1.0):
    """The same images, seen by another model."""
    rng = torch.Generator().manual_seed(seed)
    return [replace(p, logits=scale * torch.randn(p.logits.shape, generator=rng)) for p in predictions]


@pytest.mark.parametrize("size", [(5, 6), (3, 4, 2)])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_probabilities_are_the_mean_of_a_slow_loop(size, scale):
    first = toy_predictions(num_images=3, num_classes=4, size=size)
    members = [first, others(first, 1, scale), others(first, 2, 10 * scale)]
    for i, prediction in enumerate(EnsemblePredictions(members)):
        for at in itertools.product(*map(range, size)):
            mean = torch.zeros(4, dtype=torch.float64)
            for member in members:
                mean += member[i].logits[(slice(None), *at)].double().softmax(0) / len(members)
            found = prediction.logits[(slice(None), *at)]
            # In logarithms, so that a probability of 1e-30 counts as much as one of a half; float32's own error aside.
            known = mean > 0
            assert torch.allclose(found[known].double(), mean[known].log(), rtol=2e-6, atol=2e-6)
            assert bool(found.isfinite().all())


def test_one_source_is_itself_and_the_order_does_not_count():
    first = toy_predictions()
    alone = EnsemblePredictions([first])
    for mine, theirs in zip(first, alone, strict=True):
        assert torch.allclose(mine.logits.softmax(0), theirs.logits.softmax(0), atol=1e-6)
        assert torch.equal(mine.labels, theirs.labels)
    a, b, c = first, others(first, 1), others(first, 2)
    one, two = EnsemblePredictions([a, b, c])[1], EnsemblePredictions([a, c, b])[1]
    assert torch.allclose(one.logits, two.logits, atol=1e-5)


def test_it_is_a_source_like_any_other(tmp_path):
    first = toy_predictions(num_images=3)
    ensemble = EnsemblePredictions([first, others(first, 1)])
    assert isinstance(ensemble, Predictions)
    assert len(ensemble) == 3
    assert ensemble.keys == tuple(p.key for p in first)
    for read_in_order, i in zip(ensemble, range(3), strict=True):
        assert torch.equal(read_in_order.logits, ensemble[i].logits)
        assert read_in_order.checked() is read_in_order
    assert len(list(ensemble)) == 3, "it can be read again"
    stored = write_store(ensemble, tmp_path / "store")
    again = EnsemblePredictions([stored, StoredPredictions(tmp_path / "store")])
    assert torch.allclose(again[2].logits, ensemble[2].logits, atol=1e-5)
    assert TemperatureScaling.fit(ensemble).temperature > 0


def test_half_precision_members_are_averaged_in_single():
    first = [replace(p, logits=p.logits.half()) for p in toy_predictions()]
    second = [replace(p, logits=p.logits.bfloat16()) for p in toy_predictions(seed=0)]
    assert EnsemblePredictions([first, second])[0].logits.dtype == torch.float32


def test_runs_at_other_scales_and_flipped_are_members():
    rng = torch.Generator().manual_seed(0)
    examples = [
        Example(name, torch.rand(3, 8, 12, generator=rng), torch.zeros(1, 8, 12, dtype=torch.long)) for name in "ab"
    ]
    pointwise = torch.nn.Conv2d(3, 4, 1)  # sees no neighbours: a flipped run says the same
    plain = ModelPredictions(pointwise, examples)
    flipped = ModelPredictions(lambda x: pointwise(x.flip(-1)).flip(-1), examples)
    both = EnsemblePredictions([plain, flipped])
    assert torch.allclose(both[1].logits, plain[1].logits.log_softmax(0), atol=1e-6)
    half = EnsemblePredictions([plain, ModelPredictions(lambda x: pointwise(x[..., ::2, ::2]), examples)])
    assert half[0].logits.shape == (4, 8, 12)


def test_sources_that_do_not_belong_together_are_told_by_image_and_source():
    first = toy_predictions(num_images=2)
    with pytest.raises(InputError, match="one source of predictions or more"):
        EnsemblePredictions([])
    with pytest.raises(InputError, match="got 2, 1 images"):
        EnsemblePredictions([first, first[:1]])
    with pytest.raises(InputError, match=r"image 'toy0'.*'toy1' in source 1.*Sort the sources alike"):
        EnsemblePredictions([first, first[::-1]])[0]
    changed = {
        "logits_of_more_classes": (ShapeError, "expected logits of 3 classes", {"logits": torch.zeros(4, 12, 16)}),
        "another_size": (
            ShapeError,
            "Bring a run at another scale",
            {"logits": torch.zeros(3, 6, 8), "labels": first[1].labels[:, ::2, ::2], "image": None},
        ),
        "other_labels": (LabelError, "expected the labels of source 0", {"labels": first[1].labels.flip(-1)}),
        "labels_of_two": (LabelError, "expected the labels", {"labels": first[1].labels.repeat(2, 1, 1)}),
        "infinite": (LogitsError, "expected finite", {"logits": torch.full((3, 12, 16), torch.inf)}),
    }
    for error, said, change in changed.values():
        ensemble = EnsemblePredictions([first, first, [first[0], replace(first[1], **change)]])
        assert ensemble[0].key == "toy0"
        with pytest.raises(error, match=said) as found:
            ensemble[1]
        assert "image 'toy1', source 2" in str(found.value)


def test_sources_that_know_their_keys_are_checked_before_anything_is_read(tmp_path):
    first = toy_predictions(num_images=2)
    stored = write_store(first, tmp_path / "a")
    renamed = write_store([replace(p, key=f"x{p.key}") for p in first], tmp_path / "b")
    with pytest.raises(InputError, match="image 'toy0': expected the same image"):
        EnsemblePredictions([stored, renamed])
