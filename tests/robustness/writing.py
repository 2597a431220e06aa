"""Every command that writes, in a small world: alone, and over what another command has written there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forks import Arms, Forks
from worlds import MODEL, arrays, copied

Words = Sequence[object]


@dataclass(frozen=True)
class Command:
    """A command that writes to ``OUT``.

    :param words: of the command line.
    :param before: the command whose result is there and is replaced; empty if there is none.
    :param setup: as in :class:`forks.Arms`.
    """

    words: Words
    before: Words = ()
    setup: str = ""

    def given(self, out: Path) -> list[object]:
        """Return the command line that writes to a folder."""
        return _in_place([*self.words, *(["--overwrite"] if self.before and self.words[0] != "report" else [])], out)


def _in_place(words: Words, out: Path) -> list[object]:
    return [str(out) + word[3:] if isinstance(word, str) and word.startswith("OUT") else word for word in words]


PREDICT = ("predict", "mine:build", "d", "--class-names", "x,y,z", "--trust", "-o", "OUT/p")
REFINE = ("refine", "s", "--steps", 2, "--num-samples", 2, "--crop", 12, "-o", "OUT/r")
REFINEMENT = (*REFINE[:-2], "--method", "refinement", *REFINE[-2:])
COPULA = ("refine", "s", "--method", "copula", "--num-samples", 2, "-o", "OUT/c")
SAMPLE = ("sample", "s", "--num-samples", 2, "-o", "OUT/samples")
EXPORT = ("export", "s", "--as", "npy", "--calibrator", "ts", "-o", "OUT/maps")
MEASURE = ("measure", "s", "--calibrator", "ts", "-o", "OUT/m", "--json", "OUT/figures.json")
COMPARE = ("compare", "s", "--methods", "uncalibrated,temperature", "--num-seeds", 1, "-o", "OUT/r.html")
COMPARE += ("--tallies", "OUT/tallies", "--json", "OUT/r.json")
DEMO = ("demo", "--num-steps", 1, "-o", "OUT/demo")

COMMANDS: Mapping[str, Command] = {
    "import": Command(("import", "d", "-o", "OUT/s")),
    "import over": Command(("import", "d", "-o", "OUT/s"), before=("import", "e", "-o", "OUT/s")),
    "predict": Command(PREDICT),
    "predict over": Command(PREDICT, before=("import", "e", "-o", "OUT/p")),
    "apply": Command(("apply", "ts", "s", "-o", "OUT/a")),
    "apply over": Command(("apply", "ts", "s", "-o", "OUT/a"), before=("apply", "vs", "s", "-o", "OUT/a")),
    "fit": Command(("fit", "s", "--method", "temperature", "-o", "OUT/ts")),
    "fit over": Command(
        ("fit", "s", "--method", "isotonic", "-o", "OUT/c"), before=("fit", "s", "--method", "vector", "-o", "OUT/c")
    ),
    "refine": Command(REFINE),
    "refine over": Command(REFINE, before=("refine", "t", *REFINE[2:])),
    "refine by two networks": Command(REFINEMENT),
    "refine by a copula": Command(COPULA),
    "refine by a copula over": Command(COPULA, before=("refine", "t", *COPULA[2:])),
    "sample": Command(SAMPLE),
    "sample over": Command(SAMPLE, before=("sample", "few", *SAMPLE[2:])),
    "export": Command(EXPORT),
    "export over": Command(EXPORT, before=("export", "few", *EXPORT[2:])),
    "measure": Command(MEASURE),
    "measure over": Command(MEASURE, before=("measure", "t", "--calibrator", "vs", "--calibrator", "ts", *MEASURE[4:])),
    "compare": Command(COMPARE),
    "compare over": Command(COMPARE, before=("compare", "t", *COMPARE[2:])),
    "report": Command(("report", "m", "-o", "OUT/r.html")),
    "report over": Command(
        ("report", "m", "-o", "OUT/r.html"), before=("report", "m/00-00.measurement", "-o", "OUT/r.html")
    ),
    "demo": Command(DEMO, setup="writing:few_scenes"),
    "demo over": Command(DEMO, before=(*DEMO[:3], "--seed", 1, *DEMO[3:]), setup="writing:few_scenes"),
}

COSTLY = ("compare", "measure", "report", "refine", "demo")
"""Commands of which a run computes half a second or more."""


def is_costly(name: str) -> bool:
    """Return whether a run of a command takes so long that few are made; all are in the random forms.

    :param name: one of ``COMMANDS``.
    """
    return name.partition(" ")[0] in COSTLY and "copula" not in name


def marked() -> list[Any]:
    """Return the commands as parameters of a test: slow, or long where a run is costly, but for ``measure``."""
    long = [name for name in COMMANDS if is_costly(name) and name != "measure"]
    return [pytest.param(name, marks=pytest.mark.long if name in long else pytest.mark.slow) for name in COMMANDS]


def few_scenes() -> None:
    """Let ``calibrant demo`` draw few and small scenes."""
    import calibrant.data as data

    whole = data.StreetScenes
    data.StreetScenes = lambda count, *, seed: whole(6, size=(32, 48), seed=seed)


def made(path: Path, forks: Forks) -> Path:
    """Make the world that the commands read."""
    for seed, name in enumerate("def"):
        arrays(path / name, seed=seed, size=(12, 13))
        for part in ("logits", "labels", "images"):
            one, *_, last = sorted((path / name / part).iterdir())
            last.unlink()
            if name == "f":
                one.rename(one.with_stem("other"))
    (path / "net.py").write_text("SCALE = 0.1\n")
    (path / "mine.py").write_text(MODEL)
    for words in (
        ("import", "d", "-o", "s"),
        ("import", "e", "-o", "t"),
        ("import", "f", "-o", "few"),
        ("fit", "s", "--method", "temperature", "-o", "ts"),
        ("fit", "s", "--method", "vector", "-o", "vs"),
        ("measure", "s", "--calibrator", "ts", "-o", "m"),
    ):
        ended = forks.run(words, path)
        assert ended.code == 0, ended
    return path


class World:
    """The world, the server, and what every command makes of it when nothing happens."""

    def __init__(self, path: Path, forks: Forks) -> None:
        self.path, self.forks = made(path / "world", forks), forks
        self.out = path / "out"
        self.begun: dict[str, Path] = {}

    def begin(self, name: str) -> Path:
        """Return a folder that is as before the command."""
        command = COMMANDS[name]
        if name not in self.begun:
            first = self.path.parent / "begun" / name.replace(" ", "-")
            first.mkdir(parents=True)
            if command.before:
                ended = self.forks.run(
                    _in_place(command.before, first), self.path, Arms(str(first), setup=command.setup)
                )
                assert ended.code == 0, ended
            self.begun[name] = first
        return copied(self.begun[name], self.out)

    def run(self, name: str, **arms: object):
        """Run a command on the folder as it is."""
        command = COMMANDS[name]
        return self.forks.run(
            command.given(self.out),
            self.path,
            Arms(str(self.out), setup=command.setup, **arms),  # ty: ignore
        )
