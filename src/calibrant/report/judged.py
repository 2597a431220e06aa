"""Whether confidence agrees with accuracy, in words: of a whole diagram, and of each class."""

from collections.abc import Callable, Sequence

from calibrant.metrics import CalibrationBins, GapTest, Measurement, gap_test

AGREES, TOO_FEW, NEVER = "as it says", "too few images", "never predicted"


def few_images(number: int) -> str:
    """Return that so many images are too few.

    :param number: how many there are.

    >>> few_images(1), few_images(3)
    ('1 image is too few', '3 images are too few')
    """
    return f"{number} image{' is' if number == 1 else 's are'} too few"


def agreement_in_words(measurements: Sequence[Measurement], of: Callable[[Measurement], CalibrationBins]) -> str:
    """Return in how many bins confidence departs from accuracy by more than chance; empty if nothing can be said.

    :param measurements: of one method, one a repetition.
    :param of: which bins of a measurement are meant.
    """
    test = gap_test([of(measurement) for measurement in measurements])
    judged = int((~test.p_value.isnan()).sum())
    if not judged:
        number = int(test.num_images.max())
        return f"{few_images(number)} to distinguish miscalibration from chance" if number else "has no pixel"
    departing = sum(test.departs())
    if not departing:
        return "no bin departs from calibration by more than chance"
    return f"{departing} of {judged} bins depart{'s' if departing == 1 else ''} from calibration by more than chance"


def keeps_its_word(measurements: Sequence[Measurement]) -> bool | None:
    """Return whether no miscalibration was found, over all pixels and in any bin; None if images are too few to say.

    :param measurements: of one method, one a repetition.
    """
    tests = [gap_test([rows.bins for rows in measurements], by=by) for by in ("bin", "all")]
    if bool(tests[1].p_value.isnan().any()):
        return None
    return not any(any(test.departs()) for test in tests)


def on_the_whole(measurements: Sequence[Measurement]) -> str:
    """Return "too sure" or "too timid" if the gap over all pixels is beyond chance; empty if not, or if none can say.

    :param measurements: of one method, one a repetition.
    """
    test = gap_test([rows.bins for rows in measurements], by="all")
    return _word(test, 0) if test.departs()[0] else ""


def class_verdicts(measurements: Sequence[Measurement]) -> list[str]:
    """Return of each class, where it is predicted, whether confidence is too high or too low by more than chance.

    :param measurements: of one method, one a repetition.
    """
    test = gap_test([rows.by_prediction for rows in measurements], by="group")
    departs = test.departs()
    return [
        NEVER
        if not int(test.num_images[i])
        else TOO_FEW
        if bool(test.p_value[i].isnan())
        else (_word(test, i) if departs[i] else AGREES)
        for i in range(len(departs))
    ]


def _word(test: GapTest, i: int) -> str:
    return "too sure" if float(test.gap[i]) > 0 else "too timid"
