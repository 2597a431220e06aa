"""The energy-score sampler: its loss against slow sums and hard maps, what it learns, windows, draws, going on."""

import itertools
import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from calibrant.data import BlobAnnotators
from calibrant.errors import FitError, InputError, MethodError, ShapeError
from calibrant.evaluation import draw_hypotheses
from calibrant.metrics import HypothesisDistances, generalised_energy_distance, sample_diversity
from calibrant.networks import BasisUNet
from calibrant.predictions import Prediction, from_probabilities
from calibrant.samplers import EnergyScoreLoss, EnergyScoreSampler, SamplerRecipe, load_sampler, save_sampler
from calibrant.samplers.energy_losses import MEAN_SCORES, energy_score, scale_score
from calibrant.samplers.export import export_basis
from calibrant.samplers.losses import label_planes
from calibrant.samplers.orientations import ORIENTATIONS
from calibrant.samplers.sampler import MAX_SOBOL, latents_of
from calibrant.testing import check_sampler, toy_predictions
from calibrant.training import Augmentation, Standardise

TINY = {"width": 4, "depth": 1, "num_maps": 3, "hidden": 8, "latent_size": 3}
RECIPE = SamplerRecipe(num_steps=4, batch_size=2)
LOSS = EnergyScoreLoss(num_samples=3)


def tiny(channels, classes, **options):
    """A small network whose first samples differ much."""
    network = BasisUNet(channels, classes, **TINY | options)
    with torch.no_grad():
        network.coefficients_of[-1].weight.mul_(20)
    return network


def drawn(sampler, prediction, num_samples=4, seed=0):
    image = None if prediction.image is None else prediction.image[None]
    generator = torch.Generator().manual_seed(seed)
    return sampler.sample(prediction.logits[None], image, num_samples=num_samples, generator=generator)


def blobs(num_images, **options):
    """Predictions whose logits are the true law of the annotators, and the modes of that law."""
    made = BlobAnnotators(num_images, **{"seed": 0} | options)
    probs = [from_probabilities(made.probabilities(i)).float() for i in range(num_images)]
    return [Prediction(e.key, p, e.labels, e.image) for e, p in zip(made, probs, strict=True)], made


