"""What a fit has to say: kept always, a warning once, and never from a fit within another."""

import logging

import pytest

from calibrant.calibrators import TemperatureScaling
from calibrant.calibrators._notes import inner_fits, stopped_short, warn_and_note
from calibrant.predictions import Prediction
from calibrant.testing import toy_predictions


def warnings_of(caplog):
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_note_is_a_warning_once(caplog):
    assert warn_and_note("few images") == "few images"
    assert warnings_of(caplog) == ["few images"]


def test_fits_within_are_quiet_at_any_depth_and_after_an_error(caplog):
    def failing():
        with inner_fits():
            with inner_fits():
                warn_and_note("one")
            warn_and_note("two")
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert warnings_of(caplog) == []
    warn_and_note("three")
    assert warnings_of(caplog) == ["three"]


def test_a_fit_within_keeps_its_notes(caplog):
    right = [Prediction(p.key, p.logits, p.logits.argmax(0)[None]) for p in toy_predictions()]
    with inner_fits():
        fitted = TemperatureScaling.fit(right)
    assert "nearly all are right" in fitted.notes[0]
    assert warnings_of(caplog) == []


def test_a_fit_that_stops_short_says_so(caplog):
    assert stopped_short("vector scaling", 7, True) == ()
    (note,) = stopped_short("vector scaling", 100, False)
    assert "vector scaling stopped short of its optimum after 100 passes" in note
    assert warnings_of(caplog) == [note]


def test_public_fits_say_that_they_stopped_short(monkeypatch):
    from dataclasses import replace

    from calibrant.calibrators import DirichletScaling, VectorScaling, _newton, _quasi_newton

    for module in (_newton, _quasi_newton):
        whole = module.minimise
        monkeypatch.setattr(module, "minimise", lambda *a, whole=whole, **k: replace(whole(*a, **k), converged=False))
    predictions = toy_predictions()
    for fitted in (
        TemperatureScaling.fit(predictions),
        VectorScaling.fit(predictions, strength=0.1, safe=False),
        DirichletScaling.fit(predictions, strength=0.1, safe=False),
    ):
        assert any("stopped short of its optimum" in note for note in fitted.notes), type(fitted)
