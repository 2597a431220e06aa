"""Writing the image files of a store by way of an executor: the part that its workers do."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from calibrant._storage.place import Place
from calibrant.data.store._entry import Entry
from calibrant.data.store._image_file import SUFFIX, encode
from calibrant.data.store._in_runs import write_in_parts
from calibrant.data.store._manifest import Settings
from calibrant.errors import StoreError
from calibrant.predictions import PredictionInParts, Sharded, StridedPrediction, Subset, mapped_in_shards, part_of


def put_in_shards(
    sharded: Sharded,
    numbers: Sequence[int],
    keys: Sequence[str],
    files: Sequence[str],
    place: Place,
    settings: Settings,
) -> Iterator[Entry]:
    """Have images written, and yield what the manifest will say of each, in their order.

    :param sharded: the source, with the executor.
    :param numbers: which of its images.
    :param keys: their names.
    :param files: where each goes.
    """
    work = replace(sharded, source=_Named(Subset(sharded.source, numbers), keys, files))
    for entries in mapped_in_shards(_put_each, work, place, settings):
        yield from entries


def file_for(key: str, taken: Collection[str]) -> str:
    """Return a file name that every file system takes and that no other image has.

    :param key: the name of the image.
    :param taken: the names that other images have, in lower case.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", key).lstrip(".")[:120] or "_"
    file, number = safe + SUFFIX, 0
    while (safe != key and not number) or file.casefold() in taken:
        name = key if not number else f"{key}/{number}"
        digits = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:12]
        file, number = f"{safe}-{digits}{SUFFIX}", number + 1
    return file


def reader_of(source: Any) -> Callable[[int], Any]:
    """Return what reads an image: a source that can hand out logits at the network's own stride is asked for those."""
    return getattr(source, "strided", None) or source.__getitem__


@dataclass(frozen=True)
class _Named:
    """Predictions with the keys that they must have, and the files that they go to."""

    source: Any
    keys: Sequence[str]
    files: Sequence[str]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, i: int) -> tuple[str, str, Any]:
        in_parts = None if hasattr(self.source, "strided") else getattr(self.source, "in_parts", None)
        return self.keys[i], self.files[i], (in_parts or reader_of(self.source))(i)

    def part(self, numbers: Sequence[int]) -> "_Named":
        keys, files = ([names[i] for i in numbers] for names in (self.keys, self.files))
        return _Named(part_of(self.source, numbers), keys, files)


def _put_each(images: Iterable[tuple[str, str, Any]], first: int, place: Place, settings: Settings) -> list[Entry]:
    """Write images, and return what the manifest will say of them."""
    entries = []
    for key, file, item in images:
        check_key(place, key, item.key)
        if isinstance(item, PredictionInParts):
            if place.is_local and len([*item.runs()]) > 1:
                entries.append(write_in_parts(place, file, item, settings))
                continue
            item = item.whole()
        content, entry = encode(StridedPrediction.of(item).checked(), file, settings)
        place.write(file, content)
        entries.append(entry)
    return entries


def check_key(place: Place, expected: str, key: str) -> None:
    """Raise unless an image has the key that its source says."""
    if key != expected:
        raise StoreError(
            f"{place.url}: expected image {expected!r}, as the source's keys say; got {key!r}. "
            "A source's keys must name its images in order."
        )
