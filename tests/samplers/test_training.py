"""The training of G and D on tiny networks: whom each step moves, the schedule, going on exactly."""

from dataclasses import replace

import pytest
import torch

from calibrant.errors import InputError
from calibrant.networks import Discriminator, RefinementUNet
from calibrant.samplers.recipe import RefinementRecipe
from calibrant.samplers.training import RefinementTraining
from calibrant.testing import toy_predictions
from calibrant.training import Augmentation, Batches, SingleDevice, reproducible, train

RECIPE = RefinementRecipe(
    num_steps=6,
    batch_size=2,
    num_samples=3,
    discriminator_steps=1,
    discriminator_cycle=2,
    accuracy_cap=1.1,
    augmentation=Augmentation(crop=(16, 16), flips=(1,)),
)


def training(recipe=RECIPE, *, seed=0, void=0.1):
    predictions = toy_predictions(size=(16, 20), num_annotators=2, void=void, num_classes=3)
    with reproducible(0):
        refinement = RefinementUNet.small(5, 3, width=4, depth=2)
        discriminator = Discriminator.small(5, width=4)
    batches = Batches(predictions, recipe.batch_size, recipe.augmentation, seed)
    return RefinementTraining(refinement, discriminator, batches, recipe, seed=seed)


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def run(trainee, **options):
    train(trainee, **{"num_steps": 6, "seed": 0, "identity": {"network": "G"}, "look_every": 1, **options})
    return trainee


def test_going_on_ends_with_the_same_bits(tmp_path):
    whole = run(training(), checkpoint_path=tmp_path / "whole").state()
    with pytest.raises(RuntimeError, match="stop"):
        run(training(), checkpoint_path=tmp_path / "cut", checkpoint_every=3, watch=stop_after(4))
    resumed = run(training(), checkpoint_path=tmp_path / "cut").state()
    one, other = ((tmp_path / each / "checkpoint.pt").read_bytes() for each in ("whole", "cut"))
    assert one == other
    for part in ("refinement", "discriminator", "average"):
        assert all(torch.equal(whole[part][name], resumed[part][name]) for name in whole[part])
    for one, two in zip(
        whole["discriminator optimiser"]["state"].values(),
        resumed["discriminator optimiser"]["state"].values(),
        strict=True,
    ):
        assert all(torch.equal(one[name], two[name]) for name in one)


def stop_after(step):
    def watch(done, figures):
        if done == step:
            raise RuntimeError("stop")

    return watch


def test_steps_of_the_one_leave_the_other_alone():
    trainee = training()
    first = weights(trainee.plain_discriminator), weights(trainee.plain)
    trainee.step(1)  # not D's turn
    assert torch.equal(weights(trainee.plain_discriminator), first[0])
    assert not torch.equal(weights(trainee.plain), first[1])
    assert all(p.requires_grad for p in trainee.plain_discriminator.parameters())
    assert all(p.grad is None for p in trainee.plain_discriminator.parameters())
    before = weights(trainee.plain_discriminator)
    trainee.step(2)
    assert not torch.equal(weights(trainee.plain_discriminator), before)


def test_the_schedule_and_the_cap():
    published = RefinementRecipe()
    turns = [published.discriminator_turn(step) for step in range(500)]
    assert sum(turns) == 100
    assert turns[:50] == [True] * 50
    assert turns[250:300] == [True] * 50
    assert [published.rate_factor(step) for step in (0, 50_000)] == [1.0, 0.5]
    capped = training(replace(RECIPE, accuracy_cap=0.0))
    before = weights(capped.plain_discriminator)
    figures = capped.step(0)
    assert "discriminator accuracy" in figures  # it looks, and does not learn
    assert torch.equal(weights(capped.plain_discriminator), before)


def test_a_first_step_without_r1_is_adams_on_the_loss():
    """D's first step, done again by hand on the samples of the same noise."""
    recipe = replace(RECIPE, r1_weight=0.0, weight_decay=0.0, refinement_rate=0.0, average=0.0)
    trainee = training(recipe, void=0.0)
    before = weights(trainee.plain_discriminator)
    with reproducible(0, "step", 0, 0):
        figures = trainee.step(0)
    moved = (weights(trainee.plain_discriminator) - before).abs()
    # Adam's first step is the learning rate wherever the gradient is not next to nil.
    assert float(moved.max()) == pytest.approx(recipe.discriminator_rate, rel=1e-2)
    assert float(figures["discriminator loss"]) > 0


def test_controls():
    assert RECIPE.without_calibration().calibration_weight == 0
    control = RECIPE.with_cross_entropy()
    assert (control.calibration_weight, control.cross_entropy_weight) == (0, 5)
    first = [weights(training(recipe).plain) for recipe in (RECIPE, control)]
    assert torch.equal(*first)
    trainees = [training(recipe) for recipe in (RECIPE, RECIPE.without_calibration(), control)]
    for trainee in trainees:
        with reproducible(0):
            trainee.step(1)
    ends = [weights(trainee.plain) for trainee in trainees]
    assert not torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[1], ends[2])


