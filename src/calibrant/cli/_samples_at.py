"""Label maps at an address: image by image as they are drawn, and the record of them last.

A bucket renames nothing, so that new files cannot take the place of old ones in one step: the old record is removed
first, and until the new one is there, nobody takes the files for a set of samples. A hidden file says of what command
they are, which may be given again.
"""

import contextlib
from collections.abc import Generator

from calibrant._storage.files import parse_json
from calibrant._storage.origin import ANEW, Origin, canonical, check_same, checked
from calibrant._storage.place import Place
from calibrant.cli._samples import SAMPLES, record_of, record_text
from calibrant.errors import StoreError

BEGUN = ".samples-begun.json"


@contextlib.contextmanager
def samples_at(place: Place, made_from: Origin, *, overwrite: bool) -> Generator[dict[str, str]]:
    """Yield an empty dict for the digests of files by their names, all of which are at the address in the end.

    :param place: the address.
    :param made_from: what they are drawn from and how, by name.
    :param overwrite: replace those of another command.
    :raises StoreError: files of another command, or of nobody knows which, are there.
    :raises OSError: the address cannot be reached.
    """
    old = {name for name in place.sizes() if name.endswith(".npz")}
    if not overwrite:
        _check_ours(place, made_from, old)
    place.write(BEGUN, canonical(dict(made_from)))
    place.remove(SAMPLES.record)
    digests: dict[str, str] = {}
    yield digests
    for name in old - set(digests):
        place.remove(name)
    place.write(SAMPLES.record, record_text(made_from, digests, SAMPLES).encode())
    place.remove(BEGUN)


def _check_ours(place: Place, made_from: Origin, old: set[str]) -> None:
    """Raise unless what is at the address was made by this command, whole or not."""
    there = None
    if place.has(SAMPLES.record):
        name = place.name(SAMPLES.record)
        there = checked(record_of(name, place.read(SAMPLES.record), SAMPLES)["made_from"])
    elif place.has(BEGUN):
        with contextlib.suppress(ValueError):
            there = checked(parse_json(place.read(BEGUN)))
    elif old:
        raise StoreError(
            f"{place.url}: holds files that do not say what they were made from, such as {min(old)}, so it is not "
            f"known whether they answer this command. {ANEW}"
        )
    else:
        return
    check_same(place.url, there, made_from, SAMPLES.what)
