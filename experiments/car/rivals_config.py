"""What the comparison of samplers on LIDC runs: networks, inputs, seeds, and steps that take alike long."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from calibrant.samplers import EnergyScoreLoss, SamplerRecipe
from calibrant.samplers.learnt_sampler import SampleLoss
from calibrant.samplers.storage import LEARNT
from calibrant.training import Augmentation
from experiments._record import RESULTS
from experiments.car.lidc_config import LONGER
from experiments.car.lidc_config import Config as LidcConfig

STEPS = {
    "energy": 2400,
    "ssn": 1270,
    "probabilistic-unet": 2080,
    "hierarchical": 3170,
    "phiseg": 1190,
    "supervised-uq": 510,
}
"""Steps that take as long as 2,400 of the energy score: seconds a step, by ``--times`` on a busy core, are 1.01, 1.90,
1.16, 0.76, 2.03 and 4.73."""

HALF_AN_HOUR = {"energy": 3800}
"""Steps that take less than 1,800 seconds of a processor, with a stride of 2; the record says how many each took."""

SIZES: Mapping[str, Mapping[str, Any]] = {"energy": {"stride": 1}}
"""Arguments of the networks in the records, by sampler: that of the energy score was compared with a stride of 1."""

MILLISECONDS = "milliseconds a sample"
"""The name in records of what a sample takes."""

PUBLISHED_STEPS = dict.fromkeys(LEARNT, 1000)
"""Steps of the networks in their published widths: what a GPU does in the minutes for which it is lent."""


@dataclass(frozen=True)
class Config:
    """What is run; sizes for two cores by default.

    :param folder: the folder of the crops among the data; empty for synthetic blobs.
    :param runs: where trainings are kept.
    :param lidc_runs: where ``experiments.car.lidc`` keeps its trainings: F, and CAR as it is there.
    :param crop: pixels a side of what is trained on, drawn at random, and of what is scored, in the middle.
    :param seeds: of the trainings.
    :param inputs: what networks are given: the image alone, and the image with the probabilities of F.
    :param steps: of the training of each sampler that is compared, so that all take alike many seconds of a processor.
    :param widths: of the networks: "small", or "published".
    :param sizes: arguments of the networks besides ``SIZES``, by sampler.
    :param car: the trainings of CAR that are shown, by their names in ``experiments.car.lidc``.
    :param own_mean: the samplers that are shown coupled to their own mean as well.
    :param num_samples: drawn of each image for the scores.
    :param device: where networks are trained and drawn from, such as "cuda".
    :param record: the name of what is recorded.
    """

    folder: str = "lidc_crops"
    runs: str = "runs/rivals"
    lidc_runs: str = "runs/lidc"
    crop: int = 64
    seeds: tuple[int, ...] = (0, 1, 2)
    inputs: tuple[str, ...] = ("image", "both")
    steps: Mapping[str, int] = field(default_factory=lambda: dict(STEPS))
    batch_size: int = 32
    widths: str = "small"
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    car: tuple[str, ...] = ("CAR", f"CAR{LONGER}")
    own_mean: tuple[str, ...] = ("energy", "ssn", "probabilistic-unet")
    num_samples: int = 100
    num_resamples: int = 1000
    device: str = "cpu"
    record: str = "rivals"

    @classmethod
    def published(cls) -> "Config":
        """Return the rivals in their published widths, and a wide network for the energy score, from the image."""
        return cls(
            runs="runs/rivals-published",
            seeds=(0,),
            inputs=("image",),
            steps=PUBLISHED_STEPS,
            widths="published",
            sizes={"energy": {"width": 32}},
            car=(),
            device="cuda",
            record="rivals_published",
        )

    @classmethod
    def half_an_hour(cls) -> "Config":
        """Return the energy score alone, from the image, trained for half an hour of one core."""
        return cls(
            runs="runs/rivals-half-hour",
            inputs=("image",),
            steps=HALF_AN_HOUR,
            sizes={"energy": {"stride": 2}},
            car=(),
            record="rivals_half_hour",
        )

    @classmethod
    def smoke(cls, runs: str) -> "Config":
        """Return a few steps of each part, on synthetic data."""
        return cls(
            "",
            f"{runs}/rivals",
            f"{runs}/lidc",
            crop=24,
            seeds=(0,),
            steps=dict.fromkeys(LEARNT, 3),
            batch_size=2,
            car=("CAR",),
            sizes={
                "energy": {"width": 4, "depth": 1, "num_maps": 3, "hidden": 8},
                "ssn": {"widths": (4, 8), "rank": 2},
                "probabilistic-unet": {"widths": (4, 8)},
                "hierarchical": {"widths": (4, 4, 8), "latents": 2},
                "phiseg": {"widths": (4, 4, 8), "latents": 2},
                "supervised-uq": {"widths": (4, 8)},
            },
            num_samples=20,
            num_resamples=50,
        )

    def shortened(self, share: float) -> "Config":
        """Return a share of the steps of each sampler's training, kept and recorded elsewhere."""
        steps = {name: max(1, round(share * number)) for name, number in self.steps.items()}
        return replace(self, steps=steps, runs=f"{self.runs}-{share}", record=f"{self.record}_{share}")

    @property
    def scores(self) -> Path:
        """The folder of the scores of each row and seed: among the results, if they are of real data."""
        return RESULTS / self.record if self.folder else Path(self.runs) / "scores"

    @property
    def lidc(self) -> LidcConfig:
        """What ``experiments.car.lidc`` trains, F and CAR, on the same patients."""
        found = replace(LidcConfig(), runs=self.lidc_runs) if self.folder else LidcConfig.smoke(self.lidc_runs)
        return replace(found, device=self.device)

    def make(self, name: str) -> Callable[..., Any]:
        """Return what makes a sampler's network of its channels and classes."""
        return network_of(name, self.sizes, small=self.widths == "small")

    def recipe(self, name: str) -> SamplerRecipe:
        """Return how a sampler is trained: alike, but for its own learning rate and the number of steps."""
        augmentation = Augmentation.of_scans(crop=(self.crop,) * 2, shift=0)
        changes = {"num_steps": self.steps[name], "batch_size": self.batch_size, "augmentation": augmentation}
        return replace(LEARNT[name].recipe, **changes)


def network_of(name: str, sizes: Mapping[str, Mapping[str, Any]], *, small: bool = True) -> Callable[..., Any]:
    """Return what makes a sampler's network of its channels and classes, with ``SIZES`` and other arguments."""
    network = LEARNT[name].network_class
    return partial(network.small if small else network, **{**SIZES.get(name, {}), **sizes.get(name, {})})


def loss_of(name: str) -> SampleLoss:
    """Return what a sampler is trained by: the energy score counts the nodule, like the metric."""
    return EnergyScoreLoss(classes=(1,)) if name == "energy" else LEARNT[name].loss()
