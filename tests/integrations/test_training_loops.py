"""Calibration in the loops of Lightning, Ignite and MONAI: what is logged is the score of all images."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from calibrant.errors import InputError
from calibrant.metrics import CalibrationBins, confidence_gap, expected_calibration_error
from calibrant.predictions import IGNORE

IMAGES = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 4, (5, 6, 6), generator=torch.Generator().manual_seed(1))
LABELS[:, 0] = 255
KNOWN = LABELS.masked_fill(LABELS == 255, IGNORE)
PAIRS = list(zip(IMAGES, LABELS, strict=True))

pytestmark = pytest.mark.slow  # importing these libraries takes seconds


def network():
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 1)


def expected(images=slice(None)):
    with torch.no_grad():
        return float(expected_calibration_error(CalibrationBins.of(network()(IMAGES[images]), KNOWN[images]).pooled()))


@pytest.fixture(scope="module")
def lightning():
    return pytest.importorskip("lightning.pytorch")


@pytest.fixture
def trained(lightning):
    class Segmenter(lightning.LightningModule):
        def __init__(self, returned=("loss", "logits", "labels")):
            super().__init__()
            self.network, self.returned = network(), returned

        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self.network(batch[0]), batch[1], ignore_index=255)

        def validation_step(self, batch, _, dataloader_idx=0):
            logits = self.network(batch[0])
            made = {"loss": logits.sum(), "logits": logits, "labels": batch[1]}
            return {name: made[name] for name in self.returned}

        def test_step(self, batch, batch_idx):
            return self.network(batch[0]), batch[1]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    return Segmenter


@pytest.fixture
def trainer(lightning):
    def make(callback):
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return lightning.Trainer(
            max_epochs=2, callbacks=[callback], accelerator="cpu", enable_model_summary=False, **quiet
        )

    return make


@pytest.mark.filterwarnings("ignore")  # Lightning's advice on workers
def test_lightning_logs_the_scores_of_validation_and_test(trained, trainer):
    from calibrant.integrations.lightning import TallyCallback

    loader = DataLoader(PAIRS, batch_size=2)
    scores = {"ece": expected_calibration_error, "gap": confidence_gap}
    loop = trainer(TallyCallback(scores=scores))
    loop.fit(trained(), loader, loader)
    assert float(loop.callback_metrics["val_ece"]) == pytest.approx(expected(), rel=1e-5)
    assert "val_gap" in loop.callback_metrics
    (found,) = trainer(TallyCallback(read=lambda outputs, batch: outputs)).test(trained(), loader, verbose=False)
    assert found["test_ece"] == pytest.approx(expected(), rel=1e-5)
    first = DataLoader(PAIRS[:2], batch_size=2)
    found = trainer(TallyCallback()).validate(trained(), [first, loader], verbose=False)
    said = {name: value for each in found for name, value in each.items()}
    values = sorted(float(value) for value in said.values())
    assert values == pytest.approx(sorted((expected(slice(0, 2)), expected())), rel=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_step_that_returns_no_logits_is_a_sentence(trained, trainer):
    from calibrant.integrations.lightning import TallyCallback

    with pytest.raises(InputError, match="got a mapping of loss\\. Return them"):
        trainer(TallyCallback()).validate(trained(("loss",)), DataLoader(PAIRS, batch_size=2), verbose=False)
    with pytest.raises(ValueError, match="bins"):
        TallyCallback(bins=10)


def test_ignite_keeps_the_scores_among_its_metrics():
    engine = pytest.importorskip("ignite.engine")
    from calibrant.integrations.ignite import TallyHandler

    model = network().eval()

    def step(_, batch):
        with torch.no_grad():
            return model(batch[0]), batch[1]

    evaluator = engine.Engine(step)
    TallyHandler().attach(evaluator, "calibration")
    loader = DataLoader(PAIRS, batch_size=2)
    for _ in range(2):  # counts begin anew
        assert float(evaluator.run(loader).metrics["ece"]) == pytest.approx(expected(), rel=1e-5)


def test_monai_hands_over_lists_of_images_with_labels_of_one_channel():
    pytest.importorskip("ignite.engine")
    monai = pytest.importorskip("monai")
    from monai.engines import SupervisedEvaluator
    from monai.handlers import from_engine

    from calibrant.integrations.ignite import TallyHandler

    rows = [
        {"image": monai.data.MetaTensor(image), "label": monai.data.MetaTensor(label[None].float())}
        for image, label in PAIRS
    ]
    loader = monai.data.DataLoader(rows, batch_size=2)
    handler = TallyHandler(output_transform=from_engine(["pred", "label"]))
    evaluator = SupervisedEvaluator(torch.device("cpu"), loader, network().eval())
    handler.attach(evaluator, "calibration")
    evaluator.run()
    assert float(evaluator.state.metrics["ece"]) == pytest.approx(expected(), rel=1e-5)


def test_one_hot_labels_and_fractions_are_sentences():
    pytest.importorskip("ignite.engine")
    from calibrant.integrations.ignite import TallyHandler

    handler = TallyHandler(ignore_index=None)
    logits, labels = network()(IMAGES).detach(), LABELS.clamp(max=3)
    one_hot = nn.functional.one_hot(labels, 4).movedim(-1, 1)
    for wrong, words in ((one_hot, "one-hot"), (one_hot.float(), "AsDiscrete"), (labels + 0.5, "fraction")):
        with pytest.raises(InputError, match=words):
            handler.update((logits, wrong))
    handler.update((logits, labels.float()))
    assert handler.compute()["ece"] > 0


@pytest.mark.parametrize("name", ["torchmetrics", "lightning.pytorch", "ignite", "huggingface_hub"])
@pytest.mark.filterwarnings("ignore")
def test_examples_in_docstrings(name):
    import doctest
    from importlib import import_module

    pytest.importorskip(name)
    ours = {"lightning.pytorch": "lightning", "huggingface_hub": "hub"}.get(name, name)
    found = doctest.testmod(import_module(f"calibrant.integrations.{ours}"), optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed
