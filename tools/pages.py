"""Run the code of pages of Markdown as a reader would: ``python tools/pages.py PAGE … [--folder FOLDER]``.

The blocks of Python and of a shell of a page run one after the other in one folder, Python in one process with the
names of the blocks before. Any other block is text. What cannot run is marked in the line above its block,
``<!-- not run: why -->``. Prints how long each page took, and fails where a block fails, with its line.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = ("python", "sh")
BLOCK = re.compile(
    rf"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?```(?P<language>{'|'.join(LANGUAGES)})\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


class CommandError(Exception):
    """A block of commands ended with another exit code than 0."""


@dataclass(frozen=True)
class Block:
    """A block of a page.

    :param language: python or sh.
    :param code: its lines.
    :param line: the number of the page's line before its first, from 1.
    :param not_run: why it cannot run; None if it can.
    """

    language: str
    code: str
    line: int
    not_run: str | None


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in their order.

    :param page: a file of Markdown.
    :raises ValueError: a block has no end, or is indented.
    """
    text = page.read_text("utf-8")
    found = [
        Block(match["language"], match["code"], text[: match.start("code")].count("\n"), match["why"])
        for match in BLOCK.finditer(text)
    ]
    if len(found) != sum(text.count(f"```{language}\n") for language in LANGUAGES):
        raise ValueError(f"{page}: a block of Python or of a shell is indented, or has no end.")
    return found


def run_commands(block: Block, page: Path) -> None:
    """Run a block of commands; the first that fails ends it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", block.code],
        env=os.environ | {"PATH": path},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise CommandError(
            f"{page}, after line {block.line}: exit code {done.returncode} of\n{block.code}{done.stdout[-3000:]}"
        )


def run(page: Path, folder: Path, *, commands: Callable[[Block, Path], None] = run_commands) -> dict[str, object]:
    """Run the blocks of a page that can be run, in a folder, and return the names that its Python has made.

    :param page: a file of Markdown.
    :param folder: where its files are written.
    :param commands: runs a block of commands of a page; by default a shell does.
    :raises CommandError: a command failed: page, line, and the end of what it printed.
    """
    names: dict[str, object] = {"__name__": page.stem}
    with chdir(folder):
        for block in blocks(page):
            if block.not_run is None and block.language == "python":
                exec(compile("\n" * block.line + block.code, str(page), "exec"), names)  # tracebacks: the page's lines
            elif block.not_run is None:
                commands(block, page)
    return names


def main(arguments: Sequence[str] | None = None) -> None:
    """Run pages, and print how long each took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    parser.add_argument("--folder", type=Path, help="where files are written; a new folder, removed again, if not said")
    given = parser.parse_args(arguments)
    for page in map(Path.resolve, given.pages):
        started = time.monotonic()
        if given.folder is None:
            with tempfile.TemporaryDirectory() as folder:
                run(page, Path(folder))
        else:
            given.folder.mkdir(parents=True, exist_ok=True)
            run(page, given.folder)
        print(f"{page.name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
