"""What a user can import: every public module lists its names, and nothing else looks public."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import pytest

import calibrant

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src" / "calibrant"
ENTRY_POINTS = {"cli"}  # run, not imported
MODULES = [name for name in calibrant.__all__ if name != "IGNORE"]
PACKAGES = [
    ".".join(path.parent.relative_to(SOURCES.parent).parts)
    for path in sorted(SOURCES.rglob("*/__init__.py"))
    if "cli" not in path.parts and not any(part.startswith("_") for part in path.relative_to(SOURCES).parts[:-1])
]


def defined_in(module) -> set[str]:
    """Return the public names that a file defines (imports excepted), or that a package's ``__init__`` imports."""
    body = ast.parse(inspect.getsource(module)).body
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom) and hasattr(module, "__path__"):
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if not name.startswith("_") and not isinstance(vars(module).get(name), TypeVar)}


def test_the_root_offers_every_public_module():
    there = {path.stem for path in SOURCES.glob("*.py")} | {path.parent.name for path in SOURCES.glob("*/__init__.py")}
    assert set(MODULES) == {name for name in there if not name.startswith("_")} - ENTRY_POINTS
    shown = {name for name in dir(calibrant) if not name.startswith("_")}
    assert shown == set(calibrant.__all__)
    for name in MODULES:
        assert getattr(calibrant, name) is import_module(f"calibrant.{name}")


def test_an_unknown_name_is_answered_with_those_that_exist():
    with pytest.raises(AttributeError, match="'metric'; it has IGNORE, calibrators, data"):
        _ = calibrant.metric


@pytest.mark.parametrize("name", sorted({f"calibrant.{name}" for name in MODULES} | set(PACKAGES)))
def test_public_names_are_those_of_all(name):
    module = import_module(name)
    exported = set(module.__all__)
    assert len(exported) == len(module.__all__)
    assert all(hasattr(module, each) for each in exported)
    assert defined_in(module) - {"IGNORE"} == exported - {"IGNORE"}


def test_the_label_of_unlabelled_pixels_has_one_value():
    assert calibrant.IGNORE is calibrant.predictions.IGNORE
    assert "IGNORE" in calibrant.predictions.__all__


def test_type_checkers_are_told_of_the_types():
    assert (SOURCES / "py.typed").read_text() == ""


def test_the_newest_release_has_a_date_and_is_the_version():
    newest = re.search(r"^## (\S+) \((\d{4}-\d{2}-\d{2})\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == calibrant.__version__
    assert f"date-released: {newest[2]}" in (ROOT / "CITATION.cff").read_text()


def test_the_version_to_cite_is_the_version():
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == calibrant.__version__
    project = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project
    assert "\nversion = " not in project
