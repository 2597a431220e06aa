"""The refinement sampler and the calibration network: what they see, that they learn, that training goes on exactly."""

from dataclasses import replace

import pytest
import torch

from calibrant.calibrators import CalibrationNetwork, CalibrationRecipe, TemperatureScaling, load, save
from calibrant.data import BlobAnnotators
from calibrant.errors import FitError, InputError, ShapeError
from calibrant.evaluation import draw_hypotheses
from calibrant.networks import CalibrationHead, RefinementUNet, SegNet
from calibrant.predictions import Prediction, from_probabilities
from calibrant.samplers import RefinementRecipe, RefinementSampler
from calibrant.testing import toy_predictions
from calibrant.training import Augmentation

RECIPE = RefinementRecipe.small(num_steps=6, batch_size=2, num_samples=3)


def blobs(num_images=6, **options):
    """Predictions whose logits are the true law of the annotators."""
    made = BlobAnnotators(num_images, seed=0, **options)
    return [Prediction(e.key, from_probabilities(made.probabilities(i)), e.labels, e.image) for i, e in enumerate(made)]


def drawn(sampler, prediction, num_samples=4, seed=0):
    image = None if prediction.image is None else prediction.image[None]
    generator = torch.Generator().manual_seed(seed)
    return sampler.sample(prediction.logits[None], image, num_samples=num_samples, generator=generator)


def test_interrupted_and_resumed_it_is_the_same_sampler(tmp_path):
    class Stop(Exception):
        pass

    def stop(done, figures):
        if done == 4:
            raise Stop

    predictions = blobs()
    recipe = replace(RECIPE, augmentation=Augmentation.of_scans(crop=(24, 24)))
    whole = RefinementSampler.fit(predictions, recipe=recipe, seed=1)

    def fit(**options):
        return RefinementSampler.fit(predictions, recipe=recipe, seed=1, checkpoint_path=tmp_path, **options)

    import calibrant.samplers.refinement as room

    plain = room.train
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(room, "train", lambda *a, **k: plain(*a, **{**k, "checkpoint_every": 3, "look_every": 2}))
        with pytest.raises(Stop):
            fit(watch=stop)
    assert (tmp_path / "checkpoint.pt").exists()
    resumed = fit()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], value), name
    assert torch.equal(drawn(whole, predictions[0]), drawn(resumed, predictions[0]))


def test_it_stands_behind_any_calibrator_and_leaves_it_alone():
    predictions = blobs(3)
    calibrator = TemperatureScaling(2.0)
    seen = []
    calibrator.register_forward_hook(lambda module, given, out: seen.append((torch.is_grad_enabled(), out)))
    RefinementSampler.fit(predictions, calibrator, recipe=replace(RECIPE, num_steps=1))
    assert seen
    assert not any(enabled for enabled, _ in seen)
    assert not any(out.requires_grad for _, out in seen)


def test_samples_come_in_blocks_without_a_change(monkeypatch):
    sampler = RefinementSampler(RefinementUNet.small(3, 3), None)
    prediction = Prediction("a", torch.randn(3, 16, 16), torch.zeros(1, 16, 16, dtype=torch.long))
    whole = drawn(sampler, prediction, 7)
    monkeypatch.setattr("calibrant.samplers.network_sampler._NUMBERS", 32 * 256 * 2)
    assert torch.equal(drawn(sampler, prediction, 7), whole)


def test_what_it_was_not_trained_for_is_refused():
    predictions = toy_predictions(size=(16, 16), num_images=2)
    sampler = RefinementSampler.fit(predictions, recipe=replace(RECIPE, num_steps=1))
    with pytest.raises(ShapeError, match="expected the image"):
        drawn(sampler, replace(predictions[0], image=None))
    with pytest.raises(ShapeError, match="3 classes and an image"):
        drawn(sampler, toy_predictions(num_classes=4, size=(16, 16))[0])
    with pytest.raises(InputError, match=r"RefinementUNet\(5, 3\)"):
        RefinementSampler.fit(predictions, recipe=RECIPE, network=RefinementUNet.small(4, 3))
    with pytest.raises(FitError, match="got none"):
        RefinementSampler.fit([], recipe=RECIPE)


