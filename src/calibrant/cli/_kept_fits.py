"""Calibrators that a comparison has fitted, in a folder, so that the same command goes on with them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from calibrant._storage.files import parse_json, read_file, replacing
from calibrant._storage.origin import Origin, check_same, digest_of_bytes
from calibrant.calibrators import Calibrator, save
from calibrant.calibrators.storage import STORAGE
from calibrant.errors import DataError

HEARD = "heard.json"
"""What a fit warned of, beside its calibrator."""


@dataclass(frozen=True)
class KeptFits:
    """A folder with a calibrator for each method and seed.

    :param folder: is made if missing.
    :param common: what all calibrators are made from, by name.
    :param methods: what each method is, by its title.
    :param overwrite: calibrators of another command are made anew.
    """

    folder: Path
    common: Origin
    methods: Mapping[str, Origin]
    overwrite: bool = field(default=False, kw_only=True)

    def find(self, title: str, seed: int, keys: Sequence[str]) -> tuple[Calibrator, list[str]] | None:
        """Return a calibrator that is there, and what its fit warned of; None if there is none.

        :param title: the method.
        :param seed: of the fit.
        :param keys: the images that it is fitted to.
        :raises StoreError: another command made it.
        :raises DataError: it is damaged.
        """
        place = self._place(title, seed)
        if not STORAGE.holds(place):
            return None
        origin, there = self._origin(title, seed, keys), STORAGE.made_from(place)
        if self.overwrite and there != origin:
            return None
        check_same(place, there, origin, "calibrator")
        found = STORAGE.load_known(place)
        if found is None:  # of a class of the user's own: it is fitted again
            return None
        try:
            heard = parse_json(read_file(place / HEARD))
            if not isinstance(heard, list) or not all(isinstance(line, str) for line in heard):
                raise ValueError("it holds something else")
        except (OSError, ValueError) as error:
            raise DataError(f"{place / HEARD}: expected what the fit warned of; {error}. Remove {place}.") from error
        return found, heard

    def keep(self, calibrator: Calibrator, heard: Sequence[str], title: str, seed: int, keys: Sequence[str]) -> None:
        """Save a calibrator.

        :param calibrator: as it was fitted.
        :param heard: what its fit warned of.
        :param title: the method.
        :param seed: of the fit.
        :param keys: the images that it was fitted to.
        """
        place = self._place(title, seed)
        place.mkdir(parents=True, exist_ok=True)
        with replacing(place / HEARD) as temporary:  # before the calibrator, which says that both are there
            temporary.write_text(json.dumps(list(heard)), "utf-8")
        save(calibrator, place, made_from=self._origin(title, seed, keys))

    def _place(self, title: str, seed: int) -> Path:
        name = quote(title, safe=" ()+,=")
        short = name if len(name) <= 120 else f"{name[:120]}-{digest_of_bytes(title.encode())[-12:]}"
        return self.folder / f"{short} {seed}"

    def _origin(self, title: str, seed: int, keys: Sequence[str]) -> Origin:
        images = digest_of_bytes(*(key.encode("utf-8", "surrogatepass") for key in keys))
        return {**self.common, **self.methods[title], "--seed": str(seed), "images": images}
