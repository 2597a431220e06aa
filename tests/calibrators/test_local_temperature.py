"""Local temperature scaling: the published tree, its learning form, and a temperature that the image gives away."""

from dataclasses import replace

import pytest
import torch

from calibrant.calibrators import LocalTemperatureScaling, TemperatureScaling, load, save
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import InputError, ShapeError
from calibrant.networks import TemperatureTree, temperature_tree
from calibrant.predictions import IGNORE, Prediction
from calibrant.testing import tied_logits, toy_predictions


def by_hand(tree, logits, image):
    """The published tree, written out: nine convolutions of torch's own, each with one channel."""

    def conv(weight, bias, x):
        layer = torch.nn.Conv2d(x.shape[1], 1, 5, dilation=2, padding=4, padding_mode="reflect")
        with torch.no_grad():
            layer.weight.copy_(weight[None])
            layer.bias.fill_(float(bias))
        return layer(x)

    one, two, three, four = (conv(tree.weight[i], tree.bias[i], logits) + 1 for i in range(4))
    g1, g2, g3, g_image = (torch.sigmoid(conv(tree.weight[i], tree.bias[i], logits)) for i in range(4, 8))
    a = one * g1 + two * (1 - g1)
    b = three * g2 + four * (1 - g2)
    u = a * g3 + b * (1 - g3)
    seen = conv(tree.image_weight[0], tree.image_bias[0], image) + 1
    t = u * g_image + seen * (1 - g_image)
    return torch.relu(t + 1) + 1e-8


