"""Every source of predictions keeps the promises of the house, and one that does not is told so."""

from dataclasses import replace

import pytest
import torch

from calibrant.calibrators import TemperatureScaling, calibrated
from calibrant.data import Provenance, write_store
from calibrant.models import EnsemblePredictions, ModelPredictions
from calibrant.predictions import Example, Mapped, Subset, from_arrays, with_logits
from calibrant.testing import check_predictions, toy_predictions

TOYS = toy_predictions(num_images=3)


def modelled(folder):
    examples = [Example(p.key, p.image, p.labels) for p in TOYS]
    return ModelPredictions(torch.nn.Conv2d(2, 3, 1), examples, batch_size=2)


def halved(prediction):
    return with_logits(prediction, calibrated(prediction, TemperatureScaling(2.0)))


SOURCES = {
    "a list": lambda folder: TOYS,
    "volumes": lambda folder: toy_predictions(size=(3, 4, 5), num_annotators=2),
    "arrays": lambda folder: from_arrays(torch.randn(2, 3, 4, 5), torch.zeros(2, 4, 5, dtype=torch.long)),
    "a subset": lambda folder: Subset(TOYS, (2, 0)),
    "mapped": lambda folder: Mapped(TOYS, halved),
    "a model": modelled,
    "an ensemble": lambda folder: EnsemblePredictions([TOYS, toy_predictions(num_images=3)]),
    "a store": lambda folder: write_store(
        TOYS, folder / "store", provenance=Provenance(model="toy", data="toy"), dtype="float32"
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_sources_keep_the_contract(name, tmp_path):
    check_predictions(SOURCES[name](tmp_path))


class Own(list):
    """Toys with one promise broken."""

    def __init__(self, broken):
        super().__init__(toy_predictions(num_images=3))
        self.broken = broken
        self.reads = 0
        self.shared = torch.empty(3, 12, 16)
        if broken == "keys":
            self.keys = ("toy0", "toy2", "toy1")
        if broken == "twice":
            self[1] = replace(self[1], key="toy0")
        if broken == "classes":
            self[1] = toy_predictions(num_images=2, num_classes=4)[1]
        if broken == "probabilities":
            self[1] = replace(self[1], logits=self[1].logits.softmax(0))
        if broken == "labels":
            self[1] = replace(self[1], labels=torch.full_like(self[1].labels, 255))

    def __len__(self):
        return super().__len__() + (self.broken == "length")

    def __iter__(self):
        self.reads += 1
        if self.broken == "once" and self.reads > 1:
            return iter(())
        if self.broken == "noise":
            return (replace(p, logits=p.logits + torch.randn(1)) for p in super().__iter__())
        if self.broken == "overwritten":
            return (replace(p, logits=self.shared.copy_(p.logits)) for p in super().__iter__())
        return super().__iter__()

    def __getitem__(self, i):
        if self.broken == "number" and i == 1:
            return replace(super().__getitem__(1), logits=-super().__getitem__(1).logits)
        return super().__getitem__(i)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("length", "as many images as the length says, 4; got 3"),
        ("once", "read a second time, there are 0 images, not 3"),
        ("noise", "read a second time, an image differs: 'toy0', logits"),
        ("overwritten", "overwritten later: 'toy0', logits"),
        ("number", "read by number, image 1 differs: 'toy1', logits"),
        ("keys", "keys to be those of the images in order"),
        ("twice", r"some twice: \['toy0'\]"),
        ("classes", r"same classes in all images; got \[3, 4\]"),
        ("probabilities", "which are probabilities"),
        ("labels", "got 255"),
    ],
)
def test_a_broken_promise_is_named(broken, words):
    with pytest.raises(AssertionError, match=words):
        check_predictions(Own(broken))


@pytest.mark.untyped
def test_what_is_no_source_is_told_so():
    with pytest.raises(AssertionError, match="reading in order and reading by number"):
        check_predictions(iter(TOYS))
    with pytest.raises(AssertionError, match="one image or more"):
        check_predictions([])
    check_predictions(Own("nothing"))
