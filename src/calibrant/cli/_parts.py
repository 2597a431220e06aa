"""Parts of a run: ``--part 3/64`` on a command, and all of them found again by ``merge``."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

SUFFIX = ".part"

PartOption = Annotated[
    str | None,
    typer.Option(
        "--part",
        help="Only the third of 64 parts of the images: 3/64. Any number of processes and machines may make parts at a "
        "time; calibrant merge makes the whole of them.",
    ),
]
"""The option that asks for a part."""


@dataclass(frozen=True)
class Part:
    """Which part of how many.

    :param number: from 1.
    :param count: how many there are.
    """

    number: int
    count: int

    @classmethod
    def parsed(cls, text: str | None) -> "Part | None":
        """Read what the option says; None for nothing.

        :param text: such as 3/64.
        :raises InputError: it is no part.
        """
        from calibrant.errors import InputError

        if text is None:
            return None
        found = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise InputError(f"expected a part from 1 to as many as there are, such as 3/64; got --part {text!r}.")
        return cls(int(found[1]), int(found[2]))

    def of(self, source: Any) -> Any:
        """Return the images of the part.

        :param source: predictions.
        """
        from calibrant.data.store import run_numbers
        from calibrant.predictions import part_of

        return part_of(source, run_numbers(len(source), self.number, self.count))

    def file(self, folder: Path, command: str, facts: Mapping[str, Any]) -> Path:
        """Return the file of the part, whose name says what it is a part of.

        :param folder: where it goes.
        :param command: the name of the command.
        :param facts: what is the same in all parts of one run.
        """
        from hashlib import sha256

        from calibrant._storage.origin import canonical

        run = sha256(canonical([command, facts])).hexdigest()[:16]
        return folder / f"{command}-{run}-{self.number:03d}-of-{self.count:03d}{SUFFIX}"


def all_parts(files: Sequence[Path], kind: Any) -> list[Any]:
    """Return all parts of one run, in order.

    :param files: their files.
    :param kind: what their tallies are.
    :raises DataError: some are missing, or of another run.
    """
    from calibrant.errors import DataError
    from calibrant.metrics.part import TallyPart

    parts = [TallyPart.load(file, kind) for file in files]
    for file, part in zip(files, parts, strict=True):
        if (part.count, part.facts) != (parts[0].count, parts[0].facts):
            raise DataError(
                f"{file}: expected parts of one run; this one is of another than {files[0].name}. Name the parts of "
                "one run, or remove the others."
            )
    missing = sorted({*range(1, parts[0].count + 1)} - {part.number for part in parts})
    if missing:
        raise DataError(
            f"{files[0].parent}: expected all {parts[0].count} parts; {len(missing)} are missing, such as "
            f"{missing[0]}/{parts[0].count}. Run the same command with --part {missing[0]}/{parts[0].count}."
        )
    if len(parts) > parts[0].count:
        raise DataError(f"{files[0].parent}: expected each part once; got {len(parts)} of {parts[0].count}.")
    return sorted(parts, key=lambda part: part.number)
