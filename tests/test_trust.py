"""Every promise in docs/trust.md and SECURITY.md names a test, and the test is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", ["docs/trust.md", "SECURITY.md"])
def test_the_tests_that_it_names_are_there(page):
    text = (ROOT / page).read_text("utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) >= 8
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text("utf-8"), (path, name)
