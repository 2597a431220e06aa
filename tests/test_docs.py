"""The code of the docs runs as it stands: the blocks of a page one after the other, with the names of those before.

A block that needs data, a checkpoint or a long training is marked in the line above it, ``<!-- not run: why -->``; it
must still be Python, and what it imports from calibrant must exist. Of every command, run or not, the options and the
methods that it names must exist. Pages of the first ten minutes, which run commands and trainings, are slow.
"""

import ast
import re
import shlex
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest
import typer.main
from tools.pages import Block, CommandError, blocks, run

from calibrant.cli import app
from calibrant.methods import parse_methods
from calibrant.samplers.storage import LEARNT

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
COMMAND = re.compile(r"^ *(calibrant \w.*)$|`(calibrant \w[^`]*)`", re.MULTILINE)
COMMANDS = typer.main.get_command(app).commands
CODE = {page: blocks(page) for page in PAGES}
WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in CODE[page])]


def _mark(page: Path) -> pytest.MarkDecorator:
    """The page that trains a SegFormer takes minutes."""
    return pytest.mark.long if page.stem == "street" else pytest.mark.slow


RUN = [
    pytest.param(page, id=page.stem, marks=[_mark(page)] if page.parent.name == "first" else [])
    for page in PAGES
    if (languages := {block.language for block in CODE[page] if block.not_run is None})
]
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
EXTRAS = {"street": ("transformers", "onnxruntime"), "nnunet": ("nibabel",), "geotiff": ("rasterio",)}


def in_process(calibrant):
    """Return what runs a block of commands in this process: a new one would import torch again for each command."""

    def run_block(block: Block, page: Path) -> None:
        lines = block.code.replace("\\\n", " ").splitlines()
        assert all(line.startswith(("calibrant ", "#")) or not line for line in lines), f"{page}: not of calibrant"
        for words in commands(block.code):
            code, out, err = calibrant(*words)
            if code:
                raise CommandError(f"{page}, after line {block.line}: exit code {code} of {words}\n{out}\n{err}")

    return run_block


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
            faults += (
                []
                if value in ("refinement", "copula", *LEARNT) or ".py:" in value
                else [f"there is no sampler {value}"]
            )
        elif option in ("--method", "--methods"):
            try:
                parse_methods(",".join(["uncalibrated", *(each for each in value.split(",") if ".py:" not in each)]))
            except ValueError as error:
                faults.append(str(error))
    return faults


@pytest.mark.parametrize("page", RUN)
def test_the_code_of_a_page_runs(page, tmp_path, calibrant, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for module in EXTRAS.get(page.stem, ()):
        pytest.importorskip(module)
    run(page, tmp_path, commands=in_process(calibrant))


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_what_a_page_imports_exists(page):
    for block in CODE[page]:
        for module, name in imported(block.code) if block.language == "python" else ():
            assert hasattr(import_module(module), name), f"{page.name}, after line {block.line}: {module}.{name}"


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_links_to_files_lead_somewhere(page):
    for link in LINK.findall(page.read_text("utf-8")):
        assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_block_that_is_not_run_says_why():
    for page in PAGES:
        assert all(block.not_run is None or len(block.not_run) > 8 for block in CODE[page]), page.name


def test_blocks_are_found():
    assert {param.id for param in RUN} >= {"calibrators", "concepts", "data", "hypotheses", "street", "nnunet"}


def test_a_block_that_is_wrong_is_found(tmp_path):
    page = tmp_path / "page.md"
    good, marked = "```python\none = 1\n```\n", "<!-- not run: no data -->\n```python\n1 / 0\n```\n"
    page.write_text(f"{good}\n{marked}\n```python\none + two\n```\n")
    with pytest.raises(NameError, match="two") as caught:
        run(page, tmp_path)
    assert caught.traceback[-1].lineno + 1 == 11
    page.write_text("```sh\ntrue\n```\n\n```sh\necho of no use\nfalse\n```\n")
    with pytest.raises(CommandError, match=r"page\.md, after line 5: exit code 1 of"):
        run(page, tmp_path)
    page.write_text("- a list\n\n  ```sh\n  true\n  ```\n")
    with pytest.raises(ValueError, match="is indented, or has no end"):
        run(page, tmp_path)


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
