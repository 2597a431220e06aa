"""One name for one thing in every public signature, as the table in ``docs/glossary.md`` has it.

What is not so yet stands in ``argument_names_allowed.txt``, a line a fault; the list may only shrink.
"""

import inspect
import re
from pathlib import Path

import pytest
from public_callables import Public, check_against, public_callables

GLOSSARY = Path(__file__).parent.parent / "docs" / "glossary.md"
ALLOWED = Path(__file__).with_name("argument_names_allowed.txt")
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \| (.+) \|$", re.MULTILINE)
FORMULA = {"x", "y"}  # input and output of the regression task, as in its equations
OF_TORCH = {"calibrant.calibrators.CalibrationNetwork.train", "calibrant.samplers.NetworkSampler.train"}


def banned() -> dict[tuple[str, str], str]:
    """Return the preferred name for each banned one, with the type for which it is banned ("" for any)."""
    rows = ROW.findall(GLOSSARY.read_text("utf-8"))
    found = {}
    for name, _, others in rows:
        for other in re.findall(r"`([^`]+)`", others):
            word, _, kind = other.partition(": ")
            found[word, kind] = name
    return found


def faults_of(public: Public, instead: dict[tuple[str, str], str]) -> set[str]:
    """Return what is wrong with the names and kinds of the parameters, in lines that name the place."""
    faults = set()
    for parameter in public.named:
        name, kind = parameter.name, _kind(parameter)
        positional = parameter.kind is not parameter.KEYWORD_ONLY
        for (word, of), preferred in instead.items():
            if name == word and kind.startswith(of):
                faults.add(f"{name}: say {preferred}")
        if positional and (kind == "bool" or isinstance(parameter.default, bool)) and public.address not in OF_TORCH:
            faults.add(f"{name}: a positional bool")
        if positional and name == "notes":
            faults.add("notes: positional")
        if len(name) == 1 and name not in FORMULA:
            faults.add(f"{name}: a single letter")
    return {f"{public.address}: {fault}" for fault in faults}


def _kind(parameter: inspect.Parameter) -> str:
    kind = parameter.annotation
    return kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))


def all_faults() -> set[str]:
    """Return the faults of all public callables."""
    instead = banned()
    return set().union(*(faults_of(public, instead) for public in public_callables()))


def test_arguments_have_the_names_of_the_glossary():
    check_against(all_faults(), ALLOWED)


def test_the_glossary_contradicts_itself_nowhere():
    names = [name for name, _, _ in ROW.findall(GLOSSARY.read_text("utf-8"))]
    assert len(names) == len(set(names)) > 25
    assert not {word for word, kind in banned() if not kind} & set(names)


def test_a_fault_is_found():
    def wrong(k, batch: int, progress=None, shuffle=False, *, notes=(), batch_size: int = 1):
        pass

    public = Public("f", tuple(inspect.signature(wrong).parameters.values()), "")
    assert faults_of(public, banned()) == {
        "f: k: a single letter",
        "f: batch: say batch_size",
        "f: progress: say watch",
        "f: shuffle: a positional bool",
    }


@pytest.mark.parametrize("module", ["test_argument_names", "test_docstrings"])
def test_the_lists_are_sorted_and_without_doubles(module):
    lines = Path(__file__).with_name(f"{module.removeprefix('test_')}_allowed.txt").read_text("utf-8").splitlines()
    assert lines == sorted(set(lines))
