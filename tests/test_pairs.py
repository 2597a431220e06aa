"""Loaders, data sets and lists of pairs, in place of predictions and examples."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from calibrant.calibrators import TemperatureScaling, VectorScaling
from calibrant.errors import InputError, LabelError, ShapeError
from calibrant.evaluation import tally
from calibrant.metrics import CalibrationBins
from calibrant.models import ModelPredictions
from calibrant.predictions import IGNORE, Example, from_arrays, predictions_of

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(6, 3, 8, 8, generator=GENERATOR)
PROBABILITIES = (LOGITS.movedim(1, -1) / 2).softmax(-1)
LABELS = torch.multinomial(PROBABILITIES.flatten(0, -2), 1, generator=GENERATOR).view(PROBABILITIES.shape[:-1])
LABELS[:, 0] = 255


class Named(Dataset):
    """Items that are mappings, of images that have names."""

    keys = tuple("fedcba")

    def __len__(self):
        return len(LOGITS)

    def __getitem__(self, i):
        return {"pixel_values": LOGITS[i], "mask": LABELS[i]}


def both(items):
    return {name: torch.stack([each[name] for each in items]) for name in ("pixel_values", "mask")}


SOURCES = {
    "tensors": (LOGITS, LABELS),
    "arrays": (LOGITS.numpy(), LABELS.numpy()),
    "a list of each": (list(LOGITS), list(LABELS)),
    "a data set": (TensorDataset(LOGITS, LABELS),),
    "a list of pairs": ([(z, y) for z, y in zip(LOGITS, LABELS, strict=True)],),
    "a loader": (DataLoader(TensorDataset(LOGITS, LABELS), batch_size=4),),
    "a shuffling loader": (DataLoader(TensorDataset(LOGITS, LABELS), batch_size=4, shuffle=True),),
    "a loader of mappings": (DataLoader(Named(), batch_size=2, collate_fn=both),),
    "predictions": (from_arrays(LOGITS, LABELS),),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_fit_is_the_same_for_all_of_them(name):
    expected = VectorScaling.fit(from_arrays(LOGITS, LABELS), strength=0.0, pixels_per_image=None)
    found = VectorScaling.fit(*SOURCES[name], strength=0.0, pixels_per_image=None)
    assert torch.equal(found(LOGITS), expected(LOGITS))


def test_names_of_a_data_set_are_kept_and_everything_is_counted():
    source = predictions_of(Named())
    assert source.keys == Named.keys
    assert bool((source[0].labels[:, 0] == IGNORE).all())
    counted = tally(CalibrationBins.of, DataLoader(TensorDataset(LOGITS, LABELS)))
    assert len(counted) == 6


@pytest.mark.parametrize(
    "answer",
    [lambda z: z, lambda z: {"out": z}, lambda z: (z, "aux")],
    ids=["logits", "a mapping", "a tuple"],
)
def test_a_model_over_a_loader_of_images_and_labels(answer):
    network = nn.Conv2d(3, 4, 1)
    pairs = TensorDataset(torch.rand(3, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.long))
    said = ModelPredictions(lambda images: answer(network(images)), DataLoader(pairs, batch_size=2), batch_size=2)
    plain = ModelPredictions(network, [Example(str(i), x, y[None]) for i, (x, y) in enumerate(pairs)])
    assert said.keys == ("0000", "0001", "0002")
    for one, other in zip(said, plain, strict=True):
        torch.testing.assert_close(one.logits, other.logits)
    TemperatureScaling.fit(said)


class Streamed(IterableDataset):
    def __iter__(self):
        yield from zip(LOGITS, LABELS, strict=True)


WRONG = {
    "logits alone": (LOGITS, InputError, "fit\\(logits, labels\\)"),
    "an array alone": (np.zeros((2, 3, 4, 4)), InputError, "fit\\(logits, labels\\)"),
    "a stream": (DataLoader(Streamed()), InputError, "read by number"),
    "other names": ([{"x": LOGITS[0], "y": LABELS[0]}], InputError, "names such as image and mask"),
    "one thing": (TensorDataset(LOGITS), InputError, "a pair"),
    "labels of fractions": ([(LOGITS[0], LABELS[0].float())], LabelError, "integer labels"),
    "sizes": ([(LOGITS[0], LABELS[0, :4])], ShapeError, "0000"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_one_sentence(name):
    source, error, words = WRONG[name]
    with pytest.raises(error, match=words):
        TemperatureScaling.fit(source)


def test_images_that_are_no_numbers_of_a_model_are_refused():
    whole = [(torch.zeros(3, 4, 4, dtype=torch.uint8), LABELS[0, :4, :4])]
    with pytest.raises(ShapeError, match=r"image\.float\(\) / 255"):
        next(iter(ModelPredictions(nn.Identity(), whole)))


def test_the_name_of_a_store_is_no_source():
    for name in ("runs/val", Path("runs/val")):
        with pytest.raises(InputError, match=r"got the name 'runs.val'\. Open a store"):
            TemperatureScaling.fit(name)
