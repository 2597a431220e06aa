"""What nnU-Net v2 wrote of one configuration, as it lies: its folds, the names of its classes, and its labels.

A folder of results holds ``dataset.json`` and ``fold_0/validation``, …, in which every case was predicted by the model
that was trained without it. Predictions of new cases are one folder with ``dataset.json``. Its ``.pkl`` files are never
unpickled: where voxels lie is read from the label map that nnU-Net writes beside its probabilities.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrant._storage.files import parse_json, read_file
from calibrant.errors import DataError

IGNORED = "ignore"
"""How nnU-Net names the label of pixels that are not labelled."""


@dataclass(frozen=True)
class Results:
    """What a folder of nnU-Net says of its files.

    :param scores: the files of probabilities of folds, by case; empty where they lie in the folder itself.
    :param labels: where the labels of its cases lie; None if nobody knows.
    :param class_names: one name a class, in order; empty of regions.
    :param regions: the labels of which each region consists, by name, in the order of the channels; empty if classes do
        not overlap.
    :param ignore: the label of unlabelled pixels; None if there is none.
    :param notes: what was found, in words.
    """

    scores: Mapping[str, Path]
    labels: Path | None
    class_names: tuple[str, ...]
    regions: Mapping[str, tuple[int, ...]]
    ignore: int | None
    notes: tuple[str, ...]


def results_in(path: Path) -> Results | None:
    """Return what a folder of nnU-Net says of its files; None if it is none.

    :param path: a folder of results, one of its folds, or a folder of predictions.
    :raises DataError: a file is damaged, or cases are not out of fold.
    """
    root = _root(path)
    about = root / "dataset.json"
    if not about.is_file():
        return None
    labels = _json(about).get("labels")
    if not isinstance(labels, Mapping):
        return None
    folds = _folds(path, root)
    if not folds and not any(file.with_suffix(".pkl").is_file() for file in path.glob("*.npz")):
        return None
    names, regions, ignore = _classes(about, labels)
    scores, notes = _joined(folds, _splits(root)) if folds else ({}, ())
    there = _labels(root) if folds else None
    found = (f"dataset.json of nnU-Net: {', '.join(regions or names)}",)
    where = () if there is None else (f"labels are read from {there}",)
    return Results(scores, there, names, regions, ignore, (*found, *notes, *where))


def _root(path: Path) -> Path:
    """The folder of ``dataset.json``: the folder itself, or that which holds it as a fold."""
    if path.name == "validation" and path.parent.name.startswith("fold_"):
        return path.parent.parent
    return path.parent if path.name.startswith("fold_") else path


def _folds(path: Path, root: Path) -> list[Path]:
    """The folders of cases that were left out of a training: of all folds, or of the one that is named."""
    if path != root:
        return [path if path.name == "validation" else path / "validation"]
    return sorted(each for each in root.glob("fold_*/validation") if each.is_dir())


def _json(path: Path) -> Any:
    try:
        return parse_json(read_file(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected JSON, as nnU-Net writes it; {error}. Copy the file again.") from error


def _classes(about: Path, labels: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]], int | None]:
    """The names of classes, or the regions, and the label of unlabelled pixels."""
    if labels and all(name.isdigit() for name in labels):  # as version 1 has them
        labels = {str(name): int(number) for number, name in labels.items()}
    numbers = {name: _numbers(about, name, value) for name, value in labels.items()}
    ignored = numbers.pop(IGNORED, None)
    ignore = None if ignored is None else ignored[0]
    if any(len(found) > 1 for found in numbers.values()):
        # The channels of regions are in the order of the file, without the background.
        return (), {name: found for name, found in numbers.items() if found != (0,)}, ignore
    names = sorted(numbers, key=lambda name: numbers[name])
    if [numbers[name][0] for name in names] != list(range(len(names))):
        raise DataError(
            f"{about}: expected labels 0, 1, 2, … without a gap; got {sorted(n[0] for n in numbers.values())}. Copy "
            "the file again, or name the classes: class_names (command line: --class-names)."
        )
    return tuple(names), {}, ignore


def _numbers(about: Path, name: str, value: Any) -> tuple[int, ...]:
    found = tuple(value) if isinstance(value, list) else (value,)
    if not found or any(isinstance(number, bool) or not isinstance(number, int) for number in found):
        raise DataError(
            f"{about}: expected a number, or a list of numbers, for each label; got {value!r} for {name!r}. Copy the "
            "file again."
        )
    return found


def _splits(root: Path) -> tuple[Path, list[Mapping[str, list[str]]]] | None:
    """The file that says which cases were left out of each fold, and what it says."""
    beside = _beside(root, "nnUNet_preprocessed")
    places = [root, *([beside] if beside else [])]
    file = next((place / "splits_final.json" for place in places if (place / "splits_final.json").is_file()), None)
    if file is None:
        return None
    found = _json(file)
    if not isinstance(found, list) or not all(
        isinstance(each, Mapping) and {"train", "val"} <= each.keys() for each in found
    ):
        raise DataError(f"{file}: expected a list of train and val, one a fold; got something else. Copy it again.")
    return file, found


def _labels(root: Path) -> Path | None:
    """Where the labels of the cases lie, if the folders of nnU-Net are beside each other."""
    places = (("nnUNet_preprocessed", "gt_segmentations"), ("nnUNet_raw", "labelsTr"))
    found = [(_beside(root, name), folder) for name, folder in places]
    return next((place / folder for place, folder in found if place and (place / folder).is_dir()), None)


def _beside(root: Path, name: str) -> Path | None:
    """The folder of the same data set in another of the three folders of nnU-Net."""
    absolute = root.absolute()
    return absolute.parents[2] / name / absolute.parent.name if len(absolute.parents) > 2 else None


def _joined(folds: list[Path], splits: Any) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The files of all folds, each case once, and what is to be said of them."""
    used = [each for each in folds if each.parent.name != "fold_all"]
    if not used:
        raise DataError(
            f"{folds[0]}: expected cases that were left out of the training; fold_all is trained on all that it "
            "predicts, so its probabilities say nothing of other images. Train folds: 0, 1, …, with npz."
        )
    notes = ["fold_all is left out: it is trained on the cases that it predicts"] if len(used) < len(folds) else []
    scores: dict[str, Path] = {}
    for fold in used:
        files = sorted(fold.glob("*.npz")) if fold.is_dir() else []
        if not files:
            raise DataError(
                f"{fold}: expected probabilities, NAME.npz; there are none. Have nnU-Net write "
                "them: nnUNetv2_train with its options val and npz."
            )
        for file in files:
            if file.stem in scores:
                raise DataError(f"{file}: expected every case in one fold; got {scores[file.stem]} too. Remove one.")
            scores[file.stem] = file
        if splits is not None:
            notes += _check_left_out(fold, {file.stem for file in files}, *splits)
    checked = (
        "that cases are out of fold was not checked, as there is no splits_final.json here"
        if splits is None
        else f"all are out of fold, as {splits[0]} says"
    )
    names = ", ".join(fold.parent.name for fold in used)
    return scores, (f"{len(scores)} cases of {names}; {checked}", *notes)


def _check_left_out(fold: Path, cases: set[str], file: Path, splits: Any) -> list[str]:
    """Raise if a case was trained on; return what is to be said of those that are missing."""
    number = fold.parent.name.removeprefix("fold_")
    if not number.isdigit() or int(number) >= len(splits):
        raise DataError(
            f"{fold}: expected a fold that {file} describes, 0..{len(splits) - 1}; got {fold.parent.name}. Name the "
            "results of the same split, or move the file away."
        )
    split = splits[int(number)]
    trained = sorted(cases & set(split["train"])) or sorted(cases - set(split["val"]))
    if trained:
        raise DataError(
            f"{fold / trained[0]}.npz: expected a case that {file} leaves out of fold {number}; it does not "
            f"({len(trained)} of {len(cases)}). These results are of another split: confidences of cases that were "
            "trained on are not those of new ones."
        )
    missing = sorted(set(split["val"]) - cases)
    return [f"{len(missing)} of {len(split['val'])} cases of fold {number} have no probabilities"] if missing else []
