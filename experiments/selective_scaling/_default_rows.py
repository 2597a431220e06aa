"""What the default is judged on: by name, images to fit to and images to test on.

Real logits are those of ESPNet and of the models of ``train_black_boxes``, where their stores are; 19 and 150 classes
and volumes are the synthetic scenes of ``benchmarks``, whose labels are drawn from known probabilities.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks._scenes import MadeScenes

from calibrant.data import corrupted
from calibrant.data.corruptions import CORRUPTIONS
from calibrant.data.sets.camvid import DUSK, drive
from calibrant.models import InViews, ModelPredictions, open_model
from calibrant.predictions import Example, Prediction, Predictions, Subset, split, with_logits
from experiments._data import camvid, find, place
from experiments.selective_scaling._fits import Study, opened, predictions_of, thinned
from experiments.selective_scaling._shifted import IN_PLACE
from experiments.selective_scaling.predict_black_boxes import MODELS, STORES, store_of
from experiments.selective_scaling.tables import OWN

CORRUPTED = "day-half"
"""The model that is shown corrupted images."""
STRENGTHS = (1, 3, 5)


@dataclass(frozen=True)
class Judged(Study):
    """A study of the default.

    :param models: of ``tables.OWN``, by which black boxes are judged, where their stores are there.
    :param most: images of a store to test on, evenly spaced.
    :param corrupted: images that are corrupted, in each way.
    """

    models: tuple[str, ...] = tuple(OWN)
    most: int = 36
    corrupted: int = 18


@dataclass(frozen=True)
class Source:
    """Predictions of one model.

    :param fitted: to draw images to fit to from.
    :param tests: by shift, the images to test on.
    :param held: the share of ``fitted`` that is drawn to test on in-domain and never fitted to; 0 for none.
    :param counts: of images to fit to; None for those of the study.
    :param most_seeds: draws at most, where rows are dear.
    """

    fitted: Predictions
    tests: Mapping[str, Predictions] = field(default_factory=dict)
    held: float = 0.25
    counts: tuple[int, ...] | None = None
    most_seeds: int | None = None

    @property
    def available(self) -> int:
        """The number of images that can be fitted to."""
        return round((1 - self.held) * len(self.fitted))

    def drawn(self, count: int, seed: int) -> tuple[Predictions, Mapping[str, Predictions]]:
        """Return so many images to fit to, and by shift those to test on, which the count does not change."""
        rest, tests = self.fitted, dict(self.tests)
        if self.held:
            rest, inside = split(self.fitted, 1 - self.held, seed=seed)
            tests = {IN_PLACE: inside} | tests
        order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed)).tolist()
        return Subset(rest, sorted(order[:count])), tests


Load = Callable[[], Source | None]
"""Reads or makes a source; None, and a line that says so, where its files are missing."""


def sources(study: Judged) -> dict[str, Load]:
    """Return what makes each source, by name; the dear ones first, but what others' fits serve after those."""
    if not study.folder:
        return {"made": partial(_hotter, study), "synthetic volumes": partial(_volumes, 12, (4, 16, 16))}
    loads: dict[str, Load] = {
        "ESPNet": partial(_espnet, study),
        "synthetic scenes of 150 classes": partial(_scenes, 40, 150, (32, 64), held=0.5, counts=(20, 5), most_seeds=2),
        "ESPNet by day": partial(_espnet_by_light, study, dusk=False),
        "ESPNet at dusk": partial(_espnet_by_light, study, dusk=True),
        "ESPNet, first halves of drives": partial(_espnet_by_time, study),
    }
    loads |= {name: partial(_black_box, study, name) for name in study.models}
    loads["SegFormer on KITTI"] = partial(_on_kitti, study)
    loads["synthetic scenes of 19 classes"] = partial(_scenes, 60, 19, (64, 128), held=1 / 3)
    loads["city"] = partial(_scenes, 20, 19, (256, 512), held=0.5)
    loads["synthetic volumes"] = partial(_volumes, 60, (32, 64, 64))
    loads["SegFormer, corrupted"] = partial(_corrupted, study)
    return loads


def _hotter(study: Judged) -> Source:
    images = predictions_of(study)
    return Source(images, {"hotter": [with_logits(p, 2 * p.logits) for p in images]}, held=0.5)


def _espnet(study: Judged) -> Source:
    return Source(predictions_of(study), held=0.5)


def _espnet_by_light(study: Judged, *, dusk: bool) -> Source:
    images = predictions_of(study)
    day, dark = ([p for p in images if (drive(p.key) in DUSK) == at_dusk] for at_dusk in (False, True))
    return Source(dark, {"day": day}) if dusk else Source(day, {"dusk": dark})


def _espnet_by_time(study: Judged) -> Source:
    first, second = halves_of_drives(predictions_of(study))
    return Source(first, {"second halves": second})


def halves_of_drives(images: Sequence[Prediction]) -> tuple[list[Prediction], list[Prediction]]:
    """Return the first half of each drive, one more if they are odd, and the second.

    :param images: with CamVid's keys, which sort by time within a drive.
    """
    drives: dict[str, list[Prediction]] = {}
    for image in sorted(images, key=lambda p: p.key):
        drives.setdefault(drive(image.key), []).append(image)
    middles = {name: -(-len(each) // 2) for name, each in drives.items()}
    first = [p for name, each in drives.items() for p in each[: middles[name]]]
    return first, [p for name, each in drives.items() for p in each[middles[name] :]]


def _black_box(study: Judged, name: str) -> Source | None:
    model, fitted, tests = OWN[name]
    if not _there(name, *(store_of(model, part) for part in (*fitted.split(","), *tests.values()))):
        return None
    images = opened(",".join(store_of(model, part) for part in fitted.split(",")), study.stride)
    where = {shift: some(opened(store_of(model, part), study.stride), study.most) for shift, part in tests.items()}
    return Source(images, where, held=0.0 if IN_PLACE in where else 0.25)


def _on_kitti(study: Judged) -> Source | None:
    kitti, day = (store_of("day-half", part) for part in ("kitti", "day"))
    if not _there("SegFormer on KITTI", kitti, day):
        return None
    where = {"CamVid": some(opened(day, study.stride), study.most)}
    return Source(opened(kitti, study.stride, every=2), where, held=0.5)


def _corrupted(study: Judged) -> Source | None:
    fitted = store_of(CORRUPTED, "fit")
    if not _there("SegFormer, corrupted", str(MODELS / CORRUPTED), fitted, str(find("camvid") or "camvid")):
        return None
    frames = camvid(place("camvid"), "lighting_day_test")
    clean = [frames[i] for i in range(0, len(frames), -(-len(frames) // study.corrupted))]
    tests = {
        f"{name} {strength}": predicted(corrupted(clean, name, strength=strength, seed=0), study.stride)
        for name in CORRUPTIONS
        for strength in STRENGTHS
    }
    return Source(opened(fitted, study.stride), tests, held=0.0, counts=(40, 10), most_seeds=3)


def predicted(examples: Sequence[Example] | Predictions, stride: int) -> list[Prediction]:
    """Return what the model of ``CORRUPTED`` says of examples, as ``predict_black_boxes`` asks it, without images."""
    model = open_model(str(MODELS / CORRUPTED), device="cpu")
    answers = ModelPredictions(InViews(model.run, shorter_side=180), examples, batch_size=4)
    return [replace(thinned(answer, stride), image=None) for answer in answers]


def _scenes(number: int, num_classes: int, size: tuple[int, int], **options: Any) -> Source:
    return Source(list(MadeScenes(number, num_classes, *size)), **({"most_seeds": 3} | options))


def _volumes(number: int, size: tuple[int, int, int]) -> Source:
    depth, height, width = size
    return Source(list(MadeScenes(number, 4, height, width, depth=depth)), held=1 / 3, most_seeds=3)


def some(images: Sequence[Prediction], most: int) -> Sequence[Prediction]:
    """Return so many images at most, evenly spaced."""
    return images[:: max(1, -(-len(images) // most))]


def _there(name: str, *paths: str) -> bool:
    missing = [path for path in paths if not Path(path).is_dir()]
    if missing:
        print(f"{name}: left out, for {', '.join(missing)} is not there; stores are made in {STORES}", flush=True)
    return not missing
