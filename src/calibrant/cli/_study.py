"""What was measured of one or several methods: shown, saved, loaded and drawn. Four commands share it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from calibrant import __version__
from calibrant._storage.origin import Origin, check_same, checked, differences
from calibrant.cli._console import PlainConsole, aside, console, write_json
from calibrant.cli._file_set import alone_in, check_settled, replacing_together, settle
from calibrant.cli._provenance import provenance
from calibrant.errors import DataError
from calibrant.evaluation import Comparison, compare
from calibrant.metrics import SCORES, Measurement, Score, load_measurement, save_measurement
from calibrant.report import Case, as_json, load_cases, near_ties_in_words, save_cases, terminal_table, write_page

SUFFIX = ".measurement"

IMAGES = "report.images"
"""The file beside measurements that holds the images of the report."""

AS_IT_IS = "uncalibrated"
"""The title of the model as it is, with which all methods are compared."""


@dataclass(frozen=True)
class Study:
    """What was measured: by method, one measurement for each repetition, and all that a reader must know of it.

    :param measurements: by title of a method, one for each repetition.
    :param class_names: the names of the classes, in order; empty if they are not known.
    :param facts: what was measured and how, in words.
    :param notes: what the fits warned of.
    :param cases: images that the report shows.
    :param made_from: what was measured and how, by name, as the files say it.
    :param own_scores: scores of the user's own beside those of the library, by name.
    """

    measurements: Mapping[str, Sequence[Measurement]]
    class_names: Sequence[str]
    facts: Mapping[str, str]
    notes: Sequence[str] = ()
    cases: Sequence[Case] = field(default=(), repr=False)
    made_from: Origin = field(default_factory=dict)
    own_scores: Mapping[str, Score] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        measurements: Mapping[str, Sequence[Measurement]],
        source: Any,
        facts: Mapping[str, str],
        own_scores: Mapping[str, Score] | None = None,
    ) -> "Study":
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
        said = {k: v for k, v in known.items() if v} | dict(facts) | tool
        return cls(measurements, source.class_names, said, own_scores=own_scores or {})

    @cached_property
    def comparison(self) -> Comparison:
        """Every figure with its interval over images; the model as it is is the baseline, if it was measured."""
        known = AS_IT_IS in self.measurements
        return compare(
            self.measurements,
            generator=torch.Generator().manual_seed(0),
            scores={**SCORES, **self.own_scores},
            baseline=AS_IT_IS if known else None,
            as_it_is=known,
        )

    def changed(self, **fields: Any) -> "Study":
        """Return it with other fields; figures that are worked out are not so again if the others cannot change them.

        :param fields: new values by name.
        """
        study = replace(self, **fields)
        if "comparison" in vars(self) and not fields.keys() & {"measurements", "own_scores"}:
            vars(study)["comparison"] = self.comparison
        return study

    def show(self, where: PlainConsole = console) -> None:
        """Print the table, and what the fits had to say on the error stream.

        :param where: what the table is printed on.
        """
        where.print(terminal_table(self.comparison))
        for line in near_ties_in_words(self.comparison):
            where.print(line, highlight=False)
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

    def write_page(
        self,
        path: Path,
        *,
        title: str = "Calibration report",
        places: Mapping[str, Comparison] | None = None,
        pages: Mapping[str, str] | None = None,
    ) -> None:
        """Write the report.

        :param path: where it goes.
        :param title: the headline.
        :param places: comparisons of the same methods in several places, this one among them, by name.
        :param pages: names of the files of their pages, beside this one, by name.
        """
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
            provenance=provenance(self.made_from),
            places=places,
            pages=pages,
        )

    def save(self, folder: Path, made_from: Origin, *, overwrite: bool = False) -> None:
        """Write one file a method and repetition, and one of images, all before the first takes an old one's place.

        :param folder: is made if missing; what other commands measured there stays, or is replaced as a whole.
        :param made_from: what was measured and how, by name.
        :param overwrite: replace files of another command.
        :raises StoreError: files of another command are there, or another process is writing there.
        """
        with alone_in(folder):
            check_free(folder, made_from, overwrite=overwrite)
            old = [file.name for pattern in (f"*{SUFFIX}", IMAGES) for file in folder.glob(pattern)]
            with replacing_together(folder, old) as new:
                self._save_into(new, made_from)
                if self.cases:
                    save_cases(self.cases, new / IMAGES)

    def _save_into(self, folder: Path, made_from: Origin) -> None:
        for order, (method, repetitions) in enumerate(self.measurements.items()):
            for number, measurement in enumerate(repetitions):
                facts = {
                    "method": method,
                    "order": order,
                    "repetition": number,
                    "class_names": list(self.class_names),
                    "facts": dict(self.facts),
                    "notes": list(self.notes),
                    "made_from": dict(made_from),
                    "count": sum(map(len, self.measurements.values())),
                }
                save_measurement(measurement, folder / f"{order:02d}-{number:02d}{SUFFIX}", facts=facts)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> "Study":
        """Read a study from measurement files, or folders of them, with the images that lie there.

        :raises DataError: there are none, or files of several commands are in one folder.
        """
        for folder in filter(Path.is_dir, paths):
            _check_one_command(folder)
        files = [file for path in paths for file in (sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path])]
        if not files:
            raise DataError(
                f"expected measurement files (*{SUFFIX}); found none in {', '.join(map(str, paths))}. "
                "Write them: calibrant measure STORE -o FOLDER."
            )
        loaded = sorted((_read(file) for file in files), key=lambda each: each[1]["order"])
        measurements: dict[str, list[Measurement]] = {}
        for measurement, facts in sorted(loaded, key=lambda each: each[1]["repetition"]):
            measurements.setdefault(facts["method"], []).append(measurement)
        ordered = {facts["method"]: measurements[facts["method"]] for _, facts in loaded}
        first = loaded[0][1]
        images = [path / IMAGES for path in paths if (path / IMAGES).exists()]
        cases = tuple(case for file in images for case in load_cases(file))
        made_from = checked(first.get("made_from")) or {}
        return cls(ordered, first["class_names"], first["facts"], first["notes"], cases, made_from)


def check_free(folder: Path | None, made_from: Origin, *, overwrite: bool) -> None:
    """Raise if a folder holds measurements of another command.

    :param folder: where measurements are to go; None for nowhere.
    :param made_from: what is to be measured and how, by name.
    :param overwrite: they are to be replaced: nothing is raised.
    :raises StoreError: naming what differs.
    """
    if folder is None or overwrite:
        return
    settle(folder)
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        check_same(file, checked(load_measurement(file)[1].get("made_from")), made_from, "measurement")


def _check_one_command(folder: Path) -> None:
    """Raise unless a folder holds all measurements of one command, each once.

    :raises DataError: some are missing, or of another command, which would be shown as if they were of this one.
    """
    check_settled(folder)
    files = sorted(folder.glob(f"*{SUFFIX}"))
    found = [_read(file)[1] for file in files]
    for file, facts in zip(files, found, strict=True):
        unlike = differences(checked(found[0].get("made_from")) or {}, checked(facts.get("made_from")) or {})
        if unlike:
            raise DataError(
                f"{folder}: expected the measurements of one command; got those of several: from {files[0].name} to "
                f"{file.name}, {unlike}. Name the files that you want, or measure again: --overwrite."
            )
    different = len({(facts["method"], facts["repetition"]) for facts in found})
    count = found[0].get("count", different) if found else 0
    if different != count or len(found) != count:
        raise DataError(
            f"{folder}: expected {count} measurements, of different methods or repetitions, as they were written; got "
            f"{len(found)}, {different} of them different. Copy the folder again, or measure again: --overwrite."
        )


def _read(file: Path) -> tuple[Measurement, dict[str, Any]]:
    """A measurement and its facts, which must be those of a study."""
    measurement, facts = load_measurement(file)
    kinds = {"method": str, "order": int, "repetition": int, "class_names": list, "facts": dict, "notes": list}
    for name, kind in kinds.items():
        if not isinstance(facts.get(name), kind):
            raise DataError(
                f"{file}: expected a measurement that says its {name}, as calibrant measure writes it; got "
                f"{facts.get(name)!r}. Measure again."
            )
    return measurement, facts
