"""Stacked scaling: what is pooled, how sure it is, and when it holds back."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from calibrant.calibrators import (
    DirichletScaling,
    IsotonicScaling,
    LocalTemperatureScaling,
    StackedScaling,
    TemperatureScaling,
    VectorScaling,
)
from calibrant.calibrators.correctness.features import NAMES as OLD_NAMES
from calibrant.calibrators.correctness.features import features_of
from calibrant.calibrators.stacked.confidence import as_sure, of_pool
from calibrant.calibrators.stacked.context import NAMES, context_of
from calibrant.calibrators.stacked.fit import dealt_images
from calibrant.calibrators.stacked.gate import descriptions, fit_gate
from calibrant.calibrators.stacked.pool import apart, weigh
from calibrant.errors import InputError
from calibrant.methods import parse_method
from calibrant.predictions import with_logits
from calibrant.testing import toy_predictions


def blocks(num_images=8, side=4, seed=0, **options):
    """Predictions whose pixels come in squares, one class preferred wrongly."""
    made = toy_predictions(num_images=num_images, size=(6, 8), seed=seed, **options)
    large = [
        replace(p, **{n: getattr(p, n).repeat_interleave(side, 1).repeat_interleave(side, 2) for n in PARTS})
        for p in made
    ]
    return [with_logits(p, p.logits + torch.tensor([1.5, 0.0, 0.0]).view(3, 1, 1)) for p in large]


PARTS = ("logits", "labels", "image")


@pytest.mark.parametrize("shape", [(2, 5, 40, 50), (1, 3, 4, 5, 6), (2, 4, 1, 7), (1, 3, 9), (1, 3, 100, 90)])
def test_context_is_that_of_the_slow_features(shape):
    z = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    old, new = features_of(z).values, context_of(z).values
    at = [OLD_NAMES.index("first gap" if name == "gap" else name) for name in NAMES]
    torch.testing.assert_close(new, old[:, at], rtol=1e-4, atol=1e-5)


def test_weights_find_the_member_that_is_true_and_leave_out_the_one_that_is_not():
    generator = torch.Generator().manual_seed(0)
    true = [2 * torch.randn(3, 3000, generator=generator) for _ in range(6)]
    labels = [torch.distributions.Categorical(logits=z.T).sample() for z in true]
    noise = [torch.randn(3, 3000, generator=generator) for _ in true]
    wrong = [3 * z + 2 * e for z, e in zip(true, noise, strict=True)]
    found = weigh([wrong, noise, true], labels, ["anchor", "noise", "truth"])
    assert found.members == (0, 2)
    assert found.weights[1] == pytest.approx(1, abs=0.05)
    assert found.weights[0] == pytest.approx(0, abs=0.02)
    assert "noise: no gain" in found.notes[-1]


def test_where_temperature_scaling_is_the_truth_nothing_is_added_to_it():
    found = StackedScaling.fit(toy_predictions(num_images=8, size=(24, 32)), num_epochs=2)
    assert len(found.members) == 0
    assert found.weights.tolist() == pytest.approx([1], abs=0.01)
    assert found.anchor.temperature == pytest.approx(2, abs=0.1)


def test_a_pool_that_gains_is_better_than_its_anchor_on_other_images():
    found = StackedScaling.fit(blocks(), num_epochs=2)
    assert len(found.members) >= 1
    others = blocks(seed=1)
    nll = {
        name: sum(
            float(
                torch.nn.functional.cross_entropy(
                    c(p.logits[None], p.image[None]), p.labels, ignore_index=-100, reduction="sum"
                )
            )
            for p in others
        )
        for name, c in {"stacked": found, "anchor": found.anchor}.items()
    }
    assert nll["stacked"] < nll["anchor"]


def test_members_may_be_any_fits_pixel_by_pixel_or_not():
    fits = (partial(VectorScaling.fit, keep_labels=True), IsotonicScaling.fit)
    local = partial(LocalTemperatureScaling.fit, num_epochs=1, crops_per_image=1)
    found = StackedScaling.fit(blocks(num_images=4), members=(*fits, local), num_epochs=1)
    assert any("LocalTemperatureScaling" in note or "VectorScaling" in note for note in found.notes)


def test_members_in_a_line_of_text():
    method = parse_method("stacked:members=vector+dirichlet-kept+isotonic,use_gate=false")
    assert len(method.options["members"]) == 3
    assert method.options["use_gate"] is False


def test_confidence_is_set_and_no_class_exceeds_the_winner():
    pool = torch.tensor([[[1.0], [3.0], [0.0]]])
    winners = torch.tensor([[[True], [False], [False]]])
    parts, tied = apart(pool, winners, torch.tensor([[[0]]])), torch.tensor([[[False]]])
    assert float(of_pool(parts)[0, 1, 0]) == pytest.approx(-2)
    probs = as_sure(torch.tensor([[[3.0]]]), parts, winners, tied).softmax(1).squeeze()
    assert float(probs[0]) == pytest.approx(0.95257, abs=1e-4)
    assert probs.argmax() == 0
    less = as_sure(torch.tensor([[[-0.5]]]), parts, winners, tied).softmax(1).squeeze()  # another would exceed it
    assert float(less[0]) == pytest.approx(float(less[1]), abs=1e-5)
    assert float(less[2]) == pytest.approx((1 - 0.37754) / (1 + torch.e**3), abs=1e-4)


def described(predictions):
    return torch.cat([descriptions(context_of(p.logits[None]), 3) for p in predictions])


def test_the_gate_opens_for_images_like_those_of_the_fit_and_closes_for_others():
    gate = fit_gate(described(toy_predictions(num_images=12)), dealt_images([str(i) for i in range(12)], None, 0))
    like, unlike = toy_predictions(num_images=8, seed=5), toy_predictions(num_images=8, seed=5, spread=0.3)
    share = torch.cat([gate(context_of(p.logits[None])) for p in like])
    away = torch.cat([gate(context_of(p.logits[None])) for p in unlike])
    assert float(share.mean()) > 0.9
    assert float(away.max()) < 0.1
    together = gate(context_of(torch.stack([p.logits for p in unlike])))
    torch.testing.assert_close(together, away)


def test_an_image_far_outside_is_left_to_the_anchor():
    found = StackedScaling.fit(blocks(num_images=12), num_epochs=2)
    assert found.gate is not None
    strange = 0.01 * torch.randn(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    assert float(found.shares(strange)) < 1e-2
    torch.testing.assert_close(found(strange).softmax(1), found.anchor(strange).softmax(1), atol=1e-2, rtol=0)


def test_few_images_have_no_gate():
    assert fit_gate(described(toy_predictions(num_images=3)), [[0], [1], [2]]) is None


def test_images_of_one_group_are_left_out_together():
    groups = {"a": "x", "b": "y", "c": "x", "d": "z"}
    parts = dealt_images("abcd", groups, 0)
    assert sorted(map(tuple, parts)) == [(0, 2), (1,), (3,)]
    with pytest.raises(InputError, match="expected a group for every image; 'e' has none"):
        dealt_images("abe", groups, 0)


def test_with_several_annotators_a_probability_is_the_share_of_them():
    made = blocks(num_images=8, num_annotators=5, void=0.0)
    found = StackedScaling.fit(made, num_epochs=2)
    test = blocks(num_images=8, num_annotators=5, void=0.0, seed=3)
    probs = torch.cat([found(p.logits[None])[0].softmax(0).flatten(1) for p in test], 1)
    shares = torch.cat([torch.stack([(p.labels == k).float().mean(0).flatten() for k in range(3)]) for p in test], 1)
    winner = torch.cat([p.logits.argmax(0).flatten() for p in test])
    sure, said = (each.gather(0, winner[None])[0] for each in (probs, shares))
    for low, high in ((0.3, 0.6), (0.6, 0.8), (0.8, 1.0)):
        here = (sure > low) & (sure <= high)
        assert float(sure[here].mean()) == pytest.approx(float(said[here].mean()), abs=0.08)


def test_the_anchor_must_keep_labels_and_weights_must_be_as_many():
    vector = VectorScaling(torch.ones(2), torch.zeros(2))
    with pytest.raises(InputError, match="an anchor that keeps the label map; got VectorScaling"):
        StackedScaling(vector, [], torch.ones(1))
    with pytest.raises(InputError, match="a weight, 0 or more, for the anchor and for each of 1 members"):
        StackedScaling(TemperatureScaling(1.0), [DirichletScaling(torch.eye(2), torch.zeros(2))], torch.ones(1))
