"""Fit methods on some images of a store and measure them on others: what compare and demo share."""

import logging
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any

from rich.progress import Progress

from calibrant.calibrators import Calibrator
from calibrant.cli._cases import cases_in
from calibrant.cli._console import bars
from calibrant.cli._engine import watched
from calibrant.cli._kept_fits import KeptFits
from calibrant.cli._own import drawn_back
from calibrant.cli._study import Study
from calibrant.engines import Engine
from calibrant.errors import InputError
from calibrant.evaluation import tally_all
from calibrant.methods import Method
from calibrant.metrics import Measurement, Score
from calibrant.predictions import Predictions, keys_of, split


@dataclass(frozen=True)
class Plan:
    """How methods are fitted and measured.

    :param seeds: one repetition for each: another split, other pixels, another training.
    :param fraction: the fraction of the images to fit on, from 0 to 1, where one store is split.
    :param pixels_per_image: how many pixels of each image methods are fitted on at most.
    :param num_bins: bins of the confidence.
    :param boundary_width: how far from a change of label the boundary reaches, in pixels.
    :param num_cases: how many images the report shows.
    :param own_scores: scores of the user's own beside those of the library, by name.
    """

    _: KW_ONLY
    seeds: Sequence[int]
    fraction: float
    pixels_per_image: int
    num_bins: int
    boundary_width: int
    num_cases: int = 6
    own_scores: Mapping[str, Score] = field(default_factory=dict)


@dataclass(frozen=True)
class _Round:
    """What is fitted on, with which seeds, and the sources that are then tested on, each read once."""

    fitted: Any
    seeds: Sequence[int]
    tests: Sequence[Any]


def run_study(
    source: Any,
    tested: Sequence[Any],
    methods: Mapping[str, Method],
    plan: Plan,
    engine: Engine | None = None,
    kept: KeptFits | None = None,
) -> list[Study]:
    """Fit every method once for each seed and measure it on other images; return one study for each place to test on.

    :param source: stored predictions to fit on.
    :param tested: sources of other images, each read once for all methods and seeds; or none, to test on the part of
        ``source`` that was not fitted on.
    :param methods: by title.
    :param plan: how they are fitted and measured.
    :param engine: whose workers read the images; None for this process.
    :param kept: where calibrators are kept, and found again; None for nowhere.
    :raises InputError: images would be fitted and tested on.
    """
    for each in tested:
        _check_apart(source, each)
    notes: list[str] = []
    places = list(tested) or [source]
    measurements: list[dict[str, list[Measurement]]] = [{title: [] for title in methods} for _ in places]
    count = partial(Measurement.of, num_bins=plan.num_bins, width=plan.boundary_width)
    with bars() as progress:
        for turn in _rounds(source, tested, plan):
            calibrators = dict(_fits(turn, methods, plan, progress, notes, engine, kept))
            for part, found in zip(turn.tests, measurements, strict=True):
                read = watched(part, progress, f"measuring {len(methods)} methods", engine)
                for (_, title), tally in tally_all(count, read, calibrators).items():
                    found[title].append(tally)
    last = {title: calibrators[plan.seeds[-1], title] for title in methods}
    studies = []
    for place, part, found in zip(places, turn.tests, measurements, strict=True):
        sides = {
            "fitted on": _images(turn.fitted, source, whole=bool(tested)),
            "tested on": _images(part, place, whole=bool(tested)),
        }
        facts = sides | _facts(plan, methods, whole=bool(tested)) | _gates(last, part)
        study = Study.of(found, place, facts, plan.own_scores)
        cases = tuple(cases_in(part, last, study, plan.num_cases))
        studies.append(study.changed(notes=tuple(dict.fromkeys(notes)), cases=cases))
    return studies


def _rounds(source: Any, tested: Sequence[Any], plan: Plan) -> Iterator[_Round]:
    """One round with all seeds where there are other images to test on, else one split for each seed."""
    if tested:
        yield _Round(source, plan.seeds, tested)
        return
    for seed in plan.seeds:
        fitted, test = split(source, plan.fraction, seed=seed)
        yield _Round(fitted, [seed], [test])


def _fits(
    turn: _Round,
    methods: Mapping[str, Method],
    plan: Plan,
    progress: Progress,
    notes: list[str],
    engine: Engine | None,
    kept: KeptFits | None,
) -> Iterator[tuple[tuple[int, str], Calibrator]]:
    """The calibrators of a round, by seed and title; what the fits warn of is added to the notes."""
    for seed in turn.seeds:
        for title, method in methods.items():
            keys = keys_of(turn.fitted)
            if kept is not None and (found := kept.find(title, seed, keys)) is not None:
                notes.extend(found[1])
                yield (seed, title), found[0]
                continue
            read, heard = watched(turn.fitted, progress, title, engine), list[str]()
            with _heard(f"{title}, seed {seed}", heard):
                fitted = method.fitted(read, pixels_per_image=plan.pixels_per_image, seed=seed)
            notes.extend(heard)
            if kept is not None:
                kept.keep(fitted, heard, title, seed, keys)
            for task in progress.task_ids:  # the bar of a fit that does not read all images
                progress.remove_task(task)
            yield (seed, title), fitted


def _facts(plan: Plan, methods: Mapping[str, Method], *, whole: bool) -> dict[str, str]:
    """How methods were fitted and measured, in words."""
    seeds = f"{len(plan.seeds)}, with seeds {', '.join(map(str, plan.seeds))}"
    return {
        "repetitions": seeds + ("" if whole else "; each splits the images anew"),
        "pixels to fit": _pixels(plan.pixels_per_image, methods),
        "confidence bins": f"{plan.num_bins} of equal width, (lo, hi]",
        "boundary": f"up to {plan.boundary_width} pixels from a change of label",
        "intervals": "95 %, by drawing test images again, 1,000 times",
    }


def _gates(calibrators: Mapping[str, Calibrator], part: Predictions) -> dict[str, str]:
    """Which images lie outside the range of the fit of each stacked scaling that knows one, in words."""
    said = {f"unlike the fit of {title}": drawn_back(each, part) for title, each in calibrators.items()}
    return {name: words for name, words in said.items() if words}


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
    own = {title: method.options[key] for title, method in methods.items() if key in method.options}
    others = "".join(f"; {title}: {'all' if n is None else f'up to {n:,}'}" for title, n in own.items())
    return f"up to {pixels_per_image:,} of each image{others}"


def _images(part: Predictions, source: Any, *, whole: bool) -> str:
    return f"{len(part)} images of {source.provenance.data}" + ("" if whole else ", drawn at random")


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
        self.addFilter(lambda record: record.name == "calibrant")  # nothing that engines say of their workers

    def emit(self, record: logging.LogRecord) -> None:
        self.notes.append(f"{self.who}: {record.getMessage()}")
