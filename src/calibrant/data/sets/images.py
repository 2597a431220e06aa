"""Images and label maps of anybody's: two folders of files with the same names."""

import os
from collections.abc import Sequence
from pathlib import Path

from calibrant.data._reading import PICTURES, split_name
from calibrant.data.sets._dataset import FileExamples, PictureAndIds, Source, examples_of, same_ids
from calibrant.errors import DataError


def image_folder(
    path: str | os.PathLike[str],
    *,
    class_names: Sequence[str],
    images: str = "images",
    labels: str = "labels",
    ignore_index: int | None = 255,
) -> FileExamples:
    """Return the images of a folder: ``images/NAME.jpg`` (or ``.jpeg``, ``.png``) and ``labels/NAME.png``, any depth.

    Labels are class numbers in PNGs of one channel, never colours.

    :param class_names: in the order of their numbers: label k is the k-th.
    :param images: the folder of images in ``path``.
    :param labels: the folder of labels in ``path``.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
    :raises DataError: files are missing or misplaced.

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
    source = Source(
        root.name,
        "wherever your images are",
        f"""{root.name}/
        ├── {images}/NAME.jpg
        └── {labels}/NAME.png""",
    )
    root = source.root(root)
    pictures: dict[str, Path] = {}
    for file in sorted((root / images).rglob("*")):
        if found := split_name(file, PICTURES):
            key = file.relative_to(root / images).as_posix()[: -len(found[1])]
            if key in pictures:
                raise DataError(
                    f"{file}: expected one image of that name; {pictures[key].name} is there too. Remove one."
                )
            pictures[key] = file
    if not pictures:
        raise source.missing(root / images, f"images ({', '.join(PICTURES)})")
    pairs = source.paired(pictures, source.files(root / labels, ".png", "labels"), root / labels, ".png")
    ignore = "nothing" if ignore_index is None else f"{ignore_index} in the label files"
    return examples_of(
        source, "", pairs, class_names, ignore, PictureAndIds(root.name, same_ids(len(class_names), ignore_index))
    )
