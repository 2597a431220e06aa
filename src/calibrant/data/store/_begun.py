"""What the partial manifest of a write that was begun says."""

from dataclasses import dataclass

from calibrant._storage.place import Place
from calibrant.data.store._manifest import PARTIAL, Settings, read_json
from calibrant.errors import StoreError

ELSEWHERE = "Write to another folder, or pass overwrite=True (command line: --overwrite)."


@dataclass(frozen=True)
class Begun:
    """What a partial manifest says.

    :param settings: those of the write; None if version 0.1.0 began it.
    :param replaced: the digest of the manifest that it is to replace; None if there was none.
    :param old: the files of images that were there before.
    :param clearing: files of an earlier write were being removed.
    """

    settings: Settings | None
    replaced: str | None
    old: tuple[str, ...]
    clearing: bool

    @classmethod
    def read(cls, place: Place) -> "Begun":
        found = read_json(place, PARTIAL)
        try:
            if found["version"] == 1:
                return cls(None, None, (), bool(found["clearing"]))
            old = tuple(map(str, found["old"]))
            return cls(Settings.from_json(found), found["replaced"], old, bool(found["clearing"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(
                f"{place.name(PARTIAL)}: expected the settings of a write that was begun; something is missing or of "
                f"the wrong kind ({error!r}). {ELSEWHERE}"
            ) from error
