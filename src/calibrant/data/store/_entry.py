"""What a store says of one image, in its manifest and in the header of the image's file."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

UPSAMPLINGS = ("none", "linear", "bilinear", "trilinear")


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a store, as the manifest and the image file's own header say it.

    :param checksum: of the tensors' bytes, in the order of their names: "blake3:…", or "sha256:…" of version 2.
    :param unlabelled: the number that stands for ``IGNORE`` among the stored labels.
    :param tensors: for each tensor of the file its ``dtype`` and ``shape``, in the words of safetensors.
    """

    key: str
    file: str
    bytes: int
    checksum: str
    upsampling: Mapping[str, Any]
    unlabelled: int
    tensors: Mapping[str, Mapping[str, Any]]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self.tensors["logits"]["shape"][0]

    @property
    def kind(self) -> str:
        """What made the checksum."""
        return self.checksum.partition(":")[0]


def entry_from(image: Mapping[str, Any]) -> Entry:
    """Read one image of a manifest.

    :raises KeyError, TypeError, ValueError: something is missing, or is not what a writer would have written.
    """
    said = {name: value for name, value in image.items() if name not in ("checksum", "sha256")}
    if {*said, "checksum"} != {f.name for f in fields(Entry)} or len(image) != len(said) + 1:
        raise ValueError(f"an image says {', '.join(map(str, image))}")
    entry = Entry(**said, checksum=checksum_in(image))
    if not isinstance(entry.key, str) or not isinstance(entry.file, str):
        raise TypeError("key and file of an image are not words")
    if not re.fullmatch(r"[A-Za-z0-9._-]+\.safetensors", entry.file):
        raise ValueError(f"the file {entry.file!r} does not lie in the store")
    numbers = [entry.bytes, entry.unlabelled, *(n for tensor in entry.tensors.values() for n in tensor["shape"])]
    if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers):
        raise ValueError("sizes are whole numbers")
    if len(entry.tensors["logits"]["shape"]) < 1:
        raise TypeError("the shape is missing")
    upsampling = dict(entry.upsampling)
    if upsampling["mode"] not in UPSAMPLINGS or not isinstance(upsampling.get("align_corners", False), bool):
        raise ValueError(f"there is no upsampling {upsampling}")
    check_tensor_names(entry.tensors)
    return entry


def checksum_in(said: Mapping[str, Any]) -> str:
    """Return the checksum that a manifest or a file says; versions 1 and 2 have SHA-256 alone, under that name.

    :raises KeyError, TypeError, ValueError: there is none, or one that nobody knows.
    """
    checksum = said["checksum"] if "checksum" in said else f"sha256:{said['sha256']}"
    if not re.fullmatch("(blake3|sha256):[0-9a-f]{64}", checksum):
        raise ValueError(f"there is no checksum {checksum!r}")
    return checksum


def check_tensor_names(names: Iterable[str]) -> None:
    """Raise unless these are the tensors of an image: logits, labels and, with images, the image.

    :param names: of the tensors of one file.
    :raises ValueError: one is missing, or unknown.
    """
    if not {"logits", "labels"} <= {*names} <= {"logits", "labels", "image"}:
        raise ValueError(f"an image has the tensors {', '.join(names)}")
