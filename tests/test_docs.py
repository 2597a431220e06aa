"""Python in the docs runs as it stands: the blocks of a page one after the other, with the names of those before.

A block that needs data, a checkpoint or a long training is marked in the line above it, ``<!-- not run: why -->``; it
must still be Python, and what it imports from calibrant must exist. Commands are not run: their options and the methods
that they name must exist.
"""

import ast
import re
import shlex
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
import typer.main

from calibrant.cli import app
from calibrant.methods import parse_methods
from calibrant.samplers.storage import LEARNT

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^(?:<!-- not run: (?P<why>.+) -->\n)?```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^ *(calibrant \w.*)$|`(calibrant \w[^`]*)`", re.MULTILINE)
COMMANDS = typer.main.get_command(app).commands
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


def commands(text: str) -> list[list[str]]:
    """Return the words of each command in a page, whole lines and code within text; comments are left out."""
    found = COMMAND.finditer(text.replace("\\\n", " "))
    return [shlex.split((match[1] or match[2]).replace("\n", " "), comments=True)[1:] for match in found]


def faults_of(words: list[str]) -> list[str]:
    """Return what a command cannot be: its name, its options, and the methods that it names."""
    name, *others = (word.rstrip(",") for word in words)
    if name not in COMMANDS:
        return [] if set(name) & set(",.") or not others else [f"there is no command {name}"]
    known = {option for each in COMMANDS[name].params for option in (*each.opts, *each.secondary_opts)}
    faults = [f"{name} has no {word}" for word in others if re.match(r"--?[a-z]", word) and word not in known]
    for option, value in pairwise(others):
        if name == "refine" and option == "--method":
            faults += [] if value in ("refinement", "copula", *LEARNT) else [f"there is no sampler {value}"]
        elif option in ("--method", "--methods"):
            try:
                parse_methods(",".join(["uncalibrated", *(each for each in value.split(",") if ".py:" not in each)]))
            except ValueError as error:
                faults.append(str(error))
    return faults


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


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_commands_have_the_options_that_a_page_gives_them(page):
    for words in commands(page.read_text("utf-8")):
        assert not faults_of(words), f"{page.name}: {' '.join(words)}"


def test_a_command_that_is_wrong_is_found():
    text = "```sh\ncalibrant fit a --epochs 3 \\\n  --method temprature  # why\n```\n`calibrant measured a`"
    first, second = map(faults_of, commands(text))
    assert first[0] == "fit has no --epochs"
    assert "temprature" in first[1]
    assert second == ["there is no command measured"]
