"""Stacked scaling: what is pooled, how sure it is, and when it holds back."""

from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.functional import binary_cross_entropy, cross_entropy, interpolate, max_pool2d

from calibrant.calibrators import (
    DirichletScaling,
    IsotonicScaling,
    LocalTemperatureScaling,
    StackedScaling,
    TemperatureScaling,
    VectorScaling,
    _projections,
)
from calibrant.calibrators._projections import apart
from calibrant.calibrators.stacked import stacked
from calibrant.calibrators.stacked.confidence import as_sure, of_pool
from calibrant.calibrators.stacked.context import NAMES, context_of
from calibrant.calibrators.stacked.fit import dealt_images
from calibrant.calibrators.stacked.gate import Gate, descriptions, fit_gate
from calibrant.calibrators.stacked.pool import Pool, weigh
from calibrant.calibrators.stacked.sample import sample_images
from calibrant.calibrators.stacked.training import LEVELS, Recipe, Seen, loss_of, train
from calibrant.errors import FitError, InputError
from calibrant.methods import parse_method
from calibrant.predictions import IGNORE, Prediction, with_logits
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


@pytest.mark.parametrize("shape", [(2, 5, 40, 50), (1, 3, 4, 5, 6), (2, 300, 1, 7), (1, 3, 9), (1, 1, 5, 6)])
def test_context_behind_a_temperature_is_that_of_the_logits_it_makes(shape):
    z = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    anchor = TemperatureScaling(1.7)
    ours, slow = context_of(z, None, anchor), context_of(anchor(z))
    assert ours.values.shape[1] == len(NAMES)
    assert torch.equal(ours.winner, slow.winner)
    torch.testing.assert_close(ours.values, slow.values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.peak, slow.peak)


def test_a_pool_is_the_sum_of_what_its_calibrators_make():
    z = 3 * torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0))
    matrix, shift = torch.randn(3, 3, generator=torch.Generator().manual_seed(1)), torch.arange(3.0)
    affine = [
        TemperatureScaling(1.7),
        VectorScaling(torch.tensor([1.0, 2.0, 0.5]), shift),
        DirichletScaling(matrix, shift),
    ]
    kept = [VectorScaling(shift, shift, keep_labels=True), DirichletScaling(matrix, shift, keep_labels=True)]
    calibrators, weights = [*affine, *kept], torch.tensor([0.5, 0.3, 0.2, 0.4, 0.1])
    slow = sum(weight * each(z) for weight, each in zip(weights, calibrators, strict=True))
    torch.testing.assert_close(Pool.of(calibrators, weights).of_logits(z, {}), slow, rtol=1e-5, atol=1e-5)
    given = {4: torch.zeros_like(z)}
    torch.testing.assert_close(
        Pool.of(calibrators, weights).of_logits(z, given), slow - 0.1 * calibrators[4](z), rtol=1e-5, atol=1e-5
    )


def test_weights_find_the_member_that_is_true_and_leave_out_the_one_that_is_not():
    generator = torch.Generator().manual_seed(0)
    true = [2 * torch.randn(3, 3000, generator=generator) for _ in range(6)]
    labels = [torch.multinomial(z.T.softmax(1), 1, generator=generator)[:, 0] for z in true]
    noise = [torch.randn(3, 3000, generator=generator) for _ in true]
    wrong = [3 * z + 2 * e for z, e in zip(true, noise, strict=True)]
    found = weigh([wrong, noise, true], labels, ["anchor", "noise", "truth"])
    assert found.members == (0, 2)
    assert found.weights[1] == pytest.approx(1, abs=0.05)
    assert found.weights[0] == pytest.approx(0, abs=0.02)
    assert "noise: no gain" in found.notes[-1]


@pytest.fixture(scope="module")
def fitted():
    """One fit for the tests that need any."""
    return StackedScaling.fit(blocks(num_images=12), num_epochs=2)


def test_where_temperature_scaling_is_the_truth_nothing_is_added_to_it():
    found = StackedScaling.fit(toy_predictions(num_images=8, size=(24, 32)), num_epochs=2)
    assert len(found.members) == 0
    assert found.weights.tolist() == pytest.approx([1], abs=0.01)
    assert found.anchor.temperature == pytest.approx(2, abs=0.1)


