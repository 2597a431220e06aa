"""Scenes whose classes flip with known probabilities, a black box for them, and what is known without one."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from calibrant.data import CAMVID_FLIPS, ClassFlips, StreetScenes, with_class_flips
from calibrant.models import ModelPredictions
from calibrant.networks import SmallUNet
from calibrant.predictions import Example, Prediction, from_probabilities
from calibrant.samplers import Sampler
from calibrant.training import train_segmenter
from experiments._data import camvid, place

STREET_FLIPS = ClassFlips({1: (9, 8 / 17), 5: (10, 6 / 17), 2: (11, 4 / 17)}, num_classes=12)
"""Of the synthetic street scenes, so that everything can be tried without data."""

SOURCES = ("trained", "labels", "truth")
"""What stands before F: a trained black box; the true labels as one; and no F at all, but the true distribution."""


@dataclass(frozen=True)
class Scenes:
    """Where the images come from, and the black box that is trained on them.

    :param folder: the folder of CamVid among the data; empty for synthetic street scenes, few and small.
    :param shrink: rows and columns that become one: the mean of the image, one of the labels.
    :param num_draws: label maps of a training image, flipped anew; the published code draws without end.
    :param box_steps: of the black box, a U-Net of ``box_width`` channels that scores every other pixel.
    """

    folder: str = "camvid"
    shrink: int = 5
    num_draws: int = 16
    box_steps: int = 4000
    box_batch: int = 4
    box_width: int = 16
    seed: int = 0

    @property
    def flips(self) -> ClassFlips:
        """Which classes flip, and how often."""
        return CAMVID_FLIPS if self.folder else STREET_FLIPS

    @property
    def names(self) -> list[str]:
        """The names of the classes that flip."""
        first = camvid(place(self.folder), "test") if self.folder else StreetScenes(1, size=(16, 16), seed=0)
        return [first.class_names[k] for k, _ in self.flips.pairs]

    @property
    def num_clean(self) -> int:
        """The number of classes before any flips."""
        return self.flips.num_classes - len(self.flips.pairs)

    def examples(self, split: str, every: int = 1) -> list[Example]:
        """Return images and clean labels of the standard split, shrunk; one frame in so many."""
        if not self.folder:
            return list(StreetScenes(8, size=(32, 48), seed=len(split)))[::every]
        frames, first, step = camvid(place(self.folder), split), self.shrink // 2, self.shrink
        return [
            Example(e.key, F.avg_pool2d(e.image, step), e.labels[:, first::step, first::step].clone())
            for e in frames.take(range(0, len(frames), every))
        ]

    def black_box(self, folder: Path | None) -> nn.Module:
        """Return the black box, trained on clean labels, or as it was kept in a folder."""
        return self.box_of(self.examples("train"), None if folder is None else folder / "black_box.pt")

    def box_of(self, examples: Sequence[Example], path: Path | None) -> nn.Module:
        """Return the black box as trained on examples, or as it was kept in a file."""
        generator = torch.Generator().manual_seed(self.seed)
        network = SmallUNet(3, self.num_clean, width=self.box_width, depth=3, stride=2, generator=generator)
        if path is not None and path.exists():
            network.load_state_dict(torch.load(path, weights_only=True))
            return network.eval()
        told = 10 * max(1, self.box_steps // 200)
        train_segmenter(
            network,
            examples,
            num_steps=self.box_steps,
            batch_size=self.box_batch,
            seed=self.seed,
            watch=lambda done, figures: (
                print(f"{done} of {self.box_steps}: {figures}", flush=True) if done % told == 0 else None
            ),
        )
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(network.state_dict(), path.with_suffix(".tmp"))
            os.replace(path.with_suffix(".tmp"), path)
        return network

    def predictions(
        self, source: str, split: str, folder: Path | None, *, num_draws: int = 0, every: int = 1
    ) -> list[Prediction]:
        """Return what a source says of a split, in the label set with flips.

        :param num_draws: flipped label maps as labels; 0 for the clean one.
        """
        examples = self.examples(split, every)
        if source == "trained":
            return self.answers_of(self.black_box(folder), examples, num_draws=num_draws)
        filled = [_filled(e.labels[0]) for e in examples]
        one_hot = source == "labels"
        flips = ClassFlips({}, num_classes=self.flips.num_classes) if one_hot else self.flips
        logits = [from_probabilities(flips.marginals(clean)) for clean in filled]
        return self._with_labels(examples, logits, num_draws)

    def answers_of(self, box: nn.Module, examples: Sequence[Example], *, num_draws: int = 0) -> list[Prediction]:
        """Return what a black box says of examples, in the label set with flips.

        :param num_draws: flipped label maps as labels; 0 for the clean one.
        """
        logits = [self._widened(p.logits) for p in ModelPredictions(box, examples, batch_size=8)]
        return self._with_labels(examples, logits, num_draws)

    def _with_labels(self, examples: Sequence[Example], logits: Sequence[Tensor], num_draws: int) -> list[Prediction]:
        drawn = with_class_flips(examples, self.flips, num_draws=num_draws, seed=self.seed) if num_draws else examples
        return [Prediction(e.key, said, e.labels, e.image) for e, said in zip(drawn, logits, strict=True)]

    def _widened(self, logits: Tensor) -> Tensor:
        """Return logits in the label set with flips, whose new classes the black box has never heard of."""
        new = logits.new_full((self.flips.num_classes - len(logits), *logits.shape[1:]), -87.0)
        return torch.cat([logits.log_softmax(0), new])


def _filled(labels: Tensor) -> Tensor:
    """Return the labels with that of the nearest labelled pixel where there is none."""
    nearest = ndimage.distance_transform_edt((labels < 0).numpy(), return_distances=False, return_indices=True)
    rows, columns = torch.from_numpy(nearest).long()
    return labels[rows, columns]


class TrueFlips(Sampler):
    """Flip the most likely map as the truth flips: what a sampler could do that knows how, but sees no better.

    On the true labels it is the perfect sampler.
    """

    def __init__(self, flips: ClassFlips) -> None:
        super().__init__()
        self.flips = flips

    def sample(
        self, logits: Tensor, image: Tensor | None = None, *, num_samples: int, generator: torch.Generator
    ) -> Tensor:
        """Return draws, each class flipped as a whole."""
        maps = self.flips.undone(logits.argmax(1))
        return torch.stack([self.flips.draw(each, num_samples, generator=generator) for each in maps], 1)

    def arguments(self) -> dict[str, ClassFlips]:
        """Return the flips."""
        return {"flips": self.flips}
