"""The single images that a report shows: chosen from tallies, read from a store."""

from collections.abc import Iterator, Mapping
from typing import Any

from calibrant.calibrators import Calibrator, calibrated
from calibrant.cli._study import Study
from calibrant.metrics import SCORES
from calibrant.report import Case, cases_of, deciding_method, telling_images

CHOSEN_BY = "ece_images"
"""The score by which images are chosen: one of single images."""

IN_CAPTIONS = ("ece_images", "accuracy")
"""Scores of an image in its caption."""


def cases_in(test: Any, calibrators: Mapping[str, Calibrator | None], study: Study, count: int) -> Iterator[Case]:
    """Yield the images of a source to look at, the model as it is first.

    :param test: labelled predictions with keys, those of the last repetition of the study.
    :param calibrators: by title, as in the study; None for the model as it is.
    :param study: what was measured of them.
    :param count: how many images, at most.
    """
    rows = {title: study.measurements[title][-1] for title in calibrators}
    first, *_ = rows
    shown = deciding_method(study.comparison)
    before, after = rows[first], rows.get(shown) if shown else None
    for key, why in telling_images(before, after, SCORES[CHOSEN_BY], count=count).items():
        prediction, row = test[test.keys.index(key)], before.keys.index(key)
        scores = {
            title: {name: float(SCORES[name].of(measured.take([row]))) for name in IN_CAPTIONS}
            for title, measured in rows.items()
        }
        logits = {title: calibrated(prediction, each) for title, each in calibrators.items()}
        yield from cases_of(prediction, logits, scores=scores, why=why)
