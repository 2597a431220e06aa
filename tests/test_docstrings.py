"""Every public callable has a docstring whose parameters and errors are those it has.

What is not so yet stands in ``docstrings_allowed.txt``, a line a fault; the list may only shrink.
"""

import builtins
import re
from pathlib import Path

from public_callables import Public, check_against, public_callables

from calibrant import errors

ALLOWED = Path(__file__).with_name("docstrings_allowed.txt")
PARAMETER = re.compile(r"^:param (\w+):\s*(.*)$", re.MULTILINE)
RAISES = re.compile(r"^:raises ([\w, ]+):", re.MULTILINE)
LEANING = ("of ", "as in", "as for", "likewise", "ditto", "see ", "and ")
"""How a description begins that cannot be read without its parameter's name, or the line before it."""


def faults_of(public: Public) -> set[str]:
    """Return what is wrong with a docstring, in lines that name the place."""
    summary = re.split(r"\n\s*\n|\n:", public.doc, maxsplit=1)[0].strip()
    described = dict(PARAMETER.findall(public.doc))
    named = {p.name for p in public.named}
    raised = {name.strip() for each in RAISES.findall(public.doc) for name in each.split(",")}
    faults = {
        *([] if summary.endswith((".", ":", "::")) else ["the summary is no sentence"]),
        *(f"{name}: no :param" for name in named - described.keys()),
        *(f"{name}: described, but no parameter" for name in described.keys() - {p.name for p in public.parameters}),
        *(
            f"{name}: cannot be read alone"
            for name, text in described.items()
            if not text or text.lower().startswith(LEANING)
        ),
        *(f"{name}: no such error" for name in raised if not (hasattr(errors, name) or hasattr(builtins, name))),
    }
    return {f"{public.address}: {fault}" for fault in faults}


def all_faults() -> set[str]:
    """Return the faults of all public callables."""
    return set().union(*map(faults_of, public_callables()))


def test_docstrings_describe_what_is_there():
    check_against(all_faults(), ALLOWED)


def test_a_fault_is_found():
    def broken(first, second=0):
        """Do something

        :param first: of it
        :param third: a number.
        :raises NoSuchError: always.
        """

    import inspect

    parameters = tuple(inspect.signature(broken).parameters.values())
    assert faults_of(Public("x", parameters, inspect.getdoc(broken))) == {
        "x: the summary is no sentence",
        "x: first: cannot be read alone",
        "x: second: no :param",
        "x: third: described, but no parameter",
        "x: NoSuchError: no such error",
    }


def test_the_walk_reaches_functions_classes_and_methods():
    addresses = {public.address for public in public_callables()}
    assert {
        "calibrant.metrics.bootstrap",
        "calibrant.predictions.Prediction",
        "calibrant.calibrators.TemperatureScaling.fit",
        "calibrant.metrics.CalibrationBins.of",
    } <= addresses
    assert len(addresses) > 200
