"""Writing all images of a source to a store: one at a time, read ahead, or by way of an executor."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from calibrant._storage.place import Place
from calibrant.data.store._in_shards import put_in_shards, reader_of
from calibrant.data.store._settings import Settings
from calibrant.data.store._writer import Writer, said_twice
from calibrant.errors import CalibrantError, StoreError
from calibrant.predictions import Sharded, known_keys, read_ahead, spread


def write(predictions: Iterable[Any], place: Place, settings: Settings, *, overwrite: bool) -> None:
    """Write all images that are not there yet, one at a time, and the manifest."""
    keys = known_keys(predictions)
    if keys is not None:
        twice = [key for key, count in Counter(keys).items() if count > 1]
        if twice:
            raise StoreError(said_twice(place, twice[0]))
    total = len(keys) if keys is not None else getattr(predictions, "__len__", lambda: None)()
    writer = Writer(place, settings, total, overwrite)
    try:
        _write_all(writer, predictions, keys)
    except CalibrantError:
        writer.forget()
        raise
    writer.finish()


def _write_all(writer: Writer, predictions: Iterable[Any], keys: Sequence[str] | None) -> None:
    """Write all images that are not there yet."""
    if keys is None:
        for item in predictions:
            writer.put(item)
            del item  # or it would be held while the source makes the next one
    elif sharded := spread(predictions):
        _write_in_shards(writer, sharded, keys)
    else:
        missing = _read(predictions, [i for i, key in enumerate(keys) if key not in writer.whole])
        for key in keys:
            if not writer.skip(key):
                writer.put(next(missing), expected=key)


def _read(source: Any, numbers: Sequence[int]) -> Iterator[Any]:
    """Read images; those that a source can read in parts are so, unless it has them at a stride."""
    in_parts = getattr(source, "in_parts", None)
    if in_parts is None or hasattr(source, "strided"):
        return map(reader_of(source), numbers)
    return read_ahead(in_parts, numbers)


def _write_in_shards(writer: Writer, sharded: Sharded, keys: Sequence[str]) -> None:
    """Write the images that are missing by way of an executor."""
    missing = [i for i, key in enumerate(keys) if not writer.skip(key)]
    names = [keys[i] for i in missing]
    files = [writer.place_for(key) for key in names]
    if sharded.advance is not None and len(missing) < len(keys):
        sharded.advance(len(keys) - len(missing))
    try:
        for entry in put_in_shards(sharded, missing, names, files, writer.place, writer.settings):
            writer.add(entry)
    except OSError as error:
        raise writer.could_not("an image", error) from error
    writer.entries = {key: writer.entries[key] for key in keys}
