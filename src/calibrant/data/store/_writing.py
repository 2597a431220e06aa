"""Writing a store so that an interrupted write can go on.

In order: ``manifest.partial.json`` with the settings; each image under a temporary name, then renamed; the manifest;
the removal of the partial one. What is already there is known from the image files' own headers, so there is no second
record that could contradict them.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from calibrant.data.store._image_file import SUFFIX, encode, recognise
from calibrant.data.store._manifest import FORMAT, MANIFEST, PARTIAL, VERSION, Entry, Manifest, Settings, read_json
from calibrant.data.store._place import Place
from calibrant.errors import StoreError
from calibrant.predictions import StridedPrediction, known_keys

ELSEWHERE = "Write to another folder, or pass overwrite=True (command line: --overwrite)."


def write(predictions: Iterable[Any], place: Place, settings: Settings, *, overwrite: bool) -> None:
    """Write all images that are not there yet, one at a time, and the manifest."""
    keys = known_keys(predictions)
    if keys is not None:
        twice = [key for key, count in Counter(keys).items() if count > 1]
        if twice:
            raise StoreError(_twice(place, twice[0]))
    total = len(keys) if keys is not None else getattr(predictions, "__len__", lambda: None)()
    writer = _Writer(place, settings, total, overwrite)
    if keys is None:
        for item in predictions:
            writer.put(StridedPrediction.of(item))
            del item  # or it would be held while the source makes the next one
    else:
        # A source that can hand out logits at the network's own stride is asked for those.
        read = getattr(predictions, "strided", None) or getattr(predictions, "__getitem__")  # noqa: B009
        for i, key in enumerate(keys):
            if not writer.skip(key):
                writer.put(StridedPrediction.of(read(i)), expected=key)
    writer.finish()


class _Writer:
    """The state of one write: what was whole before, and what has been written or found whole since."""

    def __init__(self, place: Place, settings: Settings, total: int | None, overwrite: bool) -> None:
        self.place, self.settings, self.total = place, settings, total
        self.entries: dict[str, Entry] = {}
        self.finished = False
        self.whole: dict[str, Entry] = {}
        self.whole = self._begin(overwrite)
        self.taken = {entry.file.casefold() for entry in self.whole.values()}

    def _begin(self, overwrite: bool) -> dict[str, Entry]:
        """Make the place ready and return the images that are whole already."""
        place = self.place
        if place.is_file():
            raise StoreError(f"{place.url}: expected a folder to write a store to; got a file. Choose another name.")
        files = place.sizes()
        state = MANIFEST if MANIFEST in files else PARTIAL if PARTIAL in files else None
        if state is None and files:
            raise StoreError(
                f"{place.url}: expected an empty or new folder, or a store to go on with; got a folder with other "
                f"files, such as {min(files)}. Write to another folder."
            )
        found = read_json(place, state) if state else {}
        if state and (overwrite or found.get("clearing")):
            self._clear(files)
        elif state == MANIFEST:
            manifest = Manifest.read(place)
            self._check_settings(manifest.settings)
            self.finished = True
            return {entry.key: entry for entry in manifest.entries}
        elif state == PARTIAL and any(file.endswith(SUFFIX) for file in files):
            self._check_settings(Settings.from_json(found))
            place.sweep()
            entries = (
                recognise(place, file, size, self.settings) for file, size in files.items() if file.endswith(SUFFIX)
            )
            return {entry.key: entry for entry in entries if entry is not None}
        if state == PARTIAL:
            place.sweep()
        self._write_partial(clearing=False)
        return {}

    def _clear(self, files: Iterable[str]) -> None:
        """Remove an old store; if that is interrupted, the next write goes on clearing before it writes."""
        self._write_partial(clearing=True)
        self.place.remove(MANIFEST)
        for file in files:
            if file.endswith(SUFFIX):
                self.place.remove(file)

    def _write_partial(self, *, clearing: bool) -> None:
        record = {"format": FORMAT, "version": VERSION, **self.settings.as_json()}
        record |= {"expected": self.total, "clearing": clearing}
        self._write(PARTIAL, json.dumps(record, indent=1).encode(), "the settings")

    def _check_settings(self, there: Settings) -> None:
        differences = there.differences(self.settings)
        if differences:
            raise StoreError(
                f"{self.place.url}: expected the settings that this store was begun with; {differences}. "
                f"Use the same settings to go on. {ELSEWHERE}"
            )

    def skip(self, key: str) -> bool:
        """Tell whether an image is whole already, and need not even be asked for."""
        if key in self.whole:
            self.entries[key] = self.whole[key]
            return True
        return False

    def put(self, item: StridedPrediction, expected: str | None = None) -> None:
        """Write one image; of a source that had to be asked for it, compare what is whole already."""
        key, place = item.key, self.place
        if key in self.entries:
            raise StoreError(_twice(place, key))
        if expected not in (None, key):
            raise StoreError(
                f"{place.url}: expected image {expected!r}, as the source's keys say; got {key!r}. "
                "A source's keys must name its images in order."
            )
        if self.finished and key not in self.whole:
            raise StoreError(f"{place.url}: holds a finished store without image {key!r}. {ELSEWHERE}")
        old = self.whole.get(key)
        content, entry = encode(item.checked(), old.file if old else self._file(key), self.settings)
        self._check_classes(entry)
        if old is None:
            self._write(entry.file, content, f"image {key!r}")
            self.taken.add(entry.file.casefold())
        elif old.sha256 != entry.sha256 or old.upsampling != entry.upsampling:
            raise StoreError(
                f"{place.name(old.file)}: expected image {key!r} with the same numbers as before; they differ, so "
                f"these are other predictions under the same name. {ELSEWHERE}"
            )
        self.entries[key] = entry

    def finish(self) -> None:
        """Write the manifest, or see that a finished store holds exactly these images."""
        surplus = [key for key in self.whole if key not in self.entries]
        if surplus:
            raise StoreError(
                f"{self.place.url}: holds {len(surplus)} images that are not among these {len(self.entries)}, "
                f"such as {surplus[0]!r}. {ELSEWHERE}"
            )
        if not self.entries:
            raise StoreError(f"{self.place.url}: expected at least one image to store; got none. Check the source.")
        if self.finished:
            if list(self.whole) != list(self.entries):
                raise StoreError(f"{self.place.url}: holds these images in another order. {ELSEWHERE}")
            return
        manifest = Manifest(self.settings, tuple(self.entries.values()))
        self._write(MANIFEST, manifest.text(), "the manifest")
        self.place.remove(PARTIAL)

    def _check_classes(self, entry: Entry) -> None:
        names = len(self.settings.provenance.class_names) or entry.num_classes
        first = next(iter((self.entries or self.whole).values()), entry)
        if entry.num_classes != first.num_classes:
            raise StoreError(
                f"{self.place.url}: expected {first.num_classes} classes, as image {first.key!r} has; got "
                f"{entry.num_classes} in image {entry.key!r}. A store holds predictions of one model."
            )
        if entry.num_classes != names:
            raise StoreError(
                f"{self.place.url}: expected {names} classes, one for each class name; got {entry.num_classes} in "
                f"image {entry.key!r}. Name the classes of the logits, in order, without the unlabelled one."
            )

    def _file(self, key: str) -> str:
        """Return a file name that every file system takes and that no other image has."""
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", key).lstrip(".")[:120]
        file = safe + SUFFIX
        if safe != key or file.casefold() in self.taken:
            file = f"{safe}-{hashlib.sha256(key.encode()).hexdigest()[:12]}{SUFFIX}"
        return file

    def _write(self, file: str, content: bytes, what: str) -> None:
        try:
            self.place.write(file, content)
        except OSError as error:
            there, total = len(self.whole.keys() | self.entries.keys()), self.total
            raise StoreError(
                f"{self.place.url}: could not write {what} ({error.strerror or error}); {there} of "
                f"{'an unknown number of' if total is None else total} images are whole. Make room or "
                "check the file permissions, then run the same command again: it resumes."
            ) from error


def _twice(place: Place, key: str) -> str:
    return f"{place.url}: expected all images to have different keys; got {key!r} twice. Rename one of them."
