"""What the LIDC experiment runs: sizes for two cores or for a GPU, and the ways to train G."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from calibrant.samplers import RefinementRecipe
from calibrant.training import Devices, SingleDevice

SMALL = RefinementRecipe.small(num_steps=900)
LONGER = ", four times as long"
"""Trained for as many steps as the preset has."""


@dataclass(frozen=True)
class Config:
    """What is run; sizes for two cores by default.

    :param folder: the folder of the crops among the data; empty for synthetic blobs.
    :param runs: where trainings are kept.
    :param crop: pixels a side, taken in the middle.
    :param window: pixels a side that F is trained on, drawn at random: a smaller one is less work.
    :param middle: pixels a side of what G is trained on,
    :param view: and of the windows of it, drawn at random.
    :param held_out: share of the train patients that no network is trained on: what is fitted behind F is fitted there.
    :param width: of F, a U-Net; none for the paper's networks.
    :param recipe: of G; the controls are changes to it.
    :param other_seeds: of which the trainings beside the table's are run.
    :param numbers: of samples in the calibration loss, compared.
    :param device: where networks are trained, such as "cuda".
    :param stacked: options of its fit.
    """

    preset: str = "small, for two cores"
    folder: str = "lidc_crops"
    runs: str = "runs/lidc"
    seeds: tuple[int, ...] = (0, 1, 2)
    crop: int = 64
    window: int = 48
    middle: int = 48
    view: int = 40
    held_out: float = 0.15
    width: int | None = 12
    calibration_steps: int = 1600
    calibration_batch: int = 8
    recipe: RefinementRecipe = SMALL
    other_seeds: tuple[int, ...] = (0,)
    numbers: tuple[int, ...] = (2, 5, 10, 20)
    num_samples: int = 100
    num_resamples: int = 1000
    device: str = "cpu"
    stacked: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def smoke(cls, runs: str) -> "Config":
        """Return a few steps of each part, on synthetic data."""
        recipe = RefinementRecipe.small(num_steps=4, batch_size=2, num_samples=2, judged_samples=1)
        return cls(
            "smoke",
            "",
            runs,
            seeds=(0, 1),
            crop=32,
            window=24,
            middle=28,
            view=24,
            width=4,
            calibration_steps=4,
            calibration_batch=2,
            recipe=recipe,
            numbers=(2, 3),
            num_samples=20,
            num_resamples=50,
            stacked={"num_epochs": 1},
        )

    @classmethod
    def published(cls) -> "Config":
        """Return the paper's networks and recipe, for a GPU; crops are 71 pixels a side, the paper's 128."""
        recipe = RefinementRecipe(num_steps=40_000)
        return cls(
            "as published, but for crops, steps and turned images",
            runs="runs/lidc-published",
            window=64,
            middle=64,
            view=64,
            width=None,
            calibration_steps=20_000,
            calibration_batch=32,
            recipe=recipe,
            other_seeds=(0, 1, 2),
            device="cuda",
        )

    @property
    def devices(self) -> Devices:
        """Where networks are trained."""
        return SingleDevice(self.device)


@dataclass(frozen=True)
class Arm:
    """A way to train G.

    :param behind: what its probabilities are: "F", or F behind what was fitted on the images held out.
    """

    recipe: RefinementRecipe
    behind: str = "F"


def arms(config: Config) -> dict[str, Arm]:
    """Return the trainings of G by name: the method, the paper's controls, other calibrations of F, other m, longer."""
    own = config.recipe
    control = replace(own.with_cross_entropy(), num_samples=2)  # nothing looks at their mean
    both = {"CAR": own, "cGAN + cross-entropy": control}
    others = {f"CAR, m={m}": Arm(replace(own, num_samples=m)) for m in config.numbers if m != own.num_samples}
    return {
        "CAR": Arm(own),
        "cGAN + cross-entropy": Arm(control),
        "cGAN, lambda 0": Arm(replace(own.without_calibration(), num_samples=2)),
        "CAR behind temperature": Arm(own, "temperature"),
        "CAR behind stacked": Arm(own, "stacked"),
        **others,
        **{f"{name}{LONGER}": Arm(replace(recipe, num_steps=4 * recipe.num_steps)) for name, recipe in both.items()},
    }
