"""What a store says about itself: the JSON beside the image files.

``manifest.json`` lists the images; with more than :data:`IN_ONE` of them it lists files that do, so that opening reads
a few kilobytes, and a worker the entries of its own images. It is written last, so a folder that has one is a finished
store. Until then ``manifest.partial.json`` holds the settings, so that an interrupted write can go on with the same
ones and refuse others. Both hold their own digest (files of version 1 do not), and whatever else a file says than its
version knows is refused.
"""

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any, overload

from calibrant._input.checks import check_version
from calibrant._storage.files import parse_json
from calibrant._storage.origin import canonical, digest_of_bytes
from calibrant._storage.place import UNREACHED, Place
from calibrant.data.store._entry import Entry, entry_from
from calibrant.data.store._settings import Settings
from calibrant.errors import StoreError

FORMAT = "calibrant predictions"
VERSION, IN_PARTS = 3, 4
"""Of a store whose manifest is one file, and of one whose manifest is in several."""
IN_ONE = 4096
"""Images that one file of a manifest lists at most."""
MANIFEST = "manifest.json"
PART = "manifest-"
"""How the names of the files of a manifest in several begin; the rest is the beginning of their digest."""
PARTIAL = "manifest.partial.json"
RECORDS = "manifest.part-"
"""How the names of the records of parts begin."""


class Entries(Sequence[Entry]):
    """The images of a manifest in several files, read as they are asked for.

    :param place: where the files are.
    :param files: of each its name, its SHA-256 and how many images it lists.
    """

    def __init__(self, place: Place, files: Sequence[tuple[str, str, int]]) -> None:
        self._place, self._files = place, tuple(files)
        self._ends = list(accumulate(count for _, _, count in self._files))
        self._last: tuple[int, tuple[Entry, ...]] = (-1, ())

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, i: int) -> Entry: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[Entry, ...]: ...
    def __getitem__(self, i: int | slice) -> Entry | tuple[Entry, ...]:
        if isinstance(i, slice):
            return tuple(self[n] for n in range(*i.indices(len(self))))
        number = range(len(self))[i]
        file = bisect_right(self._ends, number)
        if self._last[0] != file:
            self._last = (file, self._read(file))
        return self._last[1][number - (self._ends[file - 1] if file else 0)]

    def names(self) -> Iterator[str]:
        """Yield the names of the images, without the rest."""
        for file in range(len(self._files)):
            yield from (image["key"] for image in self._images(file))

    def _read(self, file: int) -> tuple[Entry, ...]:
        try:
            return tuple(entry_from(image) for image in self._images(file))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unlike(file, repr(error)) from error

    def _images(self, file: int) -> list[dict[str, Any]]:
        name, sha256, count = self._files[file]
        try:
            content = self._place.read(name)
        except OSError as error:
            raise self._unlike(file, str(error)) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise self._unlike(file, "it has changed since it was written")
        images = json.loads(content)["images"]
        if len(images) != count:
            raise self._unlike(file, f"it lists {len(images)} images, not {count}")
        return images

    def _unlike(self, file: int, what: str) -> StoreError:
        return StoreError(
            f"{self._place.name(self._files[file][0])}: expected a part of the manifest, as it was written; {what}. "
            "Copy the file again, or write the store again with overwrite=True (command line: --overwrite)."
        )


