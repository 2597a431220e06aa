"""What in the training of the energy-score sampler matters? One change at a time, on LIDC-IDRI, from the image alone.

    python -m experiments.car.energy_ablation [--finished | --train ARM SEED] [--share S] [--smoke]

Each arm differs from ``EnergyScoreSampler`` as ``experiments.car.rivals`` trains it in what its name says, and is
trained and scored alike, on the train and the val patients. Trainings are kept under ``runs/``: half an hour of one
core each, so arms are best trained one by one (``--train``); ``--finished`` scores those that are there. With
``--share 0.25`` all arms, the one that is as it is among them, are trained for a quarter of the steps.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calibrant.samplers import EnergyScoreLoss, EnergyScoreSampler, Moment, load_sampler, save_sampler
from calibrant.samplers.energy_losses import Annotated, cross_entropy_of_mean
from calibrant.samplers.sampler import gaussian
from calibrant.samplers.storage import STORAGE
from experiments._data import add_option, use
from experiments._record import record
from experiments.car._timed import Timer
from experiments.car.lidc_jobs import Images
from experiments.car.lidc_scores import Patients
from experiments.car.rivals import Rows, differences, show, table
from experiments.car.rivals_config import Config
from experiments.car.rivals_jobs import training_images
from experiments.car.rivals_scores import columns, keep_columns, kept_columns


@dataclass(frozen=True)
class OtherDistance:
    """The energy score of the foreground with another distance of maps, and the score of the mean of the samples.

    :param hard: samples are hard maps in the value and soft ones in the gradient (straight-through).
    :param num_samples: of each image in a step.
    """

    _: KW_ONLY
    hard: bool = False
    num_samples: int = 6

    def __call__(
        self, network: Any, seen: Tensor, labels: Tensor, generator: torch.Generator, moment: Moment
    ) -> Mapping[str, Tensor]:
        """Return the loss and its parts."""
        latents = gaussian((self.num_samples, len(seen), network.latent_size(seen.shape[2:])), generator, seen.device)
        soft = network(seen, latents).float().softmax(2)
        known = Annotated.of(labels, 2)
        maps = soft[:, :, 1].flatten(2) * known.known
        if self.hard:
            maps = (maps > 0.5).float() + maps - maps.detach()
        theirs = known.planes[:, 1].movedim(1, 0)
        across = (product_distance(maps[:, None], theirs[None]).mean(0).mT * known.weights).sum(1)
        pairs = [product_distance(maps[k:], maps[:-k]).sum(0) for k in range(1, self.num_samples)]
        within = torch.stack(pairs).sum(0) / (self.num_samples * (self.num_samples - 1) / 2)
        score = (2 * across - within).mean()
        entropy = cross_entropy_of_mean(soft, labels)
        return {"loss": score + entropy, "energy score": score, "cross-entropy of the mean": entropy}


def product_distance(one: Tensor, other: Tensor, smoothing: float = 1.0) -> Tensor:
    """Return one less the soft Jaccard index with products in place of the smaller of two numbers."""
    both = (one * other).sum(-1)
    return 1 - (both + smoothing) / (one.sum(-1) + other.sum(-1) - both + smoothing)


LOSS = EnergyScoreLoss(classes=(1,))


@dataclass(frozen=True)
class Arm:
    """One change of the training.

    :param loss: what it is trained by.
    :param recipe: changes of its recipe.
    :param sizes: changes of its network.
    """

    loss: Any = LOSS
    recipe: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, Any] = field(default_factory=dict)


USUAL = "as it is"
"""The arm that others are compared with."""

ARMS: Mapping[str, Arm] = {
    USUAL: Arm(),
    "product in place of min-max": Arm(OtherDistance()),
    "straight-through, product": Arm(OtherDistance(hard=True)),
    "no score of the mean": Arm(replace(LOSS, mean_weight=0.0)),
    "Brier score of the mean": Arm(replace(LOSS, mean_score="brier")),
    **{f"m = {m}": Arm(replace(LOSS, num_samples=m)) for m in (2, 4, 12)},
    **{f"K = {k}": Arm(sizes={"num_maps": k}) for k in (4, 8)},
    **{f"latent of {d}": Arm(sizes={"latent_size": d}) for d in (1, 2)},
    "one annotator drawn": Arm(replace(LOSS, one_annotator=True)),
    "no moving average": Arm(recipe={"average": 0.0}),
}
"""m is 6, K 24 and the latent 8 numbers in the arm that is as it is."""


def folder_of(config: Config, name: str, seed: int) -> Path:
    """Return where a training is kept."""
    return Path(config.runs) / "ablation" / f"{''.join(c if c.isalnum() else '_' for c in name)}-{seed}"


def trained(config: Config, name: str, seed: int) -> EnergyScoreSampler:
    """Return the sampler of an arm, trained now if it is not."""
    folder, arm = folder_of(config, name, seed), ARMS[name]
    if not STORAGE.holds(folder):
        with Timer(folder):
            sampler = EnergyScoreSampler.fit(
                training_images(config),
                inputs="image",
                loss=arm.loss,
                recipe=replace(config.recipe("energy"), **arm.recipe),
                make=partial(config.make("energy"), **arm.sizes),
                seed=seed,
                checkpoint_path=folder,
                watch=lambda done, figures: print(name, seed, done, f"{figures['loss']:.4f}", flush=True),
            )
        save_sampler(sampler, folder)
    found = load_sampler(folder)
    assert isinstance(found, EnergyScoreSampler)
    return found


def main(config: Config, *, train: bool = True) -> dict[str, Any]:
    """Train (or not) and score all arms, print, record; return the table."""
    begun, rows = time.monotonic(), Rows()
    images = Images.read(config.lidc).test
    for name in ARMS:
        for seed in config.seeds:
            folder = folder_of(config, name, seed)
            if train or STORAGE.holds(folder):
                sampler = trained(config, name, seed)
                path, of = folder / "scores.npz", f"{config.num_samples} samples, {name}"
                scores = kept_columns(path, of)
                if scores is None:
                    scores = columns(sampler, images, config.num_samples, seed)
                    keep_columns(path, of, scores)
                rows.setdefault(name, {})[seed] = scores
    if not rows:
        print("nothing is trained yet")
        return {}
    patients = Patients([each.key for each in images], num_resamples=config.num_resamples)
    found = table(rows, patients)
    gaps = differences(rows, patients, beside=USUAL) if USUAL in rows else {}
    show(found, gaps)
    if config.folder:
        results = {"table": found, "differences": gaps}
        print(record("car_energy_ablation", config, time.monotonic() - begun, results))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few steps of each arm on synthetic data")
    parser.add_argument("--finished", action="store_true", help="score what is trained, train nothing")
    parser.add_argument("--train", nargs=2, action="append", metavar=("ARM", "SEED"), help="train this alone")
    parser.add_argument("--share", type=float, default=1.0, help="take this share of the steps of each training")
    add_option(parser)
    asked = parser.parse_args()
    use(asked.data)
    torch.set_num_threads(1)
    chosen = Config() if asked.share == 1 else Config().shortened(asked.share)
    if asked.smoke:
        with tempfile.TemporaryDirectory() as temporary:
            main(Config.smoke(temporary))
    elif asked.train:
        for arm, number in asked.train:
            if arm not in ARMS or not number.isdecimal():
                parser.error(f"expected --train ARM SEED with an arm of {list(ARMS)}; got {arm} {number}")
            trained(chosen, arm, int(number))
    else:
        main(chosen, train=not asked.finished)
