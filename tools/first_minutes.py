"""Run the pages of ``docs/first``, each from a fresh environment, and print how long each took.

    python tools/first_minutes.py [PAGE …] [--write]

An environment holds what the page says to install, and nothing else. ``--write`` puts the times into
``docs/results/first_minutes.md``.
"""

import argparse
import os
import platform
import re
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from fresh import ROOT, environment, run

PAGES = ROOT / "docs" / "first"
RESULT = ROOT / "docs" / "results" / "first_minutes.md"
INSTALL = re.compile(r"^pip install '?\.(\[[\w,]+\])?'?", re.MULTILINE)


def timed(page: Path) -> tuple[str, float, float, float]:
    """Return what a page says to install, the seconds that installing it and running the page took, and CPU seconds.

    :param page: a page with one line that installs the checkout.
    :raises SystemExit: a block of it failed.
    """
    extras = INSTALL.findall(page.read_text("utf-8"))
    if len(extras) != 1:
        raise SystemExit(f"{page}: expected one line that begins with pip install .; found {len(extras)}")
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        python = environment(Path(folder) / "venv", f"{ROOT}{extras[0]}")
        installed = time.monotonic()
        (Path(folder) / "work").mkdir()
        before = cpu_seconds()
        run([str(python), str(ROOT / "tools" / "pages.py"), str(page), "--folder", f"{folder}/work"])
        ran = time.monotonic() - installed
        return f"calibrant{extras[0]}", installed - begun, ran, cpu_seconds() - before


def cpu_seconds() -> float:
    """Return the CPU seconds of all programs that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def as_page(rows: Sequence[tuple[str, str, float, float, float]]) -> str:
    """Return the page of the times.

    :param rows: of each page its name, what was installed, the seconds of both parts, and CPU seconds of the second.
    """
    title = {path.stem: path.read_text("utf-8").splitlines()[0].removeprefix("# ") for path in PAGES.glob("*.md")}
    lines = [
        f"| [{title[name]}](../first/{name}.md) | `{what}` | {a:.0f} s | {b:.0f} s | {c:.0f} s |"
        for name, what, a, b, c in rows
    ]
    return "\n".join(
        [
            "# The first ten minutes, timed",
            "",
            "Every block of each page, as a reader would run it, in a fresh environment that holds what the page says",
            f"to install. Written by `make first-minutes` on {date.today().isoformat()}: Python "
            f"{platform.python_version()}, {os.cpu_count()} cores ({platform.machine()}), shared with other programs:",
            f"{os.getloadavg()[1]:.0f} processes wanted to run. The processor time is what a page takes on one "
            "core with nothing beside it.",
            "",
            "| page | installed | installing, packages at hand | running | processor time of running |",
            "|---|---|---|---|---|",
            *lines,
            "",
        ]
    )


def main() -> None:
    """Run pages, print and write the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="*", default=sorted(path.stem for path in PAGES.glob("*.md")), metavar="PAGE")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.relative_to(ROOT)}")
    given = parser.parse_args()
    rows = []
    for name in given.pages:
        what, installing, running, of_a_core = timed(PAGES / f"{name}.md")
        print(
            f"{name}: {what}: {installing:.0f} s to install, {running:.0f} s to run ({of_a_core:.0f} s of a core)",
            flush=True,
        )
        rows.append((name, what, installing, running, of_a_core))
    if given.write:
        RESULT.write_text(as_page(rows), "utf-8")
        print(RESULT)


if __name__ == "__main__":
    sys.exit(main())