@dataclass(frozen=True)
class Manifest:
    """A finished store: the settings and one entry an image, in order.

    :param content: the digest of all that is read from the store, where it was recorded.
    """

    settings: Settings
    entries: Sequence[Entry]
    content: str | None = None

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self.entries[0].num_classes

    def keys(self) -> tuple[str, ...]:
        """Return the names of the images.

        :raises StoreError: two images have one name.
        """
        if not isinstance(self.entries, Entries):
            return tuple(entry.key for entry in self.entries)
        keys = tuple(self.entries.names())
        if len(set(keys)) < len(keys):
            raise StoreError("expected a manifest in which every image has another key; two have one. Write it again.")
        return keys

    def digest(self) -> str:
        """Return the digest of all that is read from the store: every number, every key, and the words about them."""
        if self.content is not None:
            return self.content
        images = [
            [
                e.key,
                e.checksum.removeprefix("sha256:"),
                dict(e.upsampling),
                e.unlabelled,
                {n: dict(t) for n, t in e.tensors.items()},
            ]
            for e in self.entries
        ]
        about = replace(self.settings, made_from=None).as_json()
        places = [about["geometry"]] if self.settings.geometry else []
        return digest_of_bytes(canonical([about["provenance"], images, *places]))

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the names and contents of the files of the manifest, the last of which makes it one."""
        head = {"format": FORMAT, "version": VERSION, **self.settings.as_json(), "num_classes": self.num_classes}
        if len(self.entries) <= IN_ONE:
            images = [asdict(entry) for entry in self.entries]
            head |= {"digest": digest_of({**head, "images": images})}
            yield MANIFEST, _with_lines(head, images)
            return
        parts: list[tuple[str, str, int]] = []
        for start in range(0, len(self.entries), IN_ONE):
            images = [asdict(entry) for entry in self.entries[start : start + IN_ONE]]
            content = _with_lines({"format": FORMAT, "version": IN_PARTS}, images)
            sha256 = hashlib.sha256(content).hexdigest()
            parts.append((f"{PART}{sha256[:16]}.json", sha256, len(images)))
            yield parts[-1][0], content
        head |= {"version": IN_PARTS, "content": self.digest(), "parts": parts}
        yield MANIFEST, json.dumps({**head, "digest": digest_of(head)}, indent=1).encode()

    @classmethod
    def read(cls, place: Place) -> "Manifest":
        """Read the manifest of a finished store.

        :raises StoreError: it is no manifest, or damaged, or of a newer version.
        """
        found = read_json(place, MANIFEST)
        known = {"format", "version", "dtype", "with_images", "provenance", "num_classes"}
        known |= {"made_from", "digest", "geometry"} if found["version"] > 1 else set()
        known |= {"parts", "content"} if found["version"] == IN_PARTS else {"images"}
        try:
            if unknown := sorted(set(found) - known):
                raise ValueError(f"it says {unknown[0]!r}, which this version does not know")
            if found["version"] == IN_PARTS:
                return cls(Settings.from_json(found), _entries_of(place, found["parts"]), str(found["content"]))
            entries = tuple(entry_from(image) for image in found["images"])
            manifest = cls(Settings.from_json(found), entries)
            if manifest.num_classes != found["num_classes"]:
                raise ValueError("the number of classes contradicts the images")
            for name in ("key", "file"):
                names = [getattr(entry, name) for entry in entries]
                if len(set(names)) < len(names):
                    raise ValueError(f"two images have one {name}")
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise StoreError(
                f"{place.name(MANIFEST)}: expected a manifest of version {VERSION} with settings and images; "
                f"something is missing or of the wrong kind ({error!r}). Write the store again."
            ) from error
        return manifest


def _entries_of(place: Place, parts: Any) -> Entries:
    """Read the list of files that list images.

    :raises TypeError, ValueError: it is no such list.
    """
    files = [(str(name), str(sha256), int(count)) for name, sha256, count in parts]
    if not files or not all(re.fullmatch(rf"{PART}[0-9a-f]{{16}}\.json", name) and n > 0 for name, _, n in files):
        raise ValueError("a part of the manifest does not lie in the store")
    return Entries(place, files)


def _with_lines(head: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> bytes:
    """JSON with one image a line."""
    lines = ",\n".join(f"  {json.dumps(image)}" for image in images)
    text = json.dumps({**head, "images": []}, indent=1)
    return text.replace('"images": []', f'"images": [\n{lines}\n ]').encode()


def digest_of(found: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a JSON file says, without its own digest."""
    return hashlib.sha256(canonical({key: value for key, value in found.items() if key != "digest"})).hexdigest()


def read_json(place: Place, file: str) -> dict[str, Any]:
    """Read one of the two JSON files, and see that it is as it was written.

    :raises StoreError: naming the file, what was expected and what to do.
    """
    found = read_json_of_ours(place, file)
    if found["version"] > 1 and found.get("digest") != digest_of(found):
        raise StoreError(
            f"{place.name(file)}: expected the content with the digest that it names; it has changed since it was "
            "written. Copy the file again, or write the store again with overwrite=True (command line: --overwrite)."
        )
    return found


def read_json_of_ours(place: Place, file: str) -> dict[str, Any]:
    """Read one of the two JSON files, and see that it is ours and not newer than this program.

    :raises StoreError: naming the file, what was expected and what to do.
    """
    name = place.name(file)
    try:
        found = parse_json(place.read(file))
    except OSError as error:
        advice = "Check the file permissions." if place.is_local else UNREACHED
        raise StoreError(f"{name}: expected a file that can be read; got {error}. {advice}") from error
    except ValueError as error:
        raise StoreError(
            f"{name}: expected JSON; it cannot be read ({error}). The file was damaged: remove the folder and "
            "write the store again."
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise StoreError(
            f"{name}: expected a manifest with format {FORMAT!r}; got another file of that name. "
            "Is this a folder of arrays? Then use calibrant.data.open_folder (command line: calibrant import)."
        )
    check_version(found.get("version"), IN_PARTS if file == MANIFEST else VERSION, name)
    return found