def test_a_pool_that_gains_is_better_than_its_anchor_on_other_images(fitted):
    assert len(fitted.members) >= 1
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
        for name, c in {"stacked": fitted, "anchor": fitted.anchor}.items()
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
    winner, tied, raw = torch.tensor([[[0]]]), torch.tensor([[[False]]]), torch.tensor([[[2.0], [1.0], [0.0]]])
    parts = apart(pool, winner)
    assert float(of_pool(parts)[0, 1, 0]) == pytest.approx(-2)
    probs = as_sure(torch.tensor([[[3.0]]]), parts, winner, tied, raw).softmax(1).squeeze()
    assert float(probs[0]) == pytest.approx(0.95257, abs=1e-4)
    assert probs.argmax() == 0
    less = as_sure(torch.tensor([[[-0.5]]]), parts, winner, tied, raw).softmax(1).squeeze()  # another would exceed it
    assert float(less[0]) == pytest.approx(float(less[1]), abs=1e-5)
    assert float(less[2]) == pytest.approx((1 - 0.37754) / (1 + torch.e**3), abs=1e-4)


def test_where_several_classes_win_they_share_what_the_pool_gives_them():
    pool, winner = torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([[[0]]])
    raw = torch.tensor([[[2.0], [2.0], [0.0]]])
    found = as_sure(torch.tensor([[[9.0]]]), apart(pool.clone(), winner), winner, torch.tensor([[[True]]]), raw)
    total = pool.exp().sum()
    expected = torch.stack([(total - 1) / 2, (total - 1) / 2, torch.tensor(1.0)]) / total
    torch.testing.assert_close(found.softmax(1).flatten(), expected)


def described(predictions):
    return torch.cat([descriptions(context_of(p.logits[None])) for p in predictions])


def test_the_gate_opens_for_images_like_those_of_the_fit_and_closes_for_others():
    gate = fit_gate(described(toy_predictions(num_images=24)), [[i] for i in range(24)])
    like, unlike = toy_predictions(num_images=8, seed=5), toy_predictions(num_images=8, seed=5, spread=0.3)
    share = torch.cat([gate(context_of(p.logits[None])) for p in like])
    away = torch.cat([gate(context_of(p.logits[None])) for p in unlike])
    assert float(share.mean()) > 0.9
    assert float(away.max()) < 0.1
    together = gate(context_of(torch.stack([p.logits for p in unlike])))
    torch.testing.assert_close(together, away)


