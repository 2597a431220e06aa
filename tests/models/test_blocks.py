"""Blocks of images: the same numbers, bit for bit, in whatever order and run they are asked for."""

import pytest
import torch
from torch import nn

from calibrant.data import StoredPredictions, write_store
from calibrant.errors import LabelError, LogitsError, MethodError
from calibrant.models import BlockPredictions, ModelPredictions
from calibrant.networks import SmallUNet
from calibrant.predictions import Example, Predictions

SIZES = ((8, 12), (8, 12), (6, 6), (6, 6), (6, 6), (8, 12), (9, 7))


def examples(*sizes):
    generator = torch.Generator().manual_seed(0)
    return [
        Example(f"{i}", torch.rand(3, *s, generator=generator), torch.randint(0, 2, (1, *s), generator=generator))
        for i, s in enumerate(sizes)
    ]


class Counting(nn.Module):
    """Remembers the sizes of its batches, and lets what is in a batch change its answer."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, images):
        self.sizes.append(len(images))
        return images[:, :, ::2, ::2] + images.mean()


def network():
    return SmallUNet(3, 4, width=4, depth=1, stride=2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_any_order_gives_the_same_bits(batch_size):
    source = examples(*SIZES)
    in_order = [p.logits for p in BlockPredictions(Counting(), source, batch_size=batch_size)]
    for order in ([6, 5, 4, 3, 2, 1, 0], [3, 0, 6, 3], [5], [-1]):
        predictions = BlockPredictions(Counting(), source, batch_size=batch_size)
        for i in order:
            assert torch.equal(predictions[i].logits, in_order[i])


def test_reading_in_order_runs_each_image_once():
    model = Counting()
    predictions = BlockPredictions(model, examples(*SIZES), batch_size=3)
    assert isinstance(predictions, Predictions)
    list(predictions)
    assert model.sizes == [2, 1, 2, 1, 1]
    assert predictions.keys == tuple("0123456")


def test_they_are_the_models_predictions():
    source = examples(*SIZES)
    for one, other in zip(
        BlockPredictions(network(), source, batch_size=2), ModelPredictions(network(), source), strict=True
    ):
        torch.testing.assert_close(one.logits, other.logits, rtol=1e-5, atol=1e-5)
        assert torch.equal(one.labels, other.labels)


def test_a_store_keeps_the_networks_resolution_and_gives_the_same_predictions(tmp_path):
    source = examples(*SIZES)
    predictions = BlockPredictions(network(), source, batch_size=2)
    stored = write_store(predictions, tmp_path / "network")
    assert stored.strided(0).logits.shape == (4, 4, 6)
    whole = write_store(BlockPredictions(network(), source, batch_size=2, resolution="label"), tmp_path / "label")
    assert whole.strided(0).logits.shape == (4, 8, 12)
    for a, b, c in zip(stored, whole, predictions, strict=True):
        assert torch.equal(a.logits, b.logits)
        assert torch.equal(a.logits, c.logits)


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_an_interrupted_store_goes_on_to_the_same_bytes(tmp_path, stop):
    source = examples(*((8, 12),) * 5)

    class Broken(BlockPredictions):
        def strided(self, i):
            if i == stop:
                raise KeyboardInterrupt
            return super().strided(i)

    with pytest.raises(KeyboardInterrupt):
        write_store(Broken(Counting(), source, batch_size=2), tmp_path / "cut")
    write_store(BlockPredictions(Counting(), source, batch_size=2), tmp_path / "cut")
    write_store(BlockPredictions(Counting(), source, batch_size=2), tmp_path / "whole")
    assert StoredPredictions(tmp_path / "cut").keys == tuple("01234")
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "cut" / file.name).read_bytes() == file.read_bytes()


def test_mixed_precision_answers_in_it():
    model = nn.Conv2d(3, 2, 1)
    source = examples((4, 6))
    answer = BlockPredictions(model, source, precision="bf16-mixed").strided(0)
    assert answer.logits.dtype == torch.bfloat16
    exact = BlockPredictions(model, source).strided(0).logits
    torch.testing.assert_close(answer.logits.float(), exact, rtol=0.05, atol=0.02)
    assert not torch.equal(answer.logits.float(), exact)


@pytest.mark.parametrize("resolution", ["network", "label"])
def test_the_numbers_are_looked_at(resolution, tmp_path):
    source = examples((4, 6))

    def read(model):
        return BlockPredictions(model, source, resolution=resolution).strided(0)

    with pytest.raises(LogitsError, match="image '0': expected finite logits"):
        read(lambda images: images * torch.inf)
    with pytest.raises(LogitsError, match="which look like its output"):
        read(lambda images: images[:, :1])
    wrong = [Example("a", source[0].image, torch.full((1, 4, 6), 9))]
    with pytest.raises(LabelError, match=r"expected labels in 0..2, or unlabelled; got 9"):
        write_store(BlockPredictions(lambda images: images - 2, wrong, resolution=resolution), tmp_path / "store")


def test_no_such_resolution_or_precision():
    with pytest.raises(MethodError, match=r"of: network, label; got 'labels'\. Did you mean"):
        BlockPredictions(Counting(), [], resolution="labels")
    with pytest.raises(MethodError, match="expected a precision of: 32-true"):
        BlockPredictions(Counting(), [], precision="fp8")