def test_the_published_tree_is_the_one_written_out():
    generator = torch.Generator().manual_seed(0)
    tree = TemperatureTree(
        0.1 * torch.randn(8, 4, 5, 5, generator=generator),
        0.1 * torch.randn(8, generator=generator),
        0.1 * torch.randn(1, 3, 5, 5, generator=generator),
        torch.tensor([0.2]),
    )
    logits = torch.randn(2, 4, 9, 11, generator=generator)
    image = torch.rand(2, 3, 9, 11, generator=generator)
    with torch.no_grad():
        wanted = by_hand(tree, logits, image)
        torch.testing.assert_close(tree(logits, image), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(LocalTemperatureScaling(tree)(logits, image), logits / wanted, rtol=1e-4, atol=1e-4)


def test_the_published_start_is_two_and_its_gates_never_learn():
    tree = TemperatureTree.published(3, 2)
    toys = toy_predictions(num_images=1)
    t = tree(toys[0].logits[None], toys[0].image[None])
    assert bool((t == 2).all())
    loss = torch.nn.functional.cross_entropy(toys[0].logits[None] / t, toys[0].labels, ignore_index=IGNORE)
    weight, image = torch.autograd.grad(loss, [tree.weight, tree.image_weight])
    torch.testing.assert_close(weight[1:4], weight[:1].expand(3, -1, -1, -1))
    assert bool((weight[4:7] == 0).all())
    assert float(weight[0].abs().max()) > 0
    assert float(image.abs().max()) > 0


@pytest.mark.parametrize("dims", [2, 3])
def test_the_learning_tree_starts_at_its_temperature_and_its_parts_differ(dims):
    tree = TemperatureTree.random(3, 2, start=1.7, dims=dims, generator=torch.Generator().manual_seed(0))
    size = (9, 12) if dims == 2 else (3, 9, 12)  # 3 pixels are fewer than a reflection needs
    z = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    t = tree(z, torch.rand(1, 2, *size))
    assert bool(((t - 1.7).abs() < 0.3).all())
    (weight,) = torch.autograd.grad(t.square().mean(), [tree.weight])
    assert float((weight[0] - weight[1]).abs().max()) > 0
    assert bool((weight[4:].flatten(1).abs().amax(1) > 0).all())


def told_by_the_image(count, *, seed):
    """Left or right, the image is bright where the logits are four times too large."""
    generator = torch.Generator().manual_seed(seed)
    predictions = []
    for number in range(count):
        true = 2 * torch.randn(3, 20, 24, generator=generator)
        labels = (true - torch.empty_like(true).exponential_(generator=generator).log()).argmax(0)
        bright = torch.zeros(1, 20, 24)
        bright[..., :12] = 1
        bright = bright if number % 2 else bright.flip(2)
        predictions.append(Prediction(f"{seed}-{number}", true * (1 + 3 * bright), labels[None], bright))
    return predictions


@pytest.mark.parametrize("size", [(70, 11), (33, 9), (17, 4), (16, 30), (5, 3)])
def test_strips_of_rows_are_parts_of_the_whole(monkeypatch, size):
    rng = torch.Generator().manual_seed(0)
    logits, image = 3 * torch.randn(2, 4, *size, generator=rng), torch.randn(2, 3, *size, generator=rng)
    tree = TemperatureTree.random(4, 3, start=1.5, generator=rng)
    with torch.no_grad():
        tree.weight.mul_(30)
    whole = tree(logits, image).detach()  # where gradients are wanted all rows are convolved at once
    monkeypatch.setattr(temperature_tree, "STRIP", 1)
    with torch.no_grad():
        torch.testing.assert_close(tree(logits, image), whole, rtol=1e-5, atol=1e-5)


def test_it_learns_a_temperature_that_the_image_gives_away():
    fitted, (tested, *_) = told_by_the_image(12, seed=0), told_by_the_image(2, seed=1)
    local = LocalTemperatureScaling.fit(fitted, num_epochs=40, crop=16, crops_per_image=4, learning_rate=2e-2)
    with torch.no_grad():
        t = local.temperatures(tested.logits[None], tested.image[None])[0, 0]
    bright = tested.image[0] == 1
    assert float(t[bright].mean()) > 1.7 * float(t[~bright].mean())
    pixels = Pixels.draw([tested], per_image=None)
    loss = torch.nn.functional.cross_entropy(local(tested.logits[None], tested.image[None]), tested.labels)
    plain = TemperatureScaling.fit(fitted)(pixels.logits[None])[0].T
    assert float(loss) < 0.97 * float(torch.nn.functional.cross_entropy(plain, pixels.labels))


def test_without_training_it_is_temperature_scaling():
    predictions = toy_predictions(num_images=5)
    local = LocalTemperatureScaling.fit(predictions, num_epochs=0)
    z, image = predictions[0].logits[None], predictions[0].image[None]
    t = local.temperatures(z, image)
    assert float((t / TemperatureScaling.fit(predictions).temperature - 1).abs().max()) < 0.2


def test_published_recipe_moves_and_keeps_the_best():
    predictions = toy_predictions(num_images=6, overconfidence=4.0)
    start, trained = (LocalTemperatureScaling.fit_as_published(predictions, num_epochs=e, side=8) for e in (0, 20))
    assert bool((start.network.weight == 0).all())
    assert float(trained.network.bias[:4].max()) > 0  # hotter than 2, as it should
    assert float(trained.notes[0].split()[2]) < float(start.notes[0].split()[2])


def test_with_and_without_an_image(tmp_path):
    predictions = toy_predictions(num_images=3)
    seeing = LocalTemperatureScaling.fit(predictions, num_epochs=1)
    blind = LocalTemperatureScaling.fit([replace(p, image=None) for p in predictions], num_epochs=1)
    z = predictions[0].logits[None]
    assert blind.network.image_weight is None
    assert torch.equal(blind(z), blind(z, predictions[0].image[None]))
    with pytest.raises(InputError, match="got none"):
        seeing(z)
    for local in (seeing, blind):
        save(local, tmp_path)
        again = load(tmp_path)
        assert torch.equal(again(z, predictions[0].image[None]), local(z, predictions[0].image[None]))


def test_labels_stay_at_ties_and_extremes():
    z = tied_logits(4)
    local = LocalTemperatureScaling(TemperatureTree.random(4, start=0.01, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(local(z).argmax(1), z.argmax(1))
    assert bool(local(z).isfinite().all())


def test_other_shapes_are_refused():
    local = LocalTemperatureScaling(TemperatureTree.published(3))
    for shape in ((1, 4, 8, 8), (1, 3, 8), (1, 3, 8, 8, 8)):
        with pytest.raises(ShapeError, match="as fitted"):
            local(torch.zeros(shape))
    with pytest.raises(ShapeError, match="neighbours"):
        LocalTemperatureScaling.fit([Prediction("a", torch.zeros(3, 5), torch.zeros(1, 5, dtype=torch.long))])
