"""Which files belong to which image, in the layouts that people have."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from calibrant.data._formats.names import is_data, passed_over, split_name
from calibrant.data._formats.reading import (
    LABEL_SUFFIXES,
    NIFTI_SUFFIXES,
    PICTURE_SUFFIXES,
    PROBABILITIES,
    SCORE_SUFFIXES,
)
from calibrant.data.folder._nnunet import Results
from calibrant.errors import DataError

SCORE_FOLDERS = ("logits", *PROBABILITIES)
KNOWN = (
    "Known layouts: logits/NAME.npy (or .npz, .safetensors, .tif) with labels/NAME.png; nnU-Net's NAME.npz with a "
    "folder of NAME.nii.gz or NAME.png labels; NAME.nii.gz of four axes, or NAME_0000.nii.gz, NAME_0001.nii.gz, … for "
    "each class, with labels/NAME.nii.gz"
)


@dataclass(frozen=True)
class Files:
    """The files of one image: one of scores, or one for each class; one of labels for each annotator."""

    key: str
    scores: tuple[Path, ...]
    labels: tuple[Path, ...]
    image: Path | None


@dataclass(frozen=True)
class Matched:
    """The files of a folder.

    :param files: of each image, in order of their names.
    :param unused_labels: how many label maps have no scores.
    :param passed_over: names of files that are no data, or of other kinds.
    :param notes: what was found of the folder as a whole, in words.
    """

    files: tuple[Files, ...]
    unused_labels: int
    passed_over: tuple[str, ...]
    notes: tuple[str, ...] = ()


def score_folder(path: Path) -> Path:
    """Return where the scores lie: in a folder named for them, or right here.

    :raises DataError: there is no such folder, or two of them.
    """
    if not path.is_dir():
        raise DataError(f"{path}: expected a folder of scores and labels; there is none. Check the path.")
    named = [path / name for name in SCORE_FOLDERS if (path / name).is_dir()]
    if len(named) > 1:
        raise DataError(
            f"{path}: expected one folder of scores; got {named[0].name} and {named[1].name}. Name one of them, "
            "and the labels: open_folder(path / 'logits', labels=path / 'labels') (command line: --labels)."
        )
    return named[0] if named else path


def match(
    path: Path,
    labels: str | os.PathLike[str] | None,
    images: str | os.PathLike[str] | None,
    *,
    has_labels: bool = True,
    results: Results | None = None,
) -> Matched:
    """Match files by the names before their endings.

    :param has_labels: whether there are labels; if not, none are looked for.
    :param results: what the folder is, if nnU-Net wrote it.
    :raises DataError: nothing is there, labels or images are missing, or a name is there twice.
    """
    if results is not None and labels is None:
        labels = results.labels
    folder = score_folder(path)
    label_folder = Path(labels) if labels is not None else path / "labels"
    image_folder = Path(images) if images is not None else path / "images"
    scores = dict(results.scores) if results and results.scores else _one_kind(folder)
    if not scores:
        names = sorted(p.name for p in folder.iterdir())
        inside = ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "an empty folder"
        raise DataError(f"{folder}: expected files of scores ({', '.join(SCORE_SUFFIXES)}); got {inside}. {KNOWN}.")
    if has_labels and not label_folder.is_dir():
        raise DataError(
            f"{label_folder}: expected the folder of labels; there is none. "
            "Name it: open_folder(path, labels=…) (command line: --labels). If there are none, say so: "
            "has_labels=False (--no-labels)."
        )
    annotators = _annotators(label_folder, set(scores.values())) if has_labels else []
    added: tuple[str, ...] = ()
    if len(annotators) == 1:
        annotators, added = _by_suffix(annotators[0], set(scores) | _volumes_by_class(scores))
    groups = _classes(scores, annotators[0] if annotators else dict.fromkeys(_volumes_by_class(scores), path))
    _check_labelled(groups, annotators, label_folder, added)
    pictures = None
    if images is not None or image_folder.is_dir():
        pictures = _pictures_of(groups, image_folder)
    files = [
        Files(key, groups[key], tuple(there[key] for there in annotators), pictures[key] if pictures else None)
        for key in sorted(groups)
    ]
    folders = dict.fromkeys(
        (
            *_folders_of(scores, folder),
            *([label_folder] if annotators else ()),
            *(_subfolders(label_folder) if len(annotators) > 1 else ()),
        )
    )
    names = [name for each in folders for name in passed_over(each, SCORE_SUFFIXES + LABEL_SUFFIXES)]
    unused = len(annotators[0].keys() - groups.keys()) if annotators else 0
    return Matched(tuple(files), unused, tuple(names), (*(results.notes if results else ()), *_on_annotators(added)))


def _folders_of(scores: Mapping[str, Path], folder: Path) -> dict[Path, None]:
    """The folders that hold score files, in order, and the one that was named."""
    return dict.fromkeys((folder, *(file.parent for file in scores.values())))


def _by_suffix(labels: dict[str, Path], keys: Set[str]) -> tuple[list[dict[str, Path]], tuple[str, ...]]:
    """Return the label files of each annotator where they are called NAME_ANNOTATOR, and what their names add."""
    found: dict[str, dict[str, Path]] = {}
    if not keys & labels.keys():
        for stem, file in labels.items():
            key = max((key for key in keys if stem.startswith(f"{key}_")), key=len, default=None)
            if key is not None:
                found.setdefault(stem[len(key) :], {})[key] = file
    names = sorted(found)
    return ([found[name] for name in names], tuple(names)) if len(names) > 1 else ([labels], ())


def _on_annotators(added: Sequence[str]) -> tuple[str, ...]:
    """What is said of label files that have a suffix for each annotator."""
    named = ", ".join(f"NAME{each}" for each in added[:3]) + (", …" if added[3:] else "")
    return (f"labels called {named} are those of {len(added)} annotators",) if added else ()


def _volumes_by_class(scores: Mapping[str, Path]) -> set[str]:
    """The names of images whose classes have a NIfTI file each, as the names of the files show."""
    parts = {stem: stem.rpartition("_") for stem in scores}
    numbered = all(len(number) == 4 and number.isdigit() for _, _, number in parts.values())
    volumes = all(split_name(file, NIFTI_SUFFIXES) for file in scores.values())
    names = {name for name, _, _ in parts.values()}
    return names if numbered and volumes and all(f"{name}_0001" in scores for name in names) else set()


def _check_labelled(
    groups: Iterable[str], annotators: Sequence[Mapping[str, Path]], label_folder: Path, added: Sequence[str]
) -> None:
    """Raise unless every annotator has a label file for every image."""
    groups = list(groups)
    missing = [key for key in groups if any(key not in there for there in annotators)]
    if not missing:
        return
    some = "" if len(missing) == 1 else f" (so do {len(missing) - 1} more of {len(groups)})"
    lacking = next(i for i, there in enumerate(annotators) if missing[0] not in there)
    where = label_folder if added or len(annotators) == 1 else _subfolders(label_folder)[lacking]
    name = f"{missing[0]}{added[lacking] if added else ''}.png"
    raise DataError(
        f"image {missing[0]!r}: expected its labels at {where / name} (or another of "
        f"{', '.join(LABEL_SUFFIXES[1:])}); there are none{some}. Labels must be named as the scores are, as in "
        f"{next(iter(annotators[lacking].values())).name}."
    )


def _pictures_of(groups: Iterable[str], image_folder: Path) -> dict[str, Path]:
    """Return the picture of every image, by its key, and those of others."""
    pictures = _unique(_files(image_folder, PICTURE_SUFFIXES), PICTURE_SUFFIXES)
    without = [key for key in groups if key not in pictures]
    if without:
        raise DataError(
            f"image {without[0]!r}: expected it at {image_folder / without[0]}.png (or "
            f"{', '.join(PICTURE_SUFFIXES[1:])}); it is missing, as are {len(without) - 1} more. "
            "Images must be named as the scores are."
        )
    return pictures


def _one_kind(folder: Path) -> dict[str, Path]:
    """Return the score files of the one kind that is there; beside nnU-Net's .npz lie its label maps, which are not."""
    kinds = {}
    for file in sorted(folder.iterdir()):
        parts = split_name(file, SCORE_SUFFIXES)
        if parts and file.is_file() and is_data(file, folder):
            kind = {".nii": ".nii.gz", ".tiff": ".tif"}.get(parts[1], parts[1])
            kinds.setdefault(kind, []).append(file)
    if ".npz" in kinds:
        kinds.pop(".nii.gz", None)
    if len(kinds) > 1:
        raise DataError(
            f"{folder}: expected scores of one kind; got {' and '.join(sorted(kinds))} files. Put those that are not "
            "scores into another folder, labels into one named labels."
        )
    return _unique(next(iter(kinds.values()), []), SCORE_SUFFIXES)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and is_data(p, folder))


