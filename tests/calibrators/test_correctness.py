"""Correctness scaling: known truths, each equation against a reference, and what the fit keeps and drops."""

import importlib
import logging
import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import binary_cross_entropy, cross_entropy, interpolate, max_pool2d, nll_loss

from calibrant._statistics.left_out import Gain, folds
from calibrant.calibrators import (
    CorrectnessScaling,
    DirichletScaling,
    TemperatureScaling,
    VectorScaling,
    export_onnx,
    load,
    save,
)
from calibrant.calibrators._projections import EXCLUDED, nearest_with_confidence
from calibrant.calibrators.correctness.features import NAMES, features_of
from calibrant.calibrators.correctness.fit import (
    FOLDS,
    MAX_COST,
    Stage,
    fit_stages,
    propose_mistakes,
    propose_recalibration,
    propose_second_member,
    propose_temperatures,
)
from calibrant.calibrators.correctness.mistakes import MistakeModel, Mistakes, fit_mistake_model, redistributed
from calibrant.calibrators.correctness.pool import PRIOR_IMAGES, Recalibration, pooled
from calibrant.calibrators.correctness.sample import SampledImage, Terms, moments, sample_images
from calibrant.calibrators.correctness.temperature_network import TemperatureNetwork
from calibrant.calibrators.correctness.temperature_training import (
    LEVELS,
    Recipe,
    TrainableNetwork,
    joined,
    loss_of,
    train,
)
from calibrant.errors import FitError, InputError, ShapeError
from calibrant.predictions import IGNORE, Prediction, with_margin
from calibrant.testing import toy_predictions

CLASSES, EDGE_MISTAKES, INNER_MISTAKES, USUAL = 5, 0.4, 0.03, 0.9


