"""Python in the docs runs as it stands: the blocks of a page one after the other, with the names of those before.

A block that needs data, a checkpoint or a long training is marked in the line above it, ``<!-- not run: why -->``; it
must still be Python, and what it imports from calibrant must exist.
"""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^(?:<!-- not run: (?P<why>.+) -->\n)?```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text("utf-8"))]


def blocks(page: Path) -> list[tuple[str, int, str | None]]:
    """Return code, number of its first line and, where it is not to be run, why."""
    text = page.read_text("utf-8")
    found = [(match["code"], text[: match.start("code")].count("\n"), match["why"]) for match in BLOCK.finditer(text)]
    assert len(found) == text.count("```python"), f"{page.name}: a block of Python without an end"
    return found


def run(page: Path) -> dict[str, object]:
    """Run the blocks of a page that can be run, in one namespace, and return it."""
    names: dict[str, object] = {"__name__": page.stem}
    for code, line, why in blocks(page):
        if why is None:
            exec(compile("\n" * line + code, str(page), "exec"), names)  # so that a traceback has the page's lines
    return names


def imported(code: str) -> list[tuple[str, str]]:
    """Return (module, name) of all that is imported from calibrant."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    return [
        (node.module, each.name)
        for node in nodes
        if node.module and node.module.partition(".")[0] == "calibrant"
        for each in node.names
    ]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page)


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_what_a_page_imports_exists(page):
    for code, line, _ in blocks(page):
        for module, name in imported(code):
            assert hasattr(import_module(module), name), f"{page.name}, after line {line}: {module}.{name}"


def test_blocks_are_found():
    assert {page.stem for page in WITH_CODE} >= {"calibrators", "concepts", "data", "hypotheses", "models"}


def test_a_block_that_is_wrong_is_found(tmp_path):
    page = tmp_path / "page.md"
    good, marked = "```python\none = 1\n```\n", "<!-- not run: no data -->\n```python\n1 / 0\n```\n"
    page.write_text(f"{good}\n{marked}\n```python\none + two\n```\n")
    with pytest.raises(NameError, match="two") as caught:
        run(page)
    assert caught.traceback[-1].lineno + 1 == 11