def _annotators(folder: Path, scores: Set[Path]) -> list[dict[str, Path]]:
    """Return the label files of each annotator: of the folder itself, or of each folder in it."""
    own = _unique([p for p in _files(folder, LABEL_SUFFIXES) if p not in scores], LABEL_SUFFIXES)
    several = [
        there for there in (_unique(_files(p, LABEL_SUFFIXES), LABEL_SUFFIXES) for p in _subfolders(folder)) if there
    ]
    if own and several:
        raise DataError(
            f"{folder}: expected label files, or one folder of them for each annotator; got both. Move one of them."
        )
    if not own and not several:
        raise DataError(f"{folder}: expected label files ({', '.join(LABEL_SUFFIXES)}); there are none. {KNOWN}.")
    return several or [own]


def _classes(scores: Mapping[str, Path], labels: Mapping[str, Path]) -> dict[str, tuple[Path, ...]]:
    """Return the score files of each image: NAME_0000, NAME_0001, … are classes where the labels are called NAME."""
    groups: dict[str, tuple[Path, ...]] = {}
    for stem, file in scores.items():
        name, _, number = stem.rpartition("_")
        if stem in labels or name not in labels or len(number) != 4 or not number.isdigit():
            groups[stem] = (file,)
            continue
        there = groups.setdefault(name, ())
        if int(number) != len(there) or split_name(file, NIFTI_SUFFIXES) is None:
            raise DataError(
                f"{file}: expected the class maps of {name!r} as NIfTI files numbered from _0000 without a gap; "
                f"got _{number} as number {len(there)}. Add the missing one, or name the labels as the scores are."
            )
        groups[name] = (*there, file)
    return groups


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of {', '.join(suffixes)} files; there is none. Check the path.")
    return [p for p in sorted(folder.iterdir()) if p.is_file() and is_data(p, folder)]


def _unique(files: Sequence[Path], suffixes: tuple[str, ...]) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for file in files:
        name = split_name(file, suffixes)
        if name is None:
            continue
        if name[0] in by_name:
            raise DataError(
                f"{file}: expected one file of the name {name[0]!r}; got {by_name[name[0]].name} too. "
                "Remove one of them."
            )
        by_name[name[0]] = file
    return by_name