def drawn(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(c, *, hidden=6, fewer=0):
    """A temperature network with random weights."""
    f = len(NAMES) - fewer
    tensors = [drawn(hidden, f, scale=0.2), drawn(c, hidden), drawn(c, hidden, seed=1), drawn(hidden), drawn(hidden)]
    return TemperatureNetwork(torch.zeros(f), torch.ones(f), *tensors, torch.tensor(0.1))


def member(c, *, seed=0):
    return DirichletScaling(torch.eye(c) + drawn(c, c, seed=seed, scale=0.3), drawn(c, seed=seed), keep_labels=True)


def everything(c):
    """Correctness scaling with a random part for each equation."""
    mistakes = MistakeModel(torch.ones(c), drawn(c), drawn(c, c))
    recalibration = Recalibration(torch.linspace(0.4, 1, 1001))
    return CorrectnessScaling(
        TemperatureScaling(1.5), network(c), mistakes, member(c), recalibration, notes=("a note",)
    )


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


def mean_nll(calibrator, predictions):
    return sum(float(cross_entropy(calibrator(p.logits[None]), p.labels)) for p in predictions) / len(predictions)


def sampled(prediction):
    """Every pixel of an image."""
    features = features_of(prediction.logits[None])
    z = prediction.logits.flatten(1).T
    labels = prediction.labels.flatten().clamp_min(0)
    margins = z - z.amax(1, keepdim=True)
    return SampledImage(features.values[0].T, margins, labels, features.winner[0], features.runner_up[0])


@pytest.fixture(scope="module")
def fitted():
    """One fit to the scenes, and what it logged as a warning."""
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("calibrant")
    logger.addHandler(handler)
    calibrator = CorrectnessScaling.fit(scenes(10), num_networks=2, num_epochs=6)
    logger.removeHandler(handler)
    return calibrator, messages


@pytest.fixture(scope="module")
def pixels():
    """Every pixel of six small images."""
    return [sampled(p) for p in toy_predictions(num_images=6, num_classes=4)]


# The fit against known truths


def test_a_synthetic_posterior_is_recovered(fitted):
    """Pixels near edges are less often right, and which class a mistake is follows from the winner: both are learnt."""
    ours, test = fitted[0], scenes(10, seed=1)
    plain = TemperatureScaling.fit(scenes(10))
    order_kept = CorrectnessScaling(ours.base, ours.temperature_network)
    truth = sum(map(true_nll, test)) / len(test)
    nll = {name: mean_nll(each, test) for name, each in (("ours", ours), ("kept", order_kept), ("plain", plain))}
    assert 0.2 < sum(float(near_edges(p.logits.argmax(0)).float().mean()) for p in test) / len(test) < 0.8
    assert truth < nll["ours"] < truth + 0.25 * (nll["plain"] - truth)
    assert nll["kept"] < nll["plain"] - 0.02
    for p in test:
        assert torch.equal(ours(p.logits[None]).argmax(1), p.logits[None].argmax(1))


def test_the_notes_tell_of_each_stage_once_and_nothing_warns(fitted):
    calibrator, messages = fitted
    stages = ["mistake_model", "second_member", "temperature_network", "recalibration"]
    assert [note.split(":")[0] for note in calibrator.notes] == stages
    assert all("NLL of images left out lower by" in note for note in calibrator.notes[:3])
    for stage, note in zip(stages, calibrator.notes, strict=True):
        assert (getattr(calibrator, stage) is None) == note.endswith("; not used")
    assert messages == []


def test_where_the_base_is_the_truth_nothing_is_gained_and_the_base_remains(caplog):
    """The labels are drawn from the softmax of half the logits."""
    predictions = toy_predictions(num_images=6, size=(24, 32))
    with caplog.at_level(logging.WARNING, "calibrant"):
        calibrator = CorrectnessScaling.fit(predictions, num_networks=3, num_epochs=2)
    logits = torch.stack([p.logits for p in predictions])
    assert torch.equal(calibrator(logits), calibrator.base(logits))
    assert [note.endswith("; not used") for note in calibrator.notes] == [True, True, True, True, False]
    assert calibrator.notes[-1].endswith("falls back to its base alone: no stage lowers the NLL of images left out.")
    assert caplog.messages == [calibrator.notes[-1]]


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
    calibrator = CorrectnessScaling.fit(predictions, num_networks=2, num_epochs=1)
    logits = predictions[0].logits[None]
    assert torch.equal(calibrator(logits), calibrator.base(logits))
    assert reason in calibrator.notes[-1]


def test_no_labels_is_an_error():
    void = [replace(p, labels=torch.full_like(p.labels, IGNORE)) for p in toy_predictions()]
    with pytest.raises(FitError, match="all pixels of the 4 images are unlabelled"):
        CorrectnessScaling.fit(void, base=lambda predictions: TemperatureScaling(1.0))


def test_the_order_of_all_classes_may_be_kept():
    calibrator = CorrectnessScaling.fit(scenes(4), keep_order=True, num_networks=2, num_epochs=2)
    assert [note.split(":")[0] for note in calibrator.notes] == ["temperature_network"]
    logits = scenes(1, seed=2)[0].logits[None]
    assert torch.equal(calibrator(logits).argsort(stable=True, dim=1), logits.argsort(stable=True, dim=1))


# Which stages are kept


def with_factor(images, factor):
    return [Terms(factor=torch.full((len(image),), factor)) for image in images]


def test_a_stage_is_kept_if_it_gains_and_dropped_if_it_does_not(pixels):
    """The toy logits are twice the true ones: half of them is a gain, twice of them a loss."""
    good, bad = with_factor(pixels, 0.5), with_factor(pixels, 2.0)
    seen = []

    def propose_good(images, terms):
        seen.append(terms)
        return Stage("good", torch.nn.Identity(), good, " (strength 1)")

    def propose_bad(images, terms):
        seen.append(terms)
        return Stage("bad", torch.nn.Identity(), bad)

    result = fit_stages(pixels, [propose_bad, propose_good, lambda *_: "third: does not apply; not used", propose_bad])
    before, after = ([t.nll(i) for i, t in zip(pixels, terms, strict=True)] for terms in ([Terms()] * 6, good))
    assert list(result.parts) == ["good"]
    assert result.notes[1] == f"good: NLL of images left out {Gain.of(before, after)} (strength 1)"
    assert result.notes[2] == "third: does not apply; not used"
    assert [note.endswith("; not used") for note in result.notes] == [True, False, True, True]
    assert seen[0] == seen[1] == [Terms()] * 6  # what was dropped leaves no trace
    assert seen[2] == good


def test_a_recalibration_may_cost_a_tenth_of_what_was_gained():
    stage, gained = Stage("recalibration", torch.nn.Identity(), []), Gain(0.1, 0.001, 10)
    assert stage.is_worth(Gain(-0.9 * MAX_COST * 0.1, 1.0, 10), gained)
    assert not stage.is_worth(Gain(-1.1 * MAX_COST * 0.1, 1e-9, 10), gained)
    assert not stage.is_worth(Gain(-1e-6, 1.0, 10), Gain(-0.1, 0.001, 10))
    assert stage.is_worth(Gain(0.0, 0.0, 10), Gain(-0.1, 0.001, 10))
    described = "recalibration: NLL of images left out higher by 0.0050 ± 0.0010, of the 0.1000 gained over the base"
    assert stage.described(Gain(-0.005, 0.001, 10), gained) == described


@pytest.mark.parametrize("propose", [propose_mistakes, propose_second_member])
def test_the_terms_of_an_image_come_from_a_fit_without_it(pixels, propose, monkeypatch):
    """Whatever its labels say, what is said of it stays; of the images in other folds it changes."""
    mistakes = importlib.import_module("calibrant.calibrators.correctness.mistakes")
    monkeypatch.setattr(mistakes, "STRENGTHS", (0.01,))
    turned = replace(pixels[0], labels=pixels[0].labels.flip(0))
    one, two = (propose(images, [Terms()] * 6, seed=0).terms for images in (pixels, [turned, *pixels[1:]]))
    column = "others" if propose is propose_mistakes else "member"
    same = [torch.equal(getattr(a, column), getattr(b, column)) for a, b in zip(one, two, strict=True)]
    assert same[0]
    assert 1 <= sum(same) <= math.ceil(6 / FOLDS)


def test_a_network_judges_the_images_that_it_was_trained_without(pixels):
    recipe, standard, dealt = (
        Recipe(num_epochs=1, batches_per_epoch=3, pixels_per_image=100),
        moments(pixels),
        folds(6, 2, seed=0),
    )
    stage = propose_temperatures(pixels, [Terms()] * 6, recipe, num_networks=2, seed=0)
    networks = [train(pixels, [Terms()] * 6, fold, standard, recipe, seed=k) for k, fold in enumerate(dealt)]
    for each, fold in zip(networks, dealt, strict=True):
        assert all(torch.equal(stage.terms[i].factor, each(pixels[i])) for i in fold)
    held, kept = dealt[0][0], dealt[1][0]
    for changed, same in ((held, True), (kept, False)):
        images = list(pixels)
        images[changed] = replace(images[changed], labels=images[changed].labels.flip(0))
        again = train(images, [Terms()] * 6, dealt[0], standard, recipe, seed=0)
        assert float(again.readout.detach().abs().max()) > 0  # trained: not the network of the start
        assert torch.equal(again.weight, networks[0].weight) == same


def test_no_more_than_needed_is_proposed(pixels):
    many = [replace(image, margins=torch.zeros(len(image), 33)) for image in pixels]
    right = [replace(image, labels=image.winner) for image in pixels]
    assert propose_second_member(many, [Terms()] * 6, seed=0) == "second_member: more than 32 classes; not used"
    assert "fewer than two images hold mistakes" in propose_mistakes([pixels[0], *right[1:]], [Terms()] * 6, seed=0)
    assert "no pool" in propose_recalibration(pixels, [Terms()] * 6)


def test_images_without_mistakes_do_not_stop_the_mistake_model(pixels):
    right = [replace(image, labels=image.winner) for image in pixels]
    stage = propose_mistakes([pixels[0], pixels[1], *right[2:]], [Terms()] * 6, seed=0)
    assert all(terms.others.shape == image.margins.shape for terms, image in zip(stage.terms, pixels, strict=True))


# The equations


def test_in_training_the_equations_are_those_of_forward():
    """Terms of the fit and the calibrator give the same probabilities, with every stage and with each left out."""
    prediction, whole = toy_predictions(num_classes=4)[0], everything(4)
    based = prediction.logits / 1.5
    image = sampled(replace(prediction, logits=based))
    with torch.no_grad():
        terms = Terms(
            whole.temperature_network(features_of(based[None]))[0, 0],
            whole.mistake_model(image.margins.T[None], image.winner[None])[0].T,
            whole.second_member(image.margins.T[None])[0].log_softmax(0).T,
            whole.recalibration,
        )
    names = ("temperature_network", "mistake_model", "second_member", "recalibration")
    columns = ("factor", "others", "member", "recalibration")
    for left_out in (None, *range(4)):
        parts = {n: None if k == left_out else getattr(whole, n) for k, n in enumerate(names)}
        given = Terms(**{c: None if k == left_out else getattr(terms, c) for k, c in enumerate(columns)})
        ours = CorrectnessScaling(whole.base, **parts)(prediction.logits[None])[0].flatten(1).softmax(0).T
        torch.testing.assert_close(given.log_probs(image).exp(), ours, rtol=1e-4, atol=1e-6)


def test_the_pool_is_the_mean_of_two_probabilities():
    prediction, second = toy_predictions(num_classes=4)[0], member(4)
    pool = CorrectnessScaling(TemperatureScaling(1 / 0.7), None, second_member=second)(prediction.logits[None])
    own = (0.7 * prediction.logits[None]).softmax(1)
    mean = (own + second(0.7 * prediction.logits[None]).softmax(1)) / 2
    torch.testing.assert_close(pool.softmax(1), mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(pooled(own.log(), own.log()), own.log())


def test_without_a_mistake_model_the_order_of_all_classes_stays():
    logits = drawn(2, 6, 20, 24, scale=4)
    out = CorrectnessScaling(TemperatureScaling(1.3), network(6))(logits)
    assert torch.equal(out.argsort(stable=True, dim=1), logits.argsort(stable=True, dim=1))
    largest = logits.amax(1, keepdim=True)
    ratio = (out - out.amax(1, keepdim=True)) / (logits - largest).clamp_max(-1e-3)
    factors = ratio.masked_fill(logits == largest, torch.nan).nan_to_num(0).amax(1)
    assert float(factors.std()) > 0.01  # temperatures differ from pixel to pixel


def test_where_rounding_favours_another_class_the_label_stays():
    """In the mean a class as likely as the winner may round above it: in 3 of these pixels it did."""
    logits = drawn(1, 4, 200, 200, seed=3, scale=2)
    steps = torch.randint(-2, 3, (200, 200), generator=torch.Generator().manual_seed(1))
    logits[:, 1] = logits[:, 0] * (1 + 2**-22 * steps)
    both = CorrectnessScaling(TemperatureScaling(1.4), None, second_member=member(4, seed=3))(logits)
    assert torch.equal(both.argmax(1), logits.argmax(1))


def test_several_networks_are_their_mean(pixels):
    images = toy_predictions(num_classes=4)
    centre, scale = drawn(len(NAMES), scale=0.3), torch.rand(len(NAMES), generator=torch.Generator()) + 0.5
    networks = [TrainableNetwork(pixels[0], centre, scale, hidden=5, seed=seed) for seed in range(3)]
    for each in networks:
        with torch.no_grad():
            each.readout += drawn(5, seed=3, scale=0.2)
            each.offset += 0.1
    image = sampled(images[0])
    mean = torch.stack([each(image).log() for each in networks]).mean(0).exp()
    whole = joined(networks)(features_of(images[0].logits[None]))[0, 0]
    torch.testing.assert_close(whole, mean.detach(), rtol=1e-5, atol=1e-5)


def test_the_loss_is_the_sum_of_its_parts(pixels):
    both = SampledImage.concatenated(pixels[:2])
    count = len(pixels[0])
    z = both.margins * (1 + torch.rand(2 * count, 1, generator=torch.Generator().manual_seed(0)))
    confidence, right = z.softmax(1).amax(1), (z.argmax(1) == both.labels).float()
    expected = cross_entropy(z, both.labels) + binary_cross_entropy(confidence, right)
    for image in (slice(0, count), slice(count, 2 * count)):
        gap = confidence[image] - right[image]
        expected += 5.0 * gap.mean() ** 2 / 2
        kernel = torch.exp(-((confidence[image][:, None] - LEVELS) ** 2) / (2 * 0.05**2))
        share = kernel / kernel.sum(1, keepdim=True)
        expected += 3.0 * ((gap[:, None] * share).mean(0) ** 2 + 1e-6).sqrt().sum() / 2
    ours = loss_of(both, z.log_softmax(1), num_images=2, image_weight=5.0, level_weight=3.0)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_a_recalibration_finds_the_gap_between_confidence_and_accuracy():
    """Confidences of .4 to .9 are right a tenth less often, and .95 always; the gap is shrunk as by two images."""
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
    share = images / (images + PRIOR_IMAGES)
    expected = torch.tensor([0.5 - 0.1 * share, 0.7 - 0.1 * share, 0.85 - 0.1 * share, 0.95 + 0.05 * share])
    torch.testing.assert_close(after[0, 0, :4], expected, rtol=0, atol=0.01)
    assert 0.9999 <= after[0, 0, 4] < 1
    assert 0.25 < after[0, 0, 5] < 0.27
    torch.testing.assert_close(after[0, 1, :5], 0.4 * (1 - after[0, 0, :5]), rtol=1e-3, atol=1e-6)
    assert not bool((found.accuracy.diff() < 0).any())
    tied = torch.tensor([[[0.4], [0.4], [0.1], [0.1]]])
    torch.testing.assert_close(found(tied.log(), tied == 0.4).softmax(1), tied)


def test_the_pool_is_recalibrated_by_what_is_said_of_images_left_out(pixels):
    terms = [Terms(member=image.margins.log_softmax(1)) for image in pixels]
    stage = propose_recalibration(pixels, terms)
    confidence = [image.margins.softmax(1).amax(1) for image in pixels]
    wanted = Recalibration.fit(confidence, [image.winner == image.labels for image in pixels], 4)
    torch.testing.assert_close(stage.part.accuracy, wanted.accuracy, rtol=0, atol=1e-5)
    assert all(after.recalibration is stage.part for after in stage.terms)


def mistakes_of(truth, *, count, pixels_each, rng):
    """Misclassified pixels whose labels are drawn from a mistake model; None for the base's own division."""
    images = []
    for _ in range(count):
        margins = 2 * torch.randn(1, 4, pixels_each, generator=rng)
        margins -= margins.amax(1, keepdim=True)
        winner = margins.argmax(1)
        own = margins.scatter(1, winner[:, None], EXCLUDED).log_softmax(1)
        log_probs = (own if truth is None else truth(margins, winner))[0].T
        labels = torch.multinomial(log_probs.exp(), 1, generator=rng)[:, 0]
        images.append((Mistakes(margins[0].T, labels, winner[0]), float(nll_loss(log_probs, labels))))
    return [image for image, _ in images], sum(nll for _, nll in images) / count


def test_a_mistake_model_is_recovered():
    truth = MistakeModel(torch.full((4,), 0.5), drawn(4), drawn(4, 4, seed=2))
    images, best = mistakes_of(truth, count=8, pixels_each=2000, rng=torch.Generator().manual_seed(0))
    found = fit_mistake_model(images, [[0, 1, 2, 3], [4, 5, 6, 7]])
    assert found.strength <= 0.01

    def nll(model, chosen):
        return sum(float(nll_loss(model(i.margins.T[None], i.winner[None])[0].T, i.labels)) for i in chosen) / len(
            chosen
        )

    same = MistakeModel(torch.ones(4), torch.zeros(4), torch.zeros(4, 4))
    assert nll(found.model, images) < best + 0.01
    assert nll(found.without[0], images[:4]) < best + 0.02
    assert nll(same, images) > best + 0.1


def test_where_the_base_divides_rightly_the_strongest_pull_is_best():
    images, _ = mistakes_of(None, count=6, pixels_each=300, rng=torch.Generator().manual_seed(0))
    found = fit_mistake_model(images, [[0, 1, 2], [3, 4, 5]])
    assert found.strength == 1.0
    torch.testing.assert_close(found.model.weight, torch.ones(4), rtol=0, atol=0.1)


def test_mistakes_are_redistributed_below_the_winner():
    margins = drawn(1, 5, 200, scale=3)
    margins -= margins.amax(1, keepdim=True)
    winners, factor = margins == 0, torch.rand(1, 1, 200, generator=torch.Generator()) + 0.5
    others = drawn(1, 5, 200, seed=5, scale=2).masked_fill(winners, EXCLUDED).log_softmax(1)
    probs = redistributed(margins * factor, others, winners).softmax(1)
    wanted = (margins * factor).softmax(1).amax(1)
    torch.testing.assert_close(probs.masked_fill(~winners, 0).amax(1), wanted, rtol=1e-4, atol=1e-5)
    assert bool((probs <= probs.masked_fill(~winners, 0).amax(1, keepdim=True) * (1 + 1e-5)).all())
    # In their own proportion, but for those that have come as high as the winner.
    cut = ((1 - wanted[0]) * others[0].exp().amax(0)) > wanted[0]
    assert bool(cut.any())
    assert bool((~cut).any())
    nearest = torch.stack([shared_by_hand(q, o) for q, o in zip(wanted[0], others[0].T.exp(), strict=True)], 1)
    torch.testing.assert_close(probs[0].masked_fill(winners[0], 0), nearest, rtol=1e-3, atol=1e-5)


def shared_by_hand(confidence, others):
    """Cut what is above the winner and lift the others, again and again."""
    cut = torch.zeros_like(others, dtype=torch.bool)
    while True:
        lift = (1 - confidence - cut.sum() * confidence) / others.masked_fill(cut, 0).sum()
        above = (others * lift > confidence) & ~cut
        if not bool(above.any()):
            return torch.where(cut, confidence, others * lift)
        cut |= above


def test_the_nearest_distribution_at_the_extremes():
    """All classes level, one class with all but everything, and hardly any class beside the winner to take the rest."""
    others = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1 - 3e-30, 1e-30, 1e-30, 1e-30], [1 - 1e-6, 1e-6, 0, 0]]).log()
    others = torch.cat([torch.full((3, 1), EXCLUDED), others.clamp_min(EXCLUDED)], 1)[..., None]
    winners = torch.arange(5)[None, :, None].expand(3, 5, 1) == 0
    level = nearest_with_confidence(torch.full((3, 1, 1), math.log(4.0) + 1e-6), others, winners)[..., 0]
    torch.testing.assert_close(level[:2], torch.zeros(2, 5))
    half = nearest_with_confidence(torch.full((3, 1, 1), math.log(2.5)), others, winners)[..., 0].softmax(1)
    torch.testing.assert_close(half[0], torch.tensor([0.4, 0.25, 0.25, 0.25, 0.25]) / 1.4)
    torch.testing.assert_close(half[1], torch.tensor([1.0, 1.0, 0.5, 0.5, 0.5]) / 3.5)
    assert half.isfinite().all()
    alone = torch.tensor([[[EXCLUDED], [0.0]]])
    one = nearest_with_confidence(torch.zeros(1, 1, 1), alone, torch.tensor([[[True], [False]]]))
    torch.testing.assert_close(one, torch.zeros(1, 2, 1))


