"""What was measured of one or several methods: shown, saved, loaded and drawn. Four commands share it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from calibrant import __version__
from calibrant.cli._console import PlainConsole, aside, console, write_json
from calibrant.errors import DataError
from calibrant.evaluation import Comparison, compare
from calibrant.metrics import Measurement, load_measurement, save_measurement
from calibrant.report import Case, as_json, terminal_table, write_page

SUFFIX = ".measurement"


@dataclass(frozen=True)
class Study:
    """What was measured: by method, one measurement for each repetition, and all that a reader must know of it.

    :param measurements: by title of a method, one for each repetition.
    :param class_names: the names of the classes, in order; empty if they are not known.
    :param facts: what was measured and how, in words.
    :param notes: what the fits warned of.
    :param cases: images that the report shows.
    """

    measurements: Mapping[str, Sequence[Measurement]]
    class_names: Sequence[str]
    facts: Mapping[str, str]
    notes: Sequence[str] = ()
    cases: Sequence[Case] = field(default=(), repr=False)

    @classmethod
    def of(cls, measurements: Mapping[str, Sequence[Measurement]], source: Any, facts: Mapping[str, str]) -> "Study":
        """Describe measurements of a stored source."""
        first = next(iter(measurements.values()))[0]
        about = source.provenance
        known = {
            "model": about.model,
            "images": f"{about.data} ({len(first)} measured)",
            "left out": f"{len(first.left_out)} images without a labelled pixel" if first.left_out else "no image",
            "unlabelled pixels": about.ignore,
            "resolution": about.resolution,
        }
        tool = {"written by": f"calibrant {__version__}"}
        return cls(measurements, source.class_names, {k: v for k, v in known.items() if v} | dict(facts) | tool)

    @cached_property
    def comparison(self) -> Comparison:
        """Every figure with its interval over images."""
        return compare(self.measurements, generator=torch.Generator().manual_seed(0))

    def show(self, where: PlainConsole = console) -> None:
        """Print the table, and what the fits had to say on the error stream.

        :param where: what the table is printed on.
        """
        where.print(terminal_table(self.comparison))
        for note in self.notes:
            aside.print(f"note: {note}", highlight=False)

    def as_json(self) -> dict[str, Any]:
        """Return every figure with its interval, the facts and the notes, as JSON can hold them."""
        return {"facts": dict(self.facts), "notes": list(self.notes)} | as_json(self.comparison)

    def write_json(self, path: Path) -> None:
        """Write every figure with its interval.

        :param path: a file, or ``-`` for the standard output.
        """
        write_json(self.as_json(), path)

    def write_page(self, path: Path, *, title: str = "Calibration report") -> None:
        """Write the report."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_page(
            path,
            self.comparison,
            self.measurements,
            title=title,
            facts=self.facts,
            class_names=self.class_names or None,
            cases=self.cases,
            notes=self.notes,
        )

    def save(self, folder: Path) -> None:
        """Write one file a method and repetition."""
        for order, (method, repetitions) in enumerate(self.measurements.items()):
            for number, measurement in enumerate(repetitions):
                facts = {
                    "method": method,
                    "order": order,
                    "repetition": number,
                    "class_names": list(self.class_names),
                    "facts": dict(self.facts),
                    "notes": list(self.notes),
                }
                save_measurement(measurement, folder / f"{order:02d}-{number:02d}{SUFFIX}", facts=facts)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> "Study":
        """Read a study from measurement files, or folders of them.

        :raises DataError: there are none, or they are of other classes.
        """
        files = [file for path in paths for file in (sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path])]
        if not files:
            raise DataError(
                f"expected measurement files (*{SUFFIX}); found none in {', '.join(map(str, paths))}. "
                "Write them: calibrant measure STORE -o FOLDER."
            )
        loaded = sorted((load_measurement(file) for file in files), key=lambda each: each[1]["order"])
        measurements: dict[str, list[Measurement]] = {}
        for measurement, facts in sorted(loaded, key=lambda each: each[1]["repetition"]):
            measurements.setdefault(facts["method"], []).append(measurement)
        ordered = {facts["method"]: measurements[facts["method"]] for _, facts in loaded}
        first = loaded[0][1]
        return cls(ordered, first["class_names"], first["facts"], first["notes"])
