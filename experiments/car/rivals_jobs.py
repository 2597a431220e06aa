"""The trainings of the comparison of samplers: each in a folder; if cut short it goes on, if done it is read back.

Each runs in one thread; several run at once, in processes of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import torch

from calibrant.data import BlobAnnotators
from calibrant.predictions import Prediction
from calibrant.samplers import LearntSampler, load_sampler, save_sampler
from calibrant.samplers.storage import LEARNT, STORAGE
from calibrant.training import SingleDevice
from experiments._data import lidc_crops, place
from experiments.car._timed import Timer
from experiments.car.lidc_jobs import without_black_box
from experiments.car.rivals_config import Config, loss_of

T = TypeVar("T")


def training_images(config: Config) -> list[Prediction]:
    """Return the train patients' crops, whole; a black box there is none, so their logits say nothing."""
    if not config.folder:
        return [without_black_box(each) for each in BlobAnnotators(18, seed=0)]
    return [without_black_box(each) for each in lidc_crops(place(config.folder), "train")]


def folder_of(config: Config, name: str, inputs: str, seed: int) -> Path:
    """Return where a training is kept."""
    return Path(config.runs) / f"{name}-{inputs}-{seed}"


def trained(
    config: Config, name: str, inputs: str, seed: int, images: Sequence[Prediction] | None
) -> LearntSampler | None:
    """Return a sampler as trained; None if it is not, and there are no images to train on."""
    folder = folder_of(config, name, inputs, seed)
    if not STORAGE.holds(folder):
        if images is None:
            return None
        with Timer(folder, config.device):
            found = LEARNT[name].fit(
                images,
                inputs=inputs,
                loss=loss_of(name),
                recipe=config.recipe(name),
                make=config.make(name),
                seed=seed,
                checkpoint_path=folder,
                devices=SingleDevice(config.device),
                watch=lambda done, figures: print(name, inputs, seed, done, listed(figures), flush=True),
            )
        save_sampler(found, folder)
    sampler = load_sampler(folder)
    assert isinstance(sampler, LearntSampler)
    return sampler


def listed(figures: Mapping[str, float]) -> str:
    """Return figures of a training in a line."""
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())


def at_once(jobs: int, work: Callable[..., T], tasks: Sequence[tuple[Any, ...]]) -> list[T]:
    """Return what comes of each task, in order, so many at a time; one at a time is done in this process.

    A task that fails does not keep the others from being done: what it raised is raised when they are.
    """
    if jobs == 1:
        return [work(*task) for task in tasks]
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        futures = [pool.submit(work, *task) for task in tasks]
        wait(futures)
    return [each.result() for each in futures]