# Sampling


def test_memory_does_not_grow_with_the_images():
    base, room = TemperatureScaling(1.0), 40 * 3 * (3 * 3 + len(NAMES))
    for count, each in ((3, 40), (6, 20)):
        images = sample_images(toy_predictions(num_images=count), base, None, seed=0, max_numbers=room)
        assert [len(image) for image in images] == [each] * count


def test_what_is_drawn_of_an_image_does_not_depend_on_the_others():
    predictions, base = toy_predictions(num_images=4), TemperatureScaling(1.5)
    whole = sample_images(predictions, base, 30, seed=7)
    some = sample_images([predictions[2], predictions[0]], base, 30, seed=7)
    for one, other in ((whole[2], some[0]), (whole[0], some[1])):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.labels, other.labels)


# The calibrator


def test_it_wants_parts_that_keep_the_labels_and_the_classes_of_its_fit():
    vector = VectorScaling(torch.ones(3), torch.zeros(3))
    with pytest.raises(InputError, match="expected base to keep the label map; got VectorScaling"):
        CorrectnessScaling(vector, None)
    with pytest.raises(InputError, match="expected second_member to keep the label map; got VectorScaling"):
        CorrectnessScaling(TemperatureScaling(1.0), None, second_member=vector)
    with pytest.raises(ShapeError, match="logits of 4 classes, as fitted"):
        CorrectnessScaling(TemperatureScaling(1.0), network(4))(torch.zeros(1, 3, 2, 2))