@pytest.mark.slow
def test_the_calibration_loss_alone_calibrates_the_mean():
    """Without an adversary G is drawn to what F says, from where it starts."""
    recipe = replace(
        RECIPE,
        batch_size=4,
        num_steps=150,
        adversarial_weight=0.0,
        discriminator_steps=0,
        refinement_rate=1e-2,
        weight_decay=0.0,
        augmentation=Augmentation(crop=(16, 16)),
    )
    trainee = training(recipe)
    trainee.batches.source = [smooth(p) for p in toy_predictions(size=(16, 20), num_annotators=2)]
    seen = []
    run(trainee, num_steps=150, look_every=30, watch=lambda done, figures: seen.append(figures))
    losses = [figures["calibration loss"] for figures in seen]
    assert losses[-1] < 0.3 * losses[0]


def smooth(prediction):
    """Probabilities that a network without a level at full resolution can draw."""
    logits = prediction.logits.mean((1, 2), keepdim=True) * 10
    return replace(prediction, logits=logits.expand_as(prediction.logits))


def test_unlabelled_pixels_do_not_reach_the_discriminator():
    trainee = training(void=1.0)
    seen = []
    trainee.discriminator.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    trainee.step(0)
    for pairs in seen:
        assert float(pairs[:, 2:].abs().max()) == 0.0
        assert float(pairs[:, :2].abs().max()) > 0.0


def test_the_average_follows():
    trainee = training(replace(RECIPE, average=0.5))
    start = weights(trainee.average)
    trainee.step(0)
    keep = 0.1  # (1 + 0) / (10 + 0) is less than .5
    expected = keep * start + (1 - keep) * weights(trainee.plain)
    torch.testing.assert_close(weights(trainee.average), expected)
    none = training(replace(RECIPE, average=0.0))
    none.step(0)
    assert torch.equal(weights(none.average), weights(none.plain))


def test_trouble_is_told_in_words():
    trainee = training()
    good = {"adversarial loss": 0.7, "calibration loss": 0.1, "spread": 0.8, "discriminator accuracy": 0.7}
    assert list(trainee.complaints(good)) == []
    (told,) = trainee.complaints({**good, "spread": 0.01})
    assert told.startswith("samples have collapsed: they vary by 1.0%")
    (told,) = trainee.complaints({**good, "discriminator accuracy": 1.0, "adversarial loss": 9.0})
    assert told.startswith("the discriminator is saturated: it tells 100%")


def test_the_discriminator_judges_as_many_samples_as_the_recipe_says():
    """Whatever the number judged, the calibration loss sees all samples."""
    figures, seen = {}, {}
    for number in (None, 1):
        trainee = training(replace(RECIPE, judged_samples=number))
        judge, sizes = trainee.plain_discriminator.forward, []
        trainee.plain_discriminator.forward = lambda pairs, judge=judge, sizes=sizes: (
            sizes.append(len(pairs)) or judge(pairs)
        )
        with reproducible(0):
            figures[number] = trainee.step(1)
        seen[number] = sizes
    assert seen == {None: [RECIPE.num_samples * RECIPE.batch_size], 1: [RECIPE.batch_size]}
    assert torch.equal(figures[None]["calibration loss"], figures[1]["calibration loss"])
    assert not torch.equal(figures[None]["adversarial loss"], figures[1]["adversarial loss"])


def test_recipes_that_cannot_be():
    with pytest.raises(InputError, match="1 to 10 judged samples"):
        RefinementRecipe.small(judged_samples=11)
    with pytest.raises(InputError, match="2 samples or more"):
        RefinementRecipe(num_samples=1)
    assert RefinementRecipe(num_samples=1, calibration_weight=0.0).num_samples == 1
    with pytest.raises(InputError, match="1 step or more"):
        RefinementRecipe(num_steps=0)
    assert RefinementRecipe.small(num_steps=7).num_steps == 7


def test_a_place_to_run_is_asked_for_everything():
    class Counting(SingleDevice):
        calls = 0

        def backward(self, tensor):
            self.calls += 1
            super().backward(tensor)

    devices = Counting()
    trainee = training()
    trainee.devices = devices
    trainee.step(0)
    assert devices.calls == 2


def test_lightning_fabric_takes_the_same_steps():
    fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1)
    plain = training()
    predictions = toy_predictions(size=(16, 20), num_annotators=2, num_classes=3)
    with reproducible(0):
        networks = RefinementUNet.small(5, 3, width=4, depth=2), Discriminator.small(5, width=4)
    batches = Batches(predictions, RECIPE.batch_size, RECIPE.augmentation, 0)
    wrapped = RefinementTraining(*networks, batches, RECIPE, seed=0, devices=fabric)
    for number in range(3):
        for trainee in (plain, wrapped):
            with reproducible(number):
                trainee.step(number)
    torch.testing.assert_close(weights(plain.plain), weights(wrapped.plain))
    torch.testing.assert_close(weights(plain.plain_discriminator), weights(wrapped.plain_discriminator))
