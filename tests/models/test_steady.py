"""A model is in evaluation mode, or is refused; its answers are logits, or declared, before they are averaged."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from calibrant.errors import InputError, LogitsError
from calibrant.models import BlockPredictions, DeclaredScores, InViews, ModelPredictions
from calibrant.predictions import Example


def net(*after, classes=3):
    torch.manual_seed(0)
    last = nn.Conv2d(8, classes, 1)
    last.weight.data *= 8
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), last, *after)


def with_norm():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 1))


class AlwaysDropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = net()

    def forward(self, images):
        return F.dropout(self.inside(images))


def examples(count=2, size=(16, 20)):
    generator = torch.Generator().manual_seed(1)
    return [
        Example(str(i), torch.rand(3, *size, generator=generator), torch.zeros(1, *size, dtype=torch.long))
        for i in range(count)
    ]


def traced(module, count=1):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return torch.jit.trace(module, torch.rand(count, 3, 16, 20), check_trace=False)


RANDOM = {
    "traced with dropout": lambda: traced(net(nn.Dropout(0.5)).train()),
    "functional dropout": AlwaysDropping,
    "noise": lambda: lambda images: net()(images) + torch.randn(1),
}


@pytest.mark.parametrize("name", [*RANDOM, "noise in one class"])
def test_a_random_model_is_refused(name):
    one = torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1)
    inside = net()
    made = RANDOM[name]() if name in RANDOM else lambda images: inside(images) + one * torch.randn(1)
    if name == "noise":  # the same number in all classes changes no probability
        BlockPredictions(made, examples()).prove_steady()
        return
    with pytest.raises(
        InputError, match=r"two runs over one image differ by up to .*: the model is random.*model\.eval"
    ):
        BlockPredictions(made, examples()).prove_steady()


def test_a_traced_model_is_proven_whatever_reads_it():
    model = traced(net(nn.Dropout(0.5)).train())
    with pytest.raises(InputError, match="the model is random"):
        ModelPredictions(model, examples())[0]
    assert ModelPredictions(traced(net(nn.Dropout(0.5)).eval()), examples())[0].num_classes == 3


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: InViews(m, flip=True), lambda m: InViews(m, crop=8)])
def test_batch_normalisation_in_training_mode_is_refused(wrap):
    model = wrap(traced(with_norm().train(), 2))
    with pytest.raises(InputError, match=r"behind another image it differs.*batch normalisation in training mode"):
        BlockPredictions(model, examples(), batch_size=2).prove_steady()


@pytest.mark.parametrize("count", [1, 2])
def test_modules_are_put_in_evaluation_mode(count):
    for module in (with_norm().train(), net(nn.Dropout(0.5)).train()):
        BlockPredictions(module, examples(), batch_size=count).prove_steady()
        assert module.training


def test_a_model_that_takes_one_image_at_a_time_is_well():
    def single(images):
        if len(images) > 1:
            raise RuntimeError("one image only")
        return net()(images)

    BlockPredictions(single, examples()).prove_steady()


def test_a_black_image_is_no_sign_of_a_dead_model():
    black = [Example("a", torch.zeros(3, 16, 20), torch.zeros(1, 16, 20, dtype=torch.long)), *examples()]
    for model in (nn.Conv2d(3, 3, 1), InViews(net(), crop=8)):
        BlockPredictions(model, black).prove_steady()


def test_a_model_that_says_the_same_everywhere():
    def dead(images):
        return torch.tensor([0.2, 0.3, -1.0]).reshape(1, 3, 1, 1).expand(len(images), 3, *images.shape[2:])

    with pytest.raises(LogitsError, match="all of them are equal"):
        BlockPredictions(dead, examples()).prove_steady()


# -- what it answers with


VIEWS = [{}, {"flip": True}, {"crop": 8}, {"scales": (1.0, 0.5)}, {"crop": 8, "flip": True}]


@pytest.mark.parametrize("views", VIEWS)
def test_softmax_inside_is_refused_in_every_view_and_declared_it_is_as_without(views):
    inside = net(nn.Softmax(1))
    for source in (ModelPredictions, BlockPredictions):
        with pytest.raises(LogitsError, match=r"which are probabilities.*--scores probabilities"):
            source(InViews(inside, **views), examples())[0]
    declared = BlockPredictions(InViews(DeclaredScores(inside, "probabilities"), **views), examples())
    plain = BlockPredictions(InViews(net(), **views), examples())
    declared.prove_steady()
    for one, other in zip(declared, plain, strict=True):
        # A mean of log-probabilities (windows) is that of logits but for a number that all classes share.
        torch.testing.assert_close(
            one.logits.softmax(0), other.logits.softmax(0), atol=2e-2 if "crop" in views else 1e-4, rtol=0
        )


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        ((nn.Softmax(1), Times(100)), "percent"),
        ((nn.Softmax(1), Times(255)), "bytes"),
        ((nn.Sigmoid(),), "sigmoid"),
    ],
)
def test_other_answers_are_declared_too(after, kind):
    model = net(*after)
    with pytest.raises(LogitsError, match=f"--scores {kind}"):
        BlockPredictions(model, examples()).prove_steady()
    for source in (ModelPredictions(model, examples()), BlockPredictions(model, examples())):
        with pytest.raises(LogitsError, match=f"--scores {kind}"):
            source[0]
    found = BlockPredictions(DeclaredScores(model, kind), examples())[0].logits.softmax(0)
    answer = model(examples()[0].image[None])[0]
    torch.testing.assert_close(found, answer / answer.sum(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("views", VIEWS)
def test_a_sigmoid_inside_a_model_of_one_channel(views):
    model = net(nn.Sigmoid(), classes=1)
    with pytest.raises(LogitsError, match=r"before the sigmoid.*which look like its output.*--scores probabilities"):
        BlockPredictions(InViews(model, **views), examples())[0]
    declared = BlockPredictions(InViews(DeclaredScores(model, "probabilities"), **views), examples())[0]
    plain = BlockPredictions(InViews(net(classes=1), **views), examples())[0]
    torch.testing.assert_close(
        declared.logits.softmax(0), plain.logits.softmax(0), atol=2e-2 if "crop" in views else 1e-4, rtol=0
    )


def test_scores_said_to_be_logits_are_taken_at_their_word():
    model = DeclaredScores(net(nn.Sigmoid()), "logits")
    for views in VIEWS:
        predictions = BlockPredictions(InViews(model, **views), examples())
        predictions.prove_steady()
        assert predictions[0].num_classes == 3