def test_three_dimensions_and_gradients():
    logits = drawn(1, 4, 5, 6, 7).requires_grad_()
    calibrator = CorrectnessScaling(
        TemperatureScaling(1.3), network(4), MistakeModel(torch.ones(4), drawn(4), drawn(4, 4))
    )
    out = calibrator(logits)
    assert out.shape == logits.shape
    out.softmax(1)[:, 0].sum().backward()
    assert bool(logits.grad.isfinite().all())
    assert bool((logits.grad != 0).any())


def test_half_precision_and_scale():
    """The features are of the base's logits, so a model whose logits are doubled gets the same probabilities."""
    logits = drawn(1, 4, 16, 16, scale=3)
    one, two = (CorrectnessScaling(TemperatureScaling(t), network(4)) for t in (1.5, 3.0))
    torch.testing.assert_close(one(logits).softmax(1), two(2 * logits).softmax(1))
    half = one(logits.half())
    assert half.dtype == torch.float32
    confidence = [float(z.softmax(1).amax(1).mean()) for z in (half, one(logits))]
    assert math.isclose(*confidence, rel_tol=1e-2)


@pytest.mark.slow
def test_onnx_gives_the_same(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    ort = pytest.importorskip("onnxruntime")
    features = importlib.import_module("calibrant.calibrators.correctness.features")
    for name in ("RADII", "REACHES"):  # the other radii repeat the first; all of them take minutes to export
        monkeypatch.setattr(features, name, (1,))
    whole = everything(3)
    calibrator = CorrectnessScaling(**(whole.arguments() | {"temperature_network": network(3, fewer=16)}))
    export_onnx(calibrator, tmp_path / "file.onnx", num_classes=3)
    session = ort.InferenceSession(str(tmp_path / "file.onnx"), providers=["CPUExecutionProvider"])
    given = drawn(2, 3, 21, 37, scale=3).round()
    probs, labels = session.run(["probabilities", "labels"], {"logits": given.numpy()})
    expected = with_margin(calibrator(given)).softmax(1)
    torch.testing.assert_close(torch.from_numpy(probs), expected, rtol=0, atol=1e-4)
    assert torch.equal(torch.from_numpy(labels), given.argmax(1))


# Storage


def test_it_is_stored(tmp_path):
    calibrator = everything(4)
    save(calibrator, tmp_path)
    loaded = load(tmp_path)
    assert loaded.notes == ("a note",)
    assert torch.equal(loaded(drawn(2, 4, 9, 9)), calibrator(drawn(2, 4, 9, 9)))