class TestLoss:
    def test_it_is_the_slow_sum(self):
        generator = torch.Generator().manual_seed(0)
        samples = torch.rand(3, 2, 3, 4, 5, generator=generator).softmax(2)
        labels = torch.randint(3, (2, 4, 4, 5), generator=generator)
        labels[0, :, :2, 1] = -100
        labels[1, 2] = -100  # an annotator who labelled nothing
        labels[1, 0, 0, 0] = -100

        def distance(one, other, known):
            low, high = (torch.minimum(one, other), torch.maximum(one, other))
            return float((1 - (1 + (low * known).sum((1, 2))) / (1 + (high * known).sum((1, 2))))[[0, 2]].mean()) ** 0.5

        total = 0.0
        for i, there in ((0, range(4)), (1, (0, 1, 3))):
            known = (labels[i, list(there)] != -100).all(0).float()
            planes = {a: label_planes(labels[i, a][None], 3)[0] for a in there}
            crossed = [distance(samples[j, i], planes[a], known) for j in range(3) for a in there]
            within = [distance(samples[j, i], samples[k, i], known) for j, k in itertools.permutations(range(3), 2)]
            total += 2 * sum(crossed) / len(crossed) - sum(within) / len(within)
        found = energy_score(samples, labels, classes=(0, 2))
        assert float(found) == pytest.approx(total / 2, abs=3e-3)  # 1e-6 is added before the root, for the gradient

    def test_of_hard_maps_it_is_the_energy_distance_but_for_the_annotators(self):
        generator = torch.Generator().manual_seed(0)
        hard = torch.randint(3, (5, 2, 12, 9), generator=generator)
        labels = torch.randint(3, (2, 4, 12, 9), generator=generator)
        samples = torch.stack([label_planes(each, 3) for each in hard])
        distances = HypothesisDistances.of(hard, labels, num_classes=3)
        wanted = 2 * distances.to_labels.mean((1, 2)) - sample_diversity(distances)
        found = energy_score(samples, labels, smoothing=1e-4, exponent=1)
        assert float(found) == pytest.approx(float(wanted.mean()), abs=1e-4)

    def test_it_is_proper(self):
        """On three maps of a chain, no law expects a better score than the true one."""
        maps = torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
        planes = torch.stack([label_planes(each[None], 2)[0] for each in maps])
        apart = torch.zeros(3, 3)
        for i, j in itertools.product(range(3), repeat=2):  # twice the distance less nothing: two copies of a map
            apart[i, j] = energy_score(planes[[i, i]][:, None], maps[j][None, None], classes=(1,)) / 2
        true = torch.tensor([0.5, 0.2, 0.3])
        grid = [torch.tensor([a, b, 20 - a - b]) / 20 for a in range(21) for b in range(21 - a)]
        scores = [float(2 * law @ apart @ true - law @ apart @ law) for law in grid]
        assert torch.allclose(grid[min(range(len(grid)), key=scores.__getitem__)], true)

    def test_it_sees_which_classes_change_together(self):
        """Two regions that change always together or never: each class alone is as the annotators have it."""
        left, right = torch.zeros(8, dtype=torch.long), torch.zeros(8, dtype=torch.long)
        left[:4], right[4:] = 1, 2
        together, apart = (torch.stack(maps * 4) for maps in ([0 * left, left + right], [left, right]))
        samples = torch.stack([label_planes(each[None], 3) for each in together])[:, :, :, None]
        samples = torch.cat([samples, samples], 3).requires_grad_()

        def scores(exponent):
            return [
                energy_score(samples, torch.stack([each, each], 1)[None], exponent=exponent, classes=(1, 2))
                for each in (together, apart)
            ]

        blind, seeing = scores(1), scores(None)
        assert float((blind[0] - blind[1]).detach()) == pytest.approx(0, abs=1e-6)
        assert float((seeing[0] - seeing[1]).detach()) < -0.05
        (gradient,) = torch.autograd.grad(seeing[0], samples)
        assert bool(gradient.isfinite().all())

    @pytest.mark.parametrize("loss", [energy_score, scale_score, *MEAN_SCORES.values()])
    def test_unlabelled_pixels_have_no_gradient(self, loss):
        samples = torch.rand(3, 2, 2, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        labels = torch.zeros(2, 2, 16, 16, dtype=torch.long)
        labels[..., 4:, :] = 1
        labels[..., :, 7:] = -100
        (gradient,) = torch.autograd.grad(loss(samples, labels), samples)
        assert float(gradient[..., 7:].abs().max()) == 0
        assert float(gradient[..., :7].abs().min()) > 0 or loss is not energy_score
        void = torch.full_like(labels, -100)
        assert float(loss(samples, void).detach()) == 0

    @pytest.mark.parametrize(("name", "least_at"), [("brier", 0.24), ("cross-entropy", 0.39)])
    def test_of_hard_samples_the_brier_score_alone_is_least_at_the_truth(self, name, least_at):
        """What six samples that are 1 with some probability expect, where 24 of 100 annotators say 1."""
        labels = (torch.arange(100) < 24).long()[None, :, None]
        of_count = []
        for ones in range(7):
            maps = (torch.arange(6) < ones).float()
            of_count.append(float(MEAN_SCORES[name](torch.stack([1 - maps, maps], 1)[:, None, :, None], labels)))

        def expected(q):
            return sum(math.comb(6, k) * q**k * (1 - q) ** (6 - k) * score for k, score in enumerate(of_count))

        found = min((i / 100 for i in range(1, 100)), key=expected)
        assert found == pytest.approx(least_at, abs=0.011)

    def test_grey_maps_and_noise_are_told_apart(self):
        """Of a law with two maps, maps of one half everywhere are no perfect answer; the two maps are."""
        full = torch.ones(6, 1, 1, 1, 400)
        mixed = torch.cat([full[:3], 0 * full[:3]])
        labels = torch.stack([torch.zeros(400), torch.ones(400)]).long()[None]
        two, grey = (torch.cat([1 - each, each], 2)[:, :, :, 0] for each in (mixed, full / 2))
        scores = [float(energy_score(each, labels, classes=(1,))) for each in (two, grey)]
        assert scores[0] < 0.45 < 0.95 < scores[1]

    def test_numbers_that_cannot_be(self):
        with pytest.raises(InputError, match="2 samples or more"):
            EnergyScoreLoss(num_samples=1)
        with pytest.raises(InputError, match="at most 1"):
            EnergyScoreLoss(exponent=0)
        with pytest.raises(MethodError, match="score of the mean"):
            EnergyScoreLoss(mean_score="log")
        with pytest.raises(InputError, match="1 step or more"):
            SamplerRecipe(num_steps=0)


@pytest.mark.parametrize("inputs", ["both", "image", "probabilities"])
@pytest.mark.parametrize(("size", "stride"), [((12, 16), 1), ((11, 15), 2), ((5, 9, 6), 2)])
def test_it_keeps_the_contract(size, stride, inputs):
    predictions = toy_predictions(size=size, num_annotators=2)
    make = partial(tiny, stride=stride)
    sampler = EnergyScoreSampler.fit(predictions, recipe=RECIPE, loss=LOSS, inputs=inputs, make=make)
    check_sampler(sampler, spatial_dims=(len(size),), num_samples=400)


@pytest.mark.slow
def test_three_laws_of_three_maps():
    """The image says which law of nothing, a square and a larger one holds; excess over the floor is below .01."""
    square, large = (torch.zeros(12, 12, dtype=torch.long) for _ in range(2))
    square[3:9, 2:8] = 1
    large[2:10, 1:10] = 1
    modes = torch.stack([torch.zeros_like(square), square, large])
    laws = torch.tensor([[0.6, 0.3, 0.1], [0.3, 0.3, 0.4], [0.1, 0.6, 0.3]])
    generator, images = torch.Generator().manual_seed(0), []
    for i in range(96):
        labels = modes[torch.multinomial(laws[i % 3], 8, replacement=True, generator=generator)]
        image = torch.full((1, 12, 12), float(i % 3 - 1))
        images.append(Prediction(str(i), torch.zeros(2, 12, 12), labels, image))
    sampler = EnergyScoreSampler.fit(
        images,
        inputs="image",
        loss=EnergyScoreLoss(classes=(1,)),
        recipe=SamplerRecipe(num_steps=400, batch_size=24, learning_rate=1e-2, contrast=0, brightness=0, average=0.98),
        make=lambda *sizes, **dims: BasisUNet(
            *sizes, width=8, depth=1, num_maps=6, hidden=32, latent_size=4, dropout=0, **dims
        ),
    )
    for law, image in zip(laws, images, strict=False):
        maps = drawn(sampler, image, num_samples=1000, seed=1)
        distances = HypothesisDistances.of(maps, modes[None], num_classes=2, classes=[1], weights=law[None], modes=True)
        assert float(generalised_energy_distance(distances, diagonal=False)) < 0.01


@pytest.mark.long
def test_it_learns_a_known_law():
    """Unbiased, so that a perfect sampler scores 0: seven maps an image with known weights, images never seen."""
    known, _ = blobs(2000, size=(24, 24))
    fresh, made = blobs(60, size=(24, 24), seed=1)
    sampler = EnergyScoreSampler.fit(
        known,
        inputs="image",
        loss=EnergyScoreLoss(classes=(1,)),
        recipe=SamplerRecipe(num_steps=2400, batch_size=16, augmentation=Augmentation.of_scans(shift=0)),
        make=lambda *sizes, **dims: BasisUNet(*sizes, width=12, depth=2, num_maps=16, **dims),
    )
    excess = []
    for i, prediction in enumerate(fresh):
        modes, weights = made.modes(i)
        maps = drawn(sampler, prediction, num_samples=200)
        distances = HypothesisDistances.of(
            maps, modes[None], num_classes=2, classes=[1], weights=weights[None], modes=True
        )
        excess.append(float(generalised_energy_distance(distances, diagonal=False)))
    assert sum(excess) / len(excess) < 0.01


@pytest.mark.parametrize("size", [3, MAX_SOBOL + 1])
def test_spread_draws_are_each_standard_normal_and_together_even(size):
    shape = (256, 2, size)
    spread = latents_of(shape, torch.Generator().manual_seed(0), torch.device("cpu"), draws="spread")
    ranks = torch.special.ndtr(spread.double()).sort(0).values
    middle = (torch.arange(256, dtype=torch.float64) + 0.5) / 256
    assert float((ranks - middle[:, None, None]).abs().max()) <= 0.5 / 256 + 1e-6  # one point in each of 256 cells
    assert not torch.equal(spread[:, 0], spread[:, 1])
    assert float((spread[:, 0].mT.corrcoef() - torch.eye(size)).abs().max()) < 0.4  # each number in an order of its own
    firsts = [
        latents_of((4, 1, size), torch.Generator().manual_seed(seed), torch.device("cpu"), draws="spread")[0, 0]
        for seed in range(2000 if size < MAX_SOBOL else 100)
    ]
    first = torch.stack(firsts)
    assert float(first.mean().abs()) < 0.08
    assert float(first.std()) == pytest.approx(1, abs=0.05)


def test_a_sampler_of_spread_draws():
    torch.manual_seed(0)  # with some first weights all samples of so small a network are alike
    sampler = EnergyScoreSampler(tiny(3, 3), inputs="probabilities", draws="spread")
    assert sampler.draws == "spread"
    check_sampler(sampler, num_samples=256, spatial_dims=(2,))


class Pointwise(BasisUNet):
    """Without neighbours and pooling, windows cannot be seen in the whole."""

    def encode(self, seen):
        basis = super().encode(0 * seen)
        rest = seen[:, :1].expand(-1, basis.maps.shape[1] - 4, -1, -1)
        added = torch.cat([2 * seen[:, :3], rest, 0 * seen[:, :1]], 1)
        return basis._replace(maps=basis.maps + added)


def test_windows_have_one_latent_over_all_of_them(monkeypatch):
    torch.manual_seed(0)
    whole = EnergyScoreSampler(Pointwise(3, 3, **TINY), inputs="probabilities")
    windowed = EnergyScoreSampler(whole.network, inputs="probabilities", window=(8, 7))
    prediction = Prediction("a", torch.randn(3, 21, 30), torch.zeros(1, 21, 30, dtype=torch.long))
    maps = drawn(whole, prediction, 20)
    assert torch.equal(drawn(windowed, prediction, 20), maps)
    assert len(maps.unique(dim=0)) > 1
    monkeypatch.setattr("calibrant.samplers.network_sampler._KEPT", 0)
    monkeypatch.setattr("calibrant.samplers.network_sampler._NUMBERS", 32 * 630 * 3)
    assert torch.equal(drawn(windowed, prediction, 20), maps)
    volume = Prediction("a", torch.zeros(3, 4, 5, 6), torch.zeros(1, 4, 5, 6, dtype=torch.long))
    with pytest.raises(ShapeError, match="2 axes of space"):
        drawn(windowed, volume)


def test_what_is_fine_in_the_input_can_be_fine_in_samples():
    """Maps of a U-Net with a stride of 2 are interpolated; the channels of the input, which are maps too, are not."""
    network = BasisUNet(2, 2, **TINY, stride=2).eval()
    pixels = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    seen = torch.stack([1 - pixels, pixels]).float()[None]
    maps = network.encode(seen).maps
    assert torch.equal(maps[:, -3:-1], seen)
    with torch.no_grad():
        network.coefficients_of[-1].weight.zero_()
        network.coefficients_of[-1].bias.copy_(torch.eye(len(network.coefficients_of[-1].bias))[-2] * 100)
        logits = network(seen, torch.zeros(1, 1, 3))
    assert torch.equal((logits[0, 0, 1] - maps[0, 0] > 1).long(), pixels)


@pytest.mark.parametrize("num_classes", [1, 2, 3])
@pytest.mark.parametrize("orientations", ["one", "all"])
def test_the_largest_score_is_drawn(num_classes, orientations, monkeypatch):
    """Of two classes the network decodes the logits of the second alone, and the scores have those of both."""
    torch.manual_seed(0)
    network = tiny(num_classes, num_classes)
    for weights in (network.maps.weight, *network.coefficients_of.parameters()):
        torch.nn.init.normal_(weights)
    sampler = EnergyScoreSampler(network, inputs="probabilities").in_orientations(orientations)
    logits = torch.randn(2, num_classes, 9, 10)
    how = {"num_samples": 40}
    blocks = sampler.scores(logits, generator=torch.Generator().manual_seed(1), **how)
    scores = torch.cat(list(blocks))
    assert scores.shape == (40, 2, num_classes, 9, 10)
    for numbers, width in ((2**19, 256), (2 * 7 * 40 * num_classes, 7), (2 * 7 * 3 * num_classes, 7)):
        monkeypatch.setattr("calibrant.samplers.network_sampler._CACHED", numbers)
        monkeypatch.setattr("calibrant.samplers.network_sampler._WIDTH", width)
        maps = sampler.sample(logits, generator=torch.Generator().manual_seed(1), **how)
        assert maps.dtype == torch.long
        assert torch.equal(maps, scores.argmax(2))
    assert len(maps.unique()) > min(1, num_classes - 1)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_logits_are_the_mean_and_what_the_coefficients_make_of_the_basis(num_classes):
    torch.manual_seed(0)
    network = BasisUNet(2, num_classes, **TINY, stride=2).eval()
    seen, latents = torch.randn(2, 2, 9, 10), torch.randn(5, 2, 3)
    maps, pooled = network.encode(seen)
    of_classes, along = maps[:, : network.planes], maps[:, network.planes :]
    assert along.shape[1] == TINY["num_maps"] + 2 + 1
    expected = of_classes + torch.einsum("nmpk,nkhw->mnphw", network.factors(pooled, latents), along)
    found = network(seen, latents)
    torch.testing.assert_close(found[:, :, -network.planes :], expected)
    assert num_classes > 2 or not found[:, :, 0].any()


def test_the_network_runs_once_an_image():
    sampler = EnergyScoreSampler(tiny(3, 3), inputs="probabilities")
    calls = []
    sampler.network.down[0].register_forward_hook(lambda *_: calls.append(1))
    drawn(sampler, toy_predictions()[0], 500)
    assert len(calls) == 1


@pytest.mark.parametrize("inputs", ["both", "image"])
def test_stored_with_its_weights(tmp_path, inputs):
    torch.manual_seed(0)
    channels = 2 + (inputs == "both") * 3
    sampler = EnergyScoreSampler(
        tiny(channels, 3), Standardise(torch.ones(2), torch.ones(2)), inputs=inputs, window=(9, 9), draws="spread"
    )
    save_sampler(sampler, tmp_path)
    loaded = load_sampler(tmp_path)
    assert isinstance(loaded, EnergyScoreSampler)
    assert (loaded.window, loaded.draws, loaded.inputs) == ((9, 9), "spread", inputs)
    assert torch.equal(drawn(loaded, toy_predictions()[0]), drawn(sampler, toy_predictions()[0]))


def test_odd_labels():
    predictions, _ = blobs(3)
    one = [replace(p, labels=p.labels[:1]) for p in predictions]
    ragged = [replace(predictions[0], labels=predictions[0].labels[:2]), *predictions[1:]]
    nothing = [replace(p, labels=torch.zeros_like(p.labels)) for p in predictions]
    void = [replace(predictions[0], labels=torch.full_like(predictions[0].labels, -100)), *predictions[1:]]
    for given in (one, ragged, nothing, void):
        sampler = EnergyScoreSampler.fit(given, recipe=RECIPE, loss=replace(LOSS, classes=(1,)), make=tiny)
        assert drawn(sampler, given[0]).shape == (4, 1, 32, 32)
    with pytest.raises(FitError, match="got none"):
        EnergyScoreSampler.fit([])
    with pytest.raises(InputError, match="inputs='both'"):
        EnergyScoreSampler.fit([replace(p, image=None) for p in predictions], inputs="both")
    with pytest.raises(ShapeError, match="expected the image"):
        drawn(sampler, replace(predictions[0], image=None))
    for _, maps in draw_hypotheses(sampler, predictions, num_samples=3, generator=torch.Generator()):
        assert maps.shape == (3, 32, 32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dims", "classes", "orientations", "stride"),
    [
        pytest.param(2, 2, "one", 1, marks=pytest.mark.long),
        pytest.param(2, 3, "one", 1, marks=pytest.mark.long),
        (2, 2, "all", 1),
        (2, 3, "left-right", 2),
        (3, 3, "one", 2),
    ],
)
def test_onnx_gives_the_same_logits(tmp_path, dims, classes, orientations, stride):
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = tiny(1 + classes, classes, dims=dims, stride=stride)
    sampler = EnergyScoreSampler(network, Standardise(torch.ones(1), torch.ones(1)))
    export_basis(sampler.in_orientations(orientations), tmp_path / "basis.onnx")
    session = runtime.InferenceSession(tmp_path / "basis.onnx")
    space = (13, 22) if dims == 2 else (9, 11, 13)
    given = {
        "image": torch.randn(3, 1, *space),
        "logits": torch.randn(3, classes, *space),
        "latents": torch.randn(4, 3, 3),
    }
    mean, basis, coefficients = map(
        torch.from_numpy, session.run(None, {name: each.numpy() for name, each in given.items()})
    )
    varying = torch.einsum("mnpk,nkz->mnpz", coefficients[..., :-1], basis.flatten(2)).unflatten(-1, space)
    logits = mean + varying + coefficients[..., -1].reshape(*coefficients.shape[:3], *[1] * dims)
    with torch.no_grad():
        seen = torch.cat([sampler.standardise(given["image"]), given["logits"].softmax(1)], 1)
        turns = ORIENTATIONS[orientations].orientations(dims)
        wanted = sum(each.undone(network(each.of(seen), given["latents"])) for each in turns) / len(turns)
    torch.testing.assert_close(logits, wanted[:, :, -logits.shape[2] :], atol=1e-5, rtol=1e-5)


class TestOrientations:
    @pytest.mark.parametrize(("name", "count"), [("left-right", 2), ("all", 8)])
    @pytest.mark.untyped
    def test_a_turned_image_has_the_turned_maps(self, name, count):
        """What is a mean over orientations does not depend on which of them an image comes in."""
        sampler = EnergyScoreSampler(tiny(3, 3), inputs="probabilities").in_orientations(name)
        prediction = toy_predictions()[0]
        turns = ORIENTATIONS[name].orientations(2)
        assert len({(each.flips, each.turned) for each in turns}) == count
        usual = drawn(sampler, prediction)
        assert not torch.equal(usual, drawn(EnergyScoreSampler(tiny(3, 3), inputs="probabilities"), prediction))
        for each in turns:
            turned = drawn(sampler, replace(prediction, logits=each.of(prediction.logits), image=None))
            assert (each.undone(turned) == usual).float().mean() > 0.99  # sums in another order may tie otherwise

    def test_windows_three_dimensions_and_disk(self, tmp_path):
        windows = EnergyScoreSampler(tiny(3, 3), inputs="probabilities", window=(6, 6)).in_orientations("all")
        assert drawn(windows, toy_predictions()[0]).shape[2:] == toy_predictions()[0].logits.shape[1:]
        volume = EnergyScoreSampler(tiny(2, 2, dims=3), inputs="probabilities").in_orientations("all")
        assert volume.sample(
            torch.zeros(1, 2, 4, 6, 8), num_samples=2, generator=torch.Generator()
        ).shape == torch.Size([2, 1, 4, 6, 8])
        save_sampler(volume, tmp_path)
        assert load_sampler(tmp_path).network.orientations == "all"

    def test_orientations_that_are_not_known(self):
        with pytest.raises(MethodError, match="set of orientations"):
            EnergyScoreSampler(tiny(3, 3), inputs="probabilities").in_orientations("upside-down")
