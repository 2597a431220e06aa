"""Checks that many files share, each with one message."""

import sys
import tomllib
from pathlib import Path

import pytest

from calibrant._input.checks import EXTRAS, check_labelled, check_version, needs
from calibrant.errors import FitError, PackageError, StoreError

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.mark.parametrize(("package", "extra"), EXTRAS.items())
def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        PackageError,
        match=rf"^model\.x: expected the package {package}, which runs it; it is not installed\. "
        rf"Install it: pip install 'calibrant\[{extra}\]'\.$",
    ):
        needs(package, "runs it", name="model.x")
    brought = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"][extra]
    assert any(requirement.startswith(package.replace("_", "-") + ">=") for requirement in brought)


def test_a_package_that_is_there_but_cannot_be_imported_says_why(monkeypatch, tmp_path):
    (tmp_path / "monai.py").write_text("import certainly_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "monai", raising=False)
    with pytest.raises(PackageError, match=r"^expected the package monai.* fails: No module named 'certainly_not_the"):
        needs("monai", "builds models")


@pytest.mark.parametrize("found", [1, 2, 3])
def test_this_version_and_older_ones_are_read(found):
    check_version(found, 3, "a file")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (4, r"a file: expected version 3 or older; got version 4, written by a newer calibrant\. Upgrade: pip install"),
        (None, "a file: expected a version number; got None"),
        ("3", "expected a version number; got '3'"),
        (True, "expected a version number; got True"),
        (0, "expected a version number; got 0"),
    ],
)
def test_other_versions_are_refused(found, words):
    with pytest.raises(StoreError, match=words):
        check_version(found, 3, "a file")


def test_images_without_a_label_are_refused():
    check_labelled(True, 2)
    with pytest.raises(
        FitError, match=r"labelled pixels to fit on; all pixels of the 2 images are unlabelled\. Check ign"
    ):
        check_labelled(0, 2)
    with pytest.raises(FitError, match=r"all pixels are unlabelled\."):
        check_labelled(False)