def test_without_images():
    predictions = [replace(p, image=None) for p in toy_predictions(size=(16, 16), num_images=2)]
    sampler = RefinementSampler.fit(predictions, recipe=replace(RECIPE, num_steps=1))
    assert sampler.standardise is None
    for _, maps in draw_hypotheses(sampler, predictions, num_samples=3, generator=torch.Generator()):
        assert maps.shape == (3, 16, 16)


def test_gradients_are_off_and_training_mode_is_refused():
    sampler = RefinementSampler(RefinementUNet.small(3, 2))
    sampler.train()
    assert not any(module.training for module in sampler.modules())
    assert not any(p.requires_grad for p in sampler.parameters())


class TestCalibrationNetwork:
    def test_it_learns_the_law_of_the_annotators_behind_an_overconfident_box(self):
        predictions = blobs(24, size=(16, 16))
        sharp = [replace(p, logits=4 * p.logits) for p in predictions]
        fitted = CalibrationNetwork.fit(
            sharp, recipe=CalibrationRecipe(num_steps=150, batch_size=8, learning_rate=1e-2)
        )

        def away(p, logits):
            return float((logits.softmax(0)[1] - p.logits.softmax(0)[1]).abs().mean())

        before = sum(away(p, q.logits) for p, q in zip(predictions, sharp, strict=True))
        with torch.no_grad():
            after = sum(
                away(p, fitted(q.logits[None], q.image[None])[0]) for p, q in zip(predictions, sharp, strict=True)
            )
        assert after < 0.6 * before

    def test_interrupted_and_resumed_it_is_the_same(self, tmp_path):
        predictions = blobs(4, size=(16, 16))
        recipe = CalibrationRecipe(num_steps=6, batch_size=2, one_annotator=True, augmentation=Augmentation.of_scans())
        whole = CalibrationNetwork.fit(predictions, recipe=recipe)

        def stop(number):
            raise KeyboardInterrupt

        import calibrant.calibrators.calibration_network as room

        plain = room.train
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(room, "train", lambda *a, **k: plain(*a, **{**k, "checkpoint_every": 2, "look_every": 3}))
            with pytest.raises(KeyboardInterrupt):
                CalibrationNetwork.fit(
                    predictions, recipe=recipe, checkpoint_path=tmp_path, watch=lambda done, _: stop(done)
                )
        resumed = CalibrationNetwork.fit(predictions, recipe=recipe, checkpoint_path=tmp_path)
        for name, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], value), name

    @pytest.mark.parametrize("reads", ["labels", "nothing"])
    def test_what_it_reads(self, reads):
        predictions = toy_predictions(size=(16, 16), num_images=2)
        make = SegNet.small if reads == "nothing" else CalibrationHead.small
        fitted = CalibrationNetwork.fit(
            predictions, make=make, model_output=reads, recipe=CalibrationRecipe(num_steps=2, batch_size=2)
        )
        p = predictions[0]
        with torch.no_grad():
            out = fitted(p.logits[None], p.image[None])
            # Scaling keeps the labels, so an F that reads labels, or nothing, says the same.
            assert torch.equal(fitted(3 * p.logits[None], p.image[None]), out)
            if reads == "nothing":
                assert torch.equal(fitted(-p.logits[None], p.image[None]), out)
            else:
                assert not torch.equal(fitted(-p.logits[None], p.image[None]), out)

    def test_stored_with_its_weights(self, tmp_path):
        fitted = CalibrationNetwork.fit(
            toy_predictions(num_images=2), recipe=CalibrationRecipe(num_steps=1, batch_size=2)
        )
        save(fitted, tmp_path)
        p = toy_predictions(seed=3)[0]
        with torch.no_grad():
            assert torch.equal(load(tmp_path)(p.logits[None], p.image[None]), fitted(p.logits[None], p.image[None]))

    def test_no_labels(self):
        void = [replace(p, labels=torch.full_like(p.labels, -100)) for p in toy_predictions()]
        with pytest.raises(FitError, match="all pixels of the 4 images are unlabelled"):
            CalibrationNetwork.fit(void)
