"""Writing a store so that an interrupted write can go on.

In order: ``manifest.partial.json`` with the settings; each image under a temporary name, then renamed; the manifest;
the removal of the partial one. What is already there is known from the image files themselves, whose headers name the
settings and whose contents are compared with their checksums, so there is no second record that could contradict them.

A store that is to be replaced stays whole until then: new images get names that no file there has, the new manifest
takes the place of the old in one step, and then the old files are removed. The partial manifest names them, and the
digest of the manifest that is to be replaced: if another is there, the write was finished but for the removal.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from calibrant._storage.place import Place
from calibrant.data.store._begun import ELSEWHERE, Begun
from calibrant.data.store._entry import Entry
from calibrant.data.store._image_file import SUFFIX, encode, recognise
from calibrant.data.store._in_runs import write_in_parts
from calibrant.data.store._in_shards import check_key, file_for
from calibrant.data.store._manifest import (
    FORMAT,
    MANIFEST,
    PART,
    PARTIAL,
    RECORDS,
    VERSION,
    Manifest,
    Settings,
    digest_of,
    read_json_of_ours,
)
from calibrant.errors import StoreError
from calibrant.predictions import PredictionInParts, StridedPrediction


class Writer:
    """The state of one write: what was whole before, and what has been written or found whole since."""

    def __init__(self, place: Place, settings: Settings, total: int | None, overwrite: bool) -> None:
        self.place, self.settings, self.total = place, settings, total
        self.entries: dict[str, Entry] = {}
        self.finished = False
        self.replaced: str | None = None
        self.old: tuple[str, ...] = ()
        self.whole: dict[str, Entry] = {}
        self.whole = self._begin(overwrite)
        self.taken = {file.casefold() for file in (*self.old, *(entry.file for entry in self.whole.values()))}

    def _begin(self, overwrite: bool) -> dict[str, Entry]:
        """Make the place ready and return the images that are whole already."""
        place = self.place
        if place.is_file():
            raise StoreError(f"{place.url}: expected a folder to write a store to; got a file. Choose another name.")
        files = place.sizes()
        self.records = [file for file in files if file.startswith(RECORDS)]
        self.parts = [file for file in files if file.startswith(PART)]
        if files and not {MANIFEST, PARTIAL} & set(files):
            raise StoreError(
                f"{place.url}: expected an empty or new folder, or a store to go on with; got a folder with other "
                f"files, such as {min(files)}. Write to another folder."
            )
        place.sweep(".*.tmp")  # as version 0.1.0 named them
        begun = self._begun(files, overwrite)
        if MANIFEST in files:
            self.replaced = _digest(place)
            if begun is not None and begun.replaced != self.replaced:
                self._end(begun, files)
                is_this = self._is_ours(begun) and self.settings.made_from is not None
                begun, files = None, place.sizes()
                if is_this:  # the same command, killed when all was there but for the removal of what was replaced
                    return self._finished(files)
            if not overwrite and (begun is None or not self._is_ours(begun)):
                return self._finished(files)
        if begun is None:
            self.old = tuple(file for file in files if file.endswith(SUFFIX))
            self._write_partial()
            return {}
        return self._go_on(begun, files, overwrite)

    def _begun(self, files: Mapping[str, int], overwrite: bool) -> Begun | None:
        """What an earlier write left, if it was not finished; what cannot be read is only passed over to start anew."""
        if MANIFEST in files and overwrite:
            read_json_of_ours(self.place, MANIFEST)
        if PARTIAL not in files:
            return None
        try:
            return Begun.read(self.place)
        except StoreError:
            if not overwrite:
                raise
            read_json_of_ours(self.place, PARTIAL)
            old = tuple(file for file in files if file.endswith(SUFFIX)) if MANIFEST in files else ()
            return Begun(None, _digest(self.place) if MANIFEST in files else None, old, clearing=False)

    def _finished(self, files: Mapping[str, int]) -> dict[str, Entry]:
        """The images of a finished store, which must be the one that is asked for."""
        manifest = Manifest.read(self.place)
        self._check_settings(manifest.settings)
        for entry in manifest.entries:
            if files.get(entry.file) != entry.bytes:
                raise StoreError(
                    f"{self.place.name(entry.file)}: expected the file of image {entry.key!r}, of {entry.bytes} bytes; "
                    f"got {files.get(entry.file, 'none')}. {ELSEWHERE}"
                )
        self.finished = True
        return {entry.key: entry for entry in manifest.entries}

    def _go_on(self, begun: Begun, files: Mapping[str, int], overwrite: bool) -> dict[str, Entry]:
        """The images of an interrupted write that are whole; none if it was another, which is then cleared."""
        self.old = begun.old
        new = [file for file in files if file.endswith(SUFFIX) and file not in self.old]
        asked_anew = overwrite and self.settings.made_from is None
        if new and not begun.clearing and not asked_anew and self._is_ours(begun):
            entries = (recognise(self.place, file, files[file], self.settings) for file in new)
            return {entry.key: entry for entry in entries if entry is not None}
        if new and not begun.clearing and not overwrite:
            if begun.settings is None:
                raise StoreError(
                    f"{self.place.url}: holds a store that calibrant 0.1.0 began to write; it does not say what it was "
                    f"made from, so nobody knows whether this is the same. {ELSEWHERE}"
                )
            self._check_settings(begun.settings)
        if new:
            self._write_partial(clearing=True)
            for file in new:
                self.place.remove(file)
        self._write_partial()
        return {}

    def _is_ours(self, begun: Begun) -> bool:
        return begun.settings is not None and not begun.settings.differences(self.settings)

    def _end(self, begun: Begun, files: Mapping[str, int]) -> None:
        """Remove what a finished write has left: the files that it replaced, and its partial manifest."""
        there = {entry.file for entry in Manifest.read(self.place).entries}
        for file in begun.old:
            if file in files and file not in there:
                self.place.remove(file)
        self.place.remove(PARTIAL)

    def _write_partial(self, *, clearing: bool = False) -> None:
        record = {"format": FORMAT, "version": VERSION, **self.settings.as_json(), "expected": self.total}
        record |= {"clearing": clearing, "replaced": self.replaced, "old": list(self.old)}
        text = json.dumps({**record, "digest": digest_of(record)}, indent=1)
        self._write(PARTIAL, text.encode(), "the settings")

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

    def put(self, item: Any, expected: str | None = None) -> None:
        """Write one image; of a source that had to be asked for it, compare what is whole already."""
        if item.key in self.entries:
            raise StoreError(said_twice(self.place, item.key))
        if expected is not None:
            check_key(self.place, expected, item.key)
        if not isinstance(item, PredictionInParts):
            self._put_whole(StridedPrediction.of(item))
        elif self.place.is_local and len([*item.runs()]) > 1:
            self._put_in_parts(item)
        else:
            self._put_whole(StridedPrediction.of(item.whole()))

    def _put_in_parts(self, image: PredictionInParts) -> None:
        self._check_classes(image.key, image.num_classes)
        file = self.place_for(image.key)
        try:
            self.entries[image.key] = write_in_parts(self.place, file, image, self.settings)
        except OSError as error:
            raise self.could_not(f"image {image.key!r}", error) from error

    def _put_whole(self, item: StridedPrediction) -> None:
        key, place = item.key, self.place
        old = self.whole.get(key)
        content, entry = encode(item.checked(), old.file if old else self.place_for(key), self.settings)
        self._check_classes(key, entry.num_classes)
        if old is None:
            self._write(entry.file, content, f"image {key!r}")
        elif old.checksum != entry.checksum or old.upsampling != entry.upsampling:
            raise StoreError(
                f"{place.name(old.file)}: expected image {key!r} with the same numbers as before; they differ, so "
                f"these are other predictions under the same name. {ELSEWHERE}"
            )
        self.entries[key] = entry

    def place_for(self, key: str) -> str:
        """Return the file of an image that is not there yet, which no other image gets from now on."""
        if self.finished:
            raise StoreError(f"{self.place.url}: holds a finished store without image {key!r}. {ELSEWHERE}")
        file = file_for(key, self.taken)
        self.taken.add(file.casefold())
        return file

    def add(self, entry: Entry) -> None:
        """Take note of an image that was written elsewhere."""
        self._check_classes(entry.key, entry.num_classes)
        self.entries[entry.key] = entry

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
        written = []
        for name, content in manifest.files():
            self._write(name, content, "the manifest")
            written.append(name)
        for file in (*self.old, *self.records, *(file for file in self.parts if file not in written)):
            self.place.remove(file)
        self.place.remove(PARTIAL)

    def forget(self) -> None:
        """Remove the partial manifest of a write that failed at its first image, into a new place."""
        if not (self.finished or self.entries or self.whole or self.old or self.replaced):
            with contextlib.suppress(OSError):
                self.place.remove(PARTIAL)

    def _check_classes(self, key: str, num_classes: int) -> None:
        names = len(self.settings.provenance.class_names) or num_classes
        first = next(iter((self.entries or self.whole).values()), None)
        if first is not None and num_classes != first.num_classes:
            raise StoreError(
                f"{self.place.url}: expected {first.num_classes} classes, as image {first.key!r} has; got "
                f"{num_classes} in image {key!r}. A store holds predictions of one model."
            )
        if num_classes != names:
            raise StoreError(
                f"{self.place.url}: expected {names} classes, one for each class name; got {num_classes} in "
                f"image {key!r}. Name the classes of the logits, in order, without the unlabelled one."
            )

    def _write(self, file: str, content: bytes, what: str) -> None:
        try:
            self.place.write(file, content)
        except OSError as error:
            raise self.could_not(what, error) from error

    def could_not(self, what: str, error: OSError) -> StoreError:
        """Return the sentence for what could not be written."""
        there, total = len(self.whole.keys() | self.entries.keys()), self.total
        return StoreError(
            f"{self.place.url}: could not write {what} ({error.strerror or error}); {there} of "
            f"{'an unknown number of' if total is None else total} images are whole. Make room or "
            "check the file permissions, then run the same command again: it resumes."
        )


def _digest(place: Place) -> str:
    return hashlib.sha256(place.read(MANIFEST)).hexdigest()


def said_twice(place: Place, key: str) -> str:
    """Return the sentence for a key that two images have."""
    return f"{place.url}: expected all images to have different keys; got {key!r} twice. Rename one of them."