def test_an_image_far_outside_is_left_to_the_anchor(fitted):
    assert fitted.gate is not None
    strange = 0.01 * torch.randn(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    expected = fitted.anchor(strange)
    assert float(fitted.shares(strange)) == 0
    assert torch.equal(fitted(strange), expected - expected.amax(1, keepdim=True))


def test_the_share_falls_to_nothing_at_the_end_and_without_one_as_it_did():
    parts, distance = (torch.zeros(8), torch.ones(8), torch.eye(8)), torch.linspace(0, 9, 181)
    share = Gate(*parts, limit=2.0, end=2.5).share(distance)
    assert bool((share[distance <= 2] == 1).all() & (share[distance >= 5] == 0).all())
    assert bool((share.diff()[(distance[1:] > 2) & (distance[:-1] < 5)] < 0).all())
    assert float(share[distance == 2.5]) == pytest.approx((2 / 2.5 - 1 / 2.5) / (1 - 1 / 2.5))
    older = Gate(*parts, limit=2.0).share(distance)
    assert torch.equal(older, (2.0 / distance.clamp_min(1e-6)).clamp_max(1.0) ** 2)


def test_few_images_say_little_about_their_range():
    """The fewer there were to fit to, the sooner an image like them is drawn back."""
    rng = torch.Generator().manual_seed(0)
    others = torch.randn(500, 10, generator=rng)
    within = []
    for count in (6, 24, 90):
        gates = [fit_gate(torch.randn(count, 10, generator=rng), [[i] for i in range(count)]) for _ in range(4)]
        within.append(torch.stack([(gate.distance(others) <= gate.limit).float().mean() for gate in gates]).mean())
    assert within[0] < within[1] < within[2]
    assert within[2] > 0.8


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


# A known truth: pixels near edges are less often right, and one kind of mistake is usual


CLASSES, EDGE_MISTAKES, INNER_MISTAKES, USUAL = 5, 0.4, 0.03, 0.9


def near_edges(label):
    edge = torch.zeros_like(label, dtype=torch.bool)
    edge[1:] |= label[1:] != label[:-1]
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    return max_pool2d(edge[None].float(), 5, 1, 2)[0] > 0


def scenes(count, *, seed=0, size=(40, 48)):
    """Patches of classes, at one confidence throughout. A pixel is right 97 % of the time inside a patch and 60 % near
    its edge; nine in ten mistakes for class k are k + 1, the others k + 2."""
    rng = torch.Generator().manual_seed(seed)
    made = []
    for number in range(count):
        label = interpolate(torch.rand(1, CLASSES, 4, 5, generator=rng), size, mode="bilinear")[0].argmax(0)
        wrong = torch.rand(size, generator=rng) < torch.where(near_edges(label), EDGE_MISTAKES, INNER_MISTAKES)
        other = (label + torch.where(torch.rand(size, generator=rng) < USUAL, 1, 2)) % CLASSES
        logits = 0.3 * torch.randn(CLASSES, *size, generator=rng)
        logits.scatter_(0, label[None], 3.0)
        made.append(Prediction(f"{number:02d}", logits, torch.where(wrong, other, label)[None]))
    return made


def true_nll(prediction):
    """The negative log-likelihood of the labels under the probabilities that they were drawn from."""
    winner, label = prediction.logits.argmax(0), prediction.labels[0]
    miss = torch.where(near_edges(winner), EDGE_MISTAKES, INNER_MISTAKES)
    kind = torch.where(label == (winner + 1) % CLASSES, USUAL, 1 - USUAL)
    return -float(torch.where(label == winner, 1 - miss, miss * kind).log().mean())


def test_a_synthetic_posterior_is_recovered():
    """Where mistakes are and which class they are of is learnt: at least three quarters of what there is to gain."""
    ours, test = StackedScaling.fit(scenes(10), num_epochs=6), scenes(6, seed=1)
    nll = {
        name: sum(float(cross_entropy(each(p.logits[None]), p.labels)) for p in test) / len(test)
        for name, each in (("ours", ours), ("anchor", ours.anchor))
    }
    truth = sum(map(true_nll, test)) / len(test)
    assert truth < nll["ours"] < truth + 0.25 * (nll["anchor"] - truth)
    assert all(torch.equal(ours(p.logits[None]).argmax(1), p.logits[None].argmax(1)) for p in test)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda ps: ps[:1], "only one labelled image"),
        (
            lambda ps: [ps[0], *(replace(p, labels=torch.full_like(p.labels, IGNORE)) for p in ps[1:])],
            "only one labelled",
        ),
        (lambda ps: [replace(p, labels=p.logits.argmax(0)[None]) for p in ps], "all pixels of the fit are right"),
        (lambda ps: [replace(p, labels=p.logits.argmin(0)[None]) for p in ps], "all pixels of the fit are mistakes"),
    ],
)
def test_it_says_why_it_falls_back(change, reason):
    predictions = change(toy_predictions())
    calibrator = StackedScaling.fit(predictions, num_epochs=1)
    logits = predictions[0].logits[None]
    assert torch.equal(calibrator(logits), calibrator.anchor(logits))
    assert reason in calibrator.notes[-1]


def test_no_labels_is_an_error():
    void = [replace(p, labels=torch.full_like(p.labels, IGNORE)) for p in toy_predictions()]
    with pytest.raises(FitError, match="all pixels of the 4 images are unlabelled"):
        StackedScaling.fit(void, anchor=lambda predictions: TemperatureScaling(1.0))


def test_what_is_drawn_of_an_image_does_not_depend_on_the_others():
    predictions, anchor = toy_predictions(num_images=4), TemperatureScaling(1.5)
    whole = sample_images(predictions, anchor, 30, seed=7)
    some = sample_images([predictions[2], predictions[0]], anchor, 30, seed=7)
    for one, other in ((whole[2], some[0]), (whole[0], some[1])):
        assert torch.equal(one.context, other.context)
        assert torch.equal(one.labels, other.labels)


def seen(count=500, seed=0):
    """What networks see of pixels of an image, at random."""
    rng = torch.Generator().manual_seed(seed)
    context = torch.randn(count, len(NAMES), generator=rng)
    right = (torch.rand(count, generator=rng) < 0.7).float()
    return Seen(context, torch.randn(count, 2, generator=rng), torch.randint(3, (count,), generator=rng), right)


