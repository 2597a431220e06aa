"""Correctness scaling: parts against references, known truths, and what it does where nothing can be learnt."""

import logging
import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import binary_cross_entropy, cross_entropy, nll_loss

from calibrant.calibrators import (
    CorrectnessScaling,
    DirichletScaling,
    TemperatureScaling,
    VectorScaling,
    _context,
    _context_pixels,
    correctness,
    export_onnx,
    load,
    save,
)
from calibrant.calibrators.correctness.features import NAMES, context_of
from calibrant.calibrators.correctness.mistakes import NONE, MistakeModel, Mistakes, fit_mistake_model, shared, spread
from calibrant.calibrators.correctness.pool import FOLDS, PRIOR, Recalibration, pooled, second_opinion
from calibrant.calibrators.correctness.sample import ContextPixels, draw, together
from calibrant.calibrators.correctness.temperature_network import LEVELS, TemperatureNetwork, Trainee, joined, loss_of
from calibrant.errors import FitError, InputError, ShapeError
from calibrant.predictions import IGNORE, Prediction
from calibrant.testing import toy_predictions


def drawn(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def softening(c, *, hidden=6, fewer=0):
    numbers = len(NAMES) - fewer
    tensors = [
        drawn(hidden, numbers, scale=0.2),
        drawn(c, hidden),
        drawn(c, hidden, seed=1),
        drawn(hidden),
        drawn(hidden),
    ]
    return TemperatureNetwork(torch.zeros(numbers), torch.ones(numbers), *tensors, torch.tensor(0.1))


def scenes(count, *, c=5, size=(40, 48), seed=0):
    """Patches of classes. A pixel is right 97 % of the time inside a patch and 60 % at its edge, at one confidence
    throughout; and a mistake for class k is nearly always k + 1."""
    rng = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        coarse = torch.rand(1, c, 4, 5, generator=rng)
        label = torch.nn.functional.interpolate(coarse, size, mode="bilinear")[0].argmax(0)
        edge = torch.zeros(size, dtype=torch.bool)
        edge[1:] |= label[1:] != label[:-1]
        edge[:, 1:] |= label[:, 1:] != label[:, :-1]
        edge = torch.nn.functional.max_pool2d(edge[None].float(), 5, 1, 2)[0] > 0
        wrong = torch.rand(size, generator=rng) < torch.where(edge, 0.4, 0.03)
        other = (label + torch.where(torch.rand(size, generator=rng) < 0.9, 1, 2)) % c
        logits = 0.3 * torch.randn(c, *size, generator=rng)
        logits.scatter_(0, label[None], 3.0)
        found.append(Prediction(f"{number:02d}", logits, torch.where(wrong, other, label)[None]))
    return found


def test_it_finds_what_a_temperature_cannot():
    """Edges are less often right, and which class a mistake is follows from the winner: both are learnt."""
    fitted = CorrectnessScaling.fit(scenes(10), num_networks=2, epochs=6)
    plain = TemperatureScaling.fit(scenes(10))
    test = scenes(10, seed=1)
    order = CorrectnessScaling(fitted.base, fitted.softening)
    nll = {
        name: sum(float(cross_entropy(each(p.logits[None]), p.labels)) for p in test) / len(test)
        for name, each in {"ours": fitted, "order kept": order, "plain": plain}.items()
    }
    truth = edge_share = 0.0
    for p in test:
        label, y = p.logits.argmax(0), p.labels[0]
        edge = torch.zeros_like(label, dtype=torch.bool)
        edge[1:] |= label[1:] != label[:-1]
        edge[:, 1:] |= label[:, 1:] != label[:, :-1]
        edge = torch.nn.functional.max_pool2d(edge[None].float(), 5, 1, 2)[0] > 0
        miss = torch.where(edge, 0.4, 0.03)
        kind = torch.where(y == (label + 1) % 5, 0.9, 0.1)
        truth -= float(torch.where(y == label, 1 - miss, miss * kind).log().mean()) / len(test)
        edge_share += float(edge.float().mean()) / len(test)
    assert 0.2 < edge_share < 0.8
    assert truth < nll["ours"] < truth + 0.25 * (nll["plain"] - truth)
    assert nll["order kept"] < nll["plain"] - 0.02
    for p in test:
        assert torch.equal(fitted(p.logits[None]).argmax(1), p.logits[None].argmax(1))


def test_it_falls_back_where_there_is_nothing_to_learn(caplog):
    predictions = toy_predictions(num_images=6, size=(24, 32))
    with caplog.at_level(logging.WARNING, "calibrant"):
        fitted = CorrectnessScaling.fit(predictions, num_networks=3, epochs=2)
    plain = TemperatureScaling.fit(predictions)
    logits = torch.stack([p.logits for p in predictions])
    if fitted.softening is None and fitted.alternatives is None and fitted.opinion is None:
        assert torch.equal(fitted(logits), plain(logits))
        assert "falls back to its base alone" in fitted.notes[-1]
        assert fitted.notes[-1] in caplog.messages
    else:  # a gain within chance of the true map's, which temperature scaling is
        torch.testing.assert_close(fitted(logits).softmax(1), plain(logits).softmax(1), rtol=0, atol=0.08)


@pytest.mark.parametrize(
    ("change", "said"),
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
def test_it_says_why_it_falls_back(change, said):
    fitted = CorrectnessScaling.fit(change(toy_predictions()), num_networks=2, epochs=1)
    assert fitted.softening is None
    assert fitted.alternatives is None
    assert fitted.opinion is None
    assert said in fitted.notes[-1]


def test_no_labels_is_an_error():
    void = [replace(p, labels=torch.full_like(p.labels, IGNORE)) for p in toy_predictions()]
    with pytest.raises(FitError):
        CorrectnessScaling.fit(void, base=lambda predictions: TemperatureScaling(1.0))


def test_it_wants_parts_that_keep_the_argmax_and_the_classes_of_its_fit():
    vector = VectorScaling(torch.ones(3), torch.zeros(3))
    with pytest.raises(InputError, match="expected base to keep the argmax; got VectorScaling"):
        CorrectnessScaling(vector, None)
    with pytest.raises(InputError, match="expected opinion to keep the argmax; got VectorScaling"):
        CorrectnessScaling(TemperatureScaling(1.0), None, opinion=vector)
    with pytest.raises(ShapeError, match="logits of 4 classes, as fitted"):
        CorrectnessScaling(TemperatureScaling(1.0), softening(4))(torch.zeros(1, 3, 2, 2))


def test_without_alternatives_the_order_of_all_classes_stays():
    logits = drawn(2, 6, 20, 24, scale=4)
    out = CorrectnessScaling(TemperatureScaling(1.3), softening(6))(logits)
    assert torch.equal(out.argsort(stable=True, dim=1), logits.argsort(stable=True, dim=1))
    ratio = (out - out.amax(1, keepdim=True)) / (logits - logits.amax(1, keepdim=True)).clamp_max(-1e-3)
    spread_of_ratio = ratio.masked_fill(logits == logits.amax(1, keepdim=True), torch.nan)
    assert float(spread_of_ratio.nan_to_num(0).amax(1).std()) > 0.01  # temperatures differ from pixel to pixel


def test_three_dimensions_and_gradients():
    logits = drawn(1, 4, 5, 6, 7).requires_grad_()
    calibrator = CorrectnessScaling(
        TemperatureScaling(1.3), softening(4), MistakeModel(torch.ones(4), drawn(4), drawn(4, 4))
    )
    out = calibrator(logits)
    assert out.shape == logits.shape
    out.softmax(1)[:, 0].sum().backward()
    assert bool(logits.grad.isfinite().all())
    assert bool((logits.grad != 0).any())


def test_several_networks_are_their_mean():
    images = toy_predictions(num_classes=4)
    pixels = pixels_of(images[0])
    centre, scale = drawn(len(NAMES), scale=0.3), torch.rand(len(NAMES)) + 0.5
    networks = [Trainee(pixels, centre, scale, 5, seed) for seed in range(3)]
    for network in networks:
        with torch.no_grad():
            network.readout += drawn(5, seed=3, scale=0.2)
            network.offset += 0.1
    mean = torch.stack([n(pixels.numbers, pixels.winner, pixels.runner_up).log() for n in networks]).mean(0).exp()
    whole = joined(networks)(context_of(images[0].logits[None]))[0, 0]
    torch.testing.assert_close(whole, mean.detach(), rtol=1e-5, atol=1e-5)


def pixels_of(prediction, others=None, opinion=None):
    context = context_of(prediction.logits[None])
    z = prediction.logits.flatten(1).T
    below = z - z.amax(1, keepdim=True)
    labels = prediction.labels.flatten().clamp_min(0)
    return ContextPixels(context.numbers[0].T, below, others, opinion, labels, context.winner[0], context.runner_up[0])


def test_the_loss_is_the_sum_of_its_parts():
    images = [pixels_of(p) for p in toy_predictions(num_classes=4, num_images=2)]
    pixels, factor = together(images), 1 + torch.rand(2 * 192, generator=torch.Generator().manual_seed(0))
    z = pixels.below * factor[:, None]
    confidence, right = z.softmax(1).amax(1), (z.argmax(1) == pixels.labels).float()
    expected = cross_entropy(z, pixels.labels) + binary_cross_entropy(confidence, right)
    for image in (slice(0, 192), slice(192, 384)):
        gap = confidence[image] - right[image]
        expected += 5.0 * gap.mean() ** 2 / 2
        kernel = torch.exp(-((confidence[image][:, None] - LEVELS) ** 2) / (2 * 0.05**2))
        share = kernel / kernel.sum(1, keepdim=True)
        expected += 3.0 * ((gap[:, None] * share).mean(0) ** 2 + 1e-6).sqrt().sum() / 2
    ours = loss_of(pixels, factor, num_images=2, image_weight=5.0, level_weight=3.0)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_an_opinion_has_half_the_say():
    """In training as when applied, and both as the plain mean of the probabilities."""
    prediction = toy_predictions(num_classes=4)[0]
    opinion = DirichletScaling(torch.eye(4) + drawn(4, 4, scale=0.3), drawn(4), keep_labels=True)
    other = opinion(prediction.logits[None]).softmax(1)
    pixels = pixels_of(prediction, opinion=other[0].flatten(1).T.log())
    own = (pixels.below * 0.7).softmax(1)
    mean = (own + other[0].flatten(1).T) / 2
    doubt, nll = pixels.judged(pixels.log_probs(torch.full((len(pixels),), 0.7)))
    torch.testing.assert_close(doubt, 1 - mean.gather(1, pixels.winner[:, None])[:, 0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(nll, nll_loss(mean.log(), pixels.labels, reduction="none"))
    whole = CorrectnessScaling(TemperatureScaling(1 / 0.7), None, opinion=opinion)(prediction.logits[None])
    after_base = opinion(0.7 * prediction.logits[None]).softmax(1)[0].flatten(1).T
    torch.testing.assert_close(whole[0].flatten(1).T.softmax(1), (own + after_base) / 2, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(pooled(own.log(), own.log()), own.log())


def test_where_both_think_another_class_about_as_likely_the_label_stays():
    """In the mean that class may round above the winner: in 3 of these pixels it did."""
    logits = drawn(1, 4, 200, 200, seed=3, scale=2)
    steps = torch.randint(-2, 3, (200, 200), generator=torch.Generator().manual_seed(1))
    logits[:, 1] = logits[:, 0] * (1 + 2**-22 * steps)
    opinion = DirichletScaling(torch.eye(4) + drawn(4, 4, seed=3, scale=0.3), drawn(4, seed=3), keep_labels=True)
    both = CorrectnessScaling(TemperatureScaling(1.4), None, opinion=opinion)(logits)
    assert torch.equal(both.argmax(1), logits.argmax(1))


def test_the_opinion_on_an_image_in_training_has_not_seen_it():
    """Whatever its labels say, what is thought of it is the same; but not what is thought of others."""
    images = [pixels_of(p) for p in toy_predictions(num_images=6, num_classes=4)]
    below, labels = [i.below for i in images], [i.labels for i in images]
    changed = [labels[0].flip(0), *labels[1:]]
    (_, one), (_, two) = (second_opinion(below, each, seed=0) for each in (labels, changed))
    same = [torch.equal(a, b) for a, b in zip(one, two, strict=True)]
    assert same == [number % FOLDS == 0 for number in range(6)]
    final, _ = second_opinion(below[:2], labels[:2], seed=0)  # one image in each fold
    assert final.keeps_labels


def test_the_pool_gets_the_confidence_that_it_has_been_worth():
    """Confidences of .4 to .9 are right a tenth less often, and .95 always. A few images without a gap are added."""
    rng, images = torch.Generator().manual_seed(0), 40
    sure = [torch.rand(4000, generator=rng) * 0.5 + 0.4 for _ in range(images)]
    right = [torch.rand(4000, generator=rng) < each - 0.1 for each in sure]
    top, always = torch.full((1000,), 0.95), torch.ones(1000, dtype=torch.bool)
    found = Recalibration.fit(
        [torch.cat([each, top]) for each in sure], [torch.cat([each, always]) for each in right], num_classes=4
    )
    given = torch.tensor([0.5, 0.7, 0.85, 0.95, 0.9999, 0.26])
    probs = torch.stack([given, *((1 - given) * share for share in (0.4, 0.35, 0.25))])[None]
    probs[..., 5] = torch.tensor([0.26, 0.25, 0.25, 0.24])
    winners = torch.arange(4)[None, :, None].expand_as(probs) == 0
    after = found(probs.log(), winners).softmax(1)
    share = images / (images + PRIOR)
    expected = torch.tensor([0.5 - 0.1 * share, 0.7 - 0.1 * share, 0.85 - 0.1 * share, 0.95 + 0.05 * share])
    torch.testing.assert_close(after[0, 0, :4], expected, rtol=0, atol=0.01)
    assert 0.9999 <= after[0, 0, 4] < 1
    assert 0.25 < after[0, 0, 5] < 0.27
    torch.testing.assert_close(after[0, 1, :5], 0.4 * (1 - after[0, 0, :5]), rtol=1e-3, atol=1e-6)
    assert not bool((found.worth.diff() < 0).any())
    tied = torch.tensor([[[0.4], [0.4], [0.1], [0.1]]])
    torch.testing.assert_close(found(tied.log(), tied == 0.4).softmax(1), tied)


def an_opinion(monkeypatch):
    """Make the second opinion of the next fit the base's own, which is always a gain."""

    def with_opinion(images, seed):
        same = DirichletScaling(torch.eye(5), torch.zeros(5), keep_labels=True)
        return [replace(image, opinion=image.below.log_softmax(1)) for image in images], same, "an opinion"

    monkeypatch.setattr(correctness, "_with_opinion", with_opinion)


def test_the_pool_is_recalibrated_on_images_left_out(monkeypatch):
    """A network only ever judges images that it was trained without: once for its gain and once for the pool."""
    held, looked = {}, []
    train, log_probs = correctness.train, correctness._log_probs

    def training(kept, left_out, *rest, **options):
        network = train(kept, left_out, *rest, **options)
        held[network] = left_out
        return network

    def looking(image, network):
        looked.append((image, network))
        return log_probs(image, network)

    an_opinion(monkeypatch)
    monkeypatch.setattr(correctness, "MOST_COST", math.inf)
    monkeypatch.setattr(correctness, "train", training)
    monkeypatch.setattr(correctness, "_log_probs", looking)
    fitted = CorrectnessScaling.fit(scenes(7), num_networks=3, epochs=1)
    assert isinstance(fitted.recalibration, Recalibration)
    judged = [(image, network) for image, network in looked if network is not None]
    assert len(judged) == 2 * 7
    assert all(any(image is other for other in held[network]) for image, network in judged)


@pytest.mark.parametrize(
    ("worth", "kept"), [(torch.linspace(0, 1, 1001).clamp_min(0.2), True), (torch.full((1001,), 0.25), False)]
)
def test_a_recalibration_is_kept_unless_it_costs_much_likelihood(monkeypatch, worth, kept):
    """One that changes nothing costs nothing; one that makes every pixel doubtful is refused."""
    an_opinion(monkeypatch)
    monkeypatch.setattr(Recalibration, "fit", lambda *_: Recalibration(worth))
    fitted = CorrectnessScaling.fit(scenes(7), num_networks=3, epochs=1)
    assert (fitted.recalibration is not None) == kept
    assert ("too dear, so there is none" in fitted.notes[-1]) == (not kept)


def test_alternatives_find_the_habits_of_mistakes():
    """Labels drawn from known habits: the fit's loss comes close to the truth's."""
    c, rng = 4, torch.Generator().manual_seed(0)
    truth = MistakeModel(torch.full((c,), 0.5), drawn(c), drawn(c, c, seed=2))
    images, best = [], 0.0
    for _ in range(8):
        below = 2 * torch.randn(1, c, 2000, generator=rng)
        below -= below.amax(1, keepdim=True)
        winner = below.argmax(1)
        log_probs = truth(below, winner)[0].T
        labels = torch.multinomial(log_probs.exp(), 1, generator=rng)[:, 0]
        best += float(nll_loss(log_probs, labels)) / 8
        images.append(Mistakes(below[0].T, labels, winner[0]))
    fitted, found = fit_mistake_model(images)
    assert fitted is not None
    assert "strength" in found
    loss = sum(float(nll_loss(fitted(i.below.T[None], i.winner[None])[0].T, i.labels)) for i in images) / 8
    assert loss < best + 0.01
    own = (
        sum(float(nll_loss((i.below.scatter(1, i.winner[:, None], -1e30)).log_softmax(1), i.labels)) for i in images)
        / 8
    )
    assert own > best + 0.1


def test_alternatives_are_given_up_where_the_base_is_right():
    c, rng = 4, torch.Generator().manual_seed(0)
    images = []
    for _ in range(6):
        below = 2 * torch.randn(300, c, generator=rng)
        below -= below.amax(1, keepdim=True)
        winner = below.argmax(1)
        rest = below.scatter(1, winner[:, None], -1e30).softmax(1)
        images.append(Mistakes(below, torch.multinomial(rest, 1, generator=rng)[:, 0], winner))
    fitted, found = fit_mistake_model(images, strengths=(1e-4,))
    assert fitted is None
    assert "the base's own are kept" in found


def test_spread_keeps_the_confidence_and_the_winner():
    below = drawn(1, 5, 200, scale=3)
    below -= below.amax(1, keepdim=True)
    winners, factor = below == 0, torch.rand(1, 1, 200) + 0.5
    others = drawn(1, 5, 200, seed=5, scale=2).masked_fill(winners, -1e30).log_softmax(1)
    probs = spread(below, winners, factor, others).softmax(1)
    wanted = (below * factor).softmax(1).amax(1)
    torch.testing.assert_close(probs.masked_fill(~winners, 0).amax(1), wanted, rtol=1e-4, atol=1e-5)
    assert bool((probs <= probs.masked_fill(~winners, 0).amax(1, keepdim=True) * (1 + 1e-5)).all())
    # In their own proportion, but for those that have come as high as the winner.
    cut = ((1 - wanted[0]) * others[0].exp().amax(0)) > wanted[0]
    assert bool(cut.any())
    assert bool((~cut).any())
    nearest = torch.stack([shared_by_hand(q, o) for q, o in zip(wanted[0], others[0].T.exp(), strict=True)], 1)
    torch.testing.assert_close(probs[0].masked_fill(winners[0], 0), nearest, rtol=1e-3, atol=1e-5)


def shared_by_hand(sure, others):
    """Cut what is above the winner and lift the others, again and again."""
    cut = torch.zeros_like(others, dtype=torch.bool)
    while True:
        lift = (1 - sure - cut.sum() * sure) / others.masked_fill(cut, 0).sum()
        above = (others * lift > sure) & ~cut
        if not bool(above.any()):
            return torch.where(cut, sure, others * lift)
        cut |= above


def test_sharing_meets_the_extremes():
    """All classes level, one class with all but everything, and hardly any class beside the winner to take the rest."""
    others = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1 - 3e-30, 1e-30, 1e-30, 1e-30], [1 - 1e-6, 1e-6, 0, 0]]).log()
    others = torch.cat([torch.full((3, 1), NONE), others.clamp_min(NONE)], 1)[..., None]
    winners = torch.arange(5)[None, :, None].expand(3, 5, 1) == 0
    level = shared(torch.full((3, 1, 1), math.log(4.0) + 1e-6), others, winners)[..., 0]
    torch.testing.assert_close(level[:2], torch.zeros(2, 5))
    half = shared(torch.full((3, 1, 1), math.log(2.5)), others, winners)[..., 0].softmax(1)
    torch.testing.assert_close(half[0], torch.tensor([0.4, 0.25, 0.25, 0.25, 0.25]) / 1.4)
    torch.testing.assert_close(half[1], torch.tensor([1.0, 1.0, 0.5, 0.5, 0.5]) / 3.5)
    assert half.isfinite().all()
    one = shared(torch.zeros(1, 1, 1), torch.tensor([[[NONE], [0.0]]]), torch.tensor([[[True], [False]]]))
    torch.testing.assert_close(one, torch.zeros(1, 2, 1))


def test_memory_does_not_grow_with_the_images(monkeypatch):
    monkeypatch.setattr(_context_pixels, "MOST_NUMBERS", 40 * 3 * (3 * 3 + len(NAMES)))
    base = TemperatureScaling(1.0)
    assert [len(i) for i in draw(toy_predictions(num_images=3), base, None, 0)] == [40] * 3
    assert [len(i) for i in draw(toy_predictions(num_images=6), base, None, 0)] == [20] * 6


def test_what_is_drawn_of_an_image_does_not_depend_on_the_others():
    predictions, base = toy_predictions(num_images=4), TemperatureScaling(1.5)
    whole = draw(predictions, base, 30, 7)
    some = draw([predictions[2], predictions[0]], base, 30, 7)
    for one, other in ((whole[2], some[0]), (whole[0], some[1])):
        assert torch.equal(one.numbers, other.numbers)
        assert torch.equal(one.labels, other.labels)


def test_onnx_gives_the_same(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    ort = pytest.importorskip("onnxruntime")
    for name in ("RADII", "REACHES"):  # the others are the same again, and take minutes to export
        monkeypatch.setattr(_context, name, (1,))
    part = softening(3, fewer=16)
    opinion = DirichletScaling(torch.eye(3) + drawn(3, 3, scale=0.3), drawn(3), keep_labels=True)
    habits = MistakeModel(torch.ones(3), drawn(3), drawn(3, 3))
    worth = Recalibration(torch.linspace(0.4, 1, 1001))
    calibrator = CorrectnessScaling(TemperatureScaling(1.5), part, habits, opinion, worth)
    export_onnx(calibrator, tmp_path / "file.onnx", num_classes=3)
    session = ort.InferenceSession(str(tmp_path / "file.onnx"), providers=["CPUExecutionProvider"])
    given = drawn(2, 3, 21, 37, scale=3).round()
    probs, labels = session.run(["probabilities", "labels"], {"logits": given.numpy()})
    torch.testing.assert_close(torch.from_numpy(probs), calibrator(given).softmax(1), rtol=0, atol=1e-4)
    assert torch.equal(torch.from_numpy(labels), given.argmax(1))


def test_half_precision_and_scale():
    """What is seen is scaled by the base, so a model whose logits are doubled gets the same probabilities."""
    logits = drawn(1, 4, 16, 16, scale=3)
    one, two = (CorrectnessScaling(TemperatureScaling(t), softening(4)) for t in (1.5, 3.0))
    torch.testing.assert_close(one(logits).softmax(1), two(2 * logits).softmax(1))
    half = one(logits.half())
    assert half.dtype == torch.float32
    assert math.isclose(
        float(half.softmax(1).amax(1).mean()), float(one(logits).softmax(1).amax(1).mean()), rel_tol=1e-2
    )


def test_it_is_stored(tmp_path):
    calibrator = CorrectnessScaling(
        TemperatureScaling(1.5),
        softening(4),
        MistakeModel(torch.ones(4), drawn(4), drawn(4, 4)),
        DirichletScaling(torch.eye(4), drawn(4), keep_labels=True),
        Recalibration(torch.linspace(0.25, 1, 1001)),
        ("a note",),
    )
    save(calibrator, tmp_path)
    loaded = load(tmp_path)
    assert loaded.notes == ("a note",)
    assert torch.equal(loaded(drawn(2, 4, 9, 9)), calibrator(drawn(2, 4, 9, 9)))
