"""Images and label maps of your own: two folders of files with the same names, and lists of names for splits."""

import os
from collections.abc import Sequence
from pathlib import Path

from calibrant._check import check_choice
from calibrant.data._reading import PICTURE_SUFFIXES, split_name
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples, same_ids
from calibrant.errors import DataError


def image_folder(
    path: str | os.PathLike[str],
    split: str | None = None,
    *,
    class_names: Sequence[str],
    images: str = "images",
    labels: str = "labels",
    ignore_index: int | None = 255,
) -> FileExamples:
    """Return the images of a folder: ``images/NAME.jpg`` (or ``.jpeg``, ``.png``) and ``labels/NAME.png``, any depth.

    Labels are class numbers in PNGs of one channel, never colours. The names of the images are their keys. A split is a
    text file of keys, ``splits/SPLIT.txt``, one a line.

    :param path: the folder that holds the folders of images and labels.
    :param split: the name of a list in ``splits``, whose images are returned in its order; None for all images, by key.
    :param class_names: one name a class, in the order of their numbers: label k is the k-th.
    :param images: the name of the folder of images in ``path``.
    :param labels: the name of the folder of labels in ``path``.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no split of that name.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as name:
    ...     for folder, mode in (("images", "RGB"), ("labels", "L")):
    ...         (Path(name) / folder).mkdir()
    ...         Image.new(mode, (5, 4)).save(Path(name) / folder / "street.png")
    ...     examples = image_folder(name, class_names=["road", "sky"])
    ...     examples.keys, examples[0].image.shape, examples[0].labels.shape
    (('street',), torch.Size([3, 4, 5]), torch.Size([1, 4, 5]))
    """
    root = Path(path)
    data_set = DataSet(
        root.name,
        "wherever your images are",
        f"""{root.name}/
        ├── {images}/NAME.jpg
        ├── {labels}/NAME.png
        └── splits/SPLIT.txt, if there are splits: one NAME a line""",
        labels=f"{labels}/*.png",
        class_names=tuple(class_names),
        table=same_ids(len(class_names), ignore_index),
        ignore="nothing" if ignore_index is None else f"{ignore_index} in the label files",
    )
    root = data_set.root(root)
    pictures = _pictures(data_set, root / images)
    maps = data_set.files(root, data_set.labels, "labels")
    if split is None:
        return data_set.of(data_set.paired(pictures, maps, root, data_set.labels))
    keys = _listed(data_set, root, split)
    if lost := [key for key in keys if key not in pictures]:
        raise DataError(
            f"{root / images / lost[0]}: expected this image ({', '.join(PICTURE_SUFFIXES)}), which "
            f"splits/{split}.txt lists; there is none (nor for {len(lost) - 1} more). "
            "Copy it, or take the line out of the list."
        )
    listed = {key: pictures[key] for key in keys}
    data_set.paired(listed, {key: maps[key] for key in keys if key in maps}, root, data_set.labels)
    return data_set.of(tuple((key, (pictures[key], maps[key])) for key in keys), split)


def _pictures(data_set: DataSet, folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder by key."""
    pictures: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if parts := split_name(file, PICTURE_SUFFIXES):
            key = file.relative_to(folder).as_posix()[: -len(parts[1])]
            if key in pictures:
                raise DataError(
                    f"{file}: expected one image of that name; {pictures[key].name} is there too. Remove one."
                )
            pictures[key] = file
    if not pictures:
        raise data_set.missing(folder, f"images ({', '.join(PICTURE_SUFFIXES)})")
    return pictures


def _listed(data_set: DataSet, root: Path, split: str) -> list[str]:
    """Return the keys that a split lists."""
    lists = {file.stem: file for file in sorted((root / "splits").glob("*.txt"))}
    if not lists:
        raise data_set.missing(root / "splits", f"lists of names (*.txt), one of them {split}.txt,")
    check_choice(split, lists, f"split of {data_set.name}")
    keys = [line.strip() for line in lists[split].read_text().splitlines() if line.strip()]
    if len(set(keys)) < len(keys):
        twice = next(key for number, key in enumerate(keys) if key in keys[:number])
        raise DataError(f"{lists[split]}: expected every image once; got {twice!r} twice. Take one line out.")
    return keys
