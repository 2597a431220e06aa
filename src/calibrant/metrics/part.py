"""Rows of a part of the images on disk, until all parts are there: what ``--part`` writes and ``merge`` reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from safetensors import SafetensorError

from calibrant._storage.tensors import read_described, write_described
from calibrant.errors import DataError
from calibrant.metrics.storage import built, named
from calibrant.metrics.tally import Tally

FORMAT, VERSION = "calibrant part", 1
T = TypeVar("T", bound=Tally)


@dataclass(frozen=True)
class TallyPart(Generic[T]):
    """The tallies of a part of the images, and what they are of.

    :param tallies: by name; none if nothing in the part is labelled.
    :param left_out: names of the images without a labelled pixel.
    :param number: which part it is, from 1.
    :param count: how many parts there are.
    :param facts: what is the same in all parts of one run, as JSON can hold it.
    :param own: what is this part's alone, as JSON can hold it.
    """

    tallies: Mapping[str, T]
    left_out: tuple[str, ...]
    number: int
    count: int
    facts: Mapping[str, Any]
    own: Mapping[str, Any]

    def save(self, path: str | Path) -> None:
        """Write the part to one file, whole or not at all.

        :param path: the file to write; one that is there is replaced.
        :raises DataError: it cannot be written.
        """
        tensors = {
            name: column for i, each in enumerate(self.tallies.values()) for name, column in named(each, f"{i}.")
        }
        about: dict[str, Any] = {"format": FORMAT, "version": VERSION, "part": [self.number, self.count]}
        about |= {"names": list(self.tallies), "keys": [list(each.keys) for each in self.tallies.values()]}
        about |= {"left_out": list(self.left_out), "facts": dict(self.facts), "own": dict(self.own)}
        try:
            write_described(path, tensors, about)
        except OSError as error:
            raise DataError(
                f"{path}: expected to write a part; {error}. Make room, or choose another place."
            ) from error

    @classmethod
    def load(cls, path: str | Path, kind: type[T]) -> "TallyPart[T]":
        """Read a part.

        :param path: a file that :meth:`save` wrote.
        :param kind: what its tallies are.
        :raises DataError: it is missing, no part, damaged, or written by a newer version.
        """
        try:
            about, columns = read_described(path, FORMAT, VERSION, "a part")
            tallies = {
                name: built(kind, columns, f"{i}.", keys=tuple(keys))
                for i, (name, keys) in enumerate(zip(about["names"], about["keys"], strict=True))
            }
            number, count = about["part"]
            return cls(tallies, tuple(about["left_out"]), int(number), int(count), about["facts"], about["own"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise DataError(
                f"{path}: expected a part, as --part writes it; {error}. Remove it, and run that part again."
            ) from error
