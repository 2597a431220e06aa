"""The job that measure, compare, report and demo share: measurements of several methods, shown, saved and drawn."""

import logging
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from calibrant import __version__
from calibrant.calibrators import Calibrator, calibrated
from calibrant.cli._console import aside, bars, console, with_progress, write_json
from calibrant.cli.methods import Method, fit_method
from calibrant.errors import DataError, InputError
from calibrant.evaluation import Comparison, compare, tally_all
from calibrant.metrics import SCORES, Measurement, load_measurement, save_measurement
from calibrant.predictions import Predictions, split
from calibrant.report import Case, as_json, case_of, terminal_table, worst_images, write_page

SUFFIX = ".measurement"


@dataclass(frozen=True)
class Study:
    """What was measured: by method, one measurement for each repetition, and all that a reader must know of it.

    :param facts: what was measured and how, in words.
    :param notes: what the fits had to say.
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

    def show(self) -> None:
        """Print the table and what the fits had to say."""
        console.print(terminal_table(self.comparison))
        for note in self.notes:
            aside.print(f"note: {note}", highlight=False)

    def write_json(self, path: Path) -> None:
        """Write every figure with its interval."""
        write_json({"facts": dict(self.facts), "notes": list(self.notes)} | as_json(self.comparison), path)

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


def run_study(
    source: Any,
    tested: Sequence[Any],
    methods: Mapping[str, Method],
    *,
    seeds: Sequence[int],
    share: float,
    pixels_per_image: int,
    num_bins: int,
    boundary_width: int,
    num_cases: int = 6,
) -> list[Study]:
    """Fit every method once for each seed and measure it on other images; one study for each place to test on.

    :param tested: sources of other images, each read once for all methods and seeds; or none, to test on the part of
        ``source`` that was not fitted on.
    :raises InputError: images would be fitted and tested on.
    """
    for each in tested:
        _check_apart(source, each)
    count = partial(Measurement.of, num_bins=num_bins, width=boundary_width)
    notes: list[str] = []
    fitted, places, parts = source, list(tested) or [source], list(tested)
    measurements: list[dict[str, list[Measurement]]] = [{title: [] for title in methods} for _ in places]
    calibrators: dict[tuple[int, str], Calibrator] = {}
    with bars() as progress:

        def fit(seed: int) -> dict[tuple[int, str], Calibrator]:
            found = {}
            for title, method in methods.items():
                watched = with_progress(fitted, progress, title)
                with _heard(f"{title}, seed {seed}", notes):
                    found[seed, title] = fit_method(method, watched, pixels_per_image=pixels_per_image, seed=seed)
            return found

        def measure(number: int) -> None:
            watched = with_progress(parts[number], progress, f"measuring {len(methods)} methods")
            for (_, title), tally in tally_all(count, watched, calibrators).items():
                measurements[number][title].append(tally)

        for seed in seeds:
            if tested:
                calibrators |= fit(seed)
            else:
                fitted, *parts = split(source, share, seed=seed)
                calibrators = fit(seed)
                measure(0)
        for number in range(len(tested)):
            measure(number)
    last = {title: calibrators[seeds[-1], title] for title in methods}
    facts = {
        "repetitions": f"{len(seeds)}, with seeds {', '.join(map(str, seeds))}"
        + ("" if tested else "; each splits the images anew"),
        "pixels to fit": _pixels(pixels_per_image, methods),
        "confidence bins": f"{num_bins} of equal width, (lo, hi]",
        "boundary": f"up to {boundary_width} pixels from a change of label",
        "intervals": "95 %, by drawing test images again, 1,000 times",
    }
    studies = []
    for place, part, found in zip(places, parts, measurements, strict=True):
        sides = {
            "fitted on": _images(fitted, source, whole=bool(tested)),
            "tested on": _images(part, place, whole=bool(tested)),
        }
        study = Study.of(found, place, sides | facts)
        cases = tuple(_cases(part, last, study, num_cases))
        studies.append(Study(study.measurements, study.class_names, study.facts, tuple(dict.fromkeys(notes)), cases))
    return studies


def _check_apart(source: Any, tested: Any) -> None:
    shared = sorted(set(source.keys) & set(tested.keys))
    if shared:
        raise InputError(
            f"expected other images to test on than to fit on; {len(shared)} are in both, such as {shared[0]!r}. "
            "Give one store to split, or stores of different images."
        )


def _pixels(pixels_per_image: int, methods: Mapping[str, Method]) -> str:
    """How many pixels of an image methods are fitted on, in words."""
    key = "pixels_per_image"
    own = {title: method.settings[key] for title, method in methods.items() if key in method.settings}
    others = "".join(f"; {title}: {'all' if n is None else f'up to {n:,}'}" for title, n in own.items())
    return f"up to {pixels_per_image:,} of each image{others}"


def _images(part: Predictions, source: Any, *, whole: bool) -> str:
    return f"{len(part)} images of {source.provenance.data}" + ("" if whole else ", drawn at random")


def _cases(test: Any, calibrators: Mapping[str, Calibrator], study: Study, count: int) -> Iterator[Case]:
    first = study.measurements[next(iter(calibrators))][-1]
    worst = worst_images(first, SCORES["ece_images"], count=count)
    for key in worst:
        prediction = test[test.keys.index(key)]
        if prediction.logits.ndim != 3:
            return
        row = {title: study.measurements[title][-1].take([first.keys.index(key)]) for title in calibrators}
        shown = {
            title: {name: float(SCORES[name].of(m)) for name in ("ece_images", "accuracy")} for title, m in row.items()
        }
        yield case_of(
            prediction, {title: calibrated(prediction, each) for title, each in calibrators.items()}, scores=shown
        )


@contextmanager
def _heard(who: str, notes: list[str]) -> Generator[None]:
    """Collect what a fit warns of."""
    handler = _Notes(who, notes)
    logging.getLogger("calibrant").addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        logging.getLogger("calibrant").removeHandler(handler)
    notes.extend(f"{who}: {each.message}" for each in caught if issubclass(each.category, UserWarning))


class _Notes(logging.Handler):
    def __init__(self, who: str, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.who, self.notes = who, notes

    def emit(self, record: logging.LogRecord) -> None:
        self.notes.append(f"{self.who}: {record.getMessage()}")
