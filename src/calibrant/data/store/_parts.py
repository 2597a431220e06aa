"""A store written in parts, by jobs that do not depend on each other, and made whole by the last step.

Each job writes the image files of its part, a run of the images, and then a record of them beside: what the manifest
will say. The names of all files follow from the names of all images, so that any number of jobs may write at a time.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from calibrant._storage.files import parse_json
from calibrant._storage.origin import canonical
from calibrant._storage.place import Place
from calibrant.data.store._entry import Entry, entry_from
from calibrant.data.store._image_file import recognise
from calibrant.data.store._in_shards import file_for, put_in_shards
from calibrant.data.store._manifest import FORMAT, MANIFEST, PARTIAL, VERSION, Manifest, Settings, digest_of, read_json
from calibrant.errors import StoreError
from calibrant.predictions import Sharded, known_keys, spread

_RECORD = re.compile(r"manifest\.part-(?P<run>[0-9a-f]{16})-(?P<number>\d+)-of-(?P<count>\d+)\.json")
ELSEWHERE = "Write to another folder, or remove it."


def run_numbers(total: int, number: int, count: int) -> range:
    """Return the numbers of the images of one part: the parts are runs of nearly equal length.

    >>> [list(run_numbers(5, k, 3)) for k in (1, 2, 3)]
    [[0], [1, 2], [3, 4]]
    """
    return range(total * (number - 1) // count, total * number // count)


def write_part(predictions: Any, place: Place, settings: Settings, number: int, count: int) -> int:
    """Write the images of one part and its record, unless they are there; return how many there are.

    :raises StoreError: the source does not name its images, or another store is there.
    """
    keys = known_keys(predictions)
    if keys is None:
        raise StoreError(f"{place.url}: expected a source that names its images, to share them out. Write it whole.")
    twice = [key for key, times in Counter(keys).items() if times > 1]
    if twice:
        raise StoreError(f"{place.url}: expected all images to have different keys; got {twice[0]!r} twice.")
    mine, run = run_numbers(len(keys), number, count), _run_of(settings, keys)
    record = f"manifest.part-{run}-{number:03d}-of-{count:03d}.json"
    if place.has(MANIFEST):
        _check_same(place, Manifest.read(place).settings, settings)
    elif not place.has(record):
        _begin(place, settings, len(keys))
        entries = _entries(predictions, keys, mine, place, settings)
        about: dict[str, Any] = {"format": FORMAT, "version": VERSION, "run": run, "part": [number, count]}
        about |= {"images": [asdict(entry) for entry in entries]}
        place.write(record, json.dumps({**about, "digest": digest_of(about)}).encode())
    return len(mine)


def merge_parts(place: Place) -> None:
    """Make a store of its parts.

    :raises StoreError: parts are missing, or of different runs, or an image of one is.
    """
    files = place.sizes()
    records = [found for found in map(_RECORD.fullmatch, sorted(files)) if found]
    if MANIFEST in files and not records:
        return
    if not records:
        raise StoreError(
            f"{place.url}: expected parts of a store, as --part writes them; there is none. Check the path."
        )
    runs = sorted({(found["run"], int(found["count"])) for found in records})
    if len(runs) > 1:
        raise StoreError(
            f"{place.url}: expected parts of one run; got those of {len(runs)}, such as {records[0][0]} and "
            f"{next(f[0] for f in records if (f['run'], int(f['count'])) != runs[0])}. Remove those of the other runs."
        )
    count = runs[0][1]
    missing = sorted({*range(1, count + 1)} - {int(found["number"]) for found in records})
    if missing:
        raise StoreError(
            f"{place.url}: expected all {count} parts; {len(missing)} are missing, such as {missing[0]}/{count}. Run "
            f"the same command with --part {missing[0]}/{count}."
        )
    settings = Settings.from_json(read_json(place, PARTIAL)) if PARTIAL in files else Manifest.read(place).settings
    entries = tuple(entry for found in records for entry in _read(place, found[0]))
    for entry in entries:
        if files.get(entry.file) != entry.bytes:
            raise StoreError(
                f"{place.name(entry.file)}: expected the file of image {entry.key!r}, of {entry.bytes} bytes; got "
                f"{files.get(entry.file, 'none')}. Remove the record of its part, and run that part again."
            )
    if _run_of(settings, [entry.key for entry in entries]) != runs[0][0]:
        raise StoreError(f"{place.url}: expected parts of these settings; they are of others. {ELSEWHERE}")
    unlike = next((entry for entry in entries if entry.num_classes != entries[0].num_classes), None)
    if unlike is not None:
        raise StoreError(
            f"{place.url}: expected {entries[0].num_classes} classes, as image {entries[0].key!r} has; got "
            f"{unlike.num_classes} in image {unlike.key!r}. A store holds predictions of one model."
        )
    for name, content in Manifest(settings, entries).files():
        place.write(name, content)
    for name in (*(found[0] for found in records), PARTIAL):
        place.remove(name)


def _begin(place: Place, settings: Settings, total: int) -> None:
    """Write the settings, or see that they are those that are there."""
    files = {} if place.has(PARTIAL) else place.sizes()  # another part may begin at the same time
    if files and PARTIAL not in files:
        raise StoreError(
            f"{place.url}: expected an empty or new folder, or parts of this store; got a folder with other files, "
            f"such as {min(files)}. Write to another folder."
        )
    if place.has(PARTIAL):
        try:
            found = Settings.from_json(read_json(place, PARTIAL))
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{place.name(PARTIAL)}: expected settings; got {error!r}. {ELSEWHERE}") from error
        _check_same(place, found, settings)
        return
    about = {"format": FORMAT, "version": VERSION, **settings.as_json(), "expected": total}
    about |= {"clearing": False, "replaced": None, "old": []}
    place.write(PARTIAL, json.dumps({**about, "digest": digest_of(about)}, indent=1).encode())


def _check_same(place: Place, there: Settings, settings: Settings) -> None:
    differences = there.differences(settings)
    if differences:
        raise StoreError(
            f"{place.url}: expected the settings that this store was begun with; {differences}. {ELSEWHERE}"
        )


def _entries(predictions: Any, keys: Sequence[str], mine: range, place: Place, settings: Settings) -> list[Entry]:
    """Write the images that are not there yet, and return what the manifest will say of all of the part."""
    taken: set[str] = set()
    files = []
    for key in keys:
        files.append(file_for(key, taken))
        taken.add(files[-1].casefold())
    whole = {i: entry for i in mine if (entry := _whole(place, files[i], keys[i], settings)) is not None}
    missing = [i for i in mine if i not in whole]
    sharded = spread(predictions) or Sharded(predictions, _Here())
    names, places = [keys[i] for i in missing], [files[i] for i in missing]
    written = dict(zip(missing, put_in_shards(sharded, missing, names, places, place, settings), strict=True))
    return [whole.get(i) or written[i] for i in mine]


def _whole(place: Place, file: str, key: str, settings: Settings) -> Entry | None:
    """The entry of an image file that is there, and whole."""
    if not place.has(file):
        return None
    entry = recognise(place, file, place.size(file), settings)
    return entry if entry is not None and entry.key == key else None


class _Here:
    """Runs tasks in this process, when they are asked for."""

    window = 1

    def submit(self, fn: Any, /, *args: Any) -> "_Now":
        """Return what runs a function when its result is asked for."""
        return _Now(fn, args)


class _Now:
    def __init__(self, function: Any, arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments

    def result(self) -> Any:
        return self.function(*self.arguments)

    def cancel(self) -> bool:
        return True


def _read(place: Place, record: str) -> list[Entry]:
    try:
        found = parse_json(place.read(record))
        if found["digest"] != digest_of(found):
            raise ValueError("it has changed since it was written")
        return [entry_from(image) for image in found["images"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise StoreError(
            f"{place.name(record)}: expected the record of a part; {error}. Remove it, and run that part again."
        ) from error


def _run_of(settings: Settings, keys: Sequence[str]) -> str:
    """What tells the parts of one run from those of others."""
    return hashlib.sha256(canonical([settings.fingerprint(), list(keys)])).hexdigest()[:16]