def test_the_loss_is_the_sum_of_its_parts():
    one, two = seen(), seen(seed=1)
    odds = torch.cat([one.context[:, 0], two.context[:, 0]])
    sure, right = odds.sigmoid(), torch.cat([one.is_right, two.is_right])
    expected = 2 * binary_cross_entropy(sure, right)
    for image in (slice(0, 500), slice(500, 1000)):
        gap = sure[image] - right[image]
        kernel = torch.exp(-((sure[image][:, None] - LEVELS) ** 2) / (2 * 0.05**2))
        share = kernel / kernel.sum(1, keepdim=True)
        expected += 5.0 * gap.mean() ** 2 / 2 + 3.0 * ((gap[:, None] * share).mean(0) ** 2 + 1e-6).sqrt().sum() / 2
    recipe = Recipe(image_weight=5.0, level_weight=3.0)
    torch.testing.assert_close(loss_of(odds, Seen.concatenated([one, two]), 2, recipe), expected, rtol=1e-5, atol=1e-5)


def test_several_networks_are_their_mean_and_each_is_trained_without_some_images():
    images, recipe = [seen(seed=k) for k in range(4)], Recipe(num_epochs=1, batches_per_epoch=3, pixels_per_image=50)
    whole, without = train(images, 3, [[0, 1], [2, 3]], recipe, seed=0)
    assert all(float(each.readout.abs().max()) > 0 for each in without)
    other = [replace(images[0], is_right=1 - images[0].is_right), *images[1:]]
    _, again = train(other, 3, [[0, 1], [2, 3]], recipe, seed=0)
    assert torch.equal(again[0].weight, without[0].weight)  # which image 0 was held out from: it only chose the epoch
    assert not torch.equal(again[1].weight, without[1].weight)
    given = (images[0].context.T[None], images[0].pool.T[None], images[0].winner[None, None])
    found = [_factor_and_shift(each, *given) for each in (whole, *without)]
    torch.testing.assert_close(found[0], (found[1] + found[2]) / 2, rtol=1e-4, atol=1e-5)


def _factor_and_shift(network, context, pool, winner):
    """The two numbers behind the log-odds, read off at two levels of the pool's own log-odds."""
    context, pool = context.clone(), pool.clone()
    context[:, 0], pool[:, 0] = network.centre[0], network.centre[-2]
    level = (network.centre[0] + network.centre[-2]) / 2
    x = (torch.cat([context, pool], 1) - network.centre[:, None]) / network.scale[:, None]
    hidden = torch.nn.functional.silu(
        network.weight @ x.clamp(-6, 6) + network.by_winner[winner[:, 0]].mT + network.bias[:, None]
    )
    found = network.readout @ hidden + network.offset[:, None]
    odds = network(context, pool, winner)
    torch.testing.assert_close(odds, level * found[:, :1].exp() + found[:, 1:], rtol=1e-3, atol=1e-4)
    return found


def test_three_dimensions_and_gradients(fitted):
    z = torch.randn(1, 3, 5, 6, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    fitted(z).softmax(1)[:, 0].sum().backward()
    assert bool(z.grad.isfinite().all())
    assert bool((z.grad != 0).any())


def test_accelerators_are_asked_for_nothing(fitted, monkeypatch):
    """What is computed where code must not ask for values is what is computed where it may."""
    z = torch.stack([p.logits for p in blocks(num_images=2, seed=3)]).round()  # with ties
    asked = fitted(z)
    for module in (_projections, stacked):
        monkeypatch.setattr(module, "is_unasked", lambda values: True)
    unasked = fitted(z)
    torch.testing.assert_close(asked.softmax(1), unasked.softmax(1), rtol=0, atol=1e-6)
    assert torch.equal(unasked.argmax(1), z.argmax(1))


def test_on_a_gpu_it_answers_alike(fitted):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    z = torch.stack([p.logits for p in blocks(num_images=2, seed=3)])
    expected = fitted(z)
    found = deepcopy(fitted).cuda()(z.cuda())
    torch.testing.assert_close(found.softmax(1).cpu(), expected.softmax(1), rtol=0, atol=1e-4)
    assert torch.equal(found.argmax(1).cpu(), z.argmax(1))


def test_what_a_fit_keeps_of_images_lies_together_in_memory():
    """Else it would lie between the maps of one image and those of the next, and the process would grow with each."""
    images = toy_predictions(num_images=3, num_classes=4, size=(16, 24))
    sampled = sample_images(images, TemperatureScaling(1.5), 50, seed=0)
    kept = [each for image in sampled for each in vars(image).values() if isinstance(each, torch.Tensor)]
    assert len(kept) == 3 * 7
    assert len({each.untyped_storage().data_ptr() for each in kept}) == 1
    assert torch.allclose(sampled[1].anchor, sampled[1].logits / 1.5)
